# Everything a fresh clone needs: each target makes .venv with what it needs; a second call starts at once.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo quickstart test lint bench gallery clean

demo: .venv/.examples  ## fine-tune a pretrained network on photographs, with the callbacks attached
	$(BIN)/python examples/finetune.py

quickstart: .venv/.examples  ## train a small network on digits
	$(BIN)/python examples/quickstart.py

test: lint  ## lint, types, tests
	$(BIN)/pytest -n 2 --dist loadfile

lint: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/.bench  ## every short benchmark, into docs/benchmarks.md: about ten minutes on two CPU cores
	$(BIN)/python -m benchmarks

gallery: .venv/.examples  ## the pictures of docs/gallery.md, from real runs: about ten minutes on two CPU cores
	$(BIN)/python docs/gallery.py

# torch and torchvision come in one pip call: pip then finds a pair that fits.
.venv/.%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable ".[$*]"
	touch $@

.PRECIOUS: .venv/.%

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
