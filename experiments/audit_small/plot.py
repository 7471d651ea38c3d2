"""Draw test accuracy against decisions. Usage: python plot.py GIVEN RETRAINED PICTURE.png, the first two as for alasca-report.

GIVEN are runs on the labels as given, one per seed: those of cross-entropy in the sweep audit_small with setting=human are taken.
RETRAINED is the sweep audit_retrain. A table is printed beside the picture.
"""

import re
import sys
from pathlib import Path

from alasca_pl import load_runs
from alasca_pl.core.metric_names import accuracy
from alasca_pl.report.grid import figure
from alasca_pl.report.keys import value_of
from alasca_pl.report.statistics import mean_and_std
from alasca_pl.report.style import file_of, legend_below, line_style, panels


def percent(run) -> float:
    """Accuracy of a run, mean of the last epochs."""
    return 100 * figure(run, accuracy("test"), "mean_of_last")


def main(given: str, retrained: str, picture: Path) -> None:
    """Print the table and draw the picture."""
    wanted = {"setting": "human", "alasca": "none"}
    values: dict[str, list[float]] = {}
    for run in load_runs(given):
        # Runs without settings are of one kind anyway.
        if all(value_of(run, key) in (value, "absent") for key, value in wanted.items()):
            values.setdefault("given", []).append(percent(run))
    for run in load_runs(retrained):
        values.setdefault(str(value_of(run, "data.name")), []).append(percent(run))
    print("| labels | test accuracy (%), mean ± standard deviation (n runs) |\n| --- | ---: |")
    for name, own in sorted(
        values.items(), key=lambda item: [int(part) if part.isdigit() else part for part in item[0].split("_")]
    ):
        mean, std = mean_and_std(own)
        print(f"| {name} | {mean:.1f}" + ("" if std is None else f" ± {std:.1f}") + f" ({len(own)}) |")
    drawing, (axis,) = panels(1, width=6.0, height=3.6)
    for number, (kind, label) in enumerate((("after", "most suspicious labels"), ("random", "random labels"))):
        found = {int(match[1]): own for name, own in values.items() if (match := re.fullmatch(rf"{kind}_(\d+)", name))}
        points = [(count, *mean_and_std(own)) for count, own in sorted({0: values["given"], **found}.items())]
        axis.errorbar(
            [count for count, _, _ in points],
            [mean for _, mean, _ in points],
            [std or 0.0 for _, _, std in points],
            label=f"a reviewer of the {label}",
            capsize=3,
            **line_style(number),
        )
    for number, name in enumerate(("relabelled", "clean"), start=2):
        if name in values:
            style = line_style(number) | {"marker": "none"}
            axis.axhline(mean_and_std(values[name])[0], label=f"{name}, without a person", **style)
    axis.set_xlabel("decisions")
    axis.set_ylabel("test accuracy (%)")
    axis.grid(alpha=0.3)
    legend_below(drawing, [axis])
    picture.write_bytes(file_of(drawing, "png"))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
