# The two commands of the README: `make run` and `make test`. Both set up .venv by themselves.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SOURCES := $(shell git ls-files CMakeLists.txt pyproject.toml cmake cpp python lammps_inputs)

.PHONY: run test validate sanitize lint bench clean

run: $(VENV)/.installed
	$(BIN)/python -m lbpsi_driver quickstart

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest

# Whether 95 % intervals hold the truth in 90-99 % of 200 seeded repeats; rewrites the tables of
# docs/pages/validation.md. About 4 minutes on an idle core.
validate: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python tests/intervals/validate.py --write

# The kernels and the computes, not the pair style: torch's deep binding does not go with ASan.
SANITIZED := build/sanitized
SANITIZERS := $(shell $(CXX) -print-file-name=libasan.so) $(shell $(CXX) -print-file-name=libubsan.so)

sanitize: $(SANITIZED)/.installed
	PYTHONPATH=$(abspath $(SANITIZED)) LD_PRELOAD="$(SANITIZERS)" ASAN_OPTIONS=detect_leaks=0 \
	UBSAN_OPTIONS=print_stacktrace=1 $(BIN)/python -m pytest tests/kernels tests/lammps/test_compute_*.py

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	git ls-files 'cpp/*.h' 'cpp/*.cpp' | xargs $(BIN)/clang-format --dry-run --Werror

bench: $(VENV)/.installed-dev
	for kernel in kabsch motifs computes analyze mliap_py; do $(BIN)/python benchmarks/bench_$$kernel.py || exit; done

clean:
	rm -rf $(VENV) build

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# A wheel is installed, not a link to the sources: what is run and tested is what users get.
$(VENV)/.installed: $(SOURCES) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet '.[mace]'
	touch $@

$(VENV)/.installed-dev: $(SOURCES) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet '.[dev]'
	touch $@ $(VENV)/.installed

$(SANITIZED)/.installed: $(SOURCES) | $(VENV)/.installed-dev
	rm -rf $(SANITIZED)
	$(BIN)/python -m pip install --quiet --no-deps --target $(SANITIZED) \
	  -C cmake.define.LBPSI_SANITIZE=ON -C build-dir=build/sanitize .
	touch $@
