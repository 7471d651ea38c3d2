"""``alasca-audit``."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alasca_pl.cli.audit_training import names_data, own_options, trained
from alasca_pl.cli.common import find_own_parts, flag, one_message, parse_words, question_values, quieten, words_or_help
from alasca_pl.core.errors import UserError
from alasca_pl.core.terminal import say, say_text

if TYPE_CHECKING:
    from alasca_pl.core.run_folder import RunFolder

_HELP = """\
alasca-audit: which labels of a run are likely wrong, how many, and what happens to those that people decide on.

  alasca-audit RUN [OPTION=VALUE...]               audit the labels of a finished run; writes RUN/audit, nothing is overwritten
  alasca-audit data=folder data.root=DIR [OPTION=VALUE...]
                                                   train first, with any options of alasca-train, by default recipe=quick; the
                                                   same command goes on where it was interrupted, and trains nothing twice
  alasca-audit apply DECISIONS [AUDIT] [output=FILE]
                                                   write the labels as decided; the given ones stay as they are
  alasca-audit estimate AUDIT DECISIONS            what the decisions say about all labels
  alasca-audit simulate RUN decisions=200 [OPTION=VALUE...]
                                                   DECISIONS of a reviewer who knows the clean labels, for measuring
  alasca-audit compare PLACE... [OPTION=VALUE...]  which score finds wrong labels best, in runs whose clean labels are known

The audit's page, audit.html, needs a browser and nothing else. It exports DECISIONS. AUDIT is the folder of the audit or of the
run; by default the folder of DECISIONS.

Options:
  output=DIR                where to write the audit, instead of RUN/audit
  score=margin              what the labels are ranked by: margin, loss, wrong_events, confidence, last_loss, ...
  page=10000                number of suspects on the page
  sample=200                number of labels drawn at random, to estimate how many errors there are
  with=cleanlab,fine        further scores in suspects.csv: cleanlab (pip install 'alasca-pl[audit]'), fine, or a name as above
  folds=3                   cleanlab also from networks that have not seen the label: trains as many runs, in RUN/folds
  device=auto               auto, cpu, cuda
  data.root=DIR             where the data is now, if it has moved since the run; also data.path=FILE
  trust=true                allow classes from outside this package in the run's config

Options of simulate:
  by=rank                   rank decides on the most suspicious labels, random on labels drawn uniformly
  output=decisions.csv      the file; it must not exist

Options of compare, whose PLACE is a folder of runs, a sweep, a pattern, or a scores.csv that compare wrote:
  rows=method,alasca        keys of the rows, as in alasca-report; also cols=noise,rate where=KEY=VALUE,... allow=KEY,...
  with=... folds=...        compute further scores of each run first; those that are known are always compared
  output=DIR                write comparison.md, comparison.csv, pictures, and scores.csv from which all of it is computed

Examples:
  alasca-audit data=folder data.root=my_images hydra.run.dir=first
  alasca-audit first output=by_loss score=loss
  alasca-audit apply decisions.csv first
  alasca-audit estimate first decisions.csv"""

_SECOND = ("with", "folds", "device", "data.root", "data.path", "trust")
_OPTIONS = ("output", "score", "page", "sample", *_SECOND)

_COMPARE = ("rows", "cols", "where", "allow", "output", *_SECOND)


def audit() -> None:
    """``alasca-audit``: which labels of a run are likely wrong, and what people decided on them."""
    arguments = words_or_help(_HELP)
    if not arguments:
        return
    with one_message():
        find_own_parts()
        quieten()
        commands: dict[str, Callable[[Sequence[str]], None]] = {
            "apply": _apply,
            "compare": _compare,
            "estimate": _estimate,
            "simulate": _simulate,
        }
        # A run may lie in a folder of that name.
        command = commands.get(arguments[0])
        if command is not None and len(arguments) > 1:
            command(arguments[1:])
        elif names_data(arguments):
            _train_and_audit(arguments)
        else:
            _audit(arguments)


def _train_and_audit(arguments: Sequence[str]) -> None:
    words, options = own_options(arguments, _OPTIONS)
    # What can be wrong with the audit is said before hours of training.
    checked = _checked(options)
    from alasca_pl.audit.audit import FILE, PAGE
    from alasca_pl.audit.scores import check_names
    from alasca_pl.core.files import check_empty

    check_names(options.get("score", "margin"), checked["second"], checked["folds"])

    if "output" in options:
        check_empty(Path(options["output"]).expanduser())
    trust = _is_trusted(options)
    options.pop("trust", None)
    folder, is_new = trained(words, trust)
    audit_folder = folder.path / "audit"
    if "output" not in options and (audit_folder / FILE).is_file():
        say(f"audited already: {audit_folder / PAGE}")
        say(f"output=DIR audits it anew, hydra.run.dir=DIR trains another run; {folder.path} stays as it is")
        return
    own = [*(f"{name}={value}" for name, value in options.items()), *(["trust=true"] if trust or is_new else [])]
    _audit([str(folder.path), *own])


def _checked(options: dict[str, str]) -> dict[str, Any]:
    """Numbers and names among the options of an audit."""
    device = options.get("device", "auto")
    # Imported late, so that help answers at once.
    from alasca_pl.runs.early import check_device

    check_device(device)
    return {
        "shown": _whole("page", options.get("page", "10000")),
        "sample": _whole("sample", options.get("sample", "200")),
        "device": device,
        "second": _names(options.get("with", "")),
        "folds": _whole("folds", options.get("folds", "0"), least=0),
    }


def _audit(arguments: Sequence[str]) -> None:
    places, options = parse_words(arguments, _OPTIONS, "alasca-audit")
    if len(places) != 1:
        raise UserError("alasca-audit takes the folder of one run; see alasca-audit --help")
    score, trust, checked = options.get("score", "margin"), _is_trusted(options), _checked(options)
    from alasca_pl.audit.request import check_request
    from alasca_pl.runs.image_files import refuse_images

    refuse_images(places[0])
    check_request(places[0], options.get("output"), score, checked["second"], checked["folds"])
    from alasca_pl.audit.audit import PAGE
    from alasca_pl.runs.audit import audit_run

    # Lightning says what it says as soon as it is imported, and networks may be trained here.
    quieten()
    result = audit_run(
        places[0],
        output=options.get("output"),
        score=score,
        source=_source(options),
        trust=trust,
        say=_say,
        **checked,
    )
    from alasca_pl.audit.words import lines_of

    say(*lines_of(result.audit, result.recall), "")
    say(f"page to decide on labels: {next(file for file in result.files if file.name == PAGE)}")
    for name, command in result.commands.items():
        say(f"{name}: {command}")
    say(f"after the review: {result.apply}")


def _swapped(places: list[str], folder: int) -> list[str]:
    """A folder and a file of decisions in the order that is asked for, if they come the other way round."""
    if len(places) == 2 and Path(places[1 - folder]).is_dir() and not Path(places[folder]).is_dir():
        return places[::-1]
    return places


def _apply(arguments: Sequence[str]) -> None:
    places, options = parse_words(arguments, ("output", "data.root", "data.path", "trust"), "alasca-audit")
    places = _swapped(places, folder=1)
    if len(places) not in (1, 2):
        raise UserError("alasca-audit apply takes decisions.csv and the folder of the audit; see alasca-audit --help")
    from alasca_pl.audit.audit import Audit, find_audit
    from alasca_pl.audit.decisions import apply_decisions, read_decisions
    from alasca_pl.audit.tables import label_file
    from alasca_pl.core.run_folder import find_run

    decisions_file = Path(places[0])
    _check_file(decisions_file)
    file = find_audit(Path(places[1]) if len(places) == 2 else decisions_file.absolute().parent)
    audit = Audit.load(file)
    decisions = read_decisions(decisions_file, audit)
    labels = apply_decisions(audit, decisions)
    target, trust = Path(options["output"]) if "output" in options else file.parent / "corrected", _is_trusted(options)
    label_file(audit, target)
    if audit.root is None:
        find_run(audit.run)
    from alasca_pl.runs.audit import open_audited_data, write_labels

    data = None
    if audit.root is None:
        data = open_audited_data(audit, _source(options), trust)
    written, command = write_labels(audit, data, labels, target)
    counts = {action: int((decisions.action == action).sum()) for action in ("keep", "relabel", "drop", "unsure")}
    say(", ".join(f"{count:,} {action}" for action, count in counts.items()))
    say(f"{written}: {command}")


def _estimate(arguments: Sequence[str]) -> None:
    places, _ = parse_words(arguments, (), "alasca-audit")
    places = _swapped(places, folder=0)
    if len(places) != 2:
        raise UserError(
            "alasca-audit estimate takes the folder of the audit and decisions.csv; see alasca-audit --help"
        )
    from alasca_pl.audit.audit import Audit, find_audit
    from alasca_pl.audit.decisions import read_decisions
    from alasca_pl.audit.review import review
    from alasca_pl.audit.words import lines_of_review, matrix_text

    _check_file(Path(places[1]))
    audit = Audit.load(find_audit(Path(places[0])))
    found = review(audit, read_decisions(Path(places[1]), audit))
    say(*lines_of_review(found))
    if found.transition is not None:
        say_text(matrix_text(found, audit.class_names), end="")


def _compare(arguments: Sequence[str]) -> None:
    places, options = parse_words(arguments, _COMPARE, "alasca-audit")
    if not places:
        raise UserError("alasca-audit compare needs a folder of runs, a sweep or a scores.csv; see alasca-audit --help")
    from alasca_pl.core.files import check_empty
    from alasca_pl.report.question import Question
    from alasca_pl.report.render import markdown
    from alasca_pl.report.saved import records_in
    from alasca_pl.report.score_table import rows_file

    quieten()
    output = Path(options["output"]).expanduser() if "output" in options else None
    if output is not None:
        check_empty(output)
    question, second = Question(**question_values(options)), _second_scores(options)
    for place in () if rows_file(places) else places:
        records_in(place)
    from alasca_pl.runs.compare_scores import compare_scores

    compared = compare_scores(places, question, second)
    if output is None:
        say_text(markdown(compared.document(pictures=False)), end="")
    else:
        say(*compared.write(output))


def _simulate(arguments: Sequence[str]) -> None:
    known = ("decisions", "by", "output", "data.root", "data.path", "trust")
    places, options = parse_words(arguments, known, "alasca-audit")
    by = options.get("by", "rank")
    if len(places) != 1 or "decisions" not in options:
        raise UserError("alasca-audit simulate takes the folder of an audited run and decisions=NUMBER")
    if by not in ("rank", "random"):
        raise UserError(f"unknown by={by}; choose rank or random")
    from alasca_pl.audit.audit import Audit, find_audit
    from alasca_pl.audit.simulate import simulated_decisions
    from alasca_pl.audit.tables import write_text
    from alasca_pl.core.files import check_new
    from alasca_pl.core.run_folder import find_run

    count, output = _whole("decisions", options["decisions"]), Path(options.get("output", "decisions.csv"))
    trust = _is_trusted(options)
    check_new(output)
    audit = Audit.load(find_audit(Path(places[0])))
    find_run(audit.run)
    from alasca_pl.runs.audit import clean_labels, open_audited_data

    data = open_audited_data(audit, _source(options), trust)
    text, wrong = simulated_decisions(audit, clean_labels(data), count, by)  # type: ignore[arg-type]
    write_text(output, text)
    say(f"{wrong:,} of {count:,} labels are wrong: {output}")
    more = [f"{name}={options[name]}" for name in ("data.root", "data.path", "trust") if name in options]
    say(f"labels after these decisions: {shlex.join(['alasca-audit', 'apply', str(output), places[0], *more])}")


def _second_scores(options: dict[str, str]) -> Callable[["RunFolder"], None] | None:
    """What computes second scores of a run that is compared; None if none are asked for."""
    tools, folds = _names(options.get("with", "")), _whole("folds", options.get("folds", "0"), least=0)
    from alasca_pl.audit.second import check_tools
    from alasca_pl.runs.early import check_device

    device, trust = options.get("device", "auto"), _is_trusted(options)
    check_device(device)
    check_tools(tools, folds)
    if not tools:
        return None

    def compute(folder: "RunFolder") -> None:
        from alasca_pl.runs.second import second_scores
        from alasca_pl.runs.stored import device_of

        second_scores(folder, tools, folds, _source(options), device_of(device), trust, _say)

    return compute


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"no file {path}; give the decisions.csv that the page of an audit exports")


def _source(options: dict[str, str]) -> dict[str, Any]:
    return {
        name.removeprefix("data."): str(Path(value).expanduser().absolute())
        for name, value in options.items()
        if name.startswith("data.")
    }


def _whole(name: str, text: str, least: int = 1) -> int:
    if not text.isdecimal() or int(text) < least:
        raise UserError(f"{name}={text} is no whole number of at least {least}")
    return int(text)


def _is_trusted(options: dict[str, str]) -> bool:
    return flag("trust", options.get("trust", "false").lower())


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _say(text: str) -> None:
    say(text, flush=True)
