"""Results of a run as tables and figures; needs neither torch nor data."""
