"""Noise models: from clean labels to observed, noisy ones."""
