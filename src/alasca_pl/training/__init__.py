"""The training loop's side: steps, the one LightningModule, callbacks. Knows contracts, no method."""
