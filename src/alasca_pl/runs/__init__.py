"""Operations on runs: train, evaluate, open, and draw the noisy labels into a file."""
