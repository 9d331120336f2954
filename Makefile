VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/installed
DATA := $(or $(MOBILEODE_DATA),data)

.PHONY: install install-litert install-executorch demo demo-classify demo-trees test test-slow fuzz sanitize sanitize-training lint docs clean

install: $(INSTALLED)

# The stamp is written last, so that an installation that was interrupted runs again.
# OpenCV comes in two distributions that write the same files; only the headless one runs without a desktop's libraries.
$(INSTALLED): setup.py pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install -c constraints.txt -e '.[openmmlab,demo,test,dev]'
	$(PYTHON) -m pip install -c constraints.txt --force-reinstall --no-deps opencv-python-headless
	$(PYTHON) -m mobileode_mm.doctor --compile-kernels
	touch $@

# Runtimes whose pins are not ours, each in an environment of its own: .venv-litert, .venv-executorch. What is left out of
# constraints.txt there is what they pin otherwise.
THEIRS := pytest|scikit-learn|typing-extensions
install-litert install-executorch: install-%: .venv-%/installed

.venv-%/installed: setup.py pyproject.toml constraints.txt
	python3 -m venv .venv-$*
	grep -vE '^($(THEIRS))==' constraints.txt > .venv-$*/constraints.txt
	.venv-$*/bin/python -m pip install -c .venv-$*/constraints.txt -e '.[openmmlab,demo,deploy,$*]'
	.venv-$*/bin/python -m pip install -c .venv-$*/constraints.txt --force-reinstall --no-deps opencv-python-headless
	touch $@

$(DATA)/mini: | install
	$(PYTHON) tools/make_mini_data.py --out $@

demo: install $(DATA)/mini
	$(PYTHON) tools/train.py configs/ssdlite_mobileode_mini.py --work-dir work_dirs/demo --resume
	@echo 'The curves, and the images with predictions beside ground truth:'
	@find $(CURDIR)/work_dirs/demo -name '*.png' -newer $(INSTALLED)

demo-classify: install $(DATA)/mini
	$(PYTHON) tools/train.py configs/classify_mobileode_mini.py --work-dir work_dirs/demo_classify --resume
	$(PYTHON) tools/test.py configs/classify_mobileode_mini.py "$$(cat work_dirs/demo_classify/last_checkpoint)" \
		--work-dir work_dirs/demo_classify/test
	@echo 'The curves, and digits with the predicted class:'
	@find $(CURDIR)/work_dirs/demo_classify -name '*.png' -newer $(INSTALLED)

# Aerial photographs: one site to train on, others for the test; about an hour on two cores. The backbone starts from the
# demo's detector of digits, without which the first epochs find nothing (docs/own_data.md).
$(DATA)/trees: | install
	$(PYTHON) -m mobileode_mm tree-data --out $@

demo-trees: demo $(DATA)/trees
	$(PYTHON) -m mobileode_mm fit $(DATA)/trees --work-dir work_dirs/demo_trees --from "$$(cat work_dirs/demo/last_checkpoint)"

# Two processes of one thread each use two cores; the tests of a file share fixtures, so they stay in one process.
test: install
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 --dist loadfile

test-slow: install
	$(PYTHON) -m pytest -m slow -o faulthandler_timeout=3600

# Damaged checkpoints, JSON and safetensors files: how many were read and refused, and that nothing else came of any.
FUZZ := 4000
fuzz: install
	OMP_NUM_THREADS=1 $(PYTHON) tests/checkpoints/fuzzing.py --count $(FUZZ) $(if $(PAGE),--page $(PAGE))

# The CPU kernels under sanitizers and guard pages, compared with the plain solver too; minutes for each part.
sanitize: install
	$(PYTHON) -m benchmarks.sanitize

# A training of 3,000 iterations under guard pages, hours on two cores; given again, it goes on.
sanitize-training: install $(DATA)/mini
	$(PYTHON) -m benchmarks.sanitize.training

lint: install
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy

# The site, in site/. Its environment is its own and needs no torch, so that the extra is installed without the project;
# Python 3.11 or later, which reads pyproject.toml.
DOCS := .venv-docs
docs: $(DOCS)/installed
	$(DOCS)/bin/python -m mkdocs build --strict

$(DOCS)/installed: pyproject.toml constraints.txt
	python3 -m venv $(DOCS)
	$(DOCS)/bin/python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
		print(*project["optional-dependencies"]["docs"], sep="\n")' > $(DOCS)/requirements.txt
	$(DOCS)/bin/python -m pip install -c constraints.txt -r $(DOCS)/requirements.txt
	touch $@

clean:
	rm -rf $(VENV) .venv-litert .venv-executorch $(DOCS) site build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
