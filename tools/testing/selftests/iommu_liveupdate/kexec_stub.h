/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SELFTESTS_IOMMU_LIVEUPDATE_KEXEC_STUB_H
#define SELFTESTS_IOMMU_LIVEUPDATE_KEXEC_STUB_H

/* What the stub writes to the first serial port before it resets the machine. */
#define KEXEC_STUB_MESSAGE	"kexec_load(2) image started"

#ifndef __ASSEMBLER__
extern const char kexec_stub[];
extern const char kexec_stub_end[];
#endif

#endif /* SELFTESTS_IOMMU_LIVEUPDATE_KEXEC_STUB_H */
