"""Which labels are likely wrong, from what a run's training showed. Needs neither torch nor clean labels."""
