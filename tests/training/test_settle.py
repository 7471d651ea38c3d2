"""Parts settle once per step, after the optimiser; and losses on a batch's mean."""

import torch

from alasca_pl.core.batch_mean import batch_mean
from alasca_pl.methods.cross_entropy import CrossEntropy
from running import SMALLER, train


def test_parts_settle_after_each_step_of_the_optimiser(tmp_path, monkeypatch):
    events: list[str] = []

    def noted(owner, name, word):
        original = getattr(owner, name)

        def call(self, *args, **kwargs):
            result = original(self, *args, **kwargs)
            events.append(word)
            return result

        monkeypatch.setattr(owner, name, call)

    noted(CrossEntropy, "forward", "loss")
    noted(CrossEntropy, "settle", "settle")
    noted(torch.optim.SGD, "step", "step")
    train(tmp_path / "run", *SMALLER, "epochs=1", "method=ce", "alasca=none")
    assert events == ["loss", "step", "settle"] * 4


def test_the_mean_over_the_batch_has_its_gradient_and_counts_once(generator: torch.Generator):
    rows = torch.rand(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    mean, factor = batch_mean(rows)
    # A step takes the mean over samples of what each of them costs.
    (mean.log().sum() * factor).expand(5).mean().backward()
    found = rows.grad.clone()
    rows.grad = None
    rows.mean(dim=0).log().sum().backward()
    torch.testing.assert_close(found, rows.grad)
