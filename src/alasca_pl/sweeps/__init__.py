"""Many runs: which of them are done, which are to be run, and where."""
