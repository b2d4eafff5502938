// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

static int open_kernel(void)
{
	const char *path = getenv("IOMMU_LIVEUPDATE_KERNEL") ?: DEFAULT_KERNEL;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Load the kernel in @kernel, with @words added to the running command line. */
static int load(int kernel, const char *words)
{
	char cmdline[2048] = {}, with_words[sizeof(cmdline) + 256];
	ssize_t len;
	int fd;

	fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	len = read(fd, cmdline, sizeof(cmdline) - 1);
	close(fd);
	if (len < 0)
		return -errno;
	cmdline[strcspn(cmdline, "\n")] = '\0';
	len = snprintf(with_words, sizeof(with_words), "%s%s%s", cmdline,
		       *words ? " " : "", words);
	if (len >= (ssize_t)sizeof(with_words))
		return -E2BIG;

	return syscall(SYS_kexec_file_load, kernel, -1, len + 1, with_words,
		       (unsigned long)KEXEC_FILE_NO_INITRAMFS) ? -errno : 0;
}

/* Map a private copy of the kernel. */
static int map_kernel(char **image, size_t *size)
{
	int fd = open_kernel();
	struct stat stat;

	if (fd < 0)
		return fd;
	if (fstat(fd, &stat)) {
		close(fd);
		return -errno;
	}
	*size = stat.st_size;
	*image = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	close(fd);
	return *image == MAP_FAILED ? -errno : 0;
}

/* Make a file of @image. The kernel only loads files that nobody can write. */
static int file_of(const char *image, size_t size)
{
	int fd = memfd_create("kernel", MFD_CLOEXEC);
	int ret = -EIO;
	char path[64];

	if (fd < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (write(fd, image, size) == (ssize_t)size) {
		ret = open(path, O_RDONLY | O_CLOEXEC);
		if (ret < 0)
			ret = -errno;
	}
	close(fd);
	return ret;
}

/*
 * Find the last one in @image. What is compressed, and may contain anything,
 * comes first.
 */
static char *find_last(char *image, size_t size, const char *string, size_t len)
{
	char *last = NULL, *at = image;

	while ((at = memmem(at, size - (at - image), string, len)))
		last = at++;
	return last;
}

int kexec_image_load_changed(const char *from, const char *to,
			     const char *words)
{
	size_t size, len = strlen(from);
	char *image, *at;
	int kernel, ret;

	if (strlen(to) != len)
		return -EINVAL;
	ret = map_kernel(&image, &size);
	if (ret)
		return ret;

	at = find_last(image, size, from, len);
	if (at)
		memcpy(at, to, len);
	kernel = at ? file_of(image, size) : -ENOENT;
	munmap(image, size);
	if (kernel < 0)
		return kernel;
	ret = load(kernel, words);
	close(kernel);
	return ret;
}

bool kexec_image_contains(const char *string)
{
	bool found;
	size_t size;
	char *image;

	if (map_kernel(&image, &size))
		return false;
	found = find_last(image, size, string, strlen(string) + 1);
	munmap(image, size);
	return found;
}

int kexec_image_load_kernel(const char *words)
{
	int kernel = open_kernel();
	int ret;

	if (kernel < 0)
		return kernel;
	ret = load(kernel, words);
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
