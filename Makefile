# Everything here sets up what it needs first (once), in .venv and from the system's packages.
PY := .venv/bin/python

.PHONY: help run test test-slow bench lint setup setup-test clean
help:
	@echo "make run        stand up the stack, break it, print the verdict, write the report"
	@echo "make test       every test but the slow ones (under 12 minutes)"
	@echo "make test-slow  the long proofs: repeated runs on the real stack"
	@echo "make bench      speed and memory, side by side with peers"
	@echo "make lint       types, style and import rules alone"
	@echo "make clean      remove .venv and caches (runs and trained models are kept elsewhere)"

setup:
	@bash .ci/setup run
setup-test:
	@bash .ci/setup test

run: setup
	@.venv/bin/gameday run scenarios/core/drop_features.yaml

test: setup-test
	@bash .ci/test

test-slow: setup-test
	@$(PY) -m pytest -m slow -s

bench: setup-test
	@for part in load links stack cli drift; do \
	  echo; echo "== $$part"; $(PY) -m tests.bench.bench_$$part || exit 1; \
	done

lint: setup-test
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && $(PY) -m mypy
	@.venv/bin/lint-imports

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
