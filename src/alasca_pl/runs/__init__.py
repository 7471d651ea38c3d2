"""What is done with a run: train it, measure it, open it, draw its labels into a file."""
