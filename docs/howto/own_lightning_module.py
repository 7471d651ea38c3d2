"""Parts of alasca_pl in a LightningModule of one's own: smoothed cross-entropy on a torchvision network, ALASCA on its stages.

    python docs/howto/own_lightning_module.py

Tables are modules, so that Lightning moves them to the device and puts them into checkpoints: a resumed run goes on with them.
With several processes each table is the same in all of them.
"""

import lightning as L
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18

from alasca_pl.alasca.heads import AuxiliaryHead
from alasca_pl.alasca.regularizer import AlascaRegularizer
from alasca_pl.alasca.smoothing import smoothed_loss
from alasca_pl.core.sample_buffer import SampleBuffer
from alasca_pl.core.types import NetworkOutput, Progress, StepView


class OwnModule(L.LightningModule):
    """A ResNet-18 with a smoothed loss, an auxiliary classifier with ALASCA, and a table of losses to rank the labels by.

    Args:
        num_samples: Size of the training set.
        num_classes: Number of classes.
        smoothing: Of the main head, the same for all samples.
        ramp_epochs: Of ALASCA.
    """

    def __init__(self, num_samples: int, num_classes: int, smoothing: float = 0.1, ramp_epochs: float = 2) -> None:
        super().__init__()
        self.network = resnet18(num_classes=num_classes)
        # The map of the second stage has 128 channels and is four times as large as that of the last one.
        self.auxiliary = AuxiliaryHead("bottleneck", channels=128, stride=4, width=512, num_classes=num_classes)
        self.alasca = AlascaRegularizer(num_samples, num_classes, ramp_epochs=ramp_epochs)
        self.mean_loss = SampleBuffer(num_samples, row_size=1, momentum=0.7)
        self.smoothing = smoothing

    def forward(self, image: Tensor) -> NetworkOutput:
        net = self.network
        second = net.layer2(net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(image))))))
        features = net.avgpool(net.layer4(net.layer3(second))).flatten(1)
        return NetworkOutput(net.fc(features), aux_logits=(self.auxiliary(second),), features=features)

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        image, label, index = batch
        output = self(image)
        self.alasca.observe(output.logits.detach(), index)

        smoothing = torch.full((1, len(label)), self.smoothing, device=label.device)
        losses = smoothed_loss(output.logits, label.unsqueeze(0), smoothing, "uniform").squeeze(0)
        self.mean_loss.update(losses.detach().unsqueeze(1), index)

        steps = int(self.trainer.num_training_batches)
        now = Progress(self.current_epoch, self.global_step, self.trainer.max_epochs or 0, steps)
        view = StepView.unmixed(output, label, index, losses, now)
        penalty = self.alasca(view).mean()
        self.log_dict({"loss_base": losses.mean(), "loss_alasca": penalty}, on_step=False, on_epoch=True)
        return losses.mean() + self.alasca.strength * penalty

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def main(epochs: int = 5, **trainer_options: object) -> tuple[OwnModule, L.Trainer]:
    """Train on digits with a third of the labels drawn anew; return module and trainer."""
    L.seed_everything(0, verbose=False)
    digits = load_digits()
    image = torch.from_numpy(digits.images).float().unsqueeze(1).repeat(1, 3, 4, 4) / 16
    label = torch.from_numpy(digits.target).long()
    is_drawn = torch.rand(len(label)) < 1 / 3
    label[is_drawn] = torch.randint(10, (int(is_drawn.sum()),))
    # The index of each sample comes with it.
    data = TensorDataset(image, label, torch.arange(len(label)))
    module = OwnModule(num_samples=len(label), num_classes=10)
    trainer = L.Trainer(max_epochs=epochs, logger=False, **trainer_options)
    trainer.fit(module, DataLoader(data, batch_size=64, shuffle=True))
    return module, trainer


if __name__ == "__main__":
    trained, _ = main()
    doubtful = trained.mean_loss.rows.flatten().argsort(descending=True)[:10]
    print("samples with the largest losses:", doubtful.tolist())
