# The house's commands; `make help` lists them. Each makes what it needs, and nothing twice.
#
# PYTHON=python3.12 picks the interpreter of a new .venv; VENV= another place for it.

PYTHON  ?= python3
VENV    ?= .venv
BIN     := $(VENV)/bin
RUN     := runs/iris
PYTHONS := 3.11 3.12 3.13

# One thread to a process: on small tensors several are slower, and the tests share the cores.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: demo test check slow notebooks bench bench-uci scoreboard reports docs test-pythons help clean

demo: $(VENV)/.run  ## fit a mixture to the iris data, check it, write the report
	$(BIN)/pyrovi run gaussian_mixture --data iris --out $(RUN) --force
	@echo "The report: file://$(CURDIR)/$(RUN)/report.html"

test: $(VENV)/.test  ## the tests that take seconds, doctests included, with branch coverage
	$(BIN)/python -m pytest -m "not slow" -n logical --cov=pyrovi $(ARGS)

check: $(VENV)/.dev  ## formatting, lint, types, floors, and the zoo's shelf against its registry
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/test_shelf.py

slow: $(VENV)/.test  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow -n logical $(ARGS)

notebooks: $(VENV)/.test  ## run every notebook from top to bottom
	$(BIN)/python -m pytest -m notebook $(ARGS)

bench: $(VENV)/.bench  ## speed and accuracy against peers; each prints a table
	@set -e; for each in benchmarks/*.py; do \
		[ -e "$$each" ] || { echo "benchmarks/ holds no benchmark yet"; break; }; \
		echo "== $$each"; $(BIN)/python "$$each"; done

scoreboard: $(VENV)/.run  ## the zoo by every engine, against its reference posteriors
	$(BIN)/python benchmarks/scoreboard.py $(ARGS)

bench-uci: $(VENV)/.run  ## MC dropout and others on ../shared/uci, beside what is published (minutes)
	$(BIN)/python benchmarks/uci.py $(ARGS)

reports: $(VENV)/.run  ## render the zoo's published reports, diagnostics/NAME.html
	$(BIN)/python benchmarks/render_reports.py --write

docs: $(VENV)/.docs  ## build the pages into docs/_build
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build
	@echo "The documentation: file://$(CURDIR)/docs/_build/index.html"

test-pythons:  ## the tests on each supported Python that pyenv has (3.12 and up: a torch of gigabytes)
	@set -e; for version in $(PYTHONS); do \
		python=$$(ls -d "$$(pyenv root)"/versions/$$version.*/bin/python 2>/dev/null | tail -n 1); \
		if [ -z "$$python" ]; then echo "== Python $$version: pyenv has none"; continue; fi; \
		echo "== Python $$version: $$python"; \
		$(MAKE) --no-print-directory test PYTHON="$$python" VENV=.venv-$$version; done

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

clean:  ## remove environments, runs and caches
	rm -rf .venv .venv-* runs dist docs/_build htmlcov .coverage .coverage.* \
		.pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment, and stamps that say what is installed in it. A stamp is as new as what it
# was made from, so an install that is up to date is not repeated.

$(VENV)/.made:
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

PINS    := pyproject.toml constraints.txt
# the build backend is held to the pins too, hence the variable and not --constraint
install  = @echo "Installing pyrovi$(1) into $(VENV): minutes the first time"; \
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install -qq --editable '.$(1)'

$(VENV)/.run: $(VENV)/.made $(PINS)
	$(call install,)
	@touch $@

$(VENV)/.test: $(VENV)/.made $(PINS)
	$(call install,[test])
	@touch $(VENV)/.run $@

$(VENV)/.dev: $(VENV)/.made $(PINS)
	$(call install,[test$(comma)dev])
	@touch $(VENV)/.run $(VENV)/.test $@

$(VENV)/.docs: $(VENV)/.made $(PINS)
	$(call install,[docs])
	@touch $(VENV)/.run $@

$(VENV)/.bench: $(VENV)/.made $(PINS)
	$(call install,[bench])
	@touch $(VENV)/.run $@

comma := ,
