"""How heads and networks become one prediction, against explicit loops."""

import math

import pytest
import torch

from alasca_pl.core.types import NetworkOutput
from alasca_pl.training.predict import RULES, predict, rules_for


def make_outputs(generator: torch.Generator, networks: int, heads: int) -> list[NetworkOutput]:
    def logits() -> torch.Tensor:
        return 3 * torch.randn(4, 3, generator=generator, dtype=torch.float64)

    return [NetworkOutput(logits(), tuple(logits() for _ in range(heads)), torch.zeros(4, 2)) for _ in range(networks)]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("average", ["logits", "probs"])
@pytest.mark.parametrize(("networks", "heads"), [(1, 3), (2, 2), (2, 0)])
def test_is_the_mean_over_the_rules_heads(
    rule: str, average: str, networks: int, heads: int, generator: torch.Generator
):
    outputs = make_outputs(generator, networks, heads)
    scores = predict(outputs, rule, average)
    for b in range(4):
        rows = []
        for output in outputs:
            chosen = {"main": (), "ensemble_all": output.aux_logits, "main_last": output.aux_logits[heads - 1 :]}[rule]
            for logits in (output.logits, *(chosen if heads else ())):
                row = logits[b].tolist()
                powers = [math.exp(z) for z in row]
                rows.append(row if average == "logits" else [power / sum(powers) for power in powers])
        for k in range(3):
            assert scores[b, k].item() == pytest.approx(sum(row[k] for row in rows) / len(rows), abs=1e-12)


def test_rules_can_disagree():
    """Main head says 0, deepest auxiliary head 1, all heads together 2."""
    main, shallow, deep = (
        torch.tensor([[3.0, 0.0, 2.0]]),
        torch.tensor([[0.0, 0.0, 9.0]]),
        torch.tensor([[0.0, 5.0, 1.0]]),
    )
    outputs = [NetworkOutput(main, (shallow, deep), torch.zeros(1, 1))]
    assert [int(predict(outputs, rule).argmax()) for rule in ("main", "main_last", "ensemble_all")] == [0, 1, 2]


def test_by_default_it_is_the_main_head(generator: torch.Generator):
    outputs = make_outputs(generator, 1, 2)
    assert torch.equal(predict(outputs), outputs[0].logits)


def test_rules_that_differ():
    assert rules_for(False) == ("main",)
    assert rules_for(True) == ("main", "ensemble_all", "main_last")


@pytest.mark.parametrize(
    ("rule", "average", "message"), [("all", "logits", "'all'.*ensemble_all"), ("main", "mean", "'mean'.*probs")]
)
def test_unknown_names_are_named_with_the_choices(rule: str, average: str, message: str, generator: torch.Generator):
    with pytest.raises(ValueError, match=message):
        predict(make_outputs(generator, 1, 1), rule, average)
