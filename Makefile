# What a contributor runs is what CI runs: `make check`.
PYTHON ?= $(firstword $(wildcard .venv/bin/python) python3)

.PHONY: check static format format-check lint types layers tests quick whole

check: static tests

static: format-check lint types layers

format:
	$(PYTHON) -m ruff check --quiet --fix .
	$(PYTHON) -m ruff format .

format-check:
	$(PYTHON) -m ruff format --check .

lint:
	$(PYTHON) -m ruff check .

types:
	$(PYTHON) -m mypy

layers:
	$(PYTHON) -m pytest -q tests/test_layers.py

tests:
	$(PYTHON) -m pytest -q -n auto

# Under a minute on two cores: while one works. CI runs all of them.
quick:
	$(PYTHON) -m pytest -q -n auto -m "not slow and not crash and not acceptance"

# The searches and storms at their full length: an hour or so.
whole:
	ASSETS_MODEL_EXAMPLES=200 ASSETS_STORM_KILLS=100 $(PYTHON) -m pytest -q -n auto
