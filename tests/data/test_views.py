import pytest
import torch

from alasca_pl.data.views import make_view


@pytest.mark.parametrize(("size", "fit"), [(28, False), (32, False), (64, False), (224, False), (224, True)])
def test_views_by_name(size, fit):
    image = torch.randint(0, 256, (3, size + 16 * fit, size + 16 * fit), dtype=torch.uint8)

    def run(name, seed):
        view = make_view(name, (size, size), fit)
        torch.manual_seed(seed)
        out = image if view.sample is None else view.sample(image)
        out = out.unsqueeze(0)
        for augment in view.batch:
            out = augment(out, augment.draws(1, seed, 0))
        return out[0]

    for name in ("none", "weak", "strong"):
        assert run(name, 0).shape == (3, size, size)
        assert torch.equal(run(name, 1), run(name, 1))
    different = {
        name: any(not torch.equal(run(name, 0), run(name, s)) for s in range(1, 6))
        for name in ("none", "weak", "strong")
    }
    assert different == {"none": False, "weak": True, "strong": True}


def test_an_unknown_view_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'heavy'.*none, weak, strong"):
        make_view("heavy", (32, 32))
