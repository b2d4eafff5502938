// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/kexec.h>
#include <linux/reboot.h>

#include "kexec_image.h"
#include "kexec_stub.h"

#define DEFAULT_KERNEL	"/kernel"

/* In RAM, above what the running kernel and its boot data use. */
#define STUB_ADDRESS	0x8000000UL
#define STUB_MEM_SIZE	4096UL

int kexec_image_load_stub(void)
{
	struct kexec_segment segment = {
		.buf = kexec_stub,
		.bufsz = kexec_stub_end - kexec_stub,
		.mem = (void *)STUB_ADDRESS,
		.memsz = STUB_MEM_SIZE,
	};

	if (!segment.bufsz)
		return -EOPNOTSUPP;
	return syscall(SYS_kexec_load, STUB_ADDRESS, 1UL, &segment,
		       KEXEC_ARCH_DEFAULT) ? -errno : 0;
}

int kexec_image_load_kernel(void)
{
	const char *path = getenv("IOMMU_LIVEUPDATE_KERNEL") ?: DEFAULT_KERNEL;
	int kernel = open(path, O_RDONLY | O_CLOEXEC);
	char cmdline[2048] = {};
	int fd, ret = 0;
	ssize_t len;

	if (kernel < 0)
		return -errno;

	fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	len = read(fd, cmdline, sizeof(cmdline) - 1);
	close(fd);
	if (len < 0) {
		ret = -errno;
		goto out;
	}
	cmdline[strcspn(cmdline, "\n")] = '\0';

	if (syscall(SYS_kexec_file_load, kernel, -1, strlen(cmdline) + 1,
		    cmdline, (unsigned long)KEXEC_FILE_NO_INITRAMFS))
		ret = -errno;
out:
	close(kernel);
	return ret;
}

int kexec_image_unload(void)
{
	return syscall(SYS_kexec_load, 0UL, 0UL, NULL, 0UL) ? -errno : 0;
}

int kexec_image_start(void)
{
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		LINUX_REBOOT_CMD_KEXEC, NULL);
	return -errno;
}
