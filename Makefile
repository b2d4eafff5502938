# SPDX-License-Identifier: GPL-2.0
#
# The project's own makefile. It never lands in a kernel tree, and nothing is
# built inside the checkout: sources, builds and tools live in
# $XDG_CACHE_HOME/iommu-liveupdate.

BUILD := tools/liveupdate/build

# Read by the scripts and by liveupdate-vm.
ACCEL ?= tcg
FUZZ_SECONDS ?= 60
export FUZZ_SECONDS KSRC QEMU_EXTRA KCMDLINE_EXTRA ACCEL
# Makefiles of the kernel's own tools know a variable of this name too.
unexport DEBUG

.PHONY: help demo check bench fuzz soak kernel overlay patches vm clean distclean

help:
	@$(BUILD)/help.sh

demo:
	@$(BUILD)/demo.sh

fuzz:
	@$(BUILD)/fuzz.sh

check:
	@$(BUILD)/check.sh $(if $(filter 1,$(DEBUG)),debug)

soak:
	@$(BUILD)/soak.sh

bench:
	@$(BUILD)/bench.sh $(if $(filter 1,$(QUICK)),quick)

kernel:
	@$(BUILD)/prerequisites.sh source kernel rust
	@$(BUILD)/kernel.sh vm

overlay:
	@$(BUILD)/overlay-user.sh

patches:
	@$(BUILD)/patches.sh

vm:
	@$(BUILD)/vm.sh

clean:
	@$(BUILD)/clean.sh builds

distclean:
	@$(BUILD)/clean.sh everything
