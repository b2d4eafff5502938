// SPDX-License-Identifier: GPL-2.0
/* NVM Express Base Specification, revision 2.0, sections 3.1.3, 3.3.3 and 5.17 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "nvme_admin.h"

#define CONFIGURATION		0x14
#define CONFIGURATION_ENABLE	0x1
#define CONFIGURATION_ENTRIES	(4 << 20 | 6 << 16)
#define STATUS			0x1c
#define STATUS_READY		0x1
#define QUEUE_SIZES		0x24
#define SUBMISSION_QUEUE	0x28
#define COMPLETION_QUEUE	0x30
#define SUBMISSION_DOORBELL	0x1000

#define QUEUE_ENTRIES		16
#define SUBMISSION_SIZE		64
#define COMPLETION_SIZE		16

#define OPCODE_IDENTIFY		0x06
#define IDENTIFY_CONTROLLER	0x01
/* In the last word of a completion: whether it is new, and an error code. */
#define COMPLETION_PHASE	0x10000
#define COMPLETION_ERROR	(0x7fffU << 17)

#define COMPLETIONS_OFFSET	4096
#define DATA_OFFSET		8192

static int wait_ready(const struct vfio_pci *dev)
{
	__u32 status;

	for (int tries = 0; tries < 500; tries++) {
		if (pread(dev->fd, &status, sizeof(status),
			  dev->bar0 + STATUS) != sizeof(status))
			return -errno;
		if (status & STATUS_READY)
			return 0;
		usleep(10000);
	}
	return -ETIMEDOUT;
}

int nvme_admin_start(const struct vfio_pci *dev, unsigned char *guest,
		     __u64 iova)
{
	const struct {
		__u64 offset;
		__u32 value;
	} writes[] = {
		{ QUEUE_SIZES, (QUEUE_ENTRIES - 1) << 16 | (QUEUE_ENTRIES - 1) },
		{ SUBMISSION_QUEUE, iova },
		{ SUBMISSION_QUEUE + 4, iova >> 32 },
		{ COMPLETION_QUEUE, iova + COMPLETIONS_OFFSET },
		{ COMPLETION_QUEUE + 4, (iova + COMPLETIONS_OFFSET) >> 32 },
		{ CONFIGURATION, CONFIGURATION_ENTRIES | CONFIGURATION_ENABLE },
	};
	int ret = vfio_pci_enable_dma(dev);

	memset(guest, 0, NVME_ADMIN_MEMORY_SIZE);
	for (size_t i = 0; !ret && i < sizeof(writes) / sizeof(*writes); i++)
		ret = vfio_pci_write32(dev, writes[i].offset, writes[i].value);
	return ret ?: wait_ready(dev);
}

int nvme_admin_identify(const struct vfio_pci *dev, unsigned char *guest,
			__u64 iova, unsigned int number)
{
	const __u64 data = iova + DATA_OFFSET;
	const __u32 command[SUBMISSION_SIZE / 4] = {
		[0] = number << 16 | OPCODE_IDENTIFY,
		[6] = data,
		[7] = data >> 32,
		[10] = IDENTIFY_CONTROLLER,
	};

	memcpy(guest + number * SUBMISSION_SIZE, command, sizeof(command));
	return vfio_pci_write32(dev, SUBMISSION_DOORBELL, number + 1);
}

bool nvme_admin_completes(const unsigned char *guest, unsigned int number)
{
	const __u32 *status = (const __u32 *)(guest + COMPLETIONS_OFFSET +
					      number * COMPLETION_SIZE) + 3;

	for (int tries = 0; tries < 500; tries++) {
		__u32 value = __atomic_load_n(status, __ATOMIC_RELAXED);

		if (value & COMPLETION_PHASE)
			return !(value & COMPLETION_ERROR);
		usleep(10000);
	}
	return false;
}
