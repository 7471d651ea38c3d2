"""What must hold on an accelerator; run by name with -m gpu."""

import pytest
import torch

from alasca_pl import load_run
from alasca_pl.core.normalise import Normalise
from alasca_pl.data.batches import ArrayBatches
from alasca_pl.data.plan import EpochPlan
from alasca_pl.data.views import make_view
from running import checkpoint, tensors, train

pytestmark = pytest.mark.gpu
GPU = ("trainer=gpu", "trainer.benchmark=false")


def test_batches_made_on_the_gpu_are_those_of_the_cpu(generator):
    images = torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8, generator=generator)
    label = torch.arange(50) % 10
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])

    def epoch(device):
        view = make_view("weak", (8, 8), padding=2)
        plan = EpochPlan(label, 16, 0)
        return list(ArrayBatches(images.to(device), label.to(device), Normalise(mean, std), plan, [view]))

    for here, there in zip(epoch("cpu"), epoch("cuda"), strict=True):
        assert there.image.device.type == "cuda"
        assert torch.equal(here.index, there.index.cpu())
        torch.testing.assert_close(here.image, there.image.cpu())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_a_run_ends_with_finite_figures_and_opens_on_the_cpu(tmp_path, precision):
    record = train(tmp_path / "run", *GPU, f"trainer.precision={precision}", "alasca=paper", "model.norm=batch")
    assert record.status == "finished"
    assert record.hardware["gpus"]
    values = tensors(checkpoint(tmp_path / "run")["state_dict"]).values()
    assert all(value.isfinite().all() for value in values if isinstance(value, torch.Tensor))
    run = load_run(tmp_path / "run")
    table = run.module.method.regularizers[0]["alasca"].label_confidence.table.rows
    assert table.dtype == torch.float32 and table.device.type == "cpu" and bool(table.any())


def test_gpu_and_cpu_take_the_same_steps(tmp_path):
    train(tmp_path / "cpu", "epochs=1", "optim.lr=0.005")
    train(tmp_path / "gpu", *GPU, "epochs=1", "optim.lr=0.005")
    one, other = (
        tensors(checkpoint(tmp_path / "cpu")["state_dict"]),
        tensors(checkpoint(tmp_path / "gpu")["state_dict"]),
    )
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value.cpu(), other[name].cpu(), atol=1e-3, rtol=1e-3, msg=name)


def test_resume_on_the_gpu(tmp_path):
    train(tmp_path / "run", *GPU, "epochs=1")
    record = train(tmp_path / "run", *GPU, "epochs=3", f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt")
    assert record.metrics["last"]["epoch"] == 2
