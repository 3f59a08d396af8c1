# Every target sets up what it needs: a virtual environment in .venv with the exact versions of requirements.lock.
PYTHON ?= python3.11
VENV = .venv
BIN = $(VENV)/bin
SHARED ?= ../shared

.PHONY: demo test test-fast check docs bench-features bench-handbook bench-sffsd bench-model bench-start bench-unlabelled dashboard clean

demo: $(VENV)/ready  ## the whole way on a simulated portfolio
	$(BIN)/strata demo

test: check  ## format, lint, types, tests, the README's commands
	$(BIN)/python -m pytest -q --numprocesses 2 --dist loadscope --no-loadscope-reorder

test-fast: $(VENV)/ready  ## for every save: lint, and the tests that need no training and no server
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -q --numprocesses 2 --dist loadscope --no-loadscope-reorder -m "not slow" tests/features tests/pipeline/casework tests/pipeline/evaluation tests/pipeline/policy tests/test_architecture.py

check: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench-features: $(VENV)/ready  ## how fast features are built, beside DuckDB by hand, Polars and pandas
	$(BIN)/python -m benchmarks.speed

bench-handbook: $(VENV)/ready  ## the Handbook's four folds against tuned gradient boosting
	$(BIN)/python benchmarks/handbook.py --shared $(SHARED) --models layered,xgboost,logistic

bench-sffsd: $(VENV)/ready  ## S-FFSD by time, its test labels never known and known late
	$(BIN)/python benchmarks/sffsd.py --shared $(SHARED)

bench-model: $(VENV)/ready  ## the layered network beside boosting, a flat network and TabM; PART=handbook runs a part alone
	$(BIN)/python -m benchmarks.model --shared $(SHARED) --parts "$(PART)"

bench-start: $(VENV)/ready  ## how fast a command answers, how large an installation is; DEMO=1 times the demo, too
	$(BIN)/python -m benchmarks.start $(if $(DEMO),--demo) $(if $(HOME_DIR),--home $(HOME_DIR))

bench-unlabelled: $(VENV)/ready  ## anomaly scores and pretraining on worlds without labels
	$(BIN)/python -m benchmarks.unlabelled

docs: $(VENV)/ready  ## the pages of features and of the portfolio, and the picture of a window, from the code
	$(BIN)/python -m features.docs.page > docs/features.md
	$(BIN)/python -m features.docs.picture > docs/window.svg
	$(BIN)/python -m pipeline.portfolio_reference > docs/portfolio.md
	$(BIN)/python docs/commands_page.py > docs/commands.md

dashboard: $(VENV)/ready  ## the review desk and MLflow
	$(BIN)/strata dashboard

$(VENV)/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

clean:
	rm -rf $(VENV) .strata
