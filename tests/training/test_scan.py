"""One look at the training set: what it gives and that it leaves no trace."""

import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F

from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.types import Batch
from alasca_pl.models.network import Network
from alasca_pl.training.scan import run_scan

MakeNetwork = Callable[..., Network]
N, K = 20, 4
ALL = ScanRequest(losses=True, probs=True, features=True)


def samples(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(N, 1, 8, 8, generator=random), torch.randint(K, (N,), generator=random)


def batches(size: int = 6, order: torch.Tensor | None = None) -> Iterator[Batch]:
    image, label = samples()
    for index in (torch.arange(N) if order is None else order).split(size):
        yield Batch(image[index], label[index], index)


def used(make_network: MakeNetwork, seed: int) -> Network:
    """A network in training mode whose batch-norm statistics are not those of the start, with a frozen stage."""
    network = make_network(seed).train()
    network(samples(1)[0])
    network.backbone.stages[0].eval()
    return network


def test_it_equals_a_direct_pass_in_evaluation_mode(make_network: MakeNetwork):
    networks = [used(make_network, seed) for seed in (0, 1)]
    image, label = samples()
    order = torch.randperm(N, generator=torch.Generator().manual_seed(2))
    result = run_scan(networks, batches(6, order), label, ALL, N)
    assert torch.equal(result.label, label)
    for number in range(2):
        output = used(make_network, number).eval()(image)
        tolerance = {"rtol": 1e-4, "atol": 1e-5}
        torch.testing.assert_close(result.probs[number], output.logits.softmax(1).detach(), **tolerance)
        torch.testing.assert_close(result.features[number], output.features.detach(), **tolerance)
        cost = F.cross_entropy(output.logits, label, reduction="none").detach()
        torch.testing.assert_close(result.losses[number], cost, **tolerance)
        assert torch.equal(result.head_weight[number], networks[number].head.weight)
    assert not any(value.requires_grad for value in result if value is not None)


def test_only_what_is_asked_for_is_collected(make_network: MakeNetwork):
    label = samples()[1]
    result = run_scan([make_network()], batches(), label, ScanRequest(features=True), N)
    assert result.features is not None and result.features.shape == (1, N, make_network().feature_size)
    assert result.losses is result.probs is result.head_weight is None
    result = run_scan([make_network()], batches(), label, ScanRequest(losses=True), N)
    assert result.losses.shape == (1, N) and result.features is None


def test_modes_statistics_and_random_state_are_left_alone(make_network: MakeNetwork):
    network = used(make_network, 0)
    modes = {name: module.training for name, module in network.named_modules()}
    state = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()

    def drawing() -> Iterator[Batch]:
        for batch in batches():
            torch.rand(3)
            yield batch

    run_scan([network], drawing(), samples()[1], ALL, N)
    assert {name: module.training for name, module in network.named_modules()} == modes
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())


def test_modes_come_back_also_after_an_error(make_network: MakeNetwork):
    network = used(make_network, 0)
    modes = {name: module.training for name, module in network.named_modules()}
    wrong = [Batch(torch.zeros(2, 5, 8, 8), torch.zeros(2, dtype=torch.int64), torch.arange(2))]
    with pytest.raises(RuntimeError):
        run_scan([network], wrong, samples()[1], ALL, N)
    assert {name: module.training for name, module in network.named_modules()} == modes


def test_samples_that_are_missing_are_counted(make_network: MakeNetwork):
    order = torch.cat([torch.arange(17), torch.arange(3)])
    with pytest.raises(RuntimeError, match="3 of its 20 samples"):
        run_scan([make_network()], batches(6, order), samples()[1], ALL, N)


def test_mixed_and_double_precision_give_single_precision(make_network: MakeNetwork):
    label = samples()[1]
    single = run_scan([make_network()], batches(), label, ALL, N)
    half = run_scan([make_network()], batches(), label, ALL, N, lambda: torch.autocast("cpu", torch.bfloat16))
    double = run_scan([make_network().double()], batches(), label, ALL, N)
    for result, tolerance in ((half, 0.05), (double, 1e-4)):
        for value, expected in zip(result[1:5], single[1:5], strict=True):
            assert value.dtype == torch.float32
            torch.testing.assert_close(value, expected, atol=tolerance, rtol=tolerance)
    assert not torch.equal(half.losses, single.losses)


def _scan_on_rank(number: int, network: Network, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=number, world_size=2)
    # Rank 1 brings samples 0 and 1 again, as a sampler does that fills up.
    order = torch.arange(0, N, 2) if number == 0 else torch.cat([torch.arange(1, N, 2), torch.tensor([0, 1])])
    result = run_scan([network], batches(3, order), samples()[1], ALL, N)
    torch.save(tuple(result), folder / f"{number}.pt")
    dist.destroy_process_group()


def test_two_processes_see_what_one_sees(make_network: MakeNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Several parts travel, of which the last is smaller.
    monkeypatch.setattr("alasca_pl.training.scan._CHUNK", 30)
    network = used(make_network, 0)
    expected = run_scan([network], batches(), samples()[1], ALL, N)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_scan_on_rank, args=(number, network, tmp_path)) for number in (0, 1)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    one, other = (ScanResult(*torch.load(tmp_path / f"{number}.pt", weights_only=True)) for number in (0, 1))
    for name, value in expected._asdict().items():
        if value is None:
            # Nobody asked for it.
            assert getattr(one, name) is None and getattr(other, name) is None
            continue
        assert torch.equal(getattr(one, name), getattr(other, name)), name
        torch.testing.assert_close(getattr(one, name), value)


class Mean(torch.nn.Module):
    """Mean and largest pixel of each image; notes what it got."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        assert not self.training
        return torch.stack([image.mean(dim=(1, 2, 3)), image.amax(dim=(1, 2, 3))], dim=1)


def test_an_encoder_gets_pixels_and_the_networks_nothing_unless_asked_for(make_network: MakeNetwork):
    label, image = samples()[1], samples()[0]
    encoder, network = Mean().train(), make_network()
    request = ScanRequest().union(ScanRequest(encoder=encoder))
    network.register_forward_pre_hook(lambda *_: pytest.fail("the network was run"))
    order = torch.randperm(N, generator=torch.Generator().manual_seed(2))
    result = run_scan([network], batches(6, order), label, request, N, pixels=lambda each: 0.5 * each + 0.25)
    assert encoder.training
    torch.testing.assert_close(result.encoded, Mean().eval()(0.5 * image + 0.25))
    assert (result.losses, result.probs, result.features) == (None, None, None)
    both = run_scan([make_network()], batches(), label, request.union(ScanRequest(features=True)), N)
    assert both.features is not None and both.encoded is not None
