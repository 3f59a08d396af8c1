# Every target sets up what it needs: a virtual environment in .venv with the exact versions of
# requirements.lock, and of requirements-dev.lock on top for what a user of Strata does not run.
PYTHON ?= python3.11 python3.12 python3.13 python3
VENV = .venv
BIN = $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# What a start loads. Only of that bytecode is made (0.13 GB): of all that is there it is 0.38 GB.
LOADED = alembic, deltalake, duckdb, fastapi, matplotlib.pyplot, mlflow.pytorch, onnx, onnxruntime, \
	prefect, pytorch_lightning, sklearn.linear_model, sqlalchemy, torch, uvicorn, xgboost
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate \
	--custom-compile-command "make lock" $(UPGRADE)
SHARED ?= ../shared

.PHONY: demo test test-fast check docs bench-features bench-ingest bench-handbook bench-sffsd bench-model bench-gpu bench-start bench-unlabelled bench-runs bench-equality bench-faults dashboard lock clean

demo: $(VENV)/ready  ## the whole way on a simulated portfolio
	$(BIN)/strata demo

test: check  ## format, lint, types, tests, the README's commands
	$(BIN)/python -m pytest -q --numprocesses 2 --dist loadscope --no-loadscope-reorder

test-fast: $(VENV)/ready-dev  ## for every save: lint, and the tests that need no training and no server
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -q --numprocesses 2 --dist loadscope --no-loadscope-reorder -m "not slow" tests/features tests/pipeline/casework tests/pipeline/evaluation tests/pipeline/policy tests/test_architecture.py

check: $(VENV)/ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench-features: $(VENV)/ready-dev  ## how fast features are built, beside DuckDB by hand, Polars and pandas
	$(BIN)/python -m benchmarks.speed $(if $(SIZES),--sizes $(SIZES)) $(if $(HOME_DIR),--home $(HOME_DIR))

bench-ingest: $(VENV)/ready  ## how fast files come in, beside DuckDB alone; ROWS="1000000" runs one size
	$(BIN)/python -m benchmarks.ingest $(if $(ROWS),--sizes $(ROWS))

bench-handbook: $(VENV)/ready  ## the Handbook's four folds against tuned gradient boosting
	$(BIN)/python benchmarks/handbook.py --shared $(SHARED) --models layered,xgboost,logistic

bench-sffsd: $(VENV)/ready  ## S-FFSD by time, its test labels never known and known late
	$(BIN)/python benchmarks/sffsd.py --shared $(SHARED)

bench-model: $(VENV)/ready-dev  ## the layered network beside boosting, a flat network and TabM; PART=handbook runs a part alone
	$(BIN)/python -m benchmarks.model --shared $(SHARED) --parts "$(PART)"

bench-gpu: $(VENV)/ready-dev  ## training and scoring on a GPU beside the CPU, where there is one
	$(BIN)/python -m benchmarks.gpu

bench-start: $(VENV)/ready  ## how fast a command answers, how large an installation is; DEMO=1 times the demo, too
	$(BIN)/python -m benchmarks.start $(if $(DEMO),--demo) $(if $(HOME_DIR),--home $(HOME_DIR))

bench-unlabelled: $(VENV)/ready  ## anomaly scores and pretraining on worlds without labels
	$(BIN)/python -m benchmarks.unlabelled

bench-runs: $(VENV)/ready  ## what a scheduled run costs after any history, a small commit after thousands
	$(BIN)/python -m benchmarks.runs $(if $(SIZES),--sizes $(SIZES)) $(if $(HOME_DIR),--home $(HOME_DIR))

bench-equality: $(VENV)/ready  ## every feature of the kernel against DuckDB, simulated and the Handbook's
	$(BIN)/python -m benchmarks.equality --rows $(or $(ROWS),2000000) --handbook $(if $(HOME_DIR),--home $(HOME_DIR))

bench-faults: $(VENV)/ready  ## kills and power cuts at random moments
	$(BIN)/python -m benchmarks.faults

docs: $(VENV)/ready  ## the pages of features and of the portfolio, and the picture of a window, from the code
	$(BIN)/python -m features.docs.page > docs/features.md
	$(BIN)/python -m features.docs.picture > docs/window.svg
	$(BIN)/python -m pipeline.portfolio_reference > docs/portfolio.md
	$(BIN)/python docs/commands_page.py > docs/commands.md

dashboard: $(VENV)/ready  ## the review desk and MLflow
	$(BIN)/strata dashboard

# `ready` is there only while the environment is whole: without it, it is made anew. torch comes with
# what the wheel that pip chose needs (a CUDA wheel: the nvidia packages, which no lock names).
$(VENV)/ready: requirements.lock pyproject.toml
	@test -e $@ || sh make_venv.sh $(VENV) $(PYTHON)
	@rm -f $@
	$(INSTALL) --constraint requirements.lock torch
	$(INSTALL) --no-deps --requirement requirements.lock
	$(INSTALL) --no-deps --editable .
	@cd $(VENV)/lib/python3*/site-packages/torch && rm -rf include test bin/test_* bin/*Test  # 0.18 GB
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -c "import $(LOADED)"
	@touch $@

$(VENV)/ready-dev: requirements-dev.lock $(VENV)/ready
	@rm -f $(VENV)/ready
	$(INSTALL) --no-deps --requirement requirements-dev.lock
	@touch $(VENV)/ready $@

lock: $(VENV)/ready-dev  ## both locks from pyproject.toml; versions stay, or UPGRADE="--upgrade-package NAME"
	$(LOCK) pyproject.toml --output-file requirements.lock
	$(LOCK) pyproject.toml --all-extras --constraint requirements.lock --output-file requirements-dev.lock
	grep -vxFf requirements.lock requirements-dev.lock > $(VENV)/on-top
	(echo "# On top of requirements.lock; made by: make lock"; cat $(VENV)/on-top) > requirements-dev.lock

clean:
	rm -rf $(VENV) .strata
