.PHONY: help check format test test-slow smoke docs

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
	uv run pytest --dist loadgroup -m slow

smoke:  ## One tiny run through the real command
	uv run alasca-train trainer=smoke

docs:  ## The documentation as web pages in docs/_build/html, warnings are errors
	uv run python -m sphinx -W --keep-going -b html docs docs/_build/html
