"""The paper's own contribution: adaptive label smoothing through auxiliary classifiers."""
