#!/bin/bash
# SPDX-License-Identifier: GPL-2.0

set -euo pipefail
. "$(dirname "$0")/paths.sh"

cat <<EOF
iommu-liveupdate: DMA of passed-through devices goes on while kexec replaces
the host kernel (Linux $SERIES)

  make demo               build all, boot a VM, replace its kernel under two
                          devices that DMA, show that they never stopped;
                          results in out/
  make check              all tests, ends with "N passed, N failed"
  make check DEBUG=1      the tests that need a kexec, on a kernel with KASAN,
                          lockdep and the like; any report of it is a failure
  make fuzz               fuzz what reads the state of another kernel, 60 s
                          per target, FUZZ_SECONDS=n for another time
  make soak               damage what one kernel hands over to the next, 500
                          times in many ways; results in out/
  make bench              count the instructions of each step of an update, for
                          10 to 100,000 table pages; results in out/
  make bench QUICK=1      the same for up to 1,000 table pages
  make kernel             build the patched kernel only
  make vm                 a shell in the VM with the patched kernel
  make overlay KSRC=TREE  put the patches and the overlay into your own tree
  make patches            write all of it as a series for git am, to out/patches
  make clean              remove what was built
  make distclean          remove the whole cache, sources and tools included

  KSRC=TREE               use this Linux $SERIES.y instead of Debian's source
                          package (kernel, demo, check, vm, patches)
  SOAK=N SEED=N           number of damaged hand-overs, and the seed of what was
                          done before
  ACCEL=tcg|kvm           QEMU's accelerator, tcg unless given
  QEMU_EXTRA="..."        more arguments for QEMU
  KCMDLINE_EXTRA="..."    more of the kernel's command line

Sources, builds and tools: $CACHE
EOF
