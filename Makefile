.PHONY: help check format test test-slow smoke

help:  ## Show this
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

check:  ## Lint, format and types
	uv run ruff check .
	uv run ruff format --check .
	uv run mypy

format:  ## Format and fix what can be fixed
	uv run ruff check --fix .
	uv run ruff format .

test:  ## Fast tests
	uv run pytest

test-slow:  ## Tests that take minutes
	uv run pytest -n 0 -m slow

smoke:  ## One tiny run through the real command
	uv run alasca-train trainer=smoke
