# make demo | make test | make check: each sets up .venv first, with nothing but Python 3.11 or newer.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# pinned, and so are the build's own needs, by one variable up to pip 25.2 and by the other from then on
INSTALL := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet

.PHONY: demo docs test coverage slow package check format constraints schema audit release browser clean

demo: $(READY)
	$(BIN)/splitimpera design examples/digits/scenario.yaml

# The site: build/site/index.html, which opens from disk. The gallery's examples are run, those that did not change only once.
docs: $(READY)
	$(BIN)/sphinx-build --jobs 2 --fail-on-warning --keep-going --doctree-dir build/doctrees docs build/site

# Two processes, each with one thread: more threads would only wait for one another.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist worksteal

# half as long again
coverage: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest --cov --numprocesses 2 --dist worksteal

# first those that two processes share, then those that time the machine or fill it
slow: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -m 'slow and not alone' --ignore tests/package --numprocesses 2 --dist worksteal
	$(BIN)/pytest -m 'slow and alone' --ignore tests/package

# Sources and wheel: built, looked through, and installed into a fresh environment; the container files.
package: $(READY)
	$(BIN)/pytest -m slow tests/package

# The check list of a release. It ends with a table of what passed, and uploads nothing.
release: $(READY)
	$(BIN)/python tools/release.py

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
	$(INSTALL) --editable '.[dev]'
	touch $(READY)

# Pins what pyproject.toml asks for and all that it brings. What is pinned already stays: take a line out to renew it.
# The platform's own part of torch's version is left out, so that the pin holds everywhere.
constraints: $(READY)
	$(INSTALL) --editable '.[dev,pins]'
	CUSTOM_COMPILE_COMMAND='make constraints' $(BIN)/pip-compile --quiet --strip-extras --no-emit-options \
		--extra dev --extra pins --build-deps-for editable --output-file constraints.txt pyproject.toml
	sed -i 's/^\(torch==[0-9.]*\)+[a-z0-9]*$$/\1/' constraints.txt

# docs/*.schema.json, after a change of the models.
schema: $(READY)
	$(BIN)/python -m splitimpera.scenario.file_schema scenario > docs/scenario.schema.json
	$(BIN)/python -m splitimpera.scenario.file_schema study > docs/study.schema.json
	$(BIN)/python -m splitimpera.report.schema > docs/results.schema.json
	$(BIN)/python -m splitimpera.report.verified > docs/verification.schema.json

# Known faults of what is pinned; it asks a public database, which not every network allows.
audit: $(READY)
	$(INSTALL) --editable '.[dev,pins]'
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

clean:
	rm -rf $(VENV) runs dist .pytest_cache .mypy_cache .ruff_cache .coverage .import_linter_cache
