# Every target sets up what it needs in a virtual environment of its own: .venv.
#   make demo         recognize the bundled recordings with the shipped model
#   make test         run the tests (no torch needed)
#   make test-train   run the training and exporter tests too (installs torch, onnx, onnxruntime)
#   make test-microphone  two minutes of digits through a virtual microphone (CONTRIBUTING.md says what it needs)
#   make test-deploy  deployment to emulated devices, Python included (CONTRIBUTING.md says what it needs)
#   make test-ray     train experiments over a Ray cluster of two nodes on this machine (installs torch and Ray)
#   make sanitize     all programs and the core of the tests under sanitizers and valgrind (docs/sanitizers.md)
#   make fuzz         fuzz all targets side by side: SECONDS=60, FUZZ=name for some (docs/fuzzing.md; needs clang, CMake)
#   make fuzz-coverage  what of native/src the corpora of the fuzz targets reach (needs llvm)
#   make coverage     lines and branches that the tests execute, of C and Python (docs/coverage.md)
#   make mutate FILES="native/src/decoder.c"  whether the tests notice small faults there; ARGS="--sample 100"
#   make lint         ruff and compiler warnings as errors
#   make wheel        build dist/*.whl for this machine
#   make wheels       build dist/*.whl for x86-64, AArch64, ARMv7 and ARMv6, and the source distribution dist/*.tar.gz
#   make test-wheels  the wheels, installed by pip in systems of their processors (CONTRIBUTING.md says what it needs)
#   make static       build dist/edge-digits-*: the recognizer as one static program for each processor (needs CMake)
#   make test-static  run its tests with these programs (ARM under qemu)
#   make test-boot    boot emulated computers, a Raspberry Pi 3 and a Zero among them, that run them (fetches kernels)
#   make zig          install the compiler for other processors, zig, in .venv
#   make clean        remove everything the targets made
PYTHON  ?= python3
VENV    ?= .venv
RUN     := $(VENV)/bin/python
# Compiling every module of torch and others takes longer than all the rest of installing them; Python compiles those
# that are imported, and keeps what it compiled.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check --no-compile
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(shell getconf _NPROCESSORS_ONLN)
# Tests run in as many processes as there are cores; PYTEST_ARGS="-n 0 tests/test_x.py" runs a file in one.
PYTEST  := $(RUN) -m pytest -n auto --maxprocesses 8 --dist worksteal
SOURCES := $(shell find native/src native/include -name '*.[ch]') native/CMakeLists.txt pyproject.toml \
           edge_runtime/__init__.py

VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' edge_runtime/__init__.py)

WHEEL_SOURCES := $(SOURCES) $(shell find edge_runtime native/cmake -type f -not -name '*.pyc') \
           native/CMakePresets.json native/tools/build_wheels.py README.md LICENSE
WHEELS  := $(addprefix dist/edge_runtime-$(VERSION), .tar.gz -py3-none-linux_armv7l.whl -py3-none-linux_armv6l.whl \
           -py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl \
           -py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl)

.PHONY: demo test test-train test-microphone test-wheels test-deploy test-ray sanitize fuzz fuzz-coverage coverage mutate lint wheel wheels static test-static test-boot zig clean

$(RUN):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "edge_runtime needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Python's venv module is missing: sudo apt install python3-venv" >&2; exit 2; }

# One stamp per set of extras; all are editable installs of this checkout, rebuilt when C sources change.
# A greater set makes the stamps of what it holds.
$(VENV)/.installed: $(RUN) $(SOURCES)
	$(INSTALL) -e .
	@touch $@

$(VENV)/.installed-test: $(RUN) $(SOURCES)
	$(INSTALL) -e '.[test]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-train: $(RUN) $(SOURCES)
	$(INSTALL) 'torch==2.13.0' -e '.[train,onnx,test]' onnxscript
	@touch $(VENV)/.installed $(VENV)/.installed-test $@

demo: $(VENV)/.installed
	@$(RUN) -m apps.digit_demo.samples
	@echo; echo "Now with your voice: sudo apt install libportaudio2"; \
	 echo "                     $(VENV)/bin/pip install -e '.[demo]'"; \
	 echo "                     $(RUN) -m apps.digit_demo"

test: $(VENV)/.installed-test
	$(PYTEST) $(PYTEST_ARGS)

# File by file, each in order: torch keeps what it traced, and a later export in the same process may differ for it.
test-train: $(VENV)/.installed-train
	$(PYTEST) --dist loadfile $(PYTEST_ARGS)

test-microphone: $(VENV)/.installed-test
	EDGE_RUNTIME_MICROPHONE_S=120 EDGE_RUNTIME_REQUIRE_MICROPHONE=1 $(RUN) -m pytest tests/test_microphone.py $(PYTEST_ARGS)

sanitize: $(VENV)/.installed-test
	EDGE_RUNTIME_SANITIZE=full $(PYTEST) tests/test_sanitizers.py $(PYTEST_ARGS)

test-wheels: $(VENV)/.installed-test $(VENV)/.installed-zig
	EDGE_RUNTIME_WHEELS=full EDGE_RUNTIME_REQUIRE_ARM=1 $(PYTEST) tests/test_wheels.py tests/test_wheels_in_roots.py \
	  tests/test_supply.py $(PYTEST_ARGS)

test-deploy: $(VENV)/.installed-test
	EDGE_RUNTIME_DEPLOY=full EDGE_RUNTIME_REQUIRE_ARM=1 $(PYTEST) tests/test_deploy.py $(PYTEST_ARGS)

test-ray: $(VENV)/.installed-train
	$(INSTALL) -e '.[ray]'
	EDGE_RUNTIME_REQUIRE_RAY=1 $(RUN) -m pytest tests/test_reproduce_ray.py $(PYTEST_ARGS)

$(VENV)/.installed-fuzz: $(VENV)/.installed-train
	$(INSTALL) -e '.[fuzz]'
	@touch $@

SECONDS ?= 60
fuzz: $(VENV)/.installed-fuzz
	$(RUN) tests/fuzz --seconds $(SECONDS) $(FUZZ)

fuzz-coverage: $(RUN)
	$(RUN) tests/fuzz --coverage $(FUZZ)

coverage: $(VENV)/.installed-train
	$(INSTALL) 'coverage>=7.10'
	$(RUN) tests/measure_coverage.py $(ARGS)

mutate: $(VENV)/.installed-train
	$(INSTALL) 'coverage>=7.10'
	$(RUN) tests/mutate.py $(ARGS) $(FILES)

lint: $(VENV)/.installed-test
	$(INSTALL) ruff
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	cmake -S native -B build/lint -DER_WERROR=ON -DER_BUILD_CLI=ON && cmake --build build/lint

wheel: $(RUN)
	$(RUN) -m pip wheel --quiet --disable-pip-version-check --no-deps -w dist .

$(WHEELS) &: $(VENV)/.installed-zig $(WHEEL_SOURCES)
	$(RUN) native/tools/build_wheels.py

wheels: $(WHEELS)

# What cross builds need, without the package itself.
$(VENV)/.installed-zig: $(RUN) pyproject.toml
	$(INSTALL) $$($(RUN) -c 'import tomllib; \
	  print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["cross"])')
	@touch $@

zig: $(VENV)/.installed-zig

STATIC := $(foreach machine,x86_64 aarch64 armv7l armv6l,dist/edge-digits-$(VERSION)-$(machine))

dist/edge-digits-$(VERSION)-%: $(VENV)/.installed-zig $(SOURCES) $(wildcard native/cli/* edge_runtime/models/*.ernn)
	cd native && cmake --preset $*-static && cmake --build --preset $*-static --target edge-digits
	@mkdir -p dist
	cp build/$*-static/edge-digits $@.part && mv $@.part $@

static: $(STATIC)

test-static: $(VENV)/.installed-test $(STATIC)
	EDGE_RUNTIME_STATIC=$(CURDIR)/dist EDGE_RUNTIME_REQUIRE_ARM=1 \
	  $(PYTEST) tests/test_static_programs.py tests/test_edge_digits.py tests/test_edge_digits_microphone.py \
	  $(PYTEST_ARGS)

test-boot: $(VENV)/.installed-test $(STATIC)
	EDGE_RUNTIME_BOOT=1 EDGE_RUNTIME_STATIC=$(CURDIR)/dist EDGE_RUNTIME_REQUIRE_ARM=1 \
	  $(RUN) -m pytest tests/test_boot.py $(PYTEST_ARGS)

clean:
	rm -rf $(VENV) build dist .pytest_cache .hypothesis
