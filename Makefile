# Two commands do everything: `make demo` and `make test`. Both set up .venv first, which takes a second the second time.
VENV := .venv
PYTHON := $(VENV)/bin/python
HOST_PYTHON ?= python3
STAMP := $(VENV)/.installed
DOCS := $(VENV)/.docs
JOBS ?= 2

.PHONY: demo test lint types unit docs gpu install clean

demo: $(STAMP)
	$(VENV)/bin/atm demo --force

test: lint types unit

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(STAMP)
	$(VENV)/bin/mypy

# One thread for each worker: threads of two workers on the same cores wait for each other.
unit: $(STAMP)
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n $(JOBS) --dist worksteal

# What needs a CUDA device: its tests, and the rows of the benchmarks that it changes.
gpu: $(STAMP)
	$(PYTHON) -m pytest -m gpu
	PYTHONPATH=. $(PYTHON) -m benchmarks.engine --device cuda --batch 256 --json > benchmarks/gpu_engine.jsonl
	PYTHONPATH=. $(PYTHON) -m benchmarks.scale --device cuda --json > benchmarks/gpu_scale.jsonl
	PYTHONPATH=. $(PYTHON) -m benchmarks.splits --device cuda --exits 2 4 6 --json > benchmarks/gpu_splits.jsonl

# The site, in build/docs; a broken link or reference fails.
docs: $(DOCS)
	PYTHONPATH=. $(PYTHON) -m sphinx -q -W --keep-going docs build/docs

install: $(STAMP)

# uv installs in seconds what takes pip minutes; where there is none it is brought into the environment itself.
$(STAMP): pyproject.toml constraints.txt
	@if [ ! -x $(PYTHON) ]; then \
	  if command -v uv >/dev/null; then uv venv -q --python $(HOST_PYTHON) $(VENV); else $(HOST_PYTHON) -m venv $(VENV); fi; fi
	@if command -v uv >/dev/null; then UV=uv; else \
	  [ -x $(VENV)/bin/uv ] || $(PYTHON) -m pip install -q uv; UV=$(VENV)/bin/uv; fi; \
	  $$UV pip install -q --python $(PYTHON) -c constraints.txt -e '.[dev]'
	@touch $@

$(DOCS): $(STAMP)
	@if command -v uv >/dev/null; then UV=uv; else UV=$(VENV)/bin/uv; fi; \
	  $$UV pip install -q --python $(PYTHON) -c constraints.txt -e '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
