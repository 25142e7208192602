# make demo | make test | make check: each sets up .venv first, with nothing but Python 3.11 or newer.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test slow check format benchmarks browser clean

demo: $(READY)
	$(BIN)/splitimpera design examples/digits/scenario.yaml

# Two processes, each with one thread: more threads would only wait for one another.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest --cov --numprocesses 2 --dist loadfile

slow: $(READY)
	$(BIN)/pytest -m slow

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The report's tests need Chromium; without it they are skipped, and say so.
browser:
	command -v chromium chromium-browser google-chrome >/dev/null || \
		(apt-get update -q && apt-get install -y -q --no-install-recommends chromium fonts-dejavu-core)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .coverage .import_linter_cache
