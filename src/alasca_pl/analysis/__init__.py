"""Looking at runs: opening them, summing them up, drawing them. Needs no data set."""
