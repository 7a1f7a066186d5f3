# Everything goes into dot-folders of this checkout: .venv, .host, .models and .run.
PYTHON ?= python3
# HOST as it is said on the command line; some shells and compilers have a variable of that name in the environment.
HOST_OPTION := $(if $(filter command line,$(origin HOST)),$(if $(HOST),--host "$(HOST)"))
# The browser's tests are of the usual ComfyUI's front end.
LEFT_OUT := $(if $(HOST_OPTION),--ignore=tests/browser)
# What needs no server and little time; without ComfyUI, the plain layer.
QUICK := $(if $(findstring "none",$(HOST_OPTION)),tests/plain,--ignore=tests/live --ignore=tests/browser -m "not slow")
ENVIRONMENT := $(PYTHON) tools/environment.py $(HOST_OPTION)
VENV := $(ENVIRONMENT) run
# Processes the tests are spread over; each layer with a server stays in one.
WORKERS ?= 2
# Many Pythons start in a run: what one of them has compiled is kept for the others, apart from the sources.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX ?= $(CURDIR)/.run/pycache
export CHECKPOINT ADAPTER ENCODER IMAGE DEVICE PORT PEER

.DEFAULT_GOAL := help
.PHONY: help env demo serve lint quick standins test bench gpu fuzz soak lab evidence pictures screenshot release lock clean

help:  ## show this list
	@echo "make TARGET [VARIABLE=value ...]"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

env:  ## set up .venv and ComfyUI [PYTHON=python3.12; HOST=0.24.0, or COMFYUI_PATH=a checkout of your own]
	@$(ENVIRONMENT)

demo: env  ## image in, picture out, through a real server [CHECKPOINT= ADAPTER= ENCODER= IMAGE= DEVICE=cuda]
	@$(VENV) -m tools.demo

serve: env  ## leave a server with this pack up until Ctrl-C [PORT=8188 and what demo takes]
	@$(VENV) -m tools.serve

lint: env  ## ruff, mypy, and what may import what
	@$(VENV) -m ruff check .
	@$(VENV) -m ruff format --check .
	@$(VENV) -m tools.typecheck
	@$(VENV) -c "from importlinter.cli import lint_imports_command as check; check()" --no-logo --no-cache

quick: lint  ## lint, and the tests that need no server and little time [ARGS=; HOST=none does without ComfyUI]
	@OMP_NUM_THREADS=1 $(VENV) -m pytest -n $(WORKERS) --dist loadgroup $(QUICK) $(ARGS)

standins: env  ## make the stand-in models that are not there yet
	@$(VENV) -m tools.standins all

test: env  ## every check and every test [ARGS="-k name"; HOST=0.24.0 leaves out the browser's]
	@$(MAKE) --no-print-directory --jobs=2 lint standins
	@OMP_NUM_THREADS=1 $(VENV) -m pytest -n $(WORKERS) --dist loadgroup $(LEFT_OUT) $(ARGS)

bench: env  ## what the pack costs beside the bare model [DEVICE=cuda PEER=other packs' checkouts ARGS=]
	@$(VENV) -m tools.bench $(if $(DEVICE),--device $(DEVICE)) $(if $(PEER),--peer $(PEER)) $(ARGS)

gpu: env  ## everything that only a card shows, in six minutes at most [ARGS="--only equality memory"]
	@$(VENV) -m tools.gpu $(ARGS)

fuzz: env  ## inputs that nobody wrote, to everything that reads, for five minutes [ARGS="--only typed --seconds 60"]
	@OMP_NUM_THREADS=1 $(VENV) -m tools.fuzz $(ARGS)

soak: env  ## hundreds of random runs on one server, and whether it holds more after them [ARGS="--runs 100 --seed 1"]
	@OMP_NUM_THREADS=1 $(VENV) -m tests.soak $(ARGS)

lab: env  ## make the laboratory's models that are not there yet, from a seed [DEVICE=cuda ARGS=]
	@OMP_NUM_THREADS=1 $(VENV) -m lab.build $(if $(DEVICE),--device $(DEVICE)) $(ARGS)

evidence: env  ## measure the paper's claims in the laboratory and write docs/evidence.md
	@OMP_NUM_THREADS=1 $(VENV) -m lab.evidence $(ARGS)

pictures: env  ## draw the pictures of README and docs with the laboratory's models [ARGS="result icon"]
	@OMP_NUM_THREADS=1 $(VENV) -m tools.pictures $(ARGS)

screenshot: env  ## take the README's picture anew from the real front end
	@$(VENV) -m tools.screenshot

release: env  ## write publisher, address and version everywhere, and check [PUBLISHER= REPOSITORY= VERSION=]
	@$(VENV) -m tools.release --publisher "$(PUBLISHER)" --repository "$(REPOSITORY)" $(if $(filter command line,$(origin VERSION)),--version "$(VERSION)")

lock:  ## renew the exact versions beside the pinned ComfyUI [HOST=0.24.0]
	@$(ENVIRONMENT) lock

clean:  ## remove what the tools made, the environment and the stand-in models included
	@rm -rf .venv .host .models .run .mypy_cache .pytest_cache .ruff_cache .hypothesis
