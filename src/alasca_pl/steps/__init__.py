"""How a loss is computed from a batch: the parts of a method, and one file for each kind of step."""
