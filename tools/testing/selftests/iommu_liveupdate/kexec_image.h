/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Images for reboot(LINUX_REBOOT_CMD_KEXEC). Each function returns 0 or a
 * negative errno.
 */
#ifndef SELFTESTS_IOMMU_LIVEUPDATE_KEXEC_IMAGE_H
#define SELFTESTS_IOMMU_LIVEUPDATE_KEXEC_IMAGE_H

#include <stdbool.h>

/*
 * Load with kexec_load(2), which carries no KHO state, a few instructions that
 * write KEXEC_STUB_MESSAGE and reset the machine. -EOPNOTSUPP if there are none
 * for this architecture.
 */
int kexec_image_load_stub(void);

/*
 * Load with kexec_file_load(2) the kernel that the environment variable
 * IOMMU_LIVEUPDATE_KERNEL names, "/kernel" by default, with the command line of
 * the running one and, at its end, @words.
 */
int kexec_image_load_kernel(const char *words);

/*
 * The same with a copy of the kernel that has @to, of the same length, in place
 * of the last @from. -ENOENT also if there is no @from.
 */
int kexec_image_load_changed(const char *from, const char *to,
			     const char *words);

/* Tell whether that kernel contains @string followed by a NUL. */
bool kexec_image_contains(const char *string);

int kexec_image_unload(void);

/* Start what is loaded. Returns only if that is refused. */
int kexec_image_start(void);

#endif /* SELFTESTS_IOMMU_LIVEUPDATE_KEXEC_IMAGE_H */
