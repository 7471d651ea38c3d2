"""Callbacks that measure, record and check a run without changing it."""
