# Two commands on a bare machine: `make demo` and `make test`; while working, `make check`. See CONTRIBUTING.md for
# the rest.

PYTHON ?= python3
# The CPU build of torch: on machines with a GPU, `make CONSTRAINTS= ...` takes the newest build instead.
CONSTRAINTS ?= -c constraints-cpu.txt
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS)
DEMO := runs/demo
# One thread for each of the two workers: with more, they wait for each other most of the time. A file is one worker's,
# so that what its tests share is made once; in the order of their names, the files with long tests come early.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Where Python is told to keep no compiled files, each process of the tests would compile package and tests anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check unit lint types docs bench bench-table bench-status clean

# Stamps, so that a second call installs nothing.
.venv/.package: pyproject.toml constraints-cpu.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) -e .
	touch $@

.venv/.dev: .venv/.package
	$(PIP) -e '.[dev]'
	touch $@

demo: .venv/.package
	$(BIN)/lowerbound train digits --out $(DEMO) --overwrite
	$(BIN)/lowerbound evaluate $(DEMO)
	$(BIN)/lowerbound report $(DEMO)
	@echo
	@echo "Pictures: $(DEMO)/samples.png $(DEMO)/reconstructions.png $(DEMO)/latent.png $(DEMO)/curves.png"
	@echo "Report:   $(DEMO)/report.html (open it in a browser)"

test: .venv/.dev
	$(PYTEST)

# Within a minute on two cores: the three side by side, whichever fails.
check: .venv/.dev
	$(MAKE) --no-print-directory --jobs=3 --keep-going lint types unit

# The tests that neither train nor start a process (tests/conftest.py holds them to it), but for those that take long.
unit: .venv/.dev
	$(PYTEST) -m "not runs and not processes and not pages and not slow"

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.dev
	$(BIN)/pyright

docs: .venv/.dev
	$(BIN)/mkdocs build --strict

# The comparisons of speed, one after the other, which want an idle machine; `make bench NAME=mnist_mlp` runs one of all
# benchmarks. What is compared with is installed into PEERS.
NAME ?= training_throughput likelihood_throughput time_to_quality sampling_latency startup growth
PEERS ?= .bench/peers
bench: .venv/.dev
	set -e; for name in $(NAME); do BENCH_PEERS=$(PEERS) $(BIN)/python benchmarks/$$name.py; done

bench-table: .venv/.dev
	$(BIN)/python benchmarks/table.py

# Which result files are older than the code they measure.
bench-status: .venv/.dev
	$(BIN)/python benchmarks/status.py

clean:
	rm -rf .venv site .pytest_cache .ruff_cache
