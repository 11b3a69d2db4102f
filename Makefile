# SPDX-License-Identifier: GPL-2.0
#
# Every command a person runs. Kbuild reads the file Kbuild, not this one.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

# The stock kernel that is built for and booted.
KERNEL ?= 7.3
export KERNEL

# With KDIR the module is built in place on that tree, with the machine's own tools. Without it, and without
# KERNEL=, the running kernel's tree is used if it has what the module needs. Else everything comes from the
# toolbox, which is made at first use.
KDIR ?=
RUNNING_KDIR ?= /lib/modules/$(shell uname -r)/build
# Not $(MAKE) in a recipe: `make -n` would run that.
make_again := $(MAKE) --no-print-directory
choose_kdir = tools/choose-kdir '$(RUNNING_KDIR)' $(if $(filter file,$(origin KERNEL)),,chosen)
MDIR := $(CURDIR)
in_toolbox := tools/in-toolbox

.PHONY: help run check test test-device test-install test-uml test-x86 test-arm64 test-forky fuzz campaign compare bench bench-report bench-draw shell deb modules modules_install clean rebuild fmt fmt-check clippy lint doc pictures top-picture toolbox

help: ## this text
	@echo "make run              the whole way: tools, kernel, module, virtual machine, disks, file system"
	@echo "make check            lint, clippy, host tests, documentation, one smoke boot: three minutes"
	@echo "make test             all checks and most tests; TESTS='-k smoke' chooses guest tests"
	@echo "make test-device      the other tests, with devices that are scripted or slow, half an hour"
	@echo "make test-install     the driver installed in whole systems, which are made first and kept"
	@echo "make test-uml         tests in User-Mode Linux with sanitizers, an hour; UML=ci: a part, some minutes"
	@echo "make test-x86         some tests in QEMU with a kernel with sanitizers; builds it first, fifteen minutes"
	@echo "make test-arm64       some tests in QEMU with Debian's kernel for arm64; prepares it first, twenty-five minutes"
	@echo "make test-forky       the same tests with forky's kernel, built by that suite's compilers; half an hour, the first time more"
	@echo "make fuzz             bytes of a hostile device against the wire code, led by its coverage; SEED=1 RUNS=2000000"
	@echo "make campaign         a hostile device against the driver, at random; SEED=1 MINUTES=10, see docs/campaign.md"
	@echo "make compare          build/compare.md: tests with devices that are slow or wrong, the C driver and ours side by side"
	@echo "make bench            build/bench.md: instructions per read and write, the C driver and ours; CELLS=all: more machines"
	@echo "make bench-report     docs/benchmark.md: that and locks, memory, scans and times, with plots; an hour, see docs/testing.md"
	@echo "make bench-draw       docs/benchmark.md again from what was measured"
	@echo "make shell            a shell in a virtual machine with the module and some disks"
	@echo
	@echo "make modules          the module for the running kernel if its build tree serves, else for Debian's stock kernel"
	@echo "make modules KDIR=... virtio_scsi_rs.ko for any kernel built with CONFIG_RUST=y, with your own tools"
	@echo "make modules KERNEL=7.3         build/7.3/virtio_scsi_rs.ko for Debian's stock kernel, in the toolbox"
	@echo "make modules_install [KDIR=...] installs it for that kernel, or the running one (as root)"
	@echo "make deb              build/deb: Debian packages of the module for stock kernels, and of the chooser; KERNELS=7.3: for these"
	@echo "make rebuild          the module from scratch"
	@echo "make clean            removes what was built in the clone"
	@echo
	@echo "make fmt              formats Rust and Python; fmt-check only looks"
	@echo "make clippy           clippy over the module; every warning is an error"
	@echo "make lint             formatting, shellcheck, ruff and the rules of the house"
	@echo "make doc              rustdoc of all sources, in build/doc; a broken link is an error"
	@echo "make pictures         the pictures of docs/ from their text"
	@echo "make top-picture      the picture of the viewer in README.md"
	@echo "make toolbox          only makes the toolbox"
	@echo
	@echo "KERNEL=7.3 (default) or KERNEL=7.2 chooses the stock kernel, KERNEL=amd64-7.3 or cloud-arm64-7.3 another flavour."
	@echo "V=1 shows commands."
	@echo "The toolbox and kernels are kept in $${XDG_CACHE_HOME:-~/.cache}/virtio-scsi-rs (5 to 12 GB)."

run:
	@tools/run

check:
	@SUITE=check tools/test

test:
	@tools/test $(TESTS)

test-device:
	@SUITE=device tools/test $(TESTS)

test-install:
	@tools/build-module $(KERNEL)
	@tools/root-system $(KERNEL) >/dev/null
	@SUITE=install tools/guest-tests $(TESTS)

# UML=ci does a part; UML_SCHEDULES and UML_SEED say how many random schedules of faults, and from which on.
test-uml:
	@for variant in kasan lockdep; do tools/uml-kernel $$variant >/dev/null || exit; done
	@$(in_toolbox) env UML=$(or $(UML),1) TEST_SECONDS=$(or $(TEST_SECONDS),400) UML_SEED=$(UML_SEED) \
		UML_SCHEDULES=$(UML_SCHEDULES) python3 -m pytest -m uml $(TESTS)

# Emulated as well as slowed down by the sanitizers: a part of the tests, one file at a time.
test-x86:
	@tools/x86-kernel
	@$(in_toolbox) env KERNEL=x86-sanitized python3 -m pytest -m x86 $(TESTS)

# Emulated in any case, and a part of the tests for that reason.
test-arm64: KERNEL := cloud-arm64-$(KERNEL)
# Forky goes on changing, so faults that its compilers find may be new.
test-forky: KERNEL := cloud-amd64-forky
test-arm64 test-forky:
	@tools/build-module $(KERNEL)
	@$(in_toolbox) python3 -m pytest -m arm64 $(TESTS)

# TARGETS, of tools/wire/fuzz, or all.
fuzz:
	@RUNS='$(RUNS)' SEED='$(SEED)' tools/fuzz $(TARGETS)

# What a seed draws, for so many minutes, in the kernels of test-uml. ARGUMENTS: of tools/campaign/__main__.py.
campaign:
	@for variant in kasan lockdep; do tools/uml-kernel $$variant >/dev/null || exit; done
	@$(in_toolbox) env PYTHONPATH=tools:tools/tests DRIVER=$(DRIVER) VSRS_NO_BUILD=1 python3 -m campaign \
		--seed '$(or $(SEED),1)' --minutes '$(or $(MINUTES),10)' $(ARGUMENTS)

compare:
	@$(in_toolbox) tools/compare $(TESTS)

# CELLS=all counts on all machines of tools/bench/cells.py, CELLS=packed,polled on those with one of these in their name.
bench:
	@tools/build-module $(KERNEL)
	@$(in_toolbox) env PYTHONPATH=tools python3 -m bench count '$(CELLS)'

# PARTS, of tools/bench/parts.py, are measured anew, and the other parts are as they were. CELLS chooses machines,
# UNITS numbers of units, PAIRS how many runs are compared.
bench-report:
	@tools/build-module $(KERNEL)
	@$(in_toolbox) env PYTHONPATH=tools CELLS='$(CELLS)' UNITS='$(UNITS)' PAIRS='$(PAIRS)' \
		python3 -m bench report $(PARTS)

# The same from what was measured before, as after a change of benchmark-tried.md.
bench-draw:
	@$(in_toolbox) env PYTHONPATH=tools python3 -m bench draw

shell:
	@tools/shell

# KERNELS="7.3 7.2": for these only.
deb:
	@tools/deb $(KERNELS)

ifeq ($(KDIR),)
modules:
	@kdir=$$($(choose_kdir)) && if [ -n "$$kdir" ]; then \
		$(make_again) modules KDIR="$$kdir"; else tools/build-module $(KERNEL); fi

modules_install:
	@kdir=$$($(choose_kdir) 2>/dev/null); [ -z "$$kdir" ] || \
		exec $(make_again) modules_install KDIR="$$kdir"; \
	echo "error: modules_install needs KDIR=, the build tree of the kernel to install for" >&2; \
	echo "       The running kernel has none that serves: tools/check-kdir '$(RUNNING_KDIR)' says why." >&2; \
	echo "       For a virtual machine with Debian's stock kernel: make modules KERNEL=$(KERNEL), copy" >&2; \
	echo "       build/$(KERNEL)/virtio_scsi_rs.ko there and load it with insmod." >&2; \
	false
else
modules:
	@tools/check-kdir '$(KDIR)'
	$(MAKE) -C "$(KDIR)" M="$(MDIR)" modules

modules_install: modules
	$(MAKE) -C "$(KDIR)" M="$(MDIR)" modules_install
endif

# Kbuild's own clean needs a kernel tree; its leavings in the clone have known names.
clean:
	rm -rf build tools/wire/target
	find . -path ./.git -prune -o -type f \( -name '*.o' -o -name '*.ko' -o -name '*.mod' -o -name '*.mod.c' \
		-o -name '.*.cmd' -o -name '.*.d' -o -name '*.o.d' -o -name 'Module.symvers' -o -name 'modules.order' \
		-o -name 'bindings_generated.rs' \) -exec rm -f {} +
	find . -path ./.git -prune -o -type d -name __pycache__ -exec rm -rf {} +

rebuild:
	rm -rf build/$(KERNEL)
	@tools/build-module $(KERNEL)

fmt:
	@$(in_toolbox) tools/fmt

fmt-check lint:
	@$(in_toolbox) tools/lint

clippy:
	@tools/build-module $(KERNEL) clippy

doc:
	@tools/doc $(KERNEL)

pictures:
	@$(in_toolbox) tools/pictures

top-picture:
	@$(in_toolbox) tools/top-picture

toolbox:
	@tools/toolbox
