"""Which pictures a report has: those for which its runs have the numbers."""

from collections.abc import Callable
from functools import partial

from matplotlib.figure import Figure as Drawing

from alasca_pl.core.metric_names import MEMORISED
from alasca_pl.report.document import Block, Figure, Text
from alasca_pl.report.grid import Grid
from alasca_pl.report.keys import RULE
from alasca_pl.report.plots import F1, draw_against, draw_curves, mean_curves, numbers_of_columns
from alasca_pl.report.sample_plots import (
    confidences,
    differing_settings,
    draw_boxes,
    draw_class_norms,
    draw_confidences,
    measured_names,
    measurements,
)
from alasca_pl.report.style import file_of, svg_of

_MOST_PANELS = 12


def picture(name: str, caption: str, draw: Callable[[], Drawing], wanted: bool) -> Figure:
    """A figure in all its forms; without being wanted, an empty one."""
    if not wanted:
        return Figure(name, caption, "")
    drawn = draw()
    return Figure(name, caption, svg_of(drawn), {form: file_of(drawn, form) for form in ("png", "pdf")})


def curves(grid: Grid, wanted: bool) -> list[Block]:
    """Curves of the metric by epoch and, where runs have them, of memorised labels and of the quality of selections."""
    found: list[Block] = []
    others = () if RULE in grid.question.keys else (("memorised", MEMORISED), ("selection", F1))
    for name, metric in (("curves", grid.question.metric), *others):
        if name != "curves" and metric == grid.question.metric:
            continue
        counts = [max(mean_curves(grid, row, col, metric)[3], default=0) for row in grid.rows for col in grid.cols]
        if any(counts):
            caption = f"{metric}: mean over up to {max(counts)} runs; bands are one standard deviation"
            found.append(picture(name, caption, partial(draw_curves, grid, metric), wanted))
    return found


def against(grid: Grid, wanted: bool) -> list[Block]:
    """The metric against a numeric setting."""
    if numbers_of_columns(grid) is None:
        return []
    caption = f"{grid.question.metric} against {grid.question.cols[0]}; bars are one standard deviation over seeds"
    return [picture("against", caption, partial(draw_against, grid), wanted)]


def confidence(grid: Grid, wanted: bool) -> list[Block]:
    """Confidences by epoch."""
    shown = confidences(grid)
    if not shown:
        return []
    if len(shown) > _MOST_PANELS:
        return [Text(f"Confidences would need {len(shown)} panels, which is too many; where=KEY=VALUE chooses runs.")]
    caption = "Confidence in the given label: mean over samples and runs; bands are one standard deviation over samples"
    return [picture("confidence", caption, partial(draw_confidences, shown), wanted)]


def norms(grid: Grid, wanted: bool) -> list[Block]:
    """Distributions of measured norms, and means by class."""
    found: list[Block] = []
    for what in ("jacobian", "norms"):
        for name in measured_names(grid, what):
            differing = differing_settings(grid, name)
            if differing:
                found.append(Text(f"{name} was measured with different {', '.join(differing)} and is not drawn."))
                continue
            count = max(len(measurements(grid, row, col, name)) for row in grid.rows for col in grid.cols)
            settings = next(run.measured[name].settings for run in grid.runs() if name in run.measured)
            how = ", ".join(f"{key} {value}" for key, value in settings.items() if value is not None)
            caption = (
                f"{name} ({how}): samples of up to {count} runs; boxes are quartiles, whiskers 5 and 95 %, marks means"
            )
            found.append(picture(name, caption, partial(draw_boxes, grid, name), wanted))
            if what == "norms":
                caption = f"{name} ({how}): mean of each class over up to {count} runs"
                found.append(picture(f"{name}_by_class", caption, partial(draw_class_norms, grid, name), wanted))
    return found
