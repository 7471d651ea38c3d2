"""Hydra's launchers of alasca_pl. Imported at each start of any Hydra program, so it imports little itself."""

import copy
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.errors import CompactHydraException, HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from alasca_pl.core.overrides import as_typed, in_quotes, option_name, passed_on, quoted
from alasca_pl.core.terminal import printable, say, say_text
from hydra_plugins.alasca_sweeper import GridSweeper, given_options

if TYPE_CHECKING:
    from alasca_pl.sweeps.composed import ComposedJobs
    from alasca_pl.sweeps.folders import JobFolder
    from alasca_pl.sweeps.job import Job
    from alasca_pl.sweeps.pool import Result


# Sweepers that know all their jobs before the first one has run.
_WITHOUT_VALUES = tuple(f"{one.__module__}.{one.__name__}" for one in (GridSweeper, BasicSweeper))


class LocalLauncher(Launcher):
    """Runs the jobs of a sweep on this machine, each in a process of its own, and each once.

    Args:
        jobs: How many at once; ``auto``: as many as cores and memory, or GPUs, allow.
        jobs_per_device: How many share a GPU.
        threads: Threads per process; ``auto``: cores divided by jobs.
        timeout: Seconds after which a job is ended and counts as failed.
        grace: Seconds that a job gets to end after a signal.
        limit: Number of failures after which a job is not tried again.
        retries: How often a failed job is tried again at once.
        on_out_of_memory: ``fail``, or ``fewer``: go on with half as many jobs at once.
        metric: What a job returns to a sweeper.
        metric_of: Epoch whose metric it is: ``last``, ``best_val``, ``best_test`` or ``mean_of_last``.
        warm: Whether jobs of one process and thread on the CPU are forked from a process that has loaded the libraries.
        view: ``auto``, ``table``, ``lines`` or ``none``.
        dry_run: List the jobs instead of running them.
    """

    def __init__(
        self,
        jobs: int | str = "auto",
        jobs_per_device: int = 1,
        threads: int | str | None = "auto",
        timeout: float | None = None,
        grace: float = 60.0,
        limit: int | None = 3,
        retries: int = 0,
        on_out_of_memory: str = "fail",
        metric: str = "val/acc",
        metric_of: str = "last",
        warm: bool = True,
        view: str = "auto",
        dry_run: bool = False,
    ) -> None:
        super().__init__()
        self.jobs, self.jobs_per_device, self.threads = jobs, jobs_per_device, threads
        self.options: dict[str, Any] = {
            "timeout": timeout,
            "grace": grace,
            "limit": limit,
            "retries": retries,
            "on_out_of_memory": on_out_of_memory,
            "metric": metric,
            "metric_of": metric_of,
            "warm": warm,
        }
        self.view = view
        self.dry_run = dry_run
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from alasca_pl.cli.refusals import composed
        from alasca_pl.core.errors import UserError
        from alasca_pl.sweeps import plan, pool
        from alasca_pl.sweeps.folders import note_planned
        from alasca_pl.sweeps.overview import counts, dry_run, inactive, unequal_epochs

        assert self.config is not None
        composed()
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        sweep = Path(str(self.config.hydra.sweep.dir))
        try:
            settings = pool.Settings(**self.options)
            asked, kept = self._compose_all(sweep, job_overrides, initial_job_idx)
            jobs = plan.without_repeats(asked)
            placed = plan.place_jobs(sweep, jobs, self._recompose)
            self._check_devices([job for job, folder in placed if not folder.is_finished()])
            lengths = unequal_epochs(jobs)
            if self.dry_run:
                say_text("\n".join([dry_run(placed, settings.limit), *lengths]))
                sys.exit(0)
            kept.save()
            self._note_line(sweep)
            note_planned(sweep, [folder.path.name for _, folder in placed])
            if lengths and self.view != "none" and not all(folder.is_finished() for _, folder in placed):
                say(*lengths, flush=True)
            results = self._run(sweep, placed, settings)
        except UserError as error:
            raise CompactHydraException(printable(error, lines=True)) from error
        except pool.Interrupted as stop:
            done = counts([result.outcome for result in stop.results])
            remarks = inactive(result.folder for result in stop.results)
            say(f"interrupted: {done}; the same line goes on:", f"  {command_line(sweep)}", *remarks, file=sys.stderr)
            sys.exit(128 + stop.signal)
        if self.view != "none" and (remarks := inactive(result.folder for result in results)):
            say(*remarks)
        return self._returns(asked, results, sweep)

    def _run(self, sweep: Path, placed: Sequence[tuple["Job", "JobFolder"]], settings: Any) -> "list[Result]":
        from alasca_pl.sweeps import capacity, pool
        from alasca_pl.sweeps.view import make_view

        open_jobs = [job for job, folder in placed if not folder.is_finished()]
        room = capacity.Capacity(
            self.jobs, capacity.visible_gpus() if open_jobs else [], self.jobs_per_device, self.threads, open_jobs
        )
        return pool.run_jobs(placed, self._command, room, settings, make_view(self.view))

    def _command(self, job: "Job", folder: "JobFolder", checkpoint: Path | None) -> list[str]:
        """Command that runs a job as a single run."""
        assert self.config is not None
        # -P: a file of the current folder must not take the place of a module of the same name.
        command = [sys.executable, "-P", "-m", "alasca_pl.cli"]
        for source in self.config.hydra.runtime.config_sources:
            if source.provider == "command-line":
                command += ["--config-dir", source.path]
        name = self.config.hydra.job.config_name
        command += ["--config-name", name] if name and name != "train" else []
        command += passed_on(given_options(self.config))
        command += job.overrides
        # The line says all, also if it has fewer loggers or callbacks than the one that wrote the checkpoint.
        command += [f"ckpt_path={quoted(str(checkpoint))}", "replay=false"] if checkpoint else []
        return [*command, f"hydra.run.dir={quoted(str(folder.path))}"]

    def _compose(self, overrides: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Resolved config and choices of a job, as the job itself composes them."""
        from alasca_pl.cli.composition import compose_config

        assert self.config is not None
        before = HydraConfig.instance().cfg
        name = str(self.config.hydra.job.config_name)
        try:
            composed = compose_config(name, [*given_options(self.config), *overrides])
            # What interpolations with "hydra:" look at; those that a config may use differ by the job's choices only.
            own = copy.deepcopy(self.config)
            with open_dict(own.hydra.runtime.choices):
                own.hydra.runtime.choices.update(composed.choices)
            HydraConfig.instance().set_config(own)
            config = OmegaConf.to_container(composed.config, resolve=True, throw_on_missing=True)
        finally:
            HydraConfig.instance().cfg = before
        assert isinstance(config, dict)
        return {str(key): value for key, value in config.items()}, composed.choices

    def _compose_all(
        self, sweep: Path, job_overrides: Sequence[Sequence[str]], first: int
    ) -> "tuple[list[Job], ComposedJobs]":
        """Compose and check all jobs, those seen before from what was kept of them.

        Raises:
            UserError: If some cannot be composed or have wrong values; all are named.
        """
        from alasca_pl.cli.refusals import one_line
        from alasca_pl.core.errors import UserError
        from alasca_pl.runs.early import check_early
        from alasca_pl.sweeps.composed import ComposedJobs
        from alasca_pl.sweeps.job import Job

        assert self.config is not None
        kept = ComposedJobs(sweep, _sources(self.config), given_options(self.config))
        jobs, problems = [], []
        for number, overrides in enumerate(job_overrides, start=first):
            portable = [portable_override(item) for item in overrides]
            found = kept.get(portable)
            if found is None:
                try:
                    found = self._compose(portable)
                    check_early(found[0])
                except (HydraException, OmegaConfBaseException, UserError) as error:
                    problems.append(f"{shlex.join(portable)}: {one_line(error, portable)}")
                    continue
                kept.put(portable, *found)
            jobs.append(Job(found[0], portable, found[1], number))
        _refuse(problems, len(job_overrides))
        return jobs, kept

    def _check_devices(self, jobs: "Sequence[Job]") -> None:
        """Check that this machine has what jobs are to train on.

        Raises:
            UserError: If some cannot run here; all are named.
        """
        from alasca_pl.core.errors import UserError
        from alasca_pl.runs.early import check_devices

        problems = []
        for job in jobs:
            try:
                check_devices(job.config)
            except UserError as error:
                problems.append(f"{shlex.join(job.overrides)}: {error}")
        _refuse(problems, len(jobs))

    def _recompose(self, overrides: Sequence[str]) -> Mapping[str, Any] | None:
        try:
            return self._compose(overrides)[0]
        except (HydraException, OmegaConfBaseException):
            return None

    def _note_line(self, sweep: Path) -> None:
        """Keep the lines that made a sweep, for those who want to go on with it."""
        sweep.mkdir(parents=True, exist_ok=True)
        line, file = command_line(sweep), sweep / "lines.txt"
        before = file.read_text().splitlines() if file.is_file() else []
        if line not in before:
            with file.open("a") as lines:
                lines.write(f"{line}\n")

    @property
    def _must_return(self) -> bool:
        """Whether the sweeper goes on from what jobs return."""
        assert self.config is not None
        return self.config.hydra.sweeper._target_ not in _WITHOUT_VALUES

    def _returns(self, asked: "Sequence[Job]", results: "Sequence[Result]", sweep: Path) -> list[JobReturn]:
        by_digest = {result.job.digest: result for result in results}
        bad = [result for result in results if result.outcome != "finished"]
        summary = None
        if bad:
            lines = [f"{result.folder.path.name}: {result.outcome}: {result.reason}" for result in bad]
            summary = CompactHydraException(
                f"{len(bad)} of {len(results)} jobs have not finished:\n  "
                + "\n  ".join(lines)
                + f"\n{shlex.join(['alasca-sweep', 'failures', str(sweep)])} shows more; the same line tries them again"
            )
        returns = []
        for job in asked:
            result = by_digest[job.digest]
            answer = JobReturn(overrides=list(job.overrides), cfg=OmegaConf.create(dict(job.config)))
            answer.working_dir, answer.task_name = str(result.folder.path), "train"
            answer.hydra_cfg = self.config
            if result.outcome == "finished" and result.value is None and self._must_return:
                answer.status = JobStatus.FAILED
                metric, of = self.options["metric"], self.options["metric_of"]
                answer.return_value = CompactHydraException(
                    f"{result.folder.path.name} has no {metric} of {of} for the sweeper; it has "
                    f"{', '.join(result.folder.metrics(of)) or 'none'}. Choose one with hydra.launcher.metric=... and "
                    "hydra.launcher.metric_of=...; accuracy on the validation split needs data.num_val"
                )
            elif result.outcome == "finished":
                answer.status, answer.return_value = JobStatus.COMPLETED, result.value
            else:
                answer.status, answer.return_value = JobStatus.FAILED, summary
            returns.append(answer)
        if not bad and self.view != "none":
            ran = sum(result.ran for result in results)
            say(f"{len(results)} of {len(results)} jobs are finished, {ran} of them now: {sweep}")
        return returns


class SlurmLauncher(LocalLauncher):
    """Runs the jobs of a sweep as an array of Slurm jobs, through submitit.

    Args:
        folder: Where submitit keeps its files, below the sweep's folder.
        cluster: ``slurm``; ``local`` runs the same on this machine, for tests.
        parallelism: How many jobs of the array run at once.
        slurm: Further parameters of ``submitit``: ``timeout_min``, ``slurm_partition``, ``cpus_per_task``, ``mem_gb`` and so on.
        **options: Those of ``LocalLauncher`` that concern single jobs.
    """

    def __init__(
        self,
        folder: str = ".submitit",
        cluster: str = "slurm",
        parallelism: int = 256,
        slurm: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.folder, self.cluster, self.parallelism = folder, cluster, parallelism
        plain = OmegaConf.to_container(slurm) if isinstance(slurm, DictConfig) else slurm or {}
        assert isinstance(plain, dict)
        self.slurm: dict[str, Any] = {str(name): value for name, value in plain.items()}

    def _check_devices(self, jobs: "Sequence[Job]") -> None:
        """Check nothing: jobs run on other machines than this one."""

    def _run(self, sweep: Path, placed: Sequence[tuple["Job", "JobFolder"]], settings: Any) -> "list[Result]":
        from alasca_pl.sweeps.slurm import run_on_cluster
        from alasca_pl.sweeps.view import make_view

        return run_on_cluster(
            placed,
            self._command,
            settings,
            make_view(self.view),
            folder=sweep / self.folder,
            cluster=self.cluster,
            parameters={**self.slurm, "slurm_array_parallelism": self.parallelism},
            threads=self.threads if isinstance(self.threads, int) else None,
        )


def _refuse(problems: Sequence[str], total: int) -> None:
    from alasca_pl.core.errors import UserError

    if problems:
        listing = "\n  ".join(problems)
        raise UserError(f"{len(problems)} of {total} jobs are wrong, so none was started:\n  {listing}")


def portable_override(override: str) -> str:
    r"""Write an override of a sweep such that a single run takes it for the same value.

    Hydra hands values with blanks on as ``two\ x``; a command that quotes paths would keep the backslash.
    """
    if "\\" not in override:
        return override
    parsed = OverridesParser.create().parse_override(override)
    value = parsed.value()
    if not isinstance(value, str) or parsed.is_delete():
        return override
    return f"{override.partition('=')[0]}={in_quotes(value)}"


def _sources(config: DictConfig) -> list[Path]:
    """Folders of configs that jobs are composed from."""
    return [Path(source.path) for source in config.hydra.runtime.config_sources if source.schema == "file"]


def command_line(sweep: Path) -> str:
    """The line that was given, with the sweep's name also if it was chosen for the user."""
    by_name = sweep.parent == Path("sweeps")
    place = f"sweep={sweep.name}" if by_name else f"hydra.sweep.dir={sweep}"
    left_out = ("hydra.sweep.dir", "hydra.launcher.dry_run")
    given = [item for item in sys.argv[1:] if option_name(item) not in left_out]
    given = [as_typed(item) for item in given if item not in ("-m", "--multirun")]
    return shlex.join(["alasca-train", "-m", place, *given])
