"""DivideMix: networks select clean samples for each other by a two-component mixture fitted to the losses."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alasca_pl.core.distributed import from_rank_zero
from alasca_pl.core.parts import SampleSelector
from alasca_pl.core.sample_buffer import SampleBuffer
from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.seeds import derive_seed
from alasca_pl.core.types import Progress, Targets
from alasca_pl.methods.mixture import scale_to_unit, two_component_posterior


class MixtureFilter(SampleSelector):
    """Keeps samples whose loss under the other network belongs to the mixture component with the lower mean.

    Before each epoch from ``warmup_epochs`` on, two Gaussians are fitted to each network's losses over the training set,
    scaled to [0, 1]; a sample's clean probability is the posterior of the component with the lower mean. Network m uses
    the probabilities of network m + 1, the last one those of the first, and a single network its own. Until the first
    fit all samples count as clean.

    Args:
        num_samples: N.
        num_networks: M.
        seed: Of the fits.
        warmup_epochs: Epochs before the first fit.
        threshold: Samples with a probability above it are kept, in [0, 1); 0 keeps all.
        memory_epochs: Number of latest scans whose scaled losses are averaged for the fit; 1 uses only the latest.
        max_iter: Maximum number of iterations of a fit.
        tol: A fit stops when the log-likelihood increases by less than this.
        reg_covar: Added to the variances.

    Raises:
        ValueError: If an argument is outside its range.

    Source: Li, Socher and Hoi, ICLR 2020, section 3.1, with the constants of LiJunnan1992/DivideMix.

    References:
        Li, Socher and Hoi: DivideMix: Learning with Noisy Labels as Semi-supervised Learning. ICLR 2020.
        https://arxiv.org/abs/2002.07394
        Code: LiJunnan1992/DivideMix@d9d3058

    Example:
        >>> import torch
        >>> from alasca_pl.core.scan import ScanResult
        >>> from alasca_pl.core.types import Progress
        >>> selector = MixtureFilter(num_samples=6, num_networks=1, warmup_epochs=0)
        >>> losses = torch.tensor([[0.1, 0.2, 0.1, 2.9, 3.0, 3.1]])
        >>> result = ScanResult(label=torch.zeros(6, dtype=torch.int64), losses=losses)
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> selector.receive_scan(result, now)
        >>> selector.clean_probability(torch.arange(6)).round()
        tensor([[1., 1., 1., 0., 0., 0.]])
    """

    first_scan_option = "warmup_epochs"

    def __init__(
        self,
        num_samples: int,
        num_networks: int,
        seed: int = 0,
        warmup_epochs: int = 10,
        threshold: float = 0.5,
        memory_epochs: int = 1,
        max_iter: int = 10,
        tol: float = 1e-2,
        reg_covar: float = 5e-4,
    ) -> None:
        super().__init__()
        if warmup_epochs < 0:
            raise ValueError(f"warmup_epochs must be at least 0, got {warmup_epochs}")
        if not 0.0 <= threshold < 1.0:
            raise ValueError(f"threshold must lie in [0, 1), got {threshold}; 0 keeps all samples")
        if memory_epochs < 1:
            raise ValueError(f"memory_epochs must be at least 1, got {memory_epochs}; 1 uses only the latest losses")
        self.seed = seed
        self.warmup_epochs = warmup_epochs
        self.threshold = threshold
        self.memory_epochs = memory_epochs
        self.max_iter = max_iter
        self.tol = tol
        self.reg_covar = reg_covar
        # One column per network, from its own losses.
        self.clean = SampleBuffer(num_samples, num_networks, 0.0, initial=1.0)
        self._fitted = False
        self._earlier: list[Tensor] = []

    def scan_request(self, progress: Progress) -> ScanRequest | None:
        return ScanRequest(losses=True) if progress.epoch >= self.warmup_epochs else None

    def receive_scan(self, result: ScanResult, progress: Progress) -> None:
        assert result.losses is not None
        # Checked on all ranks, because the fit runs on rank 0 and the others would wait forever after an error there.
        if not torch.isfinite(result.losses).all():
            raise FloatingPointError(
                f"losses over the training set before epoch {progress.epoch + 1} are not finite; "
                "try a smaller optim.optimizer.lr"
            )
        scaled = torch.from_numpy(np.stack([scale_to_unit(row) for row in result.losses.cpu().numpy()]))
        scans = [*self._earlier, scaled]
        mean = torch.stack(scans).mean(dim=0)
        self._earlier = scans[-(self.memory_epochs - 1) :] if self.memory_epochs > 1 else []
        self.clean.fill(from_rank_zero(lambda: self._fit(mean, progress.epoch), like=self.clean.rows))
        self._fitted = True

    def _fit(self, losses: Tensor, epoch: int) -> Tensor:
        columns = [
            two_component_posterior(
                row.numpy(),
                "low",
                max_iter=self.max_iter,
                tol=self.tol,
                reg_covar=self.reg_covar,
                seed=derive_seed(self.seed, "mixture", epoch, number),
            )
            for number, row in enumerate(losses)
        ]
        return torch.stack([torch.from_numpy(column) for column in columns], dim=1)

    def clean_probability(self, index: Tensor) -> Tensor:
        """Return the clean probabilities that each network uses, those of its peer.

        Args:
            index: int64, any shape.

        Returns:
            Float32 ``(M, *index.shape)`` in [0, 1]; 1 before the first fit.
        """
        return self.clean.rows[index].movedim(-1, 0).roll(-1, dims=0)

    def forward(self, losses: Tensor, logits: Sequence[Tensor], targets: Targets, progress: Progress) -> Tensor:
        """Return 1 for kept samples, 0 for others and for mixed rows the fraction that is kept, float (M, B)."""
        kept = self.clean_probability(targets.index) > self.threshold
        if self.threshold == 0:
            # Probabilities can be exactly 0.
            kept = torch.ones_like(kept)
        return (targets.weight * kept).sum(dim=1).to(losses.dtype)

    def confidence(self, label: Tensor) -> Tensor | None:
        return self.clean.rows.T.clone() if self._fitted else None

    def get_extra_state(self) -> dict[str, Any]:
        return {"fitted": self._fitted, "earlier": self._earlier}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self._fitted = state["fitted"]
        self._earlier = [losses.cpu() for losses in state["earlier"]]
