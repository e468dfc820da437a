# Needs Python 3.10 or newer and make. Everything is installed into .venv, nothing outside this folder changes.
PYTHON ?= python3
AUDIO ?= demo/assets/speech.wav
PORTRAIT ?= demo/assets/portrait.png
SPEEDUP ?= 3
STEPS ?= 40
OUT ?= out
DETECTOR ?=
ARGS ?=
# Handed over in the environment, so that the shell sees spaces and quotes in them as plain text.
export AUDIO PORTRAIT SPEEDUP STEPS OUT DETECTOR
# Idle threads sleep instead of spinning: ten times faster where something else keeps the machine busy.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help demo test setup clean distclean
help:
	@echo 'make demo       a talking-portrait video, plain and accelerated, into out/ (CPU, no downloads of weights)'
	@echo '                AUDIO=my.wav PORTRAIT=me.png SPEEDUP=3 STEPS=40 OUT=out ARGS="more options of demo.run"'
	@echo 'make test       the tests; with ComfyUI in $$COMFYUI_PATH, a parent folder or ~/comfy/ComfyUI also those in it,'
	@echo '                and tests/host and tests/web again in $$COMFYUI_PATH_2. COMFYUI_PATH=none: without ComfyUI'
	@echo '                DETECTOR=1: also those that need ultralytics (AGPL-3.0), which is installed into .venv for them'
	@echo 'make clean      remove out/ and caches; make distclean: .venv as well'

setup:
	@$(PYTHON) tools/setup_env.py

demo: setup
	@.venv/bin/python -m demo.run --audio "$$AUDIO" --portrait "$$PORTRAIT" --speedup "$$SPEEDUP" --steps "$$STEPS" \
		--out "$$OUT" $(ARGS)

test: setup
	@.venv/bin/python tools/run_tests.py $(ARGS)

clean:
	@find . \( -name .venv -o -name .git \) -prune -o -type d -name __pycache__ -exec rm -rf {} +
	@rm -rf out .pytest_cache .ruff_cache

distclean: clean
	@rm -rf .venv
