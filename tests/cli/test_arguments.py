"""Names of any kind reach the command as they are; what a resume repeats calls nothing foreign."""

import json
import random
import shutil

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from alasca_pl.cli.arguments import ordered, quote_paths, quoted, resume_arguments, unquoted
from alasca_pl.core.checksum import unsealed
from alasca_pl.core.errors import UserError
from alasca_pl.runs.load import load_run
from running import TINY, command

CANARY: list[str] = []
NASTY = 'it\'s a [1], {b: "c"} = (d)\\e ${seed} é\\'
ALPHABET = "ab1 '\"\\=,[](){}$:~#@!%&*?|;<>é日-+._/"


def _names(number, alphabet=ALPHABET):
    rng = random.Random(0)
    pieces = [*alphabet, "${", "\\${", "\\\\", "${oc.env:HOME}", "null", "true", "1e3"]
    return ["".join(rng.choice(pieces) for _ in range(rng.randint(1, 12))) for _ in range(number)]


def _hydra_takes(override):
    parsed = OverridesParser.create().parse_override(override)
    assert not parsed.is_sweep_override()
    return OmegaConf.create({"x": parsed.value()}).x


def test_a_quoted_text_is_taken_as_it_is():
    for name in [*_names(1500), NASTY]:
        assert _hydra_takes(f"hydra.run.dir={quoted(name)}") == name


def test_a_typed_path_is_taken_as_it_is_unless_it_is_quoted_or_interpolated():
    for name in _names(1500):
        if "${" in name or name[0] in "'\"~" or name == "null":
            continue
        (item,) = quote_paths([f"data.root={name}"])
        assert _hydra_takes(item) == name, item
        # Commands that are shown to the user are typed again.
        assert quote_paths([unquoted(item)]) == [item]


@pytest.mark.parametrize(
    "item",
    [
        "method=ce",
        "aux.stages=[1,2]",
        "optim.lr=1e-3",
        "+a={b: 1}",
        "~logger",
        "data.root=${oc.env:HOME}/x",
        "x='a b'",
        "-m",
    ],
)
def test_what_hydra_understands_stays(item):
    assert quote_paths([item]) == [item]


def test_values_are_quoted_by_their_look_not_by_a_list_of_names():
    assert quote_paths(["+data.imagenet_root=/a (b)/é"]) == ["+data.imagenet_root='/a (b)/é'"]
    assert quote_paths(["-m", "data.path=a,b", "data.root=/a (b)"]) == ["-m", "data.path=a,b", "data.root='/a (b)'"]


def test_a_tilde_is_the_users_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert quote_paths(["ckpt_path=~/run", "method=ce"]) == ["ckpt_path=/home/me/run", "method=ce"]


def test_options_may_stand_between_overrides():
    given = ["a=1", "--config-dir", "x=y", "b=2", "-m", "c=3"]
    assert ordered(given) == ["--config-dir", "x=y", "-m", "a=1", "b=2", "c=3"]


@pytest.fixture(scope="module")
def nasty(tmp_path_factory):
    """A finished run in a folder with a name of all that is difficult."""
    folder = tmp_path_factory.mktemp("nasty")
    name = NASTY.replace("${", "\\${")
    # A backslash before what looks like an interpolation is how Hydra is told that it is none.
    outcome = command(folder, *TINY, "epochs=1", "data.max_train_samples=64", f"hydra.run.dir=runs/{name}")
    assert outcome.code == 0, outcome
    return folder / "runs" / NASTY


def test_a_run_in_a_folder_of_any_name_goes_on_and_is_measured(nasty, tmp_path):
    assert (nasty / "record.json").is_file(), list(nasty.parent.iterdir())
    escaped = str(nasty).replace("${", "\\${")
    again = command(tmp_path, f"ckpt_path={escaped}/checkpoints/last.ckpt", "epochs=2")
    assert again.code == 0, again
    assert json.loads((nasty / "record.json").read_text())["metrics"]["last"]["epoch"] == 1
    folder_is_enough = command(tmp_path, f"ckpt_path={escaped}", "epochs=3")
    assert folder_is_enough.code == 0, folder_is_enough
    measured = command(tmp_path, f"ckpt_path={escaped}/checkpoints/last.ckpt", entry="evaluate")
    assert measured.code == 0, measured
    assert list(tmp_path.iterdir()) == []


def test_a_tilde_never_becomes_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    outcome = command(tmp_path, *TINY, "epochs=1", "data.max_train_samples=64", "hydra.run.dir=~/my run")
    assert outcome.code == 0, outcome
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert load_run("~/my run").epoch == 0
    assert command(tmp_path, "ckpt_path=~/my run/checkpoints/last.ckpt", entry="evaluate").code == 0
    assert command(tmp_path, "ckpt_path=~/my run", "epochs=2").code == 0


def sing(*args, **kwargs) -> dict:
    """What a stranger's file would call."""
    CANARY.append("dead")
    return {}


FOREIGN = [
    f"+callbacks.x={{_target_: {__name__}.sing}}",
    f"+logger.x={{_target_: {__name__}.sing}}",
    f"+logger.x={{nested: [{{'_target_': '{__name__}.sing'}}]}}",
    f"optim.optimizer._target_={__name__}.sing",
    f"+callbacks.x=\"${{oc.create:'{{_target_: {__name__}.sing}}'}}\"",
    f"+callbacks.x='${{${{callbacks.r}}.create:\"{{_target_: {__name__}.sing}}\"}}'",
    f"+hydra.callbacks.x={{_target_: {__name__}.sing}}",
    "method=../../evil",
]


@pytest.fixture
def strangers(nasty, tmp_path):
    def make(overrides, config_dirs=(), where="checkpoint"):
        folder = tmp_path / "run"
        (folder / "checkpoints").mkdir(parents=True)
        content = torch.load(nasty / "checkpoints" / "last.ckpt", weights_only=True)
        record = unsealed(json.loads((nasty / "record.json").read_text()))
        if where == "checkpoint":
            content["alasca_pl"]["command"]["overrides"] += overrides
            content["alasca_pl"]["command"]["config_dirs"] = list(config_dirs)
        else:
            record["overrides"] += overrides
            record["config_dirs"] = list(config_dirs)
        torch.save(content, folder / "checkpoints" / "last.ckpt")
        (folder / "record.json").write_text(json.dumps(record))
        return folder

    return make


def test_values_of_a_strangers_sweep_are_not_called_in_its_jobs(strangers, tmp_path):
    folder = strangers([f"+callbacks.x={{_target_: {__name__}.sing}},{{_target_: {__name__}.sing, a: 1}}"])
    with pytest.raises(UserError, match="trust=true"):
        resume_arguments(["-m", f"ckpt_path={folder}", "epochs=9"])


@pytest.mark.parametrize("entry", ["evaluate", "predict", "measure", "audit"])
def test_a_strangers_config_calls_nothing_in_any_command(nasty, tmp_path, entry):
    CANARY.clear()
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    content = torch.load(nasty / "checkpoints" / "last.ckpt", weights_only=True)
    content["alasca_pl"]["config"]["criterion"] = {"_target_": f"{__name__}.sing"}
    torch.save(content, folder / "checkpoints" / "last.ckpt")
    for name in ("record.json", "noise.npz", "samples.npz", "metrics.csv"):
        shutil.copy(nasty / name, folder)
    place = {"evaluate": f"ckpt_path={folder}/checkpoints/last.ckpt", "predict": str(folder), "measure": str(folder)}
    image = ["image.png"] if entry == "predict" else []
    (tmp_path / "image.png").touch()
    outcome = command(tmp_path, place.get(entry, str(folder)), *image, entry=entry)
    assert CANARY == []
    assert "trust=true" in outcome.err + outcome.out, outcome


def test_records_of_strangers_are_read_and_nothing_in_them_is_called(nasty, tmp_path):
    CANARY.clear()
    record = unsealed(json.loads((nasty / "record.json").read_text()))
    bad = {"_target_": f"{__name__}.sing"}
    record["config"] |= {"criterion": bad, "callbacks": {"x": bad}, "noise": {**record["config"]["noise"], "x": bad}}
    record["overrides"] = FOREIGN
    job = {"config": record["config"], "overrides": FOREIGN, "choices": {}, "digest": "0" * 12, "attempts": []}
    files = {"metrics.csv": (nasty / "metrics.csv").read_text()}
    jobs = [{"folder": "ce-000000000000", "job": job, "record": record, "files": files}]
    (tmp_path / "export.json").write_text(json.dumps({"format": "alasca_pl sweep 1", "sweep": "s", "jobs": jobs}))
    assert command(tmp_path, "import", "s", "export.json", entry="sweep").code == 0
    assert command(tmp_path, "retry", "s", entry="sweep").code == 0
    assert command(tmp_path, "sweeps/s", entry="report").code == 0
    assert command(tmp_path, "export.json", entry="report").code == 0
    assert CANARY == []


@pytest.mark.parametrize("override", FOREIGN)
def test_a_strangers_checkpoint_calls_nothing(strangers, tmp_path, override):
    CANARY.clear()
    folder = strangers([override])
    outcome = command(tmp_path, f"ckpt_path={folder}/checkpoints/last.ckpt", "epochs=9")
    assert CANARY == []
    assert outcome.code == 1 and "trust=true" in outcome.err, outcome


def test_a_strangers_record_is_not_repeated(strangers, tmp_path):
    CANARY.clear()
    folder = strangers([FOREIGN[0]], where="record")
    outcome = command(tmp_path, f"ckpt_path={folder}", "epochs=9")
    assert CANARY == []
    assert outcome.code == 0, outcome


def test_a_strangers_folder_of_configs_is_not_used_unless_trusted(strangers, tmp_path):
    folder = strangers([], ["--config-dir", str(tmp_path)])
    with pytest.raises(UserError, match="trust=true"):
        resume_arguments([f"ckpt_path={folder}"])
    assert resume_arguments([f"ckpt_path={folder}", "trust=true"])[:2] == ["--config-dir", str(tmp_path)]
    assert "--config-dir" in resume_arguments(["--config-dir", "own", f"ckpt_path={folder}"])


def test_what_the_user_types_or_trusts_is_called(strangers, tmp_path):
    CANARY.clear()
    folder = strangers([FOREIGN[0]])
    command(tmp_path, f"ckpt_path={folder}", "epochs=9", "trust=true")
    assert CANARY == ["dead"]
