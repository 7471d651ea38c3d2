"""Forms of a report, and the check of what was printed."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from trees import make_run, make_tree

from alasca_pl.core.errors import UserError
from alasca_pl.report.document import Document, Section, Table
from alasca_pl.report.output import verify, write_folder
from alasca_pl.report.question import Question
from alasca_pl.report.render import escape_latex, escape_markdown, html, latex_table, markdown
from alasca_pl.report.saved import find_runs
from alasca_pl.report.write_up import write_report

EVIL = '<script>alert("x")</script>'


def written(tmp_path: Path, places: list[str] | None = None, **question) -> Path:
    places = places or [str(tmp_path / "runs")]
    found = find_runs(places)
    asked = Question(**question)
    write_folder(tmp_path / "report", write_report(found, asked), asked, places, found)
    return tmp_path / "report"


class Cells(HTMLParser):
    """Texts of the cells of all tables."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.cells: list[str] = []
        self._is_cell = False

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self._is_cell = tag in ("td", "th")
        if self._is_cell:
            self.cells.append("")

    def handle_data(self, data):
        if self._is_cell:
            self.cells[-1] += data

    def handle_endtag(self, tag):
        self._is_cell = False


def test_all_forms_hold_the_same_cells_and_need_no_other_file(tmp_path):
    make_tree(tmp_path / "runs")
    folder = written(tmp_path)
    document = write_report(find_runs([tmp_path / "runs"]), Question())
    page = (folder / "report.html").read_text()
    parser = Cells()
    parser.feed(page)
    assert parser.cells == [cell for table in document.tables for line in (table.header, *table.rows) for cell in line]
    assert not {"link", "script", "img", "iframe"} & parser.tags and page.count("<svg") == 4
    assert not re.search(r"(src|href)=\"(?!#)", page)
    text = (folder / "report.md").read_text()
    for table in document.tables:
        for line in table.rows:
            assert "| " + " | ".join(map(escape_markdown, line)) + " |" in text
        rows = list(csv.reader(io.StringIO((folder / f"{table.name}.csv").read_text())))
        assert rows == [list(table.data_header), *map(list, table.data)]
        assert all(len(row) == len(rows[0]) for row in rows)
        latex = (folder / f"{table.name}.tex").read_text()
        assert latex.count(r" \\") == 1 + len(table.rows) and r"$\pm$" in (folder / "results.tex").read_text()


def test_the_text_shows_the_pictures_beside_it(tmp_path):
    make_tree(tmp_path / "runs")
    folder = written(tmp_path)
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (folder / "report.md").read_text())
    drawn = {path.relative_to(folder).as_posix() for path in folder.glob("figures/*.png")}
    assert len(shown) == 4 and set(shown) == drawn


def test_names_from_folders_and_configs_are_escaped(tmp_path):
    evil = f"runs|{EVIL.replace('/', '')}$x_1$"
    for seed in (0, 1):
        make_run(
            tmp_path / evil / f"a{seed}", seed=seed, choices={"method": EVIL, "alasca": "none", "noise": "a|b&c_d%"}
        )
    make_run(tmp_path / evil / "<b>", status="failed", problem=EVIL)
    folder = written(tmp_path, [str(tmp_path / evil)])
    page, text = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "<b>" not in page and "<script" not in text.replace("\\<", "")
    line = next(line for line in text.splitlines() if line.startswith("| \\<script"))
    assert len(re.split(r"(?<!\\)\|", line)) == 5
    assert verify(folder) == []


def test_special_characters_of_latex():
    assert escape_latex("50% & a_b #1 {x} $y$ ~ ^ \\ < >") == (
        r"50\% \& a\_b \#1 \{x\} \$y\$ \textasciitilde{} \textasciicircum{} \textbackslash{} \textless{} \textgreater{}"
    )
    table = Table("t", "a\ncaption", ["h_1", "n"], [["x&y", "1 ± 2"]], 1, [], [])
    assert latex_table(table).splitlines() == [
        "% a caption", r"% needs \usepackage{booktabs}",
        r"\begin{tabular}{lr}", r"\toprule", r"h\_1 & n \\", r"\midrule", r"x\&y & 1 $\pm$ 2 \\",
        r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip


def test_latex_is_whole_and_compiles_where_there_is_latex(tmp_path):
    make_tree(tmp_path / "runs")
    folder = written(tmp_path)
    for path in folder.glob("*.tex"):
        body = path.read_text().partition("\n")[2]
        assert body.isascii() and body.count("{") == body.count("}")
        columns = len(re.search(r"tabular}{(\w+)}", body)[1])
        lines = [line for line in body.splitlines() if line.endswith(r" \\")]
        assert all(len(re.split(r"(?<!\\)&", line)) == columns for line in lines)
    if shutil.which("pdflatex"):
        tables = "".join(rf"\input{{{path.name}}}" for path in folder.glob("*.tex"))
        head = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
        (folder / "all.tex").write_text(rf"{head}{tables}\end{{document}}")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
        assert subprocess.run(command, cwd=folder, capture_output=True).returncode == 0


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_nothing_is_overwritten(tmp_path):
    make_tree(tmp_path / "runs", methods=["ce"])
    folder = written(tmp_path)
    before = contents(folder)
    with pytest.raises(UserError, match="report exists and is not empty"):
        written(tmp_path)
    assert before == contents(folder)


def test_a_report_is_the_same_each_time(tmp_path):
    make_tree(tmp_path / "runs", methods=["ce"])
    folder = written(tmp_path)
    first = contents(folder)
    shutil.rmtree(folder)
    again = written(tmp_path)
    assert first == contents(again)


def plant(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_wrong_number_in_any_file_is_named(tmp_path):
    make_tree(tmp_path / "runs")
    folder = written(tmp_path)
    assert verify(folder) == []
    document = write_report(find_runs([tmp_path / "runs"]), Question())
    cell = document.tables[0].rows[1][3]
    plant(folder / "report.md", cell, "99.99 ± 0.01 (3)")
    assert verify(folder) == [
        f"report.md, line 24 (ce), symmetric, 0.5: printed '99.99 ± 0.01 (3)', the records give {cell!r}"
    ]
    plant(folder / "report.md", "99.99 ± 0.01 (3)", cell)
    full = document.tables[0].data[1][4]
    plant(folder / "results.csv", full, "99.5")
    (found,) = verify(folder)
    assert found == f"results.csv, line 3 (ce, none), mean: printed '99.5', the records give {full!r}"
    plant(folder / "results.csv", "99.5", full)
    for name in ("results.tex", "report.html"):
        shown = cell.replace("±", r"$\pm$") if name.endswith("tex") else cell
        plant(folder / name, shown, "1.00")
        (found,) = verify(folder)
        assert found.startswith(f"{name}, line ") and "1.00" in found and repr(shown)[1:-1] in found
        plant(folder / name, "1.00", shown)
    (folder / "gains.csv").unlink()
    assert verify(folder)[0].startswith("gains.csv cannot be read")


def test_every_digit_of_every_printed_number_is_checked(tmp_path):
    make_tree(tmp_path / "runs", methods=["ce"], noises=[("symmetric", 0.5)])
    folder = written(tmp_path)
    text = (folder / "report.md").read_text()
    places = [match.start() for match in re.finditer(r"\d", text)]
    for place in places[:: max(1, len(places) // 25)]:
        digit = "1" if text[place] != "1" else "2"
        (folder / "report.md").write_text(text[:place] + digit + text[place + 1 :])
        assert verify(folder), text[place - 30 : place + 5]


def test_records_that_changed_are_named(tmp_path):
    make_tree(tmp_path / "runs")
    folder = written(tmp_path)
    make_run(tmp_path / "runs" / "ce_none_symmetric0.5_seed0", level=0.9)
    found = verify(folder)
    assert found[0] == "runs/ce_none_symmetric0.5_seed0 is another run, or was changed" and len(found) > 5
    shutil.rmtree(tmp_path / "runs" / "ce_none_symmetric0.5_seed0")
    make_run(tmp_path / "runs" / "new", "gce")
    found = verify(folder)
    assert found[:2] == ["runs/ce_none_symmetric0.5_seed0 is gone", "runs/new is new"]
    make_run(tmp_path / "runs" / "wide", "ce", config={"model.backbone.width": 99})
    assert "cannot be written any more" in verify(folder)[-1]


def test_a_report_moves_with_its_records(tmp_path, monkeypatch):
    make_tree(tmp_path / "a" / "runs", methods=["ce"])
    monkeypatch.chdir(tmp_path / "a")
    found = find_runs(["runs/*"])
    write_folder(Path("report"), write_report(found, Question()), Question(), ["runs/*"], found)
    monkeypatch.chdir(tmp_path)
    assert verify(Path("a/report")) == []
    (tmp_path / "a").rename(tmp_path / "b")
    assert verify(Path("b/report")) == []
    (tmp_path / "b" / "runs").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="nothing is at"):
        verify(Path("b/report"))


@pytest.mark.parametrize(
    "content", ["{", "{}", '{"format": "other"}', '{"format": "alasca_pl report 1", "question": {}}']
)
def test_a_folder_without_a_report_is_refused(tmp_path, content):
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(UserError, match="holds no report that alasca-report"):
        verify(tmp_path)


def test_other_files_in_the_folder_are_named(tmp_path):
    make_tree(tmp_path / "runs", methods=["ce"])
    folder = written(tmp_path)
    (folder / "old.csv").write_text("")
    assert verify(folder) == ["old.csv belongs to no report"]


def test_figures_selected_on_the_test_split_are_marked(tmp_path):
    make_tree(tmp_path / "runs", methods=["ce"])
    text = markdown(write_report(find_runs([tmp_path / "runs"]), Question(select="best_test"), pictures=False))
    assert "Flattering" in text and "which flatters" in text.splitlines()[0]
    assert "Flattering" not in markdown(write_report(find_runs([tmp_path / "runs"]), Question(), pictures=False))


def test_runs_set_aside_and_other_sections_are_in_the_report(tmp_path):
    make_tree(tmp_path / "runs", seeds=[0, 1, 2])
    shutil.rmtree(tmp_path / "runs" / "elr_paper_symmetric0.5_seed2")
    make_run(tmp_path / "runs" / "zz", status="failed", problem="no memory")
    text = markdown(write_report(find_runs([tmp_path / "runs"]), Question(), pictures=False))
    assert "- runs/zz: failed, no memory" in text
    assert "23 finished runs, seeds 0, 1, 2; 1 set aside" in text
    assert "- elr, paper, symmetric, 0.5: seed 2" in text
    assert "n too small to decide" in text and "3 comparisons have fewer than 3 pairs: no test is made" in text


def test_code_with_backticks_and_empty_sections():
    document = Document("t", [Section("s", [])])
    assert markdown(document) == "# t\n\n## s\n" and "<h2>s</h2>" in html(document)


def test_reports_need_no_torch(tmp_path):
    make_tree(tmp_path / "runs", methods=["ce"], seeds=[0])
    code = (
        "import sys; from alasca_pl import load_runs; print(load_runs('runs').report(rows='method,alasca').title); "
        "print([name for name in ('torch', 'lightning', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_question_is_kept_beside_the_report(tmp_path):
    make_tree(tmp_path / "runs", methods=["ce"])
    folder = written(tmp_path, select="last", where=(("noise", "symmetric"),))
    about = json.loads((folder / "report.json").read_text())
    assert about["question"]["select"] == "last" and about["sources"] == ["../runs"]
    assert verify(folder) == []


def test_markdown_has_no_heading_without_content(tmp_path):
    make_tree(tmp_path / "runs", methods=["ce"])
    text = markdown(write_report(find_runs([tmp_path / "runs"]), Question(), pictures=False))
    assert "Training curves" not in text and "## Cost" in text


def test_the_first_lines_say_what_was_run(tmp_path):
    for seed in (0, 1):
        make_run(tmp_path / "runs" / f"a{seed}", seed=seed)
        make_run(tmp_path / "runs" / f"b{seed}", seed=seed, kind="asymmetric", rate=0.4)
    found = find_runs([str(tmp_path / "runs")])
    document = write_report(found, Question(rows=("alasca",), cols=("noise",)), pictures=False)
    first = document.sections[0]
    assert first.heading == "What was run"
    lines = first.blocks[0].items
    assert {"epochs: 6", "last epochs that are averaged: 3"} <= set(lines)
    assert "noise: symmetric, nominal rate 0.5; asymmetric, nominal rate 0.4" in lines
    assert any(line.startswith("data: ") for line in lines)
    assert any(line.startswith("wrong training labels: ") for line in lines)


def test_runs_in_which_a_part_did_not_act_are_named(tmp_path):
    for seed in range(3):
        make_run(tmp_path / "runs" / f"a{seed}", seed=seed, inactive={} if seed == 1 else {"selector": "because"})
    document = write_report(find_runs([str(tmp_path / "runs")]), Question(), pictures=False)
    assert "selector did not act: because (2 of 3 runs: runs/a0, runs/a2)" in document.sections[0].blocks[0].items


def test_what_is_let_pass_includes_what_follows_it(tmp_path):
    for seed, epochs in ((0, 6), (1, 8)):
        config = {"epochs": epochs, "trainer": {"max_epochs": epochs}}
        make_run(tmp_path / "runs" / f"a{seed}", seed=seed, config=config)
    question = Question(rows=("alasca",), cols=("noise",))
    with pytest.raises(UserError, match=r"epochs \(6, 8\); trainer\.max_epochs \(6, 8\).*\(allow=epochs\)"):
        write_report(find_runs([str(tmp_path / "runs")]), question, pictures=False)
    allowed = Question(rows=("alasca",), cols=("noise",), allow=("epochs",))
    assert write_report(find_runs([str(tmp_path / "runs")]), allowed, pictures=False)
