"""How a batch becomes a loss: what a method is made of, and one file for each kind of step."""
