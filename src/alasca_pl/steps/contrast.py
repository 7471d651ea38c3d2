"""A contrastive loss between two views of samples, for steps that have no labels for these samples."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alasca_pl.core.batch_mean import own_slope
from alasca_pl.core.checks import check_whole_number
from alasca_pl.core.distributed import gather_with_places, world_size
from alasca_pl.core.numerics import full_precision
from alasca_pl.models.network import Network
from alasca_pl.models.norms import Norm


class ContrastiveLoss:
    """NT-Xent between projections of two views of the same samples, the loss of SimCLR.

    Further heads are made by ``make_head``: a linear layer and the normalisation that the network has (``model.norm``).

    Args:
        strength: Factor of the loss in that of a network.
        temperature: Cosine similarities are divided by it.
        size: Length of a projection.

    Raises:
        ValueError: If a value is outside its range.

    References:
        Chen et al.: A Simple Framework for Contrastive Learning of Visual Representations. ICML 2020.
        https://arxiv.org/abs/2002.05709
    """

    def __init__(self, strength: float = 0.025, temperature: float = 0.05, size: int = 128) -> None:
        if not strength >= 0:
            raise ValueError(f"strength must be at least 0, got {strength}")
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        check_whole_number("size", size, 1)
        self.strength = strength
        self.temperature = temperature
        self.size = size

    def make_head(self, feature_size: int, norm: Norm) -> nn.Module:
        """Make the projection from features (B, D) to (B, size)."""
        # On a 1 x 1 map the usual normalisation fits.
        return nn.Sequential(
            nn.Linear(feature_size, self.size), nn.Unflatten(1, (-1, 1, 1)), norm(self.size), nn.Flatten()
        )

    def __call__(self, network: Network, first: Tensor, second: Tensor, used: Tensor) -> Tensor:
        """Return the loss over the used samples of the global batch, for a network whose first further head projects.

        Both views go through the network in one pass, of used samples only. Every rank must call it.

        Args:
            network: The network.
            first: Images, (B, C, H, W).
            second: Other views of the same samples.
            used: bool (B,).
        """
        rows = used.nonzero().squeeze(1)
        counted = torch.ones_like(rows, dtype=torch.bool)
        if len(rows) == 0:
            # Every process must take part in the forward pass.
            rows, counted = rows.new_zeros(1), counted.new_zeros(1)
        features = network(torch.cat([first[rows], second[rows]])).features
        one, other = network.extra_heads[0](features).chunk(2)
        return nt_xent(one, other, counted, self.temperature)


def nt_xent(first: Tensor, second: Tensor, counted: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of finding a sample's other view among all views of the global batch; every rank must call it.

    Args:
        first: Projections of one view of the samples, (B, S).
        second: Those of the other.
        counted: Samples that take part, bool (B,).
        temperature: Cosine similarities are divided by it.

    Returns:
        A scalar with the value of all ranks; gradients averaged over ranks are those of one process. 0 without samples, or with
        only one.

    Example:
        >>> import torch
        >>> first, second = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.8, 0.6], [0.6, 0.8]])
        >>> nt_xent(first, second, counted=torch.tensor([True, True]), temperature=0.5)
        tensor(0.8707)
    """
    own = F.normalize(full_precision(torch.stack([first, second], dim=1)), dim=2)
    place, everyone, everywhere = gather_with_places(own.detach(), counted)
    rows = everyone.index_copy(0, place, own)[everywhere].flatten(0, 1)
    # Autocast would multiply in half precision.
    with torch.autocast(rows.device.type, enabled=False):
        similarity = rows @ rows.T / temperature
    similarity = similarity.masked_fill(torch.eye(len(rows), dtype=torch.bool, device=rows.device), -torch.inf)
    other = torch.arange(len(rows), device=rows.device) ^ 1
    total = -similarity.log_softmax(dim=1).gather(1, other.unsqueeze(1)).sum()
    loss = total / max(1, len(rows))
    return own_slope(world_size() * loss, loss.detach())
