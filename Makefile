# Two targets a newcomer needs: `make demo` and `make test`. Each makes its own environment first.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
BENCH_VENV ?= .venv-bench
# The range that benchmarks/peers.py was written for.
PEERS = 'lm-eval[hf]>=0.4.13,<0.5'
# Nothing here may reach for a model hub; the embedded default and the tests need none.
OFFLINE = HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TOKENIZERS_PARALLELISM=false

.PHONY: demo test lint types check env wheel bench bench-scoring clean

demo: env
	$(OFFLINE) $(BIN)/seamaug expand --budget 10k --out runs/demo
	$(OFFLINE) $(BIN)/seamaug show runs/demo

test: env
	$(OFFLINE) $(BIN)/python -m pytest

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: env
	$(BIN)/mypy

check: test lint types

# The figures of the README and of benchmarks/results: minutes, on an otherwise idle machine.
bench: env
	$(OFFLINE) $(BIN)/python benchmarks/expand.py --out benchmarks/results/expand.json

# The scorer against its peers, about twenty minutes on two idle cores. They need packages that
# nothing else here does, so they have an environment of their own. DATA: a folder that holds
# preference-demo.jsonl.gz and preference-larger.jsonl.gz; without it the bundled seeds serve.
bench-scoring: $(BENCH_VENV)/.installed
	$(OFFLINE) $(BENCH_VENV)/bin/python benchmarks/scoring.py $(if $(DATA),--data '$(DATA)') \
	  --out benchmarks/results/scoring.json

env: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(call install,$(VENV),-e '.[dev]')

$(BENCH_VENV)/.installed: pyproject.toml Makefile
	$(call install,$(BENCH_VENV),-e '.[cpu]' $(PEERS))

# An environment in folder $(1) with what $(2) names.
# uv where it is there (seconds), pip otherwise (a minute or two). uv does not read pip's settings,
# so pip's own find-links folders, where wheels of this machine may lie, are handed on to it.
define install
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "seamaug needs Python 3.11 or newer; this is " + sys.version)'
	$(PYTHON) -m venv $(1)
	if command -v uv >/dev/null 2>&1; then \
	  UV_FIND_LINKS="$$($(PYTHON) -m pip config list 2>/dev/null | sed -n "s/.*find-links='\(.*\)'/\1/p" | head -n 1)" \
	    uv pip install --quiet --python $(1)/bin/python $(2); \
	else \
	  $(1)/bin/python -m pip install --quiet $(2); \
	fi
	touch $(1)/.installed
endef

clean:
	rm -rf $(VENV) $(BENCH_VENV) build dist
