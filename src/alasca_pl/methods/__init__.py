"""One file per published method, readable alone."""
