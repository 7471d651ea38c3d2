"""Pictures show the numbers of their runs, computed here apart from the code that draws."""

import json
import statistics

import numpy as np
import pytest
from trees import export_of, history_of, make_run, make_tree

from alasca_pl.core.checksum import unsealed
from alasca_pl.core.measurement import Measurement
from alasca_pl.core.metric_names import MEMORISED
from alasca_pl.report.compare import gains
from alasca_pl.report.grid import build_grid
from alasca_pl.report.output import verify, write_folder
from alasca_pl.report.plots import draw_against, draw_curves, draw_differences, places_of
from alasca_pl.report.question import Question
from alasca_pl.report.sample_plots import confidences, draw_boxes, draw_class_norms, draw_confidences
from alasca_pl.report.saved import find_runs
from alasca_pl.report.style import legend_below, line_style, panels
from alasca_pl.report.write_up import write_report

FACTORS, SEEDS, N = (0.0, 0.1, 0.5), (0, 1), 40
QUESTION = Question(rows=("noise",), cols=("criterion.smoothing",))


def measurement(what: str, level: float, seed: int, **settings) -> Measurement:
    rng = np.random.default_rng(seed)
    clean = np.arange(N) % 10
    label = np.where(np.arange(N) % 4 == 0, (clean + 1) % 10, clean)
    values = rng.uniform(0.5, 1.0, N) * level
    kept = {"checkpoint": "last", "split": "train", "of": "features", "samples": N, **settings}
    return Measurement(what, kept, list(range(N)), label.tolist(), clean.tolist(), [values.tolist()], ["a"] * 10)


def rows_of(seed: int, level: float) -> list[dict[str, float]]:
    rng = np.random.default_rng(seed)
    rows = history_of(rng, "none", level)
    for epoch, row in enumerate(rows):
        row[MEMORISED] = 0.1 * epoch + 0.01 * seed
        for group, base in (("train", 0.3), ("alasca", 0.2)):
            for word, more in (("clean", 0.1), ("wrong", 0.0)):
                row[f"{group}/confidence_{word}"] = base + more + 0.02 * epoch + 0.01 * seed
                row[f"{group}/confidence_{word}_std"] = 0.05 + 0.01 * seed
    return rows


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    top = tmp_path_factory.mktemp("figures") / "toy"
    for factor in FACTORS:
        for seed in SEEDS:
            folder = top / f"s{factor}_{seed}"
            make_run(folder, seed=seed, rows=rows_of(seed, 0.5 - factor / 5), config={"criterion.smoothing": factor})
            for what in ("jacobian", "norms"):
                measurement(what, 2 - factor, seed).write(folder / "measured" / f"{what}.json")
    return top


@pytest.fixture(scope="module")
def grid(tree):
    return build_grid(find_runs([tree]), QUESTION)


def test_curves_of_memorised_labels_are_means_over_runs_with_one_legend_below(grid):
    figure = draw_curves(grid, MEMORISED)
    assert [axis.get_title() for axis in figure.axes] == [f"criterion.smoothing = {factor:g}" for factor in FACTORS]
    for axis in figure.axes:
        (line,) = axis.get_lines()
        assert list(line.get_ydata()) == pytest.approx([0.1 * epoch + 0.005 for epoch in range(6)])
        assert axis.get_legend() is None
    assert len(figure.legends) == 1


@pytest.mark.parametrize("count", [1, 2])
def test_intervals_of_few_comparisons_do_not_lie_on_the_frame(tmp_path, count):
    make_tree(tmp_path, methods=["ce", "elr"][:count], noises=[("symmetric", 0.5)])
    (axis,) = draw_differences(gains(build_grid(find_runs([tmp_path]), Question())), "points").axes
    low, high = axis.get_ylim()
    assert len(axis.get_yticks()) == count and low <= -0.5 and high >= count - 0.5


def test_results_stand_at_the_values_of_their_setting(grid):
    (axis,) = draw_against(grid).axes
    line = axis.get_lines()[0]
    assert list(line.get_xdata()) == list(FACTORS)
    for col, value in zip(grid.cols, line.get_ydata()):
        runs = [entry.value for entry in grid.cell(grid.rows[0], col).values()]
        assert len(runs) == 2 and value == pytest.approx(statistics.fmean(runs))
    assert axis.get_xlabel() == "criterion.smoothing" and axis.get_ylabel() == "test/acc (%)"


def test_values_of_different_magnitude_stand_evenly():
    assert places_of([0.0, 1e-4, 1e-3, 1e-2]) == ([0.0, 1.0, 2.0, 3.0], ["0", "0.0001", "0.001", "0.01"])
    assert places_of([0.0, 0.1, 0.7]) == ([0.0, 0.1, 0.7], None)


def test_confidences_are_means_over_runs_with_the_spread_of_samples(grid):
    found = confidences(grid)
    assert [each.title.split(" · ")[-1] for each in found] == ["instantaneous", "of alasca"] * len(FACTORS)
    for each, base in zip(found, (0.3, 0.2) * len(FACTORS)):
        assert each.epochs == [1, 2, 3, 4, 5, 6]
        for word, more in (("clean", 0.1), ("noisy", 0.0)):
            assert each.means[word] == pytest.approx([base + more + 0.02 * epoch + 0.005 for epoch in range(6)])
            assert each.stds[word] == pytest.approx([0.055] * 6)
    figure = draw_confidences(found)
    for axis in figure.axes:
        styles = [(line.get_linestyle(), line.get_marker()) for line in axis.get_lines()]
        assert len(set(styles)) == 2


def test_boxes_hold_the_quartiles_and_means_of_clean_and_noisy_samples(grid):
    figure = draw_boxes(grid, "jacobian")
    (axis,) = figure.axes
    clean, noisy = axis.get_lines()[-2:]
    for place, factor in enumerate(FACTORS):
        pooled = [value for seed in SEEDS for value in measurement("jacobian", 2 - factor, seed).values[0]]
        by_noise = ([], [])
        for number, value in enumerate(pooled):
            by_noise[number % N % 4 == 0].append(value)
        assert clean.get_ydata()[place] == pytest.approx(statistics.fmean(by_noise[False]))
        assert noisy.get_ydata()[place] == pytest.approx(statistics.fmean(by_noise[True]))
        box = axis.patches[2 * place].get_path().vertices[:, 1]
        low, _, high = statistics.quantiles(by_noise[False], n=4, method="inclusive")
        assert (box.min(), box.max()) == pytest.approx((low, high))
    hatches = {patch.get_hatch() for patch in axis.patches}
    assert len(hatches) == 2, "boxes must differ without colours"


def test_class_norms_are_means_of_the_true_class(grid):
    (axis,) = draw_class_norms(grid, "norms").axes
    lines = axis.get_lines()
    assert len(lines) == 10
    for number in (0, 7):
        for place, factor in enumerate(FACTORS):
            own = [
                value
                for seed in SEEDS
                for i, value in enumerate(measurement("norms", 2 - factor, seed).values[0])
                if i % 10 == number
            ]
            assert lines[number].get_ydata()[place] == pytest.approx(statistics.fmean(own))


def test_lines_differ_without_their_colours():
    looks = {(style["linestyle"], style["marker"]) for style in map(line_style, range(36))}
    assert len(looks) == 36


@pytest.mark.parametrize("count", [1, 3, 28])
def test_the_legend_overlaps_no_panel(count):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure, axes = panels(3)
    for axis in axes:
        for number in range(count):
            axis.plot([0, 1], [number, 1], label=f"row with a long name {number}", **line_style(number))
        axis.set_xlabel("epoch")
    legend_below(figure, axes)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert len(legend.get_texts()) == count
    assert all(box.y1 <= axis.get_tightbbox().y0 + 1 for axis in axes)
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1
    # Panels keep their size, however long the legend is.
    assert all(axis.get_window_extent().height > 1.8 * figure.dpi for axis in axes)


def test_a_report_has_all_pictures_in_three_forms_and_is_verified(tree, tmp_path):
    found = find_runs([tree])
    write_folder(tmp_path / "report", write_report(found, QUESTION), QUESTION, [str(tree)], found)
    names = ("curves", "memorised", "against", "confidence", "jacobian", "norms", "norms_by_class")
    starts = {"svg": b"<svg", "png": b"\x89PNG", "pdf": b"%PDF"}
    for name in names:
        for form, start in starts.items():
            assert (tmp_path / "report" / "figures" / f"{name}.{form}").read_bytes().startswith(start)
    assert verify(tmp_path / "report") == []
    # A measured number is checked as every other one.
    path = tree / "s0.1_0" / "measured" / "jacobian.json"
    text = path.read_text()
    content = unsealed(json.loads(text))
    content["values"][0][3] += 1
    path.write_text(json.dumps(content))
    differing = verify(tmp_path / "report")
    path.write_text(text)
    assert any("norms.csv" in line for line in differing)
    assert any("was changed" in line for line in differing)


def test_measured_means_are_in_a_table(tree):
    (table,) = [
        each for each in write_report(find_runs([tree]), QUESTION, pictures=False).tables if each.name == "norms"
    ]
    line = next(row for row in table.data if row[1] == "0.1" and row[2] == "jacobian")
    means = [statistics.fmean(measurement("jacobian", 1.9, seed).values[0]) for seed in SEEDS]
    assert float(line[4]) == pytest.approx(statistics.fmean(means))
    assert float(line[5]) == pytest.approx(statistics.stdev(means))


def test_measurements_with_other_settings_are_not_drawn_together(tmp_path):
    for seed, probes in ((0, None), (1, 5)):
        make_run(tmp_path / "toy" / f"r{seed}", seed=seed)
        path = tmp_path / "toy" / f"r{seed}" / "measured" / "jacobian.json"
        measurement("jacobian", 1.0, seed, probes=probes).write(path)
    document = write_report(find_runs([tmp_path / "toy"]), Question(), pictures=False)
    assert "jacobian" not in [figure.name for figure in document.figures]
    texts = [getattr(block, "text", "") for section in document.sections for block in section.blocks]
    assert any("measured with different probes and is not drawn" in text for text in texts)


def test_exported_records_bring_their_measurements(tree, tmp_path):
    file = export_of(tree, tmp_path / "toy.json")
    content = json.loads(file.read_text())
    for job in content["jobs"]:
        path = tree / job["folder"] / "measured" / "norms.json"
        job["files"]["measured/norms.json"] = path.read_text()
    file.write_text(json.dumps(content))
    runs = find_runs([file]).runs
    assert len(runs) == 6
    for run in runs:
        assert run.measured["norms"] == Measurement.read(tree / run.source.split(":")[1] / "measured" / "norms.json")
