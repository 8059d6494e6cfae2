# `make help` lists the targets. VENV= (empty) uses PYTHON as it is and installs nothing.
PYTHON ?= python3
VENV ?= .venv
# Processes that run the tests.
WORKERS ?= 2
# Evidence of a GPU: A (four minutes), B (seven), C (an hour) or all (A and B). Wheels for a machine that reaches no registry, and its Python.
STAGE ?= all
WHEELS ?= .whl
FOR ?= 3.12
# Where there is no browser or no SLURM, the tests install Debian's: for root on Debian, or with SETUP=apt. SETUP=none installs nothing.
SETUP ?= auto
PY := $(if $(VENV),$(VENV)/bin/python,$(PYTHON))
RUN_READY := $(if $(VENV),$(VENV)/.installed-run,packages-here)
PEERS_READY := $(if $(VENV),$(VENV)/.installed-peers,)
DEV_READY := $(if $(VENV),$(VENV)/.installed-dev,)

# What pip has to build again when it changes.
BUILT := pyproject.toml constraints.txt $(wildcard bench/engines/fused/*)

.DEFAULT_GOAL := help
# What a run needs beside the program itself: where there is an NVIDIA GPU, what compiles and launches its kernels.
comma := ,
EXTRA := $(if $(shell nvidia-smi -L 2>/dev/null),[cuda])

# Settings go through ARGS: as a variable of make one would be lost.
FIELDS := grid run_dir device engine threads fresh depth width n_samples d_in seed tau max_epochs learning_rate dropout weight_decay
$(foreach name,$(FIELDS),$(if $(findstring command,$(origin $(name))),$(error $(name)= is no variable of make; write GRID=name, or ARGS='$(name)=...')))

.PHONY: help bench diagnose test test-exhaustive test-all sanitize gpu-evidence occupancy lint format compare perf-check capacity-check reference perf report clean wheels

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

bench: $(RUN_READY)  ## train a grid and write tables, heatmaps and report.html; GRID=question, ARGS='grid.depth=[1,2] tau=0.1'
	$(PY) -m bench $(if $(GRID),grid=$(GRID)) $(ARGS)

diagnose: $(RUN_READY)  ## why does a network not memorize? ARGS='depth=4 width=16 n_samples=200'
	$(PY) -m bench diagnose $(ARGS)

report: $(RUN_READY)  ## rebuild tables, figures and report.html of a finished run; RUN=results/default ARGS=--redraw
	$(PY) -m bench report $(RUN) $(ARGS)

# Compiled Python is kept, whatever the environment says: tests start many processes.
PYTEST = PYTHONDONTWRITEBYTECODE= $(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=25

test: $(DEV_READY) browser slurm  ## run the test suite, but for what takes long; ARGS='-k packing'
	$(PYTEST) -m "not exhaustive" $(ARGS)

test-exhaustive: $(DEV_READY) browser slurm  ## run the tests that take long: every protocol, build and chip
	$(PYTEST) -m exhaustive $(ARGS)

test-all: test test-exhaustive  ## run both

lint: $(DEV_READY)  ## check format, style, types and workflows
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m pyright $(if $(VENV),,--pythonpath $$(command -v $(PYTHON)))
	$(PY) -m check_jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(PY) -m check_jsonschema --builtin-schema vendor.github-actions .github/actions/*/action.yml

format: $(DEV_READY)  ## rewrite the code in the house's format
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

sanitize: $(DEV_READY)  ## the fused core's tests on a build that reports errors of memory and undefined behaviour
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --upgrade --target build/sanitize \
		-Cbuild-dir=build/sanitized -Ccmake.define.MEMCAP_SANITIZE=ON .
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
		$(PY) tests/engines/sanitize.py build/sanitize $(ARGS)

gpu-evidence: $(DEV_READY)  ## on a machine with an NVIDIA GPU: tests, sanitizers, speeds; STAGE=A; into results/reference/<device>, or OUT
	$(PY) tests/engines/gpu/evidence.py $(STAGE) --wheels $(WHEELS) $(ARGS)

# Of what a machine that trains networks on GPUs may lack.
LACKING := hydra-core omegaconf beartype cuda-core cuda-bindings cuda-pathfinder

wheels: $(DEV_READY)  ## for make gpu-evidence on a machine that reaches no registry; WHEELS=.whl FOR=3.12
	rm -f $(WHEELS)/*.whl
	$(PY) -m pip download --quiet --disable-pip-version-check --no-deps -c constraints.txt -d $(WHEELS) --only-binary=:all: \
		--implementation cp --python-version $(FOR) $(addprefix --platform manylinux,_2_28_x86_64 _2_17_x86_64 2014_x86_64) $(LACKING)
	$(PY) -m pip wheel --quiet --disable-pip-version-check --no-deps -c constraints.txt -w $(WHEELS) antlr4-python3-runtime

occupancy: $(DEV_READY)  ## what would bound each shape on a GPU, by a model; needs none; ARGS=sm_100
	$(PY) -m bench.engines.cuda.occupancy $(ARGS)

compare: $(PEERS_READY)  ## the same networks trained by other libraries, turn by turn; ARGS='shapes=speed peers=[native,jax]'
	$(PY) -m bench compare $(ARGS)

# A commit, and an interpreter of another environment.
BASE ?=
BASE_PYTHON ?=
perf-check: $(DEV_READY)  ## is this checkout slower than a base? BASE=<git ref>, or BASE_PYTHON=<python> of another environment
	$(PY) -m bench check speed $(if $(BASE),'base=$(BASE)') $(if $(BASE_PYTHON),'base_python=$(BASE_PYTHON)') $(ARGS)

capacity-check: $(RUN_READY)  ## does training learn what it did? against the reference, or a run; ARGS='base=results/old head=results/new'
	$(PY) -m bench check capacity $(ARGS)

reference: $(DEV_READY)  ## train the reference of capacity-check anew; its diff says what changed
	$(PY) -m tests.gates.make_reference

perf: $(DEV_READY)  ## benchmark the engine's step, planning, store and tables; ARGS='--benchmark-json=perf.json'
	$(PY) -m pytest tests/perf/benchmarks.py tests/perf/gated.py --benchmark-only --benchmark-disable-gc -s $(ARGS)

clean:  ## remove the environment and caches; results stay
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .benchmarks build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: browser
browser: $(DEV_READY)
	@$(PY) tests/report/chrome.py 2>/dev/null || sh tests/install.sh $(SETUP) "tests of the page" chromium chromium-driver

.PHONY: slurm
slurm: $(DEV_READY)
	@$(PY) tests/runs/slurmd.py 2>/dev/null || sh tests/install.sh $(SETUP) "tests of executor=slurm" --no-install-recommends slurm-wlm munge

.PHONY: packages-here
packages-here:
	@$(PY) -c 'import importlib.util as u, sys; lacks = [n for n in ("torch", "numpy", "pandas", "hydra", "jaxtyping", "seaborn", "pyarrow", "scipy") if not u.find_spec(n)]; sys.exit(f"memcap: $(PYTHON) lacks {lacks}; install them: $(PYTHON) -m pip install -e ." if lacks else 0)'

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 11) else f"memcap needs Python 3.11 or newer, $(PYTHON) is {v[0]}.{v[1]}; name one: make PYTHON=python3.12")'
	@echo "memcap: setting up $(VENV), once: PyTorch is installed and the training core compiled, which takes some minutes"
	$(PYTHON) -m venv $(VENV)
	@touch $@

define TELL_BUILT
@$(PY) -c 'import importlib.util as u; u.find_spec("bench.engines._native") or print("memcap: the training core was not compiled, so PyTorch trains, several times slower; $(PY) -m pip install -v -e . shows why")'
endef

$(VENV)/.installed-run: $(VENV)/.python $(BUILT)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.$(EXTRA)'
	$(TELL_BUILT)
	@touch $@

$(VENV)/.installed-peers: $(VENV)/.python $(BUILT)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(if $(EXTRA),cuda$(comma))peers]'
	$(TELL_BUILT)
	@touch $@ $(VENV)/.installed-run

$(VENV)/.installed-dev: $(VENV)/.python $(BUILT)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(TELL_BUILT)
	@touch $@ $(VENV)/.installed-run $(VENV)/.installed-peers
