# Two commands do all on a fresh machine: `make demo` and `make test`. `make` alone prints what there is.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
CONFIG ?= configs/fashion-mnist/budget.yaml
MODEL  ?= configs/fashion-mnist/model.pt2
STAMP  := $(VENV)/installed
CORES  ?= 2

.DEFAULT_GOAL := help

help:  ## print this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

install: $(STAMP)  ## make a virtual environment with costopt, its extras and the development tools

demo: $(STAMP)  ## compress the shipped Fashion-MNIST model and print the table
	$(BIN)/costopt compress configs/fashion-mnist/model.pt2 --config configs/fashion-mnist/budget.yaml

compress: $(STAMP)  ## make compress MODEL=model.pt CONFIG=configs/...: fails (exit 3) when nothing meets the budget
	$(BIN)/costopt compress $(MODEL) --config $(CONFIG)

test: $(STAMP)  ## all tests, the slow ones too; those that measure time by themselves
	$(BIN)/python -m pytest -n $(CORES) --dist worksteal -m 'not alone'
	$(BIN)/python -m pytest -m alone

fast: $(STAMP)  ## the tests without the slow ones: under four minutes
	$(BIN)/python -m pytest -n $(CORES) --dist worksteal -m 'not slow and not alone'
	$(BIN)/python -m pytest -m 'not slow and alone'

check: $(STAMP)  ## format, lint, types, and the counts of smells
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m tests.smells

bench: $(STAMP)  ## costopt's own speed claims, as ratios in one run
	$(BIN)/python -m tests.bench

golden: $(STAMP)  ## write the expected reports anew (then read the diff)
	$(BIN)/python -m pytest tests/test_reports.py --update-golden

format: $(STAMP)  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove the virtual environment, caches and runs
	rm -rf $(VENV) runs .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

.PHONY: help install demo compress test fast check bench golden format clean
