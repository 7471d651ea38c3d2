"""What a run came to, as tables and pictures; needs neither torch nor data."""
