# make train EXP=multires_unc [DATA=cohort] [WORKDIR=...] [OVERLAY=...] [ARGS="..."]; `make help`.
# ARGS are flags of the verb; `train` gives them to prepare and train, PREPARE_ARGS and TRAIN_ARGS to one.

EXP ?= multires_unc
# Before phantoms get the laptop's: what is described is the experiment itself.
GIVEN_OVERLAY := $(if $(OVERLAY),--overlay $(OVERLAY))
PYTHON ?= python3
RUN := .venv/bin/python -m multires_tf
CONFIG := configs/$(EXP).yaml

ifdef DATA
  COHORT := $(DATA)
  FOLDER := $(notdir $(patsubst %/,%,$(if $(filter %.csv,$(DATA)),$(dir $(DATA)),$(DATA))))
  WORKDIR ?= runs/$(EXP)-$(FOLDER)
else
  COHORT := runs/phantom
  WORKDIR ?= runs/$(EXP)
  OVERLAY ?= configs/overlays/laptop.yaml
endif
LOGDIR ?= $(WORKDIR)/tensorboard
PHANTOM := runs/phantom/cohort.csv
# With --keep_going prepare exits with 1 where subjects were left out; the rest is trained on.
LEFT_OUT := $(if $(findstring --keep_going,$(ARGS) $(PREPARE_ARGS)),|| [ $$$$? -eq 1 ])
SETTINGS := --config $(CONFIG) $(if $(OVERLAY),--overlay $(OVERLAY))
ifndef DATA
  SETTINGS += --set register=none  # MR and CT of a phantom are one body in one frame
endif
# Files of tests on two processes; ARGS="-n 0" for one.
TWO_AT_ONCE := -n 2 --dist loadfile
export PYTHONWARNINGS ?= ignore::UserWarning

.DEFAULT_GOAL := help
.PHONY: help phantom describe prepare train calibrate predict evaluate report export
.PHONY: test test-slow smoke check tensorboard clean announce

help:  ## this list
	@sed -n 's/^\([a-z -]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 40

.venv/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade pip
	.venv/bin/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

.venv/developer: .venv/installed
	.venv/bin/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

$(PHANTOM): | .venv/installed
	$(RUN) phantom --out runs/phantom --subjects 16 --seed 0

announce:
ifndef DATA
	@echo "No DATA given: the built-in phantom cohort (runs/phantom) with $(OVERLAY)."
	@echo "With your own scans: make train EXP=$(EXP) DATA=<cohort folder>; see README.md."
endif

train: announce .venv/installed $(if $(DATA),,$(PHANTOM))  ## prepare, train, calibrate, predict, evaluate, report
	$(RUN) prepare --workdir $(WORKDIR) $(SETTINGS) --data $(COHORT) $(ARGS) $(PREPARE_ARGS) $(LEFT_OUT)
	$(RUN) train --workdir $(WORKDIR) $(SETTINGS) $(ARGS) $(TRAIN_ARGS)
	$(RUN) calibrate --workdir $(WORKDIR)
	$(RUN) predict --workdir $(WORKDIR)
	$(RUN) evaluate --workdir $(WORKDIR)
	$(RUN) report --workdir $(WORKDIR)

phantom: .venv/installed  ## the phantom cohort alone, in runs/phantom
	$(RUN) phantom --out runs/phantom --subjects 16 --seed 0 $(ARGS)

describe: .venv/installed  ## the network of EXP: parameters, windows, receptive field
	@$(RUN) describe --config $(CONFIG) $(GIVEN_OVERLAY) $(ARGS)

prepare: announce .venv/installed $(if $(DATA),,$(PHANTOM))  ## bring a cohort into the run folder
	$(RUN) prepare --workdir $(WORKDIR) $(SETTINGS) --data $(COHORT) $(ARGS) $(PREPARE_ARGS)

calibrate predict evaluate report export: .venv/installed  ## one verb on the run folder
	$(RUN) $@ --workdir $(WORKDIR) $(ARGS)

test: .venv/developer  ## the default tests
	.venv/bin/python -m pytest $(TWO_AT_ONCE) $(ARGS)

test-slow: .venv/developer  ## kills, browsers and other backends
	.venv/bin/python -m pytest -m slow $(TWO_AT_ONCE) $(ARGS)

smoke: .venv/installed  ## every verb once, tiny overlay, phantom data
	.venv/bin/python -m multires_tf phantom --out runs/smoke/phantom --subjects 3 --seed 1 --spacing_mm 12
	$(MAKE) train EXP=multires_unc DATA=runs/smoke/phantom WORKDIR=runs/smoke/run OVERLAY=configs/overlays/tiny.yaml
	$(RUN) export --workdir runs/smoke/run
	$(RUN) describe --config configs/multires_unc.yaml

check: .venv/developer  ## format, lint and types
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

tensorboard: .venv/installed  ## TensorBoard on the run folder, or on LOGDIR
	.venv/bin/tensorboard --logdir $(LOGDIR) $(ARGS)

clean:  ## remove runs/smoke
	rm -rf runs/smoke
