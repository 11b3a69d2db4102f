# SPDX-License-Identifier: GPL-2.0
#
# Every command a person runs. Kbuild reads the file Kbuild, not this one.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

# The stock kernel that is built for and booted.
KERNEL ?= 7.3
export KERNEL

# With KDIR the module is built in place on that tree, with the machine's own tools. Else everything
# comes from the toolbox, which is made at first use.
KDIR ?=
MDIR := $(CURDIR)
in_toolbox := tools/in-toolbox

.PHONY: help run test test-device test-uml test-x86 compare shell modules modules_install clean rebuild fmt fmt-check clippy lint toolbox

help: ## this text
	@echo "make run              the whole way: tools, kernel, module, virtual machine, disks, file system"
	@echo "make test             all checks and most tests; TESTS='-k smoke' chooses guest tests"
	@echo "make test-device      the other tests, with devices that are scripted or slow, twenty minutes"
	@echo "make test-uml         tests in User-Mode Linux with sanitizers, an hour; UML=ci: a part, some minutes"
	@echo "make test-x86         some tests in QEMU with a kernel with sanitizers; builds it first, fifteen minutes"
	@echo "make compare          build/compare.md: tests with devices that are slow or wrong, the C driver and ours side by side"
	@echo "make shell            a shell in a virtual machine with the module and some disks"
	@echo
	@echo "make modules          build/\$$(KERNEL)/virtio_scsi_rs.ko for Debian's stock kernel"
	@echo "make modules KDIR=... virtio_scsi_rs.ko for any kernel built with CONFIG_RUST=y, with your own tools"
	@echo "make modules_install KDIR=...   installs it for that kernel (as root)"
	@echo "make rebuild          the module from scratch"
	@echo "make clean            removes what was built in the clone"
	@echo
	@echo "make fmt              formats Rust and Python; fmt-check only looks"
	@echo "make clippy           clippy over the module; every warning is an error"
	@echo "make lint             formatting, shellcheck, ruff and the rules of the house"
	@echo "make toolbox          only makes the toolbox"
	@echo
	@echo "KERNEL=7.3 (default) or KERNEL=7.2 chooses the stock kernel. V=1 shows commands."
	@echo "The toolbox and kernels are kept in $${XDG_CACHE_HOME:-~/.cache}/virtio-scsi-rs (5 to 12 GB)."

run:
	@tools/run

test:
	@tools/test $(TESTS)

test-device:
	@SUITE=device tools/test $(TESTS)

# UML=ci does a part; UML_SCHEDULES and UML_SEED say how many random schedules of faults, and from which on.
test-uml:
	@for variant in kasan lockdep; do tools/uml-kernel $$variant >/dev/null || exit; done
	@$(in_toolbox) env UML=$(or $(UML),1) TEST_SECONDS=$(or $(TEST_SECONDS),400) UML_SEED=$(UML_SEED) \
		UML_SCHEDULES=$(UML_SCHEDULES) python3 -m pytest tools/tests/test_uml*.py $(TESTS)

# Emulated as well as slowed down by the sanitizers: a part of the tests, one file at a time.
X86_TESTS ?= sanitized smoke recovery needs_reset lost_device device_faults device_events

test-x86:
	@tools/x86-kernel
	@$(in_toolbox) env KERNEL=x86-sanitized python3 -m pytest $(X86_TESTS:%=tools/tests/test_%.py)

compare:
	@$(in_toolbox) tools/compare $(TESTS)

shell:
	@tools/shell

ifeq ($(KDIR),)
modules:
	@tools/build-module $(KERNEL)

modules_install:
	@echo "error: modules_install needs KDIR=, the build tree of the kernel to install for" >&2
	@echo "       'make modules' builds for a virtual machine with Debian's stock kernel: copy" >&2
	@echo "       build/$(KERNEL)/virtio_scsi_rs.ko there and load it with insmod." >&2
	@false
else
modules:
	@tools/check-kdir '$(KDIR)'
	$(MAKE) -C $(KDIR) M=$(MDIR) modules

modules_install: modules
	$(MAKE) -C $(KDIR) M=$(MDIR) modules_install
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

toolbox:
	@tools/toolbox
