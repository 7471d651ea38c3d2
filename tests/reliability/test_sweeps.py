"""Sweeps of real runs: jobs that go wrong, parents that are killed, started twice, or told to stop.

``pytest -n 0 -m slow -s tests/reliability/test_sweeps.py`` prints the figures of docs/reliability.md.
"""

import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import lightning as L
import pytest
from test_interrupts import WHILE_IMPORTING

from running import assert_same_bits, checkpoint, timed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), timed]

TESTS = Path(__file__).parents[1]
QUICK = (
    "data.max_train_samples=64", "data.batch_size=16", "model.backbone.width=4", "model.norm=group", "alasca=none",
    "callbacks=quiet", "hydra.launcher.view=lines", "hydra.launcher.jobs=2",
)  # fmt: skip
BEHAVE = "+callbacks.behave={{_target_: test_sweeps.Behave, words: {words}, seconds: {seconds}}}"


class Behave(L.Callback):
    """Lets a run of a sweep do what its seed says, and notes each start beside the run's folder.

    Args:
        words: By seed, ``raises``, ``exits``, ``killed`` or ``hangs``, in the second epoch.
        seconds: How long each step takes at least.
        pause: Name of a hook in which the first run that comes there waits, and says so in a file ``paused``.
    """

    def __init__(self, words: dict[int, str], seconds: float = 0.0, pause: str = "") -> None:
        self.words, self.seconds = words, seconds
        if pause:
            original = getattr(self, pause)

            def pausing(trainer, *args, **kwargs):
                marker = Path(trainer.default_root_dir).parent / "paused"
                if trainer.current_epoch >= (pause not in ("setup", "on_train_batch_start")) and not marker.exists():
                    marker.touch()
                    time.sleep(20)
                return original(trainer, *args, **kwargs)

            setattr(self, pause, pausing)

    def setup(self, trainer, pl_module, stage) -> None:
        folder = Path(trainer.default_root_dir)
        with (folder.parent / "starts").open("a") as file:
            file.write(f"{folder.name}\n")

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        time.sleep(self.seconds)
        seed = re.search(r"seed(\d+)", trainer.default_root_dir)
        word = self.words.get(int(seed.group(1))) if seed and trainer.current_epoch == 1 else None
        if word == "raises":
            raise ValueError("this job raises")
        if word == "exits":
            sys.exit(0)
        if word == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "hangs":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Type a line in a folder."""
    path = [str(TESTS), str(TESTS / "reliability"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "alasca_pl.cli", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Shells let what they start in the background ignore Ctrl-C, and their children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def ended(process: subprocess.Popen[str], status: int = 0) -> str:
    out, _ = process.communicate(timeout=900)
    assert process.returncode == status, out
    return out


def starts(sweep: Path) -> Counter[str]:
    file = sweep / "starts"
    return Counter(file.read_text().split()) if file.is_file() else Counter()


def finished(sweep: Path) -> set[str]:
    records = {path.parent.name: json.loads(path.read_text()) for path in sweep.glob("*/record.json")}
    return {name for name, record in records.items() if record["status"] == "finished"}


def tables(sweep: Path) -> dict[str, tuple[str, dict]]:
    """Metrics of all jobs by the names of their folders."""
    return {
        path.parent.name: ((path.parent / "metrics.csv").read_text(), json.loads(path.read_text())["metrics"])
        for path in sweep.glob("*/record.json")
    }


def alive(folder: Path) -> list[int]:
    """Processes whose working directory is a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if path.resolve() == folder.resolve():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def wait_until_gone(folder: Path, seconds: float = 30.0) -> float:
    """Wait until no process works in a folder, and return how long that took."""
    begin = time.monotonic()
    while alive(folder):
        assert time.monotonic() - begin < seconds, f"still alive: {alive(folder)}"
        time.sleep(0.05)
    return time.monotonic() - begin


def test_of_twelve_runs_four_fail_and_the_second_call_runs_exactly_those(tmp_path):
    words = {3: "raises", 5: "exits", 8: "killed", 10: "hangs"}
    line = [
        "sweep=a", *QUICK, "epochs=3", "seed=range(12)", "hydra.launcher.timeout=45", "hydra.launcher.grace=2",
        BEHAVE.format(words=json.dumps(words).replace('"', ""), seconds=0),
    ]  # fmt: skip
    sweep = tmp_path / "sweeps" / "a"
    first = ended(start(tmp_path, *line), 1)
    print("\n", first)
    assert len(finished(sweep)) == 8
    assert "4 of 12 jobs have not finished" in first
    reasons = {int(seed): why for seed, why in re.findall(r"^  \S*seed(\d+)-\w+: (.*)$", first, re.MULTILINE)}
    assert reasons.keys() == words.keys()
    assert "this job raises" in reasons[3]
    assert "its record does not say that it has finished" in reasons[5] or "status" in reasons[5]
    assert "SIGKILL" in reasons[8] and "no end after 45 s" in reasons[10]
    before = starts(sweep)
    assert set(before.values()) == {1} and len(before) == 12
    ended(start(tmp_path, *line), 1)
    again = starts(sweep) - before
    assert {int(re.search(r"seed(\d+)", name).group(1)) for name in again} == set(words)
    assert set(again.values()) == {1}
    wait_until_gone(tmp_path)


def test_a_sweep_of_runs_whose_parent_is_killed_equals_the_uninterrupted_one(tmp_path):
    kills, seed = 5, 7
    line = [*QUICK, "epochs=6", "seed=range(4)", "method=ce,elr", BEHAVE.format(words="{}", seconds=0.2)]
    begin, used = time.monotonic(), _cpu()
    ended(start(tmp_path, "sweep=whole", *line))
    whole_seconds, whole_cpu = time.monotonic() - begin, _cpu() - used
    rng, sweep = random.Random(seed), tmp_path / "sweeps" / "killed"
    done_before, cut, gone = [], [], []
    begin, used = time.monotonic(), _cpu()
    for _ in range(kills):
        parent = start(tmp_path, "sweep=killed", *line)
        time.sleep(rng.uniform(0.1, 0.5) * whole_seconds)
        parent.kill()
        parent.communicate()
        gone.append(wait_until_gone(tmp_path))
        done_before.append(finished(sweep))
        cut.append(starts(sweep))
    print("\n", ended(start(tmp_path, "sweep=killed", *line)))
    seconds, cpu = time.monotonic() - begin, _cpu() - used
    # A job that was finished is never started again.
    last = starts(sweep)
    for done, so_far in zip(done_before, cut):
        assert all(last[name] == so_far[name] for name in done)
    assert len(finished(sweep)) == 8
    assert sum(last.values()) > 8, "no job was cut"
    assert tables(sweep) == tables(tmp_path / "sweeps" / "whole")
    report = [_report(tmp_path, name) for name in ("whole", "killed")]
    assert report[0] == report[1]
    print(
        f"{kills} kills (seed {seed}): finished after each {[len(done) for done in done_before]} of 8, "
        f"{sum(last.values()) - 8} starts more than jobs, gone after {max(gone):.1f} s at most; "
        f"wall {seconds:.0f} s against {whole_seconds:.0f} s, CPU {cpu:.0f} s against {whole_cpu:.0f} s"
    )


WATCHED = [*QUICK[:6], "epochs=2", "seed=0,1", "hydra.launcher.jobs=2", "hydra.launcher.view=lines"]
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("left_alone")
    ended(start(folder, "sweep=a", *WATCHED))
    return tables(folder / "sweeps" / "a")


def _assert_goes_on(folder: Path, told: int, process: subprocess.Popen[str], left_alone, *more: str) -> None:
    """A sweep that was told to stop says how to go on, leaves nobody behind, and goes on to the same end."""
    begin = time.monotonic()
    process.send_signal(told)
    out = ended(process, STATUS[told])
    print(f"\nended after {time.monotonic() - begin:.1f} s:\n{out}")
    wait_until_gone(folder)
    assert "Traceback" not in out and "interrupted" in out
    sweep = folder / "sweeps" / "a"
    attempts = [each for path in sweep.glob("*/job.json") for each in json.loads(path.read_text())["attempts"]]
    assert all(each["outcome"] in ("interrupted", "finished") for each in attempts), attempts
    states = [json.loads(path.read_text())["status"] for path in sweep.glob("*/record.json")]
    assert set(states) <= {"interrupted", "finished"}, states
    if attempts:
        assert "the same line goes on:\n  alasca-train -m sweep=a " in out
    ended(start(folder, "sweep=a", *WATCHED, *more))
    assert len(finished(sweep)) == 2
    if left_alone is not None:
        assert {name: table[0] for name, table in tables(sweep).items()} == {
            name: table[0] for name, table in left_alone.items()
        }


@pytest.mark.parametrize(
    ("hook", "told", "warm"),
    [
        ("setup", signal.SIGTERM, True),
        ("on_train_batch_start", signal.SIGINT, True),
        ("on_validation_start", signal.SIGTERM, True),
        ("on_save_checkpoint", signal.SIGINT, True),
        ("on_train_end", signal.SIGHUP, True),
        ("on_validation_start", signal.SIGINT, False),
    ],
)
def test_a_sweep_that_is_told_to_stop_goes_on_to_the_same_end(tmp_path, left_alone, hook, told, warm):
    behave = f"+callbacks.behave={{_target_: test_sweeps.Behave, words: {{}}, pause: {hook}}}"
    process = start(tmp_path, "sweep=a", *WATCHED, behave, f"hydra.launcher.warm={warm}")
    while not (tmp_path / "sweeps" / "a" / "paused").exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    _assert_goes_on(tmp_path, told, process, left_alone)


@pytest.mark.parametrize(
    ("told", "warm"), [(signal.SIGINT, True), (signal.SIGTERM, True), (signal.SIGTERM, False), (signal.SIGINT, False)]
)
def test_a_sweep_that_is_told_to_stop_while_its_jobs_load_libraries(tmp_path, left_alone, told, warm):
    process = start(tmp_path, "sweep=a", *WATCHED, f"hydra.launcher.warm={warm}")
    while len(list((tmp_path / "sweeps" / "a").glob("*/job.json"))) < 2:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    _assert_goes_on(tmp_path, told, process, left_alone)


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("module", ["hydra.core.override_parser.overrides_parser", "alasca_pl.sweeps.pool"])
def test_a_sweep_that_is_told_to_stop_before_its_jobs_start(tmp_path, told, module):
    done = subprocess.run(
        [sys.executable, "-c", WHILE_IMPORTING.format(module=module, told=int(told)), "sweep=a", *WATCHED],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert done.returncode == STATUS[told], done
    assert "interrupted; nothing has to be kept; the same command starts again" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("sweeps/*/*/job.json"))


def test_a_sweep_of_two_processes_that_is_told_to_stop(tmp_path):
    behave = "+callbacks.behave={_target_: test_sweeps.Behave, words: {}, pause: on_validation_start}"
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    process = start(tmp_path, "sweep=a", *WATCHED, *two, behave)
    while not (tmp_path / "sweeps" / "a" / "paused").exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    _assert_goes_on(tmp_path, signal.SIGTERM, process, None, *two)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _report(folder: Path, sweep: str) -> str:
    code = "from alasca_pl.cli import report; report()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, f"sweeps/{sweep}"], cwd=folder, capture_output=True, text=True, check=True
    )
    # What follows are costs in seconds.
    return done.stdout.partition("## Cost")[0].replace(f"sweeps/{sweep}", "SWEEP")


def test_a_sweep_of_runs_started_twice_at_once_trains_each_once(tmp_path):
    line = [*QUICK, "sweep=a", "epochs=2", "seed=range(3)", BEHAVE.format(words="{}", seconds=0)]
    both = [start(tmp_path, *line) for _ in range(2)]
    texts = [ended(process) for process in both]
    print("\n", *texts)
    assert starts(tmp_path / "sweeps" / "a") == dict.fromkeys(finished(tmp_path / "sweeps" / "a"), 1)
    assert len(finished(tmp_path / "sweeps" / "a")) == 3


def test_forked_runs_end_with_the_bits_of_fresh_ones(tmp_path):
    line = [
        *QUICK[:4],
        "alasca=paper",
        "callbacks=quiet",
        "trainer=smoke",
        "method=ce,dividemix",
        "hydra.launcher.jobs=2",
    ]
    for warm in (True, False):
        ended(start(tmp_path, f"sweep={warm}", *line, f"hydra.launcher.warm={warm}"))
    forked, fresh = tmp_path / "sweeps" / "True", tmp_path / "sweeps" / "False"
    assert len(finished(forked)) == 2
    for name in finished(forked):
        for part in ("epoch", "global_step", "state_dict", "optimizer_states"):
            assert_same_bits(checkpoint(forked / name)[part], checkpoint(fresh / name)[part])
        for file in ("metrics.csv", "noise.npz"):
            assert (forked / name / file).read_bytes() == (fresh / name / file).read_bytes()


def test_two_runs_into_one_folder_and_two_resumes_at_once(tmp_path):
    tiny = [*QUICK[:6], "hydra.run.dir=run"]
    slow = BEHAVE.format(words="{}", seconds=0.2)
    for more in (["epochs=10", slow], ["ckpt_path=run", "epochs=20", "trust=true"]):
        both = []
        for _ in range(2):
            both.append(start(tmp_path, *(tiny if "ckpt_path=run" not in more else []), *more))
            time.sleep(1)
        texts = [process.communicate(timeout=600)[0] for process in both]
        assert sorted(process.returncode for process in both) == [0, 1], texts
        refused = texts[[process.returncode for process in both].index(1)]
        assert refused.count("error:") == 1 and "is in use by process" in refused, refused
        print("\n", refused)
        rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
        assert len(rows) == 1 + int(next(item for item in more if item.startswith("epochs=")).partition("=")[2])
    assert starts(tmp_path) == {"run": 2}


def test_two_multiruns_in_the_same_second_lose_nothing(tmp_path):
    both = [start(tmp_path, "-m", *QUICK, "epochs=1", f"seed={seed},{seed + 1}") for seed in (0, 2)]
    for process in both:
        ended(process)
    assert len(list((tmp_path / "sweeps").iterdir())) == 2
    records = [json.loads(path.read_text()) for path in (tmp_path / "sweeps").glob("*/*/record.json")]
    assert sorted((record["seed"], record["status"]) for record in records) == [(s, "finished") for s in range(4)]
