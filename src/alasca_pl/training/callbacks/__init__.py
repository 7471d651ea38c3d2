"""Measuring, recording, guarding: what accompanies a run without changing it."""
