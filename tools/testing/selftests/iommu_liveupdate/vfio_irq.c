// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/vfio.h>

#include "vfio_irq.h"

#define TIMEOUT_MS	5000

int vfio_irq_set(const struct vfio_pci *dev, __u32 index, __u32 vector,
		 int eventfd)
{
	struct {
		struct vfio_irq_set set;
		__s32 eventfd;
	} arg = {
		.set = {
			.argsz = sizeof(arg),
			.flags = VFIO_IRQ_SET_DATA_EVENTFD |
				 VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = index,
			.start = vector,
			.count = 1,
		},
		.eventfd = eventfd,
	};

	return ioctl(dev->fd, VFIO_DEVICE_SET_IRQS, &arg) ? -errno : 0;
}

static int set_without_data(const struct vfio_pci *dev, __u32 index,
			    __u32 action, __u32 count)
{
	struct vfio_irq_set arg = {
		.argsz = sizeof(arg),
		.flags = VFIO_IRQ_SET_DATA_NONE | action,
		.index = index,
		.count = count,
	};

	return ioctl(dev->fd, VFIO_DEVICE_SET_IRQS, &arg) ? -errno : 0;
}

int vfio_irq_unmask_intx(const struct vfio_pci *dev)
{
	return set_without_data(dev, VFIO_PCI_INTX_IRQ_INDEX,
				VFIO_IRQ_SET_ACTION_UNMASK, 1);
}

int vfio_irq_disable(const struct vfio_pci *dev, __u32 index)
{
	return set_without_data(dev, index, VFIO_IRQ_SET_ACTION_TRIGGER, 0);
}

static bool wait_for(int eventfd, int timeout)
{
	struct pollfd pollfd = { .fd = eventfd, .events = POLLIN };
	__u64 count;

	return poll(&pollfd, 1, timeout) == 1 &&
	       read(eventfd, &count, sizeof(count)) == sizeof(count);
}

bool vfio_irq_arrives(int eventfd)
{
	return wait_for(eventfd, TIMEOUT_MS);
}

bool vfio_irq_arrived(int eventfd)
{
	return wait_for(eventfd, 0);
}
