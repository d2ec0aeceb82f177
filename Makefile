# make demo    the main job, end to end, on real photos (PHOTOS=DIR for yours)
# make test-fast  tests that need neither torch nor a JVM, in about a minute
# make test    all tests but the slow ones (TESTS_AT_ONCE=N processes);  make test-slow  the slow ones
# make check   format, lint, types, layers, workflows, pages;  make fix   formats and sorts;  make docs   writes generated pages
# make screens draws the screens of the app into build/screens, and three of them for its page
# make lock    resolves constraints.txt anew: the releases that all of these install (CONSTRAINTS= installs the newest)
# make oldest  resolves oldest.txt: the oldest releases that pyproject.toml allows (make test CONSTRAINTS=oldest.txt)
# make bench   DATA=flickr8k: our numbers and peers', into benchmarks/results/

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
TESTS_AT_ONCE ?= 2
CONSTRAINTS ?= constraints.txt
EVERYTHING := export,snapdragon,dimensity,students,distill,report,serve,embed,ray,aihub,heic,video,reader,android,dev

.PHONY: demo test test-fast test-slow check fix docs screens lock oldest bench

demo: .venv/installed-demo
	@$(BIN)/mcad-mobile demo $(if $(PHOTOS),--photos "$(PHOTOS)")

# Threads of two processes on two cores that wait for each other spin away most of the time; each
# process that tests start would compile all that it imports once more; and most of the Java that
# they run has ended before it would be compiled well.
test test-fast test-slow: export OMP_WAIT_POLICY := PASSIVE
test test-fast test-slow: export PYTHONDONTWRITEBYTECODE :=
test test-slow: export JDK_JAVA_OPTIONS := -XX:TieredStopAtLevel=1 -XX:+UseSerialGC

test: .venv/installed-everything
	$(BIN)/pytest -m "not slow" -n $(TESTS_AT_ONCE) --dist loadfile --no-loadscope-reorder

ACTIONLINT := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

FAST := tests/base tests/data tests/engine tests/cli tests/bench/test_*.py
test-fast: .venv/installed-everything
	$(BIN)/pytest -m "not slow and not long" -p tests.support.fast -n $(TESTS_AT_ONCE) --dist loadfile $(FAST)

test-slow: .venv/installed-everything
	$(BIN)/pytest -m slow

check: .venv/installed-everything
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m benchmarks.results_check
	$(BIN)/python -m scripts.make_docs --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/check-jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema -q --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	$(BIN)/check-jsonschema -q --builtin-schema vendor.github-actions action.yml
	$(BIN)/check-jsonschema -q --builtin-schema vendor.dependabot .github/dependabot.yml
# PyPI's package of actionlint downloads its program from elsewhere as it is installed; Go's builds it.
	@if command -v actionlint || GOBIN=$(CURDIR)/$(BIN) go install $(ACTIONLINT) 2>/dev/null; then \
		PATH=$(BIN):$$PATH actionlint; else echo "actionlint did not run: neither it nor Go's modules can be had."; fi

fix: .venv/installed-everything
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: .venv/installed-everything
	$(BIN)/python -m scripts.make_docs

screens: .venv/installed-everything
	ROBOLECTRIC=PicturesTest $(BIN)/pytest tests/android/robolectric/test_app.py -k 30-Screens
	$(BIN)/python -m scripts.screens

# What is pinned already stays unless a range in pyproject.toml excludes it; UPGRADE=--upgrade takes the newest.
lock: .venv/installed-everything
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --all-extras --no-emit-package mcad-mobile --no-annotate \
		--custom-compile-command "make lock" $(UPGRADE) pyproject.toml -o constraints.txt

# No source is built to learn what it requires. uv takes a release of backports.strenum that is not for Python 3.11.
oldest: .venv/bin/pip
	$(BIN)/pip install -q --disable-pip-version-check uv
	$(BIN)/uv pip compile -q --no-build --resolution lowest-direct --python-version 3.11 --python-platform x86_64-manylinux_2_36 \
		$(addprefix --extra ,$(shell echo $(EVERYTHING) | tr , ' ')) --no-emit-package mcad-mobile --no-annotate \
		--no-header pyproject.toml -o oldest.txt
	sed -i '/^backports-strenum/d' oldest.txt

bench: .venv/installed-peers
	$(BIN)/python -m benchmarks.main_job
	$(BIN)/python -m benchmarks.peers
	$(BIN)/mcad-mobile export --target cpu --out build/cpu
	$(BIN)/python -m benchmarks.embed --data "$(DATA)" --bundle build/cpu --out build/embeddings
	$(BIN)/python -m benchmarks.serve --bundle build/cpu
	$(BIN)/python -m benchmarks.index --embeddings build/embeddings --again
	$(BIN)/python -m benchmarks.kernels --images build/embeddings/images.npy --texts build/embeddings/texts.npy

.venv/bin/pip:
	@$(PYTHON) -m venv .venv

# Installing compiles the C code, so a pulled change of it triggers a new install.
INSTALLED := .venv/bin/pip pyproject.toml $(CONSTRAINTS) $(wildcard mcad_mobile/engine/native/*.[ch] mcad_mobile/engine/native/CMakeLists.txt)

INTO_VENV := .venv/installed-demo .venv/installed-everything .venv/installed-peers
# Absolute, as a package without a wheel runs pip in its own folder.
$(INTO_VENV): export PIP_CONSTRAINT := $(abspath $(CONSTRAINTS))
$(INTO_VENV): export PIP_BUILD_CONSTRAINT := $(abspath $(CONSTRAINTS))

.venv/installed-demo: $(INSTALLED)
	@echo "Installing mcad-mobile and what the demo needs into .venv (a few minutes, once)"
	@$(BIN)/pip install -q --disable-pip-version-check -e ".[export,snapdragon,report]"
	@touch $@

# Modules are byte-compiled when first imported; letting pip compile all of them takes 90 seconds.
.venv/installed-everything: $(INSTALLED)
	$(BIN)/pip install --disable-pip-version-check --no-compile -e ".[$(EVERYTHING)]"
	@touch $@ .venv/installed-demo

.venv/installed-peers: .venv/installed-everything
	$(BIN)/pip install --disable-pip-version-check -e ".[$(EVERYTHING),peers]"
	@touch $@
