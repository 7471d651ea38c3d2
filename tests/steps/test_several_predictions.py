"""Criteria that compare several predictions for a sample: of views, or of networks."""

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from alasca_pl.alasca.regularizer import AlascaRegularizer
from alasca_pl.core.parts import Criterion
from alasca_pl.core.types import Batch, Progress, Targets
from alasca_pl.methods.dividemix import MixtureFilter
from alasca_pl.methods.mixup import Mixup
from alasca_pl.models.network import Network
from alasca_pl.steps.method import Method
from alasca_pl.steps.mixmatch import MixMatchStep
from alasca_pl.steps.supervised import SupervisedStep

MakeNetwork = Callable[..., Network]
MakeBatch = Callable[..., Batch]
N, K = 20, 4
NOW = Progress(epoch=20, step=60, max_epochs=100, steps_per_epoch=3)


class Distance(Criterion):
    """Squared distance of the prediction from each of the others; keeps what it was given."""

    def __init__(self, others: str) -> None:
        super().__init__()
        self.others = others
        self.seen: list[Tensor] = []

    def forward(self, logits: Tensor, targets: Targets, progress: Progress, others: Sequence[Tensor]) -> Tensor:
        self.seen = list(others)
        return torch.stack([(logits - other).square().sum(dim=1) for other in others]).sum(dim=0)


def with_views(batch: Batch, count: int) -> Batch:
    rng = torch.Generator().manual_seed(7)
    return batch._replace(views=tuple(torch.randn(batch.image.shape, generator=rng) for _ in range(count)))


@pytest.mark.parametrize("joint", [False, True])
def test_a_criterion_gets_the_predictions_for_all_views(joint: bool, make_network: MakeNetwork, make_batch: MakeBatch):
    network, batch = make_network(norm="group"), with_views(make_batch(), 2)
    parts = Method([copy.deepcopy(network)], [Distance("views")], [{"alasca": AlascaRegularizer(N, K)}])
    result = SupervisedStep(views=("default",) * 3, joint_views=joint)(parts, batch, NOW)
    first, second, third = (network(image).logits for image in (batch.image, *batch.views))
    expected = ((first - second).square() + (first - third).square()).sum(dim=1)
    torch.testing.assert_close(result.losses[0], expected.detach(), atol=1e-5, rtol=1e-5)
    # All are attached, monitors see the first view, and so do the auxiliary heads.
    assert all(other.requires_grad for other in parts.criteria[0].seen)
    torch.testing.assert_close(result.logits[0], first.detach(), atol=1e-5, rtol=1e-5)
    alone = Method([network], [Distance("views")], [{"alasca": AlascaRegularizer(N, K)}])
    plain = SupervisedStep(views=("default",) * 2)(alone, with_views(make_batch(), 1), NOW)
    torch.testing.assert_close(result.terms["loss_alasca"], plain.terms["loss_alasca"], atol=1e-5, rtol=1e-5)


def test_joint_views_share_batch_statistics_and_others_do_not(make_network: MakeNetwork, make_batch: MakeBatch):
    network, batch = make_network(heads=()), with_views(make_batch(), 1)
    apart, joint = (copy.deepcopy(network) for _ in range(2))
    SupervisedStep()(Method([apart], [Distance("views")]), batch, NOW)
    SupervisedStep(joint_views=True)(Method([joint], [Distance("views")]), batch, NOW)
    visits = {name: int(value) for name, value in apart.named_buffers() if name.endswith("num_batches_tracked")}
    assert set(visits.values()) == {2}
    network(torch.cat([batch.image, *batch.views]))
    for (_, one), (_, other) in zip(network.named_buffers(), joint.named_buffers(), strict=True):
        assert torch.equal(one, other)


def test_networks_see_each_other_in_turn(make_network: MakeNetwork, make_batch: MakeBatch):
    networks, batch = [make_network(seed, heads=()) for seed in range(3)], make_batch()
    criteria = [Distance("networks") for _ in networks]
    SupervisedStep()(Method(copy.deepcopy(networks), criteria), batch, NOW)
    logits = [network(batch.image).logits for network in networks]
    for number, criterion in enumerate(criteria):
        for shift, seen in enumerate(criterion.seen, start=1):
            torch.testing.assert_close(seen, logits[(number + shift) % 3])


def test_all_views_are_mixed_with_the_same_partner_and_weight(make_network: MakeNetwork, make_batch: MakeBatch):
    network, batch = make_network(heads=(), norm="group"), make_batch()
    # Equal views stay equal only if they are mixed alike.
    batch = batch._replace(views=(batch.image,))
    result = SupervisedStep()(Method([network], [Distance("views")], mixer=Mixup(alpha=1.0, seed=3)), batch, NOW)
    assert not result.losses.any()


def test_what_lacks_views_is_refused(make_network: MakeNetwork, make_batch: MakeBatch):
    with pytest.raises(ValueError, match="compares views of a sample"):
        SupervisedStep()(Method([make_network()], [Distance("views")]), make_batch(), NOW)
    with pytest.raises(ValueError, match=r"views.*step.views=\[default,default\]"):
        SupervisedStep(views=())
    networks = [make_network(seed) for seed in (0, 1)]
    parts = Method(networks, [Distance("views")] * 2, selector=MixtureFilter(num_samples=N, num_networks=2))
    with pytest.raises(ValueError, match="one prediction, but Distance compares several"):
        MixMatchStep(K, 0)(parts, with_views(make_batch(), 1), NOW)
