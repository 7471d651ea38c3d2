"""Contracts and mechanisms; independent of all methods, imports only torch and numpy."""
