"""Contracts and mechanisms; knows no method and imports only torch and numpy."""
