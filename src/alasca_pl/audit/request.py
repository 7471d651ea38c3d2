"""What is asked of an audit, checked before anything is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alasca_pl.audit.audit import PAGE
from alasca_pl.audit.scores import DEFAULT, score_names, unknown_score
from alasca_pl.audit.second import check_tools
from alasca_pl.core.errors import UserError
from alasca_pl.core.files import check_empty
from alasca_pl.core.run_folder import RunFolder, find_run
from alasca_pl.core.sample_file import SampleFile


@dataclass(frozen=True)
class Request:
    """What is asked of an audit.

    Attributes:
        folder: The run's folder.
        target: Where the audit is written.
        samples: What training showed about its labels.
        own: Further scores that follow from that.
        tools: Further scores that a tool computes.
    """

    folder: RunFolder
    target: Path
    samples: SampleFile
    own: list[str]
    tools: list[str]


def check_request(
    folder: str | Path,
    output: str | Path | None = None,
    score: str = DEFAULT,
    second: Sequence[str] = (),
    folds: int = 0,
) -> Request:
    """Check what is asked of an audit.

    Args:
        folder: The run's folder.
        output: A folder that does not exist or is empty; by default ``audit`` in the run's.
        score: Name of the score.
        second: Names of further scores.
        folds: Number of folds for scores out of fold.

    Raises:
        UserError: If the folder is none of a finished run with evidence, the output holds something, a score is unknown, or what
            it needs is not installed.
    """
    run_folder = RunFolder(folder)
    find_run(run_folder.path)
    target = Path(output).expanduser() if output is not None else run_folder.path / "audit"
    if output is None and (target / PAGE).is_file():
        raise UserError(f"{folder} is audited already, see {target / PAGE}; output=DIR audits it anew")
    check_empty(target)
    samples = _samples(run_folder)
    known = score_names(samples)
    if score not in known:
        raise unknown_score(score, known)
    own = [name for name in second if name in known]
    tools = [name for name in second if name not in own]
    check_tools(tools, folds, choices=known)
    return Request(run_folder, target, samples, own, tools)


def _samples(folder: RunFolder) -> SampleFile:
    if not folder.samples.is_file():
        raise UserError(
            f"{folder.path} has no {folder.samples.name}: the run has not ended, was trained by an earlier version, or with "
            "report.samples=false"
        )
    try:
        return SampleFile.load(folder.samples)
    except ValueError as error:
        raise UserError(str(error)) from error
