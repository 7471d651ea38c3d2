"""The training loop: the only LightningModule, scans and callbacks. Uses contracts, no particular method."""
