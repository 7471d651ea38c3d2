"""A sweeper that optimises gets a figure of each job, as Optuna's would; by Hydra's own means, with a sweeper of this test's."""

import json
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.plugins.sweeper import Sweeper

import hydra_plugins
from alasca_pl.cli import train_command
from running import command
from sweeps.test_launcher import fast_jobs

__all__ = ["fast_jobs"]
VIEW = "hydra.launcher.view=none"


class SearchSweeper(Sweeper):
    """Asks for one job after the other; which one depends on what the ones before returned."""

    seen: ClassVar[list[float]] = []

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        SearchSweeper.seen = []
        for number in range(3):
            lr = 0.1 if not self.seen else self.seen[-1] / 10
            (job,) = self.launcher.launch([[*arguments, f"optim.lr={lr}"]], initial_job_idx=number)
            assert job.status is JobStatus.COMPLETED or job.return_value
            SearchSweeper.seen.append(float(job.return_value))


@pytest.fixture(autouse=True)
def _plugin(monkeypatch):
    # Hydra takes sweepers from this package only.
    monkeypatch.setattr(SearchSweeper, "__module__", "hydra_plugins.search")
    module = types.ModuleType("hydra_plugins.search")
    monkeypatch.setattr(module, "SearchSweeper", SearchSweeper, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(hydra_plugins, "search", module, raising=False)
    Plugins.instance().register(SearchSweeper)
    node = {"_target_": "hydra_plugins.search.SearchSweeper"}
    ConfigStore.instance().store(group="hydra/sweeper", name="search", node=node, provider="test")
    yield
    Plugins.instance().class_name_to_class.pop("hydra_plugins.search.SearchSweeper", None)


def test_each_job_returns_its_validation_accuracy(tmp_path, fast_jobs):
    outcome = command(tmp_path, "-m", "hydra/sweeper=search", "sweep=a", VIEW)
    assert outcome.code == 0, outcome
    assert SearchSweeper.seen == [0.7, 0.7, 0.7]
    folders = [path for path in (tmp_path / "sweeps" / "a").iterdir() if path.is_dir()]
    # The first one has 0.1, both others 0.07.
    assert len(folders) == len(fast_jobs) == 2


def test_another_figure_can_be_chosen(tmp_path, fast_jobs):
    outcome = command(tmp_path, "-m", "hydra/sweeper=search", "sweep=a", VIEW, "hydra.launcher.metric=epoch")
    assert outcome.code == 0, outcome
    assert SearchSweeper.seen == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["hydra.launcher.metric=val/ac"], "has no val/ac of last for the sweeper; it has epoch, val/acc"),
        (["hydra.launcher.metric_of=best_val"], "has no val/acc of best_val for the sweeper"),
    ],
)
def test_a_figure_that_no_job_has_ends_the_sweep_in_one_message(tmp_path, fast_jobs, options, message):
    outcome = command(tmp_path, "-m", "hydra/sweeper=search", "sweep=a", VIEW, *options)
    assert outcome.code == 1
    assert message in outcome.err and "Traceback" not in outcome.err
    assert "hydra.launcher.metric=" in outcome.err
    assert len(fast_jobs) == 1


def test_jobs_of_hydras_own_launcher_return_it_too(tmp_path, monkeypatch):
    def finished(command_line: list[str], **_: Any) -> Any:
        word = next(item for item in command_line if item.startswith("hydra.run.dir="))
        folder = Path(word.partition("=")[2].strip("'"))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "record.json").write_text(json.dumps({"status": "finished", "metrics": {"last": {"val/acc": 0.25}}}))
        return type("Completed", (), {"returncode": 0})

    monkeypatch.setattr(train_command.subprocess, "run", finished)
    outcome = command(tmp_path, "-m", "hydra/sweeper=search", "hydra/launcher=basic", "hydra.sweep.dir=own")
    assert outcome.code == 0, outcome
    assert SearchSweeper.seen == [0.25, 0.25, 0.25]
