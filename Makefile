# Two commands do everything: `make demo` and `make test`. Both set up their own .venv the first time.
#   PYTHON=/path/to/python   the Python to make .venv with (3.10 or newer)
#   TORCH=cpu                take PyTorch's CPU build from PyTorch's own index (see binder/requirements.txt)
#   PYTEST_ARGS="-k magic"   passed on to pytest

.DEFAULT_GOAL := help
PY := .venv/bin/python
PANEL := jupyter_lossacc/views/panel
export PYTHON TORCH

.PHONY: help
help: ## Say what can be made
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## /\1|/' | awk -F'|' '{printf "make %-11s %s\n", $$1, $$2}'

.PHONY: demo
demo: ## Run the quickstart in a real kernel and say in words what it found
	@bash .ci/setup demo
	@$(PY) examples/demo.py

.PHONY: lab
lab: ## Open the quickstart in JupyterLab
	@bash .ci/setup demo
	@$(PY) -m jupyterlab examples/quickstart.ipynb

.PHONY: test
test: ## Run all tests, those in a real browser and with real frameworks included
	@bash .ci/setup test
	@bash .ci/setup browser
	@LOSSACC_CHROMIUM="$$(bash .ci/setup chromium)" $(PY) -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)
	@$(if $(PYTEST_ARGS),,$(MAKE) --no-print-directory frameworks)

.PHONY: frameworks
frameworks: ## Run the tests that train with Lightning, Hugging Face, fastai, skorch and Ignite
	@bash .ci/setup frameworks
	@.venv-frameworks/bin/python -m pytest $(or $(PYTEST_ARGS),tests/frameworks)

.PHONY: lint
lint: ## Check format, style, types and who imports whom
	@bash .ci/setup dev
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports

.PHONY: format
format: ## Format the Python sources
	@bash .ci/setup dev
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

.PHONY: panel
panel: ## Build the panel's JavaScript and CSS from views/panel/js
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js 20 or newer (Debian: apt-get install nodejs npm)." >&2; exit 1; }
	@cd $(PANEL)/js && npm ci --silent --no-audit --no-fund && npm run --silent build

.PHONY: site
site: ## Build the documentation as a site in build/site; warnings are errors
	@bash .ci/setup dev
	@$(PY) -m sphinx -q -W --keep-going -b html -c .ci/site . build/site
	@echo "Built: build/site/index.html"

.PHONY: screenshot
screenshot: ## Take the README's pictures of the panel from the quickstart
	@bash .ci/setup browser
	@LOSSACC_CHROMIUM="$$(bash .ci/setup chromium)" $(PY) examples/screenshot.py

.PHONY: bench
bench: ## Measure what recording and the panel cost
	@bash .ci/setup test
	@$(PY) examples/bench.py
	@bash .ci/setup browser
	@LOSSACC_CHROMIUM="$$(bash .ci/setup chromium)" $(PY) examples/bench_panel.py

.PHONY: gallery
gallery: ## Write gallery.html: every state of the panel on one page
	@bash .ci/setup test
	@$(PY) -m tests.views.gallery gallery.html --causes

.PHONY: batteries
batteries: ## Train what has a known cause anew, and make the tables of tests/battery again
	@bash .ci/setup test
	@$(PY) -m tests.battery

.PHONY: studies
studies: ## Make the documentation's tables again (hours)
	@bash .ci/setup studies
	@$(PY) examples/quickstart_seeds.py --write
	@$(PY) examples/execute.py --write
	@$(PY) -m tests.studies
