"""The table of methods is what its generator makes of configs, docstrings and collected differences."""

import ast
import json
import math
import re

import pytest
import torch

from alasca_pl.report.collection import load_runs
from report.trees import make_run
from tools import fidelity

COLLECTED = fidelity.read_collected()
AGAIN = "run python tests/tools/fidelity.py"


def test_the_documents_are_what_the_generator_makes():
    readme = fidelity.README.read_text()
    assert fidelity.with_table(readme, COLLECTED) == readme, AGAIN
    assert fidelity.document(COLLECTED) == fidelity.DOCUMENT.read_text(), AGAIN


def test_the_differences_are_those_of_the_tests_that_compare():
    assert sorted({each["test"] for each in COLLECTED["agreements"]}) == sorted(fidelity.comparing_tests()), AGAIN


@pytest.mark.parametrize("group", ["method", "alasca"])
def test_every_choice_has_an_entry_and_was_compared(group):
    choices = fidelity.choices(group)
    yamls = {path.stem for path in (fidelity.CONF_DIR / group).glob("*.yaml")} - {"none"}
    assert {choice.name for choice in choices} == yamls
    assert [choice.name for choice in choices if not fidelity.agreements_of(choice, COLLECTED)] == []
    assert [choice.name for choice in choices if not choice.papers and choice.name != "ce"] == []


def test_a_choice_is_read_from_config_and_docstrings():
    by_name = {choice.name: choice for choice in fidelity.choices("method")}
    fine = by_name["fine"]
    assert (fine.slots, fine.networks, fine.rate) == ({"selector": "alasca_pl.methods.fine.FineSelector"}, 1, "no")
    paper = fidelity.Paper(
        "Kim et al.", "FINE Samples for Learning with Noisy Labels", "NeurIPS 2021", "https://arxiv.org/abs/2102.11628"
    )
    assert (fine.papers, fine.code) == ([paper], ["Kthyeon/FINE_official@d5ab341"])
    assert by_name["f_coteaching"].networks == 2
    assert by_name["cdr"].rate == "estimated, oracle possible"
    assert by_name["dividemix"].rate == "chooses constants"
    assert by_name["jocor"].rate == "estimated, oracle possible; chooses constants"
    assert by_name["dividemix"].constants == "data set, kind of noise, rate, scale"
    assert [paper.venue for paper in by_name["dividemix"].papers] == ["ICLR 2020", "NeurIPS 2019"]
    # One class serves two methods; each is of its own paper.
    assert [by_name[name].papers[0].venue for name in ("forward", "dual_t")] == ["CVPR 2017", "NeurIPS 2020"]
    assert set(by_name["elr_plus"].slots) == {"criterion", "mixer", "teacher"}
    assert set(by_name["ce"].slots) == {"criterion"}


def test_pieces_are_what_the_code_uses_at_any_distance():
    pieces = {
        name.removeprefix("alasca_pl.methods.")
        for name in fidelity.pieces_of("alasca_pl.methods.cdr.CriticalParameters")
    }
    # Through its base class to the estimate, and from there to the mixture.
    assert {"noise_rate.NeedsNoiseRate", "noise_rate.NoiseRateEstimate", "mixture.two_component_posterior"} <= pieces
    assert not any(name.startswith(("fine", "crust", "alasca_pl")) for name in pieces)


def test_a_repository_is_followed_at_one_commit():
    commits: dict[str, set[str]] = {}
    for file in sorted((fidelity.ROOT / fidelity.SOURCE).rglob("*.py")):
        nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ClassDef)]
        for text in filter(None, map(ast.get_docstring, nodes)):
            for name, commit in re.findall(r"([\w-]+/[\w-]+)@(\w+)", text):
                commits.setdefault(name, set()).add(commit)
    assert len(commits) >= 10
    assert {name: found for name, found in commits.items() if len(found) > 1} == {}
    assert all(re.fullmatch("[0-9a-f]{7}", commit) for found in commits.values() for commit in found)


def test_costs_are_ratios_within_rounds_of_a_benchmark():
    def case(name: str, *cpu: float) -> dict[str, object]:
        return {"name": name, "cpu": list(cpu)}

    methods = [case("bare network, contiguous", 1, 1, 1), case("ce", 2, 4, 2), case("gce", 3, 4, 4)]
    step = [case("ce", 1, 1, 1), case("ce+alasca", 2, 3, 4), case("als_ema (table and loss, no heads)", 9, 9, 9)]
    assert fidelity.costs_of({"results": {"methods": methods, "step": step}}) == {
        "alasca=paper": {"times": 3.0, "from": 2.0, "to": 4.0},
        "method=ce": {"times": 1.0, "from": 1.0, "to": 1.0},
        "method=gce": {"times": 1.5, "from": 1.0, "to": 2.0},
    }


def test_runs_at_the_paper_s_scale_are_set_beside_its_numbers(tmp_path):
    rows = [{"epoch": epoch, "step": epoch, "test/acc": 0.80, "test/acc_main": 0.80} for epoch in range(6)]
    large = {"rows": rows, "config": {"epochs": 120, "data.num_samples": 45_000}}
    record = make_run(tmp_path / "small", "ce")
    sizes = record.data.__class__("cifar10", {"train": 45_000, "test": 10_000}, 10, [3, 32, 32], ["a"] * 10, "d" * 64)
    make_run(tmp_path / "large", "ce", data=sizes, **large)
    runs = load_runs(tmp_path)
    # The paper has 78.2 for 50 % symmetric noise.
    assert fidelity.paper_scale(runs) == {"method=ce": {"runs": 1, "difference": 1.8}}


def test_an_agreement_is_recorded_with_its_largest_difference(agreement, record_property, request):
    agreement(torch.nn.Linear, "rows", torch.tensor([1.0, 2.0]), [1.0, 2.25], atol=0.3)
    (entry,) = [json.loads(value) for name, value in request.node.user_properties if name == "agreement"]
    assert entry == {"part": "torch.nn.modules.linear.Linear", "what": "rows", "dtype": "float32", "difference": 0.25}


@pytest.mark.parametrize(
    ("ours", "reference", "message"),
    [
        ([1.0, 2.0], [1.0, 2.1], "rows differs by up to 0.1"),
        ([1.0, math.nan], [1.0, 2.0], "rows differs by up to nan"),
        ([1.0], [1.0, 1.0], r"\(1,\) is compared with \(2,\)"),
        ([], [], "nothing is compared"),
    ],
)
def test_what_does_not_agree_fails_and_is_not_recorded(agreement, request, ours, reference, message):
    with pytest.raises(AssertionError, match=message):
        agreement(torch.nn.Linear, "rows", ours, reference, atol=0.05)
    assert request.node.user_properties == []
