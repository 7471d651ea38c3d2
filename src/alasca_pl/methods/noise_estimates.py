"""All estimates of the noise that methods here can make from one scan, side by side."""

import numpy as np

from alasca_pl.core.noise_estimate import NoiseEstimate, NoiseEstimator
from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.methods.noise_rate import confident_rate, estimate_noise_rate, mixture_rate
from alasca_pl.methods.transition import anchor_matrix, consensus_matrix, dual_t_matrix, rate_of_matrix


class AllEstimates(NoiseEstimator):
    """The estimates of the noise rate and of the transition matrix that methods use.

    By name: ``mixture`` and ``confident``, see ``mixture_rate`` and ``confident_rate``; ``default``, the one of methods that need
    the noise rate, see ``estimate_noise_rate``; ``anchor``, ``dual_t`` and ``consensus``, matrices and their rates, see
    ``anchor_matrix``, ``dual_t_matrix``, ``consensus_matrix`` (of features) and ``rate_of_matrix``.

    Args:
        percentile: See ``anchor_matrix``.
        seed: See ``mixture_rate`` and ``consensus_matrix``.

    Raises:
        ValueError: If ``percentile`` is outside its range.
    """

    request = ScanRequest(losses=True, probs=True, features=True)
    names = ("mixture", "confident", "default", "anchor", "dual_t", "consensus")

    def __init__(self, percentile: float | None = 97.0, seed: int = 0) -> None:
        if percentile is not None and not 0.0 < percentile <= 100.0:
            raise ValueError(f"percentile must lie in (0, 100], got {percentile}; null lets all samples compete")
        self.percentile = percentile
        self.seed = seed

    def estimates(self, scan: ScanResult) -> dict[str, NoiseEstimate]:
        assert scan.losses is not None and scan.probs is not None and scan.features is not None
        label, losses, features = scan.label.numpy(), scan.losses[0].numpy(), scan.features[0].numpy()
        probs = scan.probs[0].double().numpy()
        rates = {
            "mixture": mixture_rate(losses, self.seed),
            "confident": confident_rate(probs, label),
            "default": estimate_noise_rate(scan.losses.numpy(), scan.probs.numpy(), label, self.seed),
        }
        found = {name: NoiseEstimate(rate) for name, rate in rates.items()}
        for name, matrix in {
            "anchor": anchor_matrix(probs, self.percentile),
            "dual_t": dual_t_matrix(probs, label, self.percentile),
        }.items():
            found[name] = NoiseEstimate(rate_of_matrix(matrix, label), matrix)
        consensus = consensus_matrix(features, label, probs.shape[1], self.seed)
        found["consensus"] = NoiseEstimate(consensus.noise_rate, np.asarray(consensus.matrix))
        return found
