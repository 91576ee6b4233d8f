# Everyday commands; `make help` lists them. Each needs nothing but Python 3.11+, make, and what `make setup` installs.
.DEFAULT_GOAL := help
.PHONY: help setup fetch demo test lint format bench bench-worker bench-long-life bench-replay-index simulate fuzz chaos lock images clean
PY := .venv/bin/python
# how many tests run at once, each with servers of its own (1.5 GiB); they wait more than they work
TEST_WORKERS ?= 3

help: ## say what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## make .venv with the pinned packages; again only when they change
	@ops/setup.sh

fetch: setup ## download and verify Kafka and Elasticsearch ahead of the first start
	@$(PY) -m ops.embedded.fetch

demo: setup ## run the demo; DEMO_ENGINE=process|docker says what runs its jobs
	@$(PY) -m ops.demo

test: setup ## run all tests: unit, integration, acceptance (those with containers need DOCKER_HOST or a local Docker)
	@$(PY) -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder -m "not alone" || failed=1; \
		$(PY) -m pytest -m alone && [ -z "$$failed" ]

lint: setup ## check style, format, types and shell syntax
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	@for script in .ci/run ops/*.sh ops/containers/*.sh ops/examples/*/*.sh; do bash -n $$script || exit 1; done

format: setup ## put the code into the format that lint checks
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: setup ## measure throughput and latency on this machine
	@$(PY) -m ops.bench

bench-worker: setup ## measure what a worker adds to a container (needs Docker), and how busy its slots are
	@$(PY) -m ops.bench.worker

bench-long-life: setup ## measure fail-over, lost disks and upgrades with a million families; LONG_LIFE="--families 20000" for less
	@$(PY) -m ops.bench.long_life $(LONG_LIFE)

bench-replay-index: setup ## measure `jobstream replay index` against plain bulk writes, with 100,000 jobs
	@$(PY) -m ops.bench.replay_index

simulate: setup ## run worlds of the simulation; SIMULATE="--seconds 600 --seed 0 --jobs 2" says how long and which
	@$(PY) -m tests.simulation $(SIMULATE)

fuzz: setup ## spoil records for the codec and the gate; FUZZ="--seconds 600 --seed 0" says how long and which
	@$(PY) -m tests.fuzz $(FUZZ)

chaos: setup ## kill a whole installation at every crash point and at random; CHAOS="--kills 200 --seconds 3600 --seed 0"
	@$(PY) -m tests.chaos $(CHAOS)

lock: setup ## for maintainers: solve Python's and the servers' dependencies anew
	.venv/bin/pip-compile -q --all-extras --allow-unsafe --generate-hashes --no-emit-find-links --no-emit-index-url \
		--output-file=requirements.lock --strip-extras pyproject.toml
	$(PY) -m ops.embedded.artifacts lock

images: setup ## build the job images on Debian with Docker; no registry is needed
	@ops/containers/busybox-image.sh
	@ops/containers/python-image.sh
	@ops/containers/demo-image.sh

clean: ## remove .venv and all caches of the project; the data in .jobstream stays
	@[ ! -d .cache/ci/docker ] || ops/containers/dockerd.sh stop .cache/ci/docker
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
