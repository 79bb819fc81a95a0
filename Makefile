# make demo    an MLP learns to read handwritten digits; pictures in out/mlp/
# make dcgan   a GAN learns to draw digits; pictures and animations in out/dcgan/
# make test    the tests
# make study   activation functions compared; the report is in out/activation_study/
# make lint    ruff and mypy
# make docs    the site, in build/site; OFFLINE=1: with Python for the browser in it (see docs/site/README.md)
# make bench   minidl compared with other frameworks (takes long: see benchmarks/README.md)
# make harden  what takes too long for the tests: sanitizers, kills, damaged files, other processors (see docs/hardening.md)
# make clean   removes all that was built, including the virtual environment
#
# Each first makes what it needs: a virtual environment in .venv with minidl built from this folder.
# Another Python: make PYTHON=python3.12. Arguments for the commands: make demo ARGS="--epochs 5".

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

python := $(VENV)/bin/python
pip := $(python) -m pip --disable-pip-version-check --quiet
# What is compiled: minidl is rebuilt after a change in one of these.
compiled := pyproject.toml setup.py $(wildcard minidl/autograd/*.p* minidl/ops/*.p* minidl/ops/*/*.p* \
    minidl/_kernels/*/*.pyx minidl/_kernels/*/*.pxd)

.PHONY: demo dcgan test study docs lint bench harden clean install
.DEFAULT_GOAL := install

demo: install
	$(python) examples/mlp.py $(ARGS)

dcgan: install
	$(python) examples/dcgan_study.py $(ARGS)

test: install
	$(python) -m pytest $(ARGS)

study: install
	$(python) examples/activation_report.py $(ARGS)

docs: install $(VENV)/documented
	$(python) docs/site/build.py $(if $(OFFLINE),--offline) $(ARGS)

lint: $(VENV)/linted
	$(python) -m ruff check .
	$(python) -m ruff format --check --exclude "*.md" .
	$(python) -m mypy

bench: install
	$(python) benchmarks/run.py $(ARGS)

harden: install
	$(python) tests/harden/run.py $(ARGS)

install: $(VENV)/installed

$(VENV)/installed: $(compiled)
	@command -v $(PYTHON) > /dev/null || \
	    { echo "*** $(PYTHON) is not there; choose one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) tools/check_machine.py
	@echo "Setting up $(VENV) and building minidl: a minute or two ..."
	@test -x $(python) || $(PYTHON) -m venv $(VENV)
	@$(pip) install --editable ".[test]"
	@touch $@

$(VENV)/linted: $(VENV)/installed
	@$(pip) install ruff==0.17.5 mypy==2.4.1
	@touch $@

$(VENV)/documented: $(VENV)/installed docs/site/requirements.txt
	@$(pip) install --requirement docs/site/requirements.txt
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	rm -rf minidl/_kernels/baseline minidl/_kernels/v3 minidl/_kernels/v4
	find minidl -name "*.so" -delete
	find . -name __pycache__ -prune -exec rm -rf {} +
