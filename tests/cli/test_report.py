"""``alasca-report`` as it is typed."""

import re
import sys
from pathlib import Path

import pytest

from alasca_pl import cli
from alasca_pl.cli.measure_command import _OPTIONS as _MEASURE
from alasca_pl.cli.report_command import _OPTIONS as _REPORT
from alasca_pl.report.collection import load_runs
from report.trees import make_run, make_tree


@pytest.fixture
def ask(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    make_tree(Path("sweeps/toy"))

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["alasca-report", *arguments])
        status = 0
        try:
            cli.report()
        except SystemExit as stop:
            status = int(stop.code or 0)
        return status, *capsys.readouterr()

    return call


def test_a_report_is_printed_written_and_checked(ask):
    status, printed, _ = ask("toy", "select=last", "where=noise=symmetric")
    assert status == 0 and printed.startswith("# test/acc, last epoch\n") and "asymmetric" not in printed
    status, printed, _ = ask("toy", "output=here")
    assert status == 0 and set(printed.split()) == {str(path) for path in Path("here").rglob("*") if path.is_file()}
    assert ask("--verify", "here") == (0, "here: every number is what the records give\n", "")
    page = Path("here/report.md")
    page.write_text(page.read_text().replace("(3)", "(4)", 1))
    status, printed, error = ask("--verify", "here")
    assert status == 1 and printed.startswith("report.md, line") and "1 differences" in error
    status, _, error = ask("toy", "output=here")
    assert status == 1 and "choose another one with output=DIR" in error


def test_the_table_alone_in_other_forms(ask):
    assert ask("toy", "format=csv")[1].startswith("method,alasca,noise,rate,mean,std,n,seeds\nce,none,asymmetric,0.4,")
    assert r"\begin{tabular}{llrr}" in ask("toy", "format=latex")[1]
    assert "<svg" in ask("toy", "format=html")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["toy", "row=method"], "unknown option row=; choose from rows"),
        (["--quiet", "toy"], "unknown option --quiet"),
        (["rows=method"], "needs a folder"),
        (["toy", "rows=method", "rows=data"], "rows= is given twice"),
        (["toy", "format=word"], "unknown format=word"),
        (["toy", "format=csv", "output=x"], "leave out format"),
        (["toy", "margin=much"], "margin=much is no number"),
        (["toy", "where=noise"], "where=noise is no KEY=VALUE"),
        (["toys"], "names of sweeps (toy)"),
        (["--verify"], "takes the folder of a report"),
        (["--verify", "sweeps"], "holds no report"),
    ],
)
def test_mistakes_are_one_line(ask, arguments, message):
    status, printed, error = ask(*arguments)
    assert status == 1 and not printed and message in error and "Traceback" not in error


def test_help(ask):
    assert ask()[1] == ask("--help")[1] and "alasca-report --verify DIR" in ask("--help")[1]


def test_the_command_is_installed_under_its_name():
    text = (Path(cli.CONF_DIR).parent / "pyproject.toml").read_text()
    assert 'alasca-report = "alasca_pl.cli:report"' in text


def test_runs_in_python(tmp_path):
    tree = make_tree(tmp_path / "toy", methods=["ce", "elr"], noises=[("symmetric", 0.5)])
    make_run(tree / "failed", status="failed")
    runs = load_runs(tree)
    assert len(runs) == 12 and runs[0].record.status == "finished" and len(runs[0].history) == 6
    assert [each.status for each in runs.aside] == ["failed"]
    table = runs.table(rows="method,alasca", cols=["noise"], where={"method": "ce"})
    heading, head, *rows = str(table).splitlines()
    assert heading == table.caption and head.split() == list(table.header) and len(rows) == len(table.rows)
    assert [row[:2] for row in table.rows] == [["ce", "none"], ["ce", "paper"]]
    frame = runs.frame()
    means = frame.groupby(["method", "alasca"])["mean_of_last:test/acc"].mean()
    assert 100 * means["elr", "paper"] == pytest.approx(runs.grid().summary(("elr", "paper"), ("symmetric", 0.5))[0])
    epochs = runs.histories()
    assert len(epochs) == 72 and epochs.groupby("source")["epoch"].max().eq(5).all()
    with pytest.raises(ValueError, match="unknown row; choose from rows"):
        runs.table(row="method")


def test_runs_show_themselves_as_a_short_table(tmp_path):
    make_tree(tmp_path / "toy", methods=["ce"], noises=[("symmetric", 0.5)])
    make_run(tmp_path / "toy" / "failed", status="failed")
    runs = load_runs(tmp_path / "toy")
    head, names, first, *rest = repr(runs).splitlines()
    assert head == "Runs: 6 finished, 1 set aside" and len(rest) == 5
    assert names.split() == ["method", "alasca", "noise", "rate", "seed", "data", "last:test/acc", "source"]
    figure = f"{runs[0].record.metrics['last']['test/acc']:.4f}"
    assert first.split() == ["ce", "none", "symmetric", "0.5", "0", "cifar10", figure, runs[0].source]
    assert [line.index("symmetric") for line in (first, *rest)] == [names.index("noise")] * 6
    for seed in range(20):
        make_run(tmp_path / "many" / f"a{seed}", seed=seed, choices={"method": "<b>"})
    many = load_runs(tmp_path)
    assert repr(many).splitlines()[-1] == "... 6 more" and len(repr(many).splitlines()) == 23
    page = load_runs(tmp_path / "many")._repr_html_()
    assert page.count("<tr>") == 21 and "<b>" not in page and "&lt;b&gt;" in page


def test_without_pandas_rows_do(tmp_path, monkeypatch):
    make_run(tmp_path / "a")
    monkeypatch.setitem(sys.modules, "pandas", None)
    runs = load_runs(tmp_path)
    assert runs.rows()[0]["last:test/acc"] == runs[0].record.metrics["last"]["test/acc"]
    with pytest.raises(ValueError, match="pip install pandas"):
        runs.frame()


@pytest.mark.parametrize(("heading", "options"), [("alasca-report", _REPORT), ("alasca-measure", _MEASURE)])
def test_the_how_to_explains_each_option(heading, options):
    page = (Path(__file__).parents[2] / "docs" / "howto" / "reports.md").read_text()
    section = page.split(f"## Options of {heading}")[1].split("\n## ")[0]
    named = set(re.findall(r"^\| `([a-z_]+)=", section, re.M))
    assert named == set(options)
    typed = set(re.findall(rf"^{heading} .*$", section, re.M))
    assert all(any(f" {name}=" in line for line in typed) for name in set(options) - {"trust"})
