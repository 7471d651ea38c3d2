"""Encoders: sizes, channels, that they are made late and stay as they are."""

import pytest
import torch

from alasca_pl.models.encoder import TimmEncoder


def encoder(**values) -> TimmEncoder:
    return TimmEncoder("test_resnet", pretrained=False, **{"size": 32, **values})


def test_features_are_those_of_the_model_for_normalised_images():
    timm = pytest.importorskip("timm")
    image = torch.rand(2, 3, 32, 32)
    found = encoder()(image)
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=0).eval()
    mean, std = (torch.tensor(model.pretrained_cfg[name]).view(1, -1, 1, 1) for name in ("mean", "std"))
    torch.testing.assert_close(found, model((image - mean) / std).detach(), atol=1e-5, rtol=1e-4)


def test_grey_and_small_images_fit_and_processes_agree():
    image = torch.rand(3, 1, 8, 8)
    before = torch.random.get_rng_state()
    one, other = encoder()(image), encoder()(image)
    assert one.shape[0] == 3 and not one.requires_grad
    assert torch.equal(one, other)
    assert torch.equal(before, torch.random.get_rng_state())
    # A constant image stays one, whatever its size.
    flat = encoder()
    torch.testing.assert_close(
        flat(torch.full((1, 1, 8, 8), 0.3)), flat(torch.full((1, 3, 32, 32), 0.3)), atol=1e-5, rtol=1e-4
    )


def test_it_is_made_when_it_is_first_used():
    made = TimmEncoder("no_such_model")
    assert not list(made.parameters())
    with pytest.raises(ValueError, match="timm has no model 'no_such_model'"):
        made(torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        encoder(size=0)
