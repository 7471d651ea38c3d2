"""What a run tells Weights & Biases, TensorBoard and MLflow, read back from their own files; no network is used."""

import getpass
import json
import os
import re
import socket
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from hydra import initialize_config_dir

from alasca_pl.build.make import make
from alasca_pl.cli import CONF_DIR
from alasca_pl.cli.composition import compose_config
from alasca_pl.core.errors import UserError
from alasca_pl.core.record import RunRecord
from running import command, config_for, train, train_killed
from wandb_file import read_records

wandb = pytest.importorskip("wandb")

DATA = ("noise=asymmetric", "noise.rate=0.3", "alasca=digits", "trainer.log_every_n_steps=1")
# Outside a command nothing is known of Hydra's choices.
NAMED = ("logger.wandb.name=n", "logger.wandb.job_type=j", "logger.wandb.tags=[t,t,u]", "logger.wandb.suspects=0")
OFFLINE = ("logger=wandb_offline", *NAMED, *DATA)
SHORT = ("epochs=1", "data.max_train_samples=64")
STEPS = 10


class Told(NamedTuple):
    """Contents of one ``.wandb`` file."""

    run: Any
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    metrics: dict[str, Any]
    kinds: set[str]
    folder: Path
    text: str

    @property
    def epochs(self) -> list[int]:
        """Epochs with a test accuracy, in the order of the file."""
        return [row["epoch"] for row in self.history if "test/acc" in row]


def _name(item: Any) -> str:
    return item.key or "/".join(item.nested_key)


def _read(file: Path) -> Told:
    records = list(read_records(file))
    kinds = [record.WhichOneof("record_type") for record in records]
    run = next(record.run for record, kind in zip(records, kinds) if kind == "run")
    history, summary, metrics = [], {}, {}
    for record, kind in zip(records, kinds):
        if kind == "history":
            history.append({_name(item): json.loads(item.value_json) for item in record.history.item})
        elif kind == "summary":
            summary.update({_name(item): json.loads(item.value_json) for item in record.summary.update})
        elif kind == "metric":
            metrics[record.metric.name or record.metric.glob_name] = record.metric
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    text = "".join(str(record) for record in records)
    return Told(run, config, history, summary, metrics, {kind for kind in kinds if kind}, file.parent, text)


def files(folder: Path) -> list[Path]:
    """Files of the sessions of a run, in their order."""
    return sorted((folder / "wandb").glob("offline-run-*/*.wandb"))


def told(folder: Path) -> list[Told]:
    """What each session of a run wrote, in their order."""
    return [_read(file) for file in files(folder)]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Nobody's home: no key, nothing cached."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        yield folder


@pytest.fixture(scope="module")
def typed(tmp_path_factory, home):
    folder = tmp_path_factory.mktemp("typed")
    outcome = command(
        folder, "logger=wandb_offline", *DATA, "epochs=2", "data.max_train_samples=150", "data.max_test_samples=50",
        "model.backbone.width=4", "hydra.run.dir=run", "logger.wandb.suspects=7", "logger.wandb.notes=a trial", "callbacks=quiet",
        draws=True,
    )  # fmt: skip
    assert outcome.code == 0, outcome.out + outcome.err
    return folder / "run", outcome


def test_the_run_is_named_grouped_and_tagged(typed, home):
    (one,) = told(typed[0])
    run = one.run
    assert (run.project, run.display_name, run.job_type) == ("alasca_pl", "ce_digits_seed0", "ce_digits")
    assert (run.run_group, run.notes) == ("digits_asymmetric", "a trial")
    assert set(run.tags) == {"digits", "asymmetric", "ce"}


def test_the_config_is_there_from_the_start_and_has_no_folders(typed):
    (one,) = told(typed[0])
    stored = yaml.safe_load((typed[0] / "config.yaml").read_text())
    for name in ("seed", "epochs", "noise", "optim", "criterion", "regularizers", "model"):
        assert one.config[name] == json.loads(json.dumps(stored[name])), name


def test_nothing_of_the_machine_or_its_user_is_in_the_file(typed, home):
    (one,) = told(typed[0])
    assert one.run.host == ""
    assert one.kinds.isdisjoint({"environment", "stats", "output", "output_raw", "use_artifact"})
    # The places of pictures that wait to be sent are in the file, but are not sent.
    sent = "\n".join(line for line in one.text.splitlines() if "local_path" not in line)
    for secret in (
        str(typed[0].parent),
        str(home),
        str(Path.cwd()),
        f'"{socket.gethostname()}"',
        f'"{getpass.getuser()}"',
    ):
        assert secret not in sent, secret
    assert not (one.folder / "files" / "requirements.txt").exists()
    assert not (one.folder / "files" / "wandb-metadata.json").exists()


def test_each_epoch_has_its_figures_and_the_summary_is_the_record_s(typed):
    (one,) = told(typed[0])
    record = RunRecord.read(typed[0] / "record.json")
    assert one.epochs == [0, 1]
    assert [row["val/acc"] for row in one.history if "val/acc" in row][-1] == record.metrics["last"]["val/acc"]
    for which in ("last", "mean_of_last", "best_val"):
        for name, value in record.metrics[which].items():
            assert one.summary[f"{which}/{name}"] == pytest.approx(value, abs=1e-12), name
    assert one.summary["status"] == "finished" and one.summary["noise/sha256"] == record.noise.sha256


def test_curves_are_drawn_against_epochs_and_single_steps_against_steps(typed):
    metrics = told(typed[0])[0].metrics
    assert metrics["*"].step_metric == "epoch" and metrics["train/loss_step"].step_metric == "trainer/global_step"
    assert metrics["val/*"].summary.last and metrics["val/*"].summary.max and metrics["val/*"].step_metric == "epoch"


def test_pictures_and_the_labels_that_are_most_likely_wrong_are_shown(typed, home):
    (one,) = told(typed[0])
    media = one.folder / "files" / "media"
    assert {re.sub(r"_\d+_[0-9a-f]+\.png", "", file.name) for file in (media / "images").iterdir()} == {
        "curves",
        "transition_matrix",
    }
    (file,) = (media / "table").iterdir()
    table = json.loads(file.read_text())
    assert table["columns"] == ["image", "name", "given", "suggested", "probability wrong", "score", "reason"]
    assert len(table["data"]) == 7
    scores = [row[5] for row in table["data"]]
    assert scores == sorted(scores, reverse=True)
    # The files of the table wait in the run's folder and not in a home that other machines do not have.
    assert len(list((one.folder / "artifacts" / "staging").iterdir())) >= 7
    assert not (home / ".local" / "share" / "wandb").exists()


def test_the_line_that_sends_it_is_said(typed):
    folder, outcome = typed
    (one,) = told(folder)
    assert f"wandb sync {one.folder}" in outcome.out + outcome.err


def test_a_resumed_run_is_the_same_run(tmp_path, home):
    options = (*OFFLINE, "epochs=3")
    train_killed(tmp_path, 2 * STEPS + 3, *options)
    train(tmp_path, *options, f"ckpt_path={tmp_path}/checkpoints/last.ckpt")
    first, second = files(tmp_path)
    # wandb keeps up to 32 KiB in memory: of the killed process there is the file's name only.
    assert first.name == second.name == f"run-{_read(second).run.run_id}.wandb"
    assert _read(second).epochs == [2]


@pytest.mark.slow
def test_another_run_is_another_run_also_in_one_process(tmp_path, home):
    for name in ("one", "other"):
        train(tmp_path / name, *OFFLINE, *SHORT)
    (one,), (other,) = told(tmp_path / "one"), told(tmp_path / "other")
    assert one.run.run_id != other.run.run_id
    assert one.epochs == other.epochs == [0]


@pytest.mark.slow
def test_an_agent_of_a_sweep_says_which_run_it_is(tmp_path, home, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "fromagent")
    # wandb reads the environment once in a process.
    wandb.teardown()
    try:
        train(tmp_path, *OFFLINE, *SHORT)
    finally:
        wandb.teardown()
    assert [one.run.run_id for one in told(tmp_path)] == ["fromagent"]


@pytest.mark.slow
def test_jobs_of_a_sweep_are_runs_of_one_group(tmp_path, home):
    outcome = command(
        tmp_path, "-m", "sweep=mine", "seed=0,1", "logger=wandb_offline", "logger.wandb.suspects=0", *DATA, *SHORT,
        "model.backbone.width=4", "callbacks=quiet", "hydra.launcher.jobs=1",
    )  # fmt: skip
    assert outcome.code == 0, outcome.out + outcome.err
    runs = [
        one.run
        for folder in sorted((tmp_path / "sweeps" / "mine").iterdir())
        if folder.is_dir()
        for one in told(folder)
    ]
    assert [run.run_group for run in runs] == ["mine", "mine"]
    assert len({run.run_id for run in runs}) == 2


def test_a_config_cannot_choose_the_server_that_gets_the_key():
    node = config_for(*OFFLINE)["logger"]["wandb"]
    with pytest.raises(UserError, match="settings"):
        make({**node, "settings": {"base_url": "https://elsewhere.example"}}, save_dir="x", config={}, run_id=None)


def test_without_a_key_files_are_kept_and_it_is_said(tmp_path, home, caplog):
    train(tmp_path, "logger=wandb", *NAMED, *DATA, *SHORT)
    assert [one.epochs for one in told(tmp_path)] == [[0]]
    assert "not logged in" in caplog.text


def test_a_workspace_has_the_panels_of_metrics_that_runs_log(typed, home):
    pytest.importorskip("wandb_workspaces")
    from alasca_pl.runs.workspace import make_workspace

    workspace = make_workspace("my-team", name="Trial")
    specification = json.loads(workspace._to_model().model_dump_json(by_alias=True))
    assert specification["displayName"] == "Trial"
    text = json.dumps(specification)
    logged = {name for row in told(typed[0])[0].history for name in row}
    for name in (
        "test/acc",
        "val/acc",
        "train/memorised",
        "alasca/confidence_clean",
        "alasca/auroc",
        "train/loss_step",
        "curves",
    ):
        assert name in logged or any(each.startswith(f"{name}/") for each in logged), name
        assert name in text, name


def test_a_file_for_sweeps_of_wandb_makes_the_command_s_own_options(tmp_path, home):
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    file = Path(__file__).parents[2] / "docs" / "howto" / "wandb_sweep.yaml"
    sweep = yaml.safe_load(file.read_text())
    chosen = {
        name: {"value": spec.get("value", (spec.get("values") or [spec.get("min")])[0])}
        for name, spec in sweep["parameters"].items()
    }
    made = create_sweep_command_args({"args": chosen})["args_no_hyphens"]
    options = [option for option in sweep["command"] if option != "${args_no_hyphens}"]
    assert options[0] == "alasca-train" and "${args_no_hyphens}" in sweep["command"]
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose_config("train", [*options[1:], *made]).config
    assert list(config.logger) == ["wandb"]
    assert (config.optim.optimizer.lr, config.regularizers.alasca.strength) == (0.005, 1.0)
    assert sweep["metric"]["name"] == "best_val/val/acc"


@pytest.mark.slow
def test_tensorboard_gets_the_epochs_and_goes_on_after_a_kill(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = ("logger=tensorboard", "alasca=none", "epochs=3")
    train_killed(tmp_path, 2 * STEPS + 3, *options)
    train(tmp_path, *options, f"ckpt_path={tmp_path}/checkpoints/last.ckpt")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    # Files of the same second are read in the order of their processes' numbers: steps tell what came last, not places.
    assert max(events.Scalars("epoch"), key=lambda event: event.step).value == 2
    assert len({event.step for event in events.Scalars("test/acc")}) == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_goes_on_with_the_same_run_after_a_kill(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    options = ("logger=mlflow", "logger.mlflow.run_name=n", "alasca=none", "epochs=3")
    train_killed(tmp_path, 2 * STEPS + 3, *options)
    train(tmp_path, *options, f"ckpt_path={tmp_path}/checkpoints/last.ckpt")
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = [each for each in client.search_experiments() if each.name == "alasca_pl"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "n" and run.info.status == "FINISHED"
    assert len({metric.step for metric in client.get_metric_history(run.info.run_id, "test/acc")}) == 3
