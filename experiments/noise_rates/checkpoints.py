"""Estimates of the noise from the best checkpoint of finished runs. Usage: python checkpoints.py RUN...

Prints one line per run: rates, then errors of matrices.
"""

import sys

import torch

from alasca_pl import load_run
from alasca_pl.core.noise_estimate import matrix_error
from alasca_pl.methods.noise_estimates import AllEstimates
from alasca_pl.runs.stored import data_of
from alasca_pl.training.scan import run_scan


def main(*folders: str) -> None:
    """Print the table."""
    estimator = AllEstimates()
    print(f"| run | accuracy on clean training labels | true | {' | '.join(estimator.names)} | errors of matrices |")
    print("| --- |" + " ---: |" * (len(estimator.names) + 3))
    for folder in folders:
        run = load_run(folder, "best")
        data = data_of(run)
        labels = data.noisy_labels
        label = torch.from_numpy(labels.label)
        scan = run_scan(
            list(run.module.method.networks), data.eval_batches("train"), label, estimator.request, len(label)
        )
        right = (scan.probs[0].argmax(dim=1).numpy() == labels.clean_label).mean()
        found = estimator.estimates(scan)
        errors = {
            name: matrix_error(each.matrix, labels.transition_matrix)
            for name, each in found.items()
            if each.matrix is not None
        }
        cells = [f"{value:.3f}" for value in (right, labels.realised_rate, *(each.rate for each in found.values()))]
        print(f"| {run.record.folder} | {' | '.join(cells)} | {', '.join(f'{n} {e:.3f}' for n, e in errors.items())} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
