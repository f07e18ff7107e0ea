# make demo    a food order on the embedded log, killed in the middle, goes on
# make test    the whole test suite; a real Apache Kafka comes from Docker, or from Maven and Java 17+
# make simulate SEEDS=200    whole clusters in one thread, with faults by a seed; a seed that fails is shrunk and shown
# make fuzz SECONDS=60    hostile bytes for codec, JSON, a partition, workers and clients (atheris, where it can be installed)
# make chaos FAULTS=50 SEED=1    three Kafka brokers, engines, workers: killed, stopped, cut off, while orders run (minutes)
# make cluster    three Kafka brokers, killed and stopped one after the other while records are appended (two minutes)
# make recovery OPEN=100000    how long work stands still when an engine or a worker is killed or stopped, on a real broker
# make check   all of CI: lint, types, tests
# All of them make .venv first; only a changed pyproject.toml makes them install again.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed-dev
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
SOURCES := schemas log engine workers examples
# More processes than cores, each with a broker of its own: most slow tests wait for timeouts. A file stays in one process.
# One that crashes ends the run, with the test's name: pytest-xdist would replace it, and hang when all others are done.
PYTEST_OPTIONS ?= -q --durations=15 -n 3 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

# Some images set this: then each of the hundreds of processes that the tests start compiles all modules for itself.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo install test compiled jars lint types mypy pyright check bench bench-rebuild recovery chaos cluster fuzz simulate clean python

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; ok = v >= (3, 11); print("Odradek needs Python 3.11 or later, and $(PYTHON) is %d.%d: try make PYTHON=python3.11" % v[:2]) if not ok else None; sys.exit(not ok)'

demo: | python
	@$(PYTHON) tools/demo.py

install: $(INSTALLED)

# uv does in 10 s what takes pip 80; pip does it where its settings alone lead to the packages.
$(INSTALLED): pyproject.toml | python
	@test -x $(BIN)/pip || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); } || \
		{ rm -rf $(VENV); echo "$(PYTHON) makes no environments; on Debian: apt install python3-venv"; exit 1; }
	@$(PIP) uv
	$(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python -e '.[dev]' || $(PIP) -e '.[dev]'
	@touch $@

test: $(INSTALLED)
	$(BIN)/pytest $(PYTEST_OPTIONS)

compiled: $(INSTALLED)
	@said=$$($(BIN)/pytest -q -n 0 --collect-only) || { echo "$$said" | tail -n 100; exit 1; }

# Early, while packages come; where it fails, there may be Docker, or an Apache Kafka at KAFKA_BOOTSTRAP_SERVERS.
jars:
	-@cd tests/kafka && $(PYTHON) -c 'import broker; broker.resolve_jars()'

lint: $(INSTALLED)
	$(BIN)/ruff check .

types: mypy pyright
mypy: $(INSTALLED)
	$(BIN)/mypy $(SOURCES)
pyright: $(INSTALLED)
	$(BIN)/pyright

check: lint types test

bench: $(INSTALLED)
	$(BIN)/python bench/run.py

EVENTS ?= 1000000
bench-rebuild: $(INSTALLED)
	$(BIN)/python bench/rebuild.py --events $(EVENTS)

OPEN ?= 100000
recovery: $(INSTALLED)
	$(BIN)/python bench/recovery.py --open $(OPEN)

cluster: $(INSTALLED)
	$(BIN)/pytest -q tests/cluster

FAULTS ?= 50
BROKERS ?= 3
STANDBYS ?= 0
chaos: $(INSTALLED)
	$(BIN)/python -m tests.chaos --faults $(FAULTS) --brokers $(BROKERS) --standbys $(STANDBYS) $(if $(SEED),--seed $(SEED)) \
		$(if $(ONLY),--only "$(ONLY)") $(if $(EACH),--each) $(if $(ONE_BY_ONE),--one-by-one)
	$(if $(ONLY)$(filter 1,$(BROKERS)),,$(BIN)/pytest -q -n 0 tests/chaos/unclean.py)

SEEDS ?= 100
simulate: $(INSTALLED)
	$(BIN)/python -m tests.simulation $(SEEDS) --without "$(WITHOUT)" --trace "$(TRACE)"

SECONDS ?= 60
fuzz: $(INSTALLED)
	@$(BIN)/pip install --quiet --disable-pip-version-check atheris || echo "without atheris, then"
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(if $(TARGET),--target $(TARGET))

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist odradek-data odradek-state odradek-stats \
		tests/kafka/libs tests/kafka/target
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
