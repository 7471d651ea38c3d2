"""Images, labels, splits and batches."""
