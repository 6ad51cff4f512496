# Everything from a fresh checkout: `make run` serves the page, `make test` runs every test, browser included.
PYTHON ?= python3
PORT ?= 7860
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: seal fuzz audit load soak run test lint format bench scenes clean install browser space

install: $(STAMP)

$(STAMP): requirements.txt requirements-dev.txt constraints.txt scripts/make_venv.sh
	PYTHON="$(PYTHON)" sh scripts/make_venv.sh $(VENV)
	touch $@

run: install
	GRADIO_SERVER_PORT=$(PORT) $(BIN)/python app.py

test: install browser
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal -m "not (browser or alone)"; many=$$?; \
	$(BIN)/python -m pytest -m "browser or alone" && exit $$many

browser: install
	PYTHON=$(BIN)/python sh scripts/find_browser.sh

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

space: install
	$(BIN)/python scripts/check_space.py --online

bench: install
	$(BIN)/python -m duet_core bench accuracy --seed 0 --n 2000
	$(BIN)/python -m duet_core bench speed --n 15

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis

seal: install
	$(BIN)/python -m app.seals

fuzz: install
	DUET_FUZZ=$(or $(N),10000) $(BIN)/python -m pytest tests/test_fuzz.py -o timeout=0

audit: install
	PYTHON="$(PYTHON)" sh scripts/audit.sh $(VENV) build/audit

load: install
	$(BIN)/python -m tests.load.crowd --visitors 50
	$(BIN)/python -m tests.load.replicas

soak: install
	$(BIN)/python -m tests.load.soak --requests 500
	$(BIN)/python -m tests.load.stops --stops 100
