# lsr-search: `make demo` and `make test` set everything up by themselves in .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
CORE   := $(wildcard index/core/*.hpp index/core/*.cpp index/core/CMakeLists.txt)

.PHONY: help demo test test-slow test-api test-seats test-core test-neon sanitize fuzz crash check format results bench bench-engine bench-head bench-encode bench-training bench-service bench-scaling screenshots dev stub clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.base  ## Index and search the standard library's documentation, offline
	@$(BIN)/lsr demo

test: $(VENV)/.dev  ## Run the tests (under 6 minutes on 2 cores)
	$(BIN)/python -m pytest -n auto --dist worksteal

test-slow: $(VENV)/.dev  ## Run the heavy tests as well
	$(BIN)/python -m pytest -n auto --dist worksteal -m "slow or not slow"

test-api: $(VENV)/.dev  ## Send 100,000 generated requests to the API (half an hour; REQUESTS=, MINUTES=, SEQUENCES=)
	$(BIN)/python tests/contract.py --requests $(or $(REQUESTS),100000) --minutes $(or $(MINUTES),60) --sequences $(or $(SEQUENCES),500)

test-seats: $(VENV)-seats/.done  ## Test our seats in LangChain, LlamaIndex, Haystack, PyTerrier and MCP, in .venv-seats
	$(VENV)-seats/bin/python -m pytest tests/seats -o asyncio_mode=auto -o filterwarnings=default

test-core:  ## Test the compiled core alone, on every instruction path of this machine
	$(MAKE) --no-print-directory -C tests/core test

test-neon:  ## The same on an emulated ARM machine
	$(MAKE) --no-print-directory -C tests/core neon

sanitize:  ## The same under the address, undefined-behaviour and thread sanitizers
	$(MAKE) --no-print-directory -C tests/core sanitize

fuzz:  ## Fuzz damaged segments and odd queries, SECONDS=600 each
	$(MAKE) --no-print-directory -C tests/core fuzz

crash: $(VENV)/.dev  ## Kill, cut the power and damage at every point (half an hour; tests/crash/README.md)
	PYTHONPATH=tests $(BIN)/python -m crash.power
	PYTHONPATH=tests $(BIN)/python -m crash.killing
	PYTHONPATH=tests $(BIN)/python -m crash.full
	PYTHONPATH=tests $(BIN)/python -m crash.flips
	PYTHONPATH=tests $(BIN)/python -m crash.serving

check: $(VENV)/.dev  ## Format, lint and strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror index/core/*.[hc]pp tests/core/*.[hc]pp

format: $(VENV)/.dev  ## Lay out Python and C++
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i index/core/*.[hc]pp tests/core/*.[hc]pp

results: $(VENV)/.dev  ## Measure what data/results/ compares, going on after a kill (LSR_MODELS, LSR_DATA; an hour)
	$(BIN)/lsr evaluate scifact nfcorpus-stopped insuranceqa medquad boolq wikiqa msmarco-dl19-mini dbpedia-entity-mini \
		acl-title2abstract cranfield cisi cacm medline vaswani xquad-en --systems data/results/systems.toml --output build/results --page data/results

bench: $(VENV)/.bench  ## Measure against other engines (minutes; see tests/bench/README.md)
	$(BIN)/python tests/bench/run.py

bench-engine: $(VENV)/.bench  ## Compare with the engines that lead the field (an hour; tests/bench/README.md)
	$(BIN)/python tests/bench/engine_bench.py $(BENCH)

bench-head: $(VENV)/.dev  ## Compare training steps with the stock SPLADE head (minutes; tests/bench/README.md)
	$(BIN)/python tests/bench/head.py $(BENCH)

bench-training: $(VENV)/.dev  ## Train every named system and ablation alike (hours; BENCH="--models DIR")
	$(BIN)/python tests/bench/training_bench.py $(BENCH)

bench-encode: $(VENV)/.dev  ## Encode beside stock sentence-transformers (minutes; BENCH="--backbone FOLDER")
	$(BIN)/python tests/bench/encode.py $(BENCH)

screenshots: $(VENV)/.dev  ## Photograph the search page (INDEXES="a=a.index b=b.index --encoder b=FOLDER")
	$(PIP) -e '.[browser]'
	$(BIN)/python tests/page_screenshots.py $(INDEXES)

bench-service: $(VENV)/.base  ## Measure the service over HTTP, with wrk (ten minutes; BENCH="--only search")
	$(BIN)/python tests/bench/service_bench.py $(BENCH)

bench-scaling: $(VENV)/.dev  ## Measure the constants of service/SCALING.md (minutes; needs lsr-search[ray] or --no-ray)
	$(BIN)/python tests/bench/shards_bench.py $(BENCH)

stub: $(VENV)/.dev  ## Regenerate index/_core.pyi from the compiled module
	cd $(VENV) && bin/python -m nanobind.stubgen -m index._core -o ../index/_core.pyi

dev: $(VENV)/.dev  ## Rebuild the core whenever it is imported and its sources changed
	$(PIP) --no-build-isolation --no-deps -C editable.rebuild=true -C editable.verbose=false -e .

clean:  ## Remove the environment and everything built
	rm -rf $(VENV) $(VENV)-seats build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Python files are read from the checkout; only the compiled core needs installing again.
$(VENV)/bin/python:
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "wanted Python's venv and headers:" \
	  "on Debian and Ubuntu, apt install python3-venv python3-dev" >&2; exit 1; }

$(VENV)/.base: $(VENV)/bin/python pyproject.toml constraints.txt $(CORE)
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	$(PIP) -e '.[train,dev]'
	@touch $@

$(VENV)/.bench: $(VENV)/.base
	$(PIP) -e '.[bench]'
	$(PIP) --no-deps splade-index pyterrier-pisa
	@touch $@

# Apart from .venv: some of these bring plug-ins of pytest that would change every other test.
$(VENV)-seats/.done: pyproject.toml constraints.txt $(CORE)
	$(PYTHON) -m venv $(VENV)-seats
	$(VENV)-seats/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-e '.[langchain,llama-index,haystack,pyterrier,mcp]' langchain-tests pytest hypothesis
	@touch $@
