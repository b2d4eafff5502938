// SPDX-License-Identifier: GPL-2.0
/*
 * reboot(LINUX_REBOOT_CMD_KEXEC) into a kernel that cannot take over what is
 * preserved: refused before anything is frozen. And what userspace can find out
 * beforehand.
 *
 * The kernels are copies of the one in IOMMU_LIVEUPDATE_KERNEL, changed in what
 * they say about themselves.
 */
#include <libliveupdate.h>

#include "es1370.h"
#include "iommufd.h"
#include "kexec_image.h"
#include "pci.h"
#include "require.h"
#include "vmm.h"

#define SYSFS	"/sys/kernel/iommu_liveupdate/"
#define SECOND_MEMORY_TOKEN	(VMM_MEMORY_TOKEN + 1)

/* Read an attribute, a string. */
static int attribute_read(const char *path, char *value, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t len;

	if (fd < 0)
		return -errno;
	len = read(fd, value, size - 1);
	close(fd);
	if (len < 0)
		return -errno;
	value[len] = '\0';
	return 0;
}

/* Tell whether @line is one of @lines, each of which ends with a newline. */
static bool has_line(const char *lines, const char *line)
{
	size_t len = strlen(line);

	for (; *lines; lines = strchr(lines, '\n') + 1)
		if (!strncmp(lines, line, len) && lines[len] == '\n')
			return true;
	return false;
}

FIXTURE(preflight)
{
	int luo;
	int session;
	char bdf[PCI_BDF_SIZE];
	struct vmm vmm;
};

FIXTURE_SETUP(preflight)
{
	const char *reason = vmm_missing(self->bdf);
	int ret = kexec_image_load_kernel("");

	if (ret == -ENOENT)
		SKIP(return missing(_metadata), "no kernel to load");
	ASSERT_EQ(0, ret);
	if (reason)
		SKIP(return missing(_metadata), "%s", reason);
	self->luo = luo_open_device();
	if (self->luo < 0)
		SKIP(return missing(_metadata), "no " LUO_DEVICE);
	ASSERT_EQ(0, vmm_create(&self->vmm, self->bdf));
	ASSERT_EQ(0, es1370_start(&self->vmm.dev, GUEST_IOVA));
	self->session = luo_create_session(self->luo, "preflight");
	ASSERT_GE(self->session, 0);
}

FIXTURE_TEARDOWN(preflight)
{
	sysfs_write(SYSFS "on_incompatible", "refuse");
	close(self->session);
	vmm_destroy(&self->vmm);
	close(self->luo);
	kexec_image_unload();
}

/* What an image lacks, by its content or by its command line. */
static const struct {
	const char *what;
	const char *from;
	const char *to;
	const char *words;
} lacking[] = {
	{ "any strings", "LUpd", "none", "" },
	{ "a kernel_info", "LToP", "none", "" },
	{ "the index", "linux,iommu-liveupdate-v1",
	  "linux,iommu-liveupdate-v0", "" },
	{ "the state of an iommufd", "linux,iommufd-liveupdate-v1",
	  "linux,iommufd-liveupdate-v0", "" },
	{ "KHO", "kho-v4", "kho-v3", "" },
	{ "LUO", "luo-v5", "luo-v4", "" },
	{ "memfds", "memfd-v2", "memfd-v1", "" },
	{ "vfio-pci", "vfio-pci-v1", "vfio-pci-v0", "" },
	{ "kho=on", "LUpd", "LUpd", "kho=off" },
	{ "liveupdate=on", "LUpd", "LUpd", "liveupdate=0" },
};

TEST_F(preflight, refused)
{
	int second = guest_memory_create(GUEST_MEMORY_SEALS);
	size_t i;

	ASSERT_GE(second, 0);
	ASSERT_EQ(0, vmm_preserve(&self->vmm, self->session));
	for (i = 0; i < ARRAY_SIZE(lacking); i++) {
		ASSERT_EQ(0, kexec_image_load_changed(lacking[i].from,
						      lacking[i].to,
						      lacking[i].words))
			TH_LOG("lacking %s", lacking[i].what);
		EXPECT_EQ(-EPROTONOSUPPORT, kexec_image_start())
			TH_LOG("lacking %s", lacking[i].what);
	}
	EXPECT_TRUE(es1370_dma_arrives(self->vmm.guest));

	/* The session is neither frozen nor lost. */
	EXPECT_EQ(0, luo_session_preserve_fd(self->session, second,
					     SECOND_MEMORY_TOKEN));
	EXPECT_EQ(-EPROTONOSUPPORT, kexec_image_start());
	ASSERT_EQ(0, close(self->session));
	self->session = luo_create_session(self->luo, "preflight");
	ASSERT_GE(self->session, 0);
	EXPECT_EQ(0, vmm_preserve(&self->vmm, self->session));
	EXPECT_TRUE(es1370_dma_arrives(self->vmm.guest));
	close(second);
}

/* The control: a copy like the others gets as far as freezing. */
TEST_F(preflight, same)
{
	ASSERT_EQ(0, vmm_preserve_iommufd(&self->vmm, self->session));
	ASSERT_EQ(0, kexec_image_load_changed("LUpd", "LUpd", ""));
	EXPECT_EQ(-EINVAL, kexec_image_start());

	/* The first error is the one of the image. */
	ASSERT_EQ(0, kexec_image_load_changed("LUpd", "none", ""));
	EXPECT_EQ(-EPROTONOSUPPORT, kexec_image_start());
	EXPECT_TRUE(es1370_dma_arrives(self->vmm.guest));
}

/* The last word counts, in the spellings of the kernel. */
TEST_F(preflight, command_line)
{
	ASSERT_EQ(0, vmm_preserve_iommufd(&self->vmm, self->session));
	ASSERT_EQ(0, kexec_image_load_kernel("kho=off kho=Yes"));
	EXPECT_EQ(-EINVAL, kexec_image_start());
	ASSERT_EQ(0, kexec_image_load_kernel("kho=off -- kho=on"));
	EXPECT_EQ(-EPROTONOSUPPORT, kexec_image_start());
}

/* Memory alone does not need the IOMMU: the reboot would succeed. */
TEST_F(preflight, nothing_required)
{
	char required[1024];

	ASSERT_EQ(0, luo_session_preserve_fd(self->session, self->vmm.memory,
					     VMM_MEMORY_TOKEN));
	ASSERT_EQ(0, attribute_read(SYSFS "required", required,
				    sizeof(required)));
	EXPECT_STREQ("", required);
}

/* The image says what the kernel says, and the kernel can take itself over. */
TEST_F(preflight, supported)
{
	char supported[1024], required[1024], *line;

	ASSERT_EQ(0, attribute_read(SYSFS "required", required,
				    sizeof(required)));
	EXPECT_STREQ("", required);
	ASSERT_EQ(0, vmm_preserve(&self->vmm, self->session));
	ASSERT_EQ(0, attribute_read(SYSFS "required", required,
				    sizeof(required)));
	ASSERT_EQ(0, attribute_read(SYSFS "supported", supported,
				    sizeof(supported)));
	EXPECT_TRUE(has_line(required, "linux,iommu-liveupdate-v1"));
	EXPECT_TRUE(has_line(required, "linux,iommufd-liveupdate-v1"));

	for (line = strtok(required, "\n"); line; line = strtok(NULL, "\n"))
		EXPECT_TRUE(has_line(supported, line))
			TH_LOG("%s is not supported", line);
	for (line = strtok(supported, "\n"); line; line = strtok(NULL, "\n"))
		EXPECT_TRUE(kexec_image_contains(line))
			TH_LOG("%s is not in the image", line);
	EXPECT_FALSE(kexec_image_contains("linux,iommu-liveupdate-v0"));

	ASSERT_EQ(0, close(self->session));
	ASSERT_EQ(0, attribute_read(SYSFS "required", required,
				    sizeof(required)));
	EXPECT_STREQ("", required);
}

TEST_F(preflight, policy)
{
	char policy[16];

	ASSERT_EQ(0, attribute_read(SYSFS "on_incompatible", policy,
				    sizeof(policy)));
	EXPECT_STREQ("refuse\n", policy);
	EXPECT_EQ(-EINVAL, sysfs_write(SYSFS "on_incompatible", "ignore"));
	EXPECT_EQ(0, sysfs_write(SYSFS "on_incompatible", "stop\n"));
	ASSERT_EQ(0, attribute_read(SYSFS "on_incompatible", policy,
				    sizeof(policy)));
	EXPECT_STREQ("stop\n", policy);
}

/* A reboot that would stop the devices can still fail. */
TEST_F(preflight, stop_called_off)
{
	char required[1024];
	char bdf[PCI_BDF_SIZE];
	struct vmm second;
	int session;

	ASSERT_EQ(0, pci_find(PCI_VENDOR_REDHAT, PCI_DEVICE_NVME,
			      PCI_GROUP_SINGLE, bdf));
	ASSERT_EQ(0, vmm_create(&second, bdf));
	ASSERT_EQ(0, vmm_preserve(&self->vmm, self->session));

	/* It is frozen after the other one, and nobody could get it back. */
	session = luo_create_session(self->luo, "second");
	ASSERT_GE(session, 0);
	ASSERT_EQ(0, vmm_preserve_iommufd(&second, session));

	ASSERT_EQ(0, kexec_image_load_changed("LUpd", "none", ""));
	ASSERT_EQ(0, sysfs_write(SYSFS "on_incompatible", "stop"));
	EXPECT_EQ(-EINVAL, kexec_image_start());
	EXPECT_TRUE(es1370_dma_arrives(self->vmm.guest));
	ASSERT_EQ(0, attribute_read(SYSFS "required", required,
				    sizeof(required)));
	EXPECT_STRNE("", required);

	ASSERT_EQ(0, sysfs_write(SYSFS "on_incompatible", "refuse"));
	EXPECT_EQ(-EPROTONOSUPPORT, kexec_image_start());
	EXPECT_TRUE(es1370_dma_arrives(self->vmm.guest));
	close(session);
	vmm_destroy(&second);
}

TEST_HARNESS_MAIN
