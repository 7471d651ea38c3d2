"""Parts of alasca_pl in a plain PyTorch loop: Co-teaching with ALASCA on two networks of one's own.

    python docs/howto/plain_loop.py

A part needs two things besides logits and labels: the index of each sample in the training set, which must be the same in
every epoch, and the position in the run. ``observe`` comes before the loss; it is the only call that changes a table.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from alasca_pl.alasca.heads import AuxiliaryHead
from alasca_pl.alasca.regularizer import AlascaRegularizer
from alasca_pl.core.types import NetworkOutput, Progress, StepView, Targets
from alasca_pl.methods.co_teaching import SmallLossExchange

NOISE_RATE = 0.5


class OwnNetwork(nn.Module):
    """Two stages, a main head on the second one, and an auxiliary head on the first one."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU())
        self.head = nn.Linear(32, num_classes)
        self.auxiliary = AuxiliaryHead("bottleneck", channels=16, stride=2, width=32, num_classes=num_classes)

    def forward(self, image: Tensor) -> NetworkOutput:
        shallow = self.first(image)
        features = self.second(shallow).mean(dim=(2, 3))
        return NetworkOutput(self.head(features), aux_logits=(self.auxiliary(shallow),), features=features)


class Digits(NamedTuple):
    """Images (N, 1, 8, 8), the labels that training gets, and the true ones; for testing true labels only."""

    image: Tensor
    given: Tensor
    clean: Tensor
    test_image: Tensor
    test_label: Tensor


def noisy_digits() -> Digits:
    """Real 8 x 8 digits; half of the training labels are drawn anew."""
    digits = load_digits()
    image = torch.from_numpy(digits.images).float().unsqueeze(1) / 16
    clean = torch.from_numpy(digits.target).long()
    random = np.random.default_rng(0)
    given = clean.clone()
    drawn = torch.from_numpy(random.random(len(clean)) < NOISE_RATE)
    given[drawn] = torch.from_numpy(random.integers(10, size=int(drawn.sum())))
    return Digits(image[400:], given[400:], clean[400:], image[:400], clean[:400])


def main(epochs: int = 20) -> dict[str, float]:
    """Train, and return the accuracy on clean labels and the mean confidences in clean and in wrong labels."""
    torch.manual_seed(0)
    data = noisy_digits()
    num_samples, num_classes = len(data.image), 10
    loader = DataLoader(
        TensorDataset(data.image, data.given, torch.arange(num_samples)), batch_size=64, shuffle=True, drop_last=True
    )
    networks = nn.ModuleList(OwnNetwork(num_classes) for _ in range(2))
    selector = SmallLossExchange(num_networks=2, noise_rate=NOISE_RATE, ramp_epochs=5)
    # One table per network; the ramp takes a quarter of the run.
    alasca = nn.ModuleList(AlascaRegularizer(num_samples, num_classes, ramp_epochs=epochs / 4) for _ in networks)
    optimizer = torch.optim.SGD(networks.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)

    step = 0
    for epoch in range(epochs):
        networks.train()
        for image, label, index in loader:
            now = Progress(epoch, step, max_epochs=epochs, steps_per_epoch=len(loader))
            outputs = [network(image) for network in networks]
            logits = [output.logits.detach() for output in outputs]
            for part, own in zip(alasca, logits):
                part.observe(own, index)

            losses = torch.stack([F.cross_entropy(output.logits, label, reduction="none") for output in outputs])
            weight = selector(losses.detach(), logits, Targets.unmixed(label, index), now)
            loss = ((weight * losses).sum(dim=1) / weight.sum(dim=1)).sum()
            for part, output, own_losses in zip(alasca, outputs, losses):
                view = StepView.unmixed(output, label, index, own_losses, now)
                loss = loss + part.strength * part(view).mean()

            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1

    networks.eval()
    with torch.no_grad():
        probs = torch.stack([network(data.test_image).logits.softmax(dim=1) for network in networks]).mean(dim=0)
    confidence = alasca[0].confidence(data.given)
    wrong = data.given != data.clean
    return {
        "accuracy": float((probs.argmax(dim=1) == data.test_label).float().mean()),
        "confidence in clean labels": float(confidence[~wrong].mean()),
        "confidence in wrong labels": float(confidence[wrong].mean()),
    }


if __name__ == "__main__":
    for name, value in main().items():
        print(f"{name}: {value:.2f}")
