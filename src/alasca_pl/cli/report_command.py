"""``alasca-report``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alasca_pl.cli.common import one_message, places_and_options, question_values, words_or_help
from alasca_pl.core.errors import UserError
from alasca_pl.core.terminal import give, say

_HELP = """\
alasca-report: tables, comparisons and curves of finished runs.

  alasca-report PLACE... [OPTION=VALUE...]    print a report as Markdown
  alasca-report PLACE... output=DIR           write it as Markdown, CSV, LaTeX, one HTML page and pictures; nothing is overwritten
  alasca-report --verify DIR [PLACE...]       compute every printed number anew from the records; status 1 if one differs

PLACE is a folder of a run or one that holds some, the name of a sweep, a file of alasca-sweep export, or a pattern with *.

Options:
  rows=method,alasca        keys of the rows: method, alasca, noise, rate, data, rule, a config group, or a name as optim.lr
  cols=noise,rate           keys of the columns
  metric=test/acc           a metric of metrics.csv; test/acc is by each run's own rule, test/acc_main by the main head
  select=mean_of_last       last, mean_of_last, best_val, best_test (selected on the test split, which flatters)
  where=KEY=VALUE,...       only runs with these values
  allow=KEY,...             differences between runs that are let pass; the page says so
  against=VALUE,...         the row with which the others are compared; plain cross-entropy by default
  margin=1.0                smallest difference that matters, in percentage points; 0.01 for other metrics
  level=0.95                level of confidence
  format=markdown           for the terminal: markdown, csv, latex (the table of results), html

Examples:
  alasca-report sweeps/table4 cols=noise,rate
  alasca-report table1 metric=test/acc_main output=report
  alasca-report table4 rows=method,alasca,rule where=noise=symmetric
  alasca-report --verify report"""

_OPTIONS = ("rows", "cols", "metric", "select", "where", "allow", "against", "margin", "level", "output", "format")
_FORMATS = ("markdown", "csv", "latex", "html")


def report() -> None:
    """``alasca-report``: tables of finished runs, or the check of one."""
    arguments = words_or_help(_HELP)
    if not arguments:
        return
    with one_message():
        if arguments[0] == "--verify":
            _verify(arguments[1:])
        else:
            give(_report(arguments))


def _report(arguments: Sequence[str]) -> str:
    # Imported late, so that help answers at once.
    from alasca_pl.report.collection import load_runs
    from alasca_pl.report.output import write_folder
    from alasca_pl.report.question import Question
    from alasca_pl.report.render import csv_table, html, latex_table, markdown
    from alasca_pl.report.write_up import write_report

    places, options = places_and_options(arguments, _OPTIONS, "alasca-report")
    values: dict[str, Any] = {name: options[name] for name in ("metric", "select") if name in options}
    values |= question_values(options)
    values |= {name: _number(name, options[name]) for name in ("margin", "level") if name in options}
    chosen, output = options.get("format", "markdown"), options.get("output")
    if chosen not in _FORMATS:
        raise UserError(f"unknown format={chosen}; choose one of {', '.join(_FORMATS)}")
    if output is not None and "format" in options:
        raise UserError("output=DIR holds all formats; leave out format=...")
    question = Question(**values)
    runs = load_runs(*places)
    document = write_report(runs.found, question, pictures=output is not None or chosen == "html")
    if output is not None:
        files = write_folder(Path(output), document, question, places, runs.found)
        return "".join(f"{file}\n" for file in files)
    if chosen in ("csv", "latex"):
        return (csv_table if chosen == "csv" else latex_table)(document.tables[0])
    return (html if chosen == "html" else markdown)(document)


def _verify(arguments: Sequence[str]) -> None:
    from alasca_pl.report.output import verify

    if not arguments:
        raise UserError("alasca-report --verify takes the folder of a report")
    differing = verify(Path(arguments[0]), arguments[1:])
    if differing:
        say(*differing)
        raise UserError(f"{arguments[0]} is not what the records give: {len(differing)} differences")
    say(f"{arguments[0]}: every number is what the records give")


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UserError(f"{name}={text} is no number") from error
