# Two commands for a fresh machine: `make demo` and `make test`. Both run `make setup` first, which is a
# no-op while .venv is up to date.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,\
	$(if $(shell $(name) -c 'import sys, venv; print(sys.version_info >= (3, 11))' 2>/dev/null | grep True),$(name))))
BIN := .venv/bin
READY := .venv/.ready
DOCS := .venv/.docs
RESULTS ?= results

.PHONY: help setup demo demo-full test benchmark-index benchmark-jobs coverage lint check gpu-check slurm-nightly check-nightly gate-selftest docs wheel clean

help:
	@echo "make demo       pretrain two methods small, evaluate few-shot, report: minutes on two CPU cores"
	@echo "make test       the whole test suite"
	@echo "make demo-full  the same at the size where pretraining pays, with scratch and point-mae"
	@echo "make coverage   the whole test suite, and which lines it runs (htmlcov/index.html)"
	@echo "make benchmark-index  make 100,000 runs, time the commands that read them, delete them: half an hour, 6 GB"
	@echo "make benchmark-jobs   plan and run 100,000 made-up jobs twice, count what is lost, measure what each costs: hours"
	@echo "make lint       ruff, mypy, import contracts"
	@echo "make check      the accuracy-regression check"
	@echo "make check-nightly  the same with all six methods and more data, three seeds: half an hour"
	@echo "make gpu-check  on a machine with a GPU: its tests, the step's speed, two short pretrainings, a report: 8 minutes"
	@echo "make slurm-nightly  studies on a real SLURM: time limits, a drained node, a killed controller: half an hour"
	@echo "make gate-selftest  break the package in six ways, and see the check notice: an hour"
	@echo "make docs       the documentation as a web site in site/; a broken link is an error"
	@echo "make wheel      build a wheel in dist/, install it into a fresh environment and try it"
	@echo "make setup      what they all do first"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python >= 3.11 with venv found; install one or run make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing pinned packages into .venv (about two minutes, 5 GB with the CUDA build of torch)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,fps,teachers,mlflow,wandb,slurm,postgres]'
	@touch $@

demo: setup
	$(BIN)/bench run --config demos/quick.yaml --results $(RESULTS)
	$(BIN)/bench report --results $(RESULTS)

demo-full: setup
	$(BIN)/bench run --config demos/full.yaml --results $(RESULTS)
	$(BIN)/bench report --results $(RESULTS)

# Files that take long come first (marker `long`), then all others by name, so that no process is left with a long one alone.
test: setup
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

coverage: setup
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --cov --cov-report=term:skip-covered --cov-report=html

RUNS ?= 100000
benchmark-index: setup
	$(BIN)/python tests/benchmarks/stored_runs.py all $(or $(TMPDIR),/tmp)/benchmark-index --runs $(RUNS)

JOBS ?= 100000
benchmark-jobs: setup
	$(BIN)/python tests/benchmarks/many_jobs.py $(or $(TMPDIR),/tmp)/benchmark-jobs --jobs $(JOBS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict bench
	$(BIN)/lint-imports

check: setup
	$(BIN)/bench check --baseline baselines/ci.json --seeds 2 --golden tests/golden --undecided pass

check-nightly: setup
	$(BIN)/bench check --baseline baselines/nightly.json --golden tests/golden

gpu-check: setup
	$(BIN)/python tests/benchmarks/gpu_check.py

slurm-nightly: setup
	BENCH_SLURM_NIGHTLY=1 $(BIN)/python -m pytest tests/slurm

gate-selftest: setup
	$(BIN)/python tests/benchmarks/gate_selftest.py --results $(RESULTS)/gate-selftest --page docs/gate-selftest.md

$(DOCS): $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheel: setup
	$(BIN)/python .ci/try_wheel.py dist

clean:
	find results reports -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
	rm -rf build dist site htmlcov .coverage* *.egg-info .mypy_cache .ruff_cache .pytest_cache
