// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "vfio_pci.h"

int vfio_pci_open_node(const char *bdf)
{
	char path[PATH_MAX];
	struct dirent *entry;
	int fd = -ENODEV;
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev", bdf);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		if (strncmp(entry->d_name, "vfio", 4))
			continue;
		snprintf(path, sizeof(path), "/dev/vfio/devices/%s",
			 entry->d_name);
		fd = open(path, O_RDWR);
		if (fd < 0)
			fd = -errno;
		break;
	}
	closedir(dir);
	return fd;
}

static int region_offset(int fd, __u32 index, __u64 *offset)
{
	struct vfio_region_info info = {
		.argsz = sizeof(info),
		.index = index,
	};

	if (ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &info))
		return -errno;
	*offset = info.offset;
	return 0;
}

int vfio_pci_bind(struct vfio_pci *dev, int iommufd)
{
	struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.iommufd = iommufd,
	};
	int ret;

	if (ioctl(dev->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind))
		return -errno;
	dev->id = bind.out_devid;

	ret = region_offset(dev->fd, VFIO_PCI_CONFIG_REGION_INDEX,
			    &dev->config);
	if (ret)
		return ret;
	return region_offset(dev->fd, VFIO_PCI_BAR0_REGION_INDEX, &dev->bar0);
}

int vfio_pci_open(struct vfio_pci *dev, const char *bdf, int iommufd)
{
	int ret;

	dev->fd = vfio_pci_open_node(bdf);
	if (dev->fd < 0)
		return dev->fd;

	ret = vfio_pci_bind(dev, iommufd);
	if (ret)
		close(dev->fd);
	return ret;
}

int vfio_pci_attach(const struct vfio_pci *dev, __u32 pt)
{
	struct vfio_device_attach_iommufd_pt arg = {
		.argsz = sizeof(arg),
		.pt_id = pt,
	};

	return ioctl(dev->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &arg) ? -errno : 0;
}

int vfio_pci_detach(const struct vfio_pci *dev)
{
	struct vfio_device_detach_iommufd_pt arg = { .argsz = sizeof(arg) };

	return ioctl(dev->fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &arg) ? -errno : 0;
}

int vfio_pci_enable_dma(const struct vfio_pci *dev)
{
	const off_t command = dev->config + PCI_COMMAND;
	__u16 value;

	if (pread(dev->fd, &value, sizeof(value), command) != sizeof(value))
		return -errno;
	value |= PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	if (pwrite(dev->fd, &value, sizeof(value), command) != sizeof(value))
		return -errno;
	return 0;
}

int vfio_pci_write32(const struct vfio_pci *dev, __u64 bar0_offset,
		     __u32 value)
{
	if (pwrite(dev->fd, &value, sizeof(value), dev->bar0 + bar0_offset) !=
	    sizeof(value))
		return -errno;
	return 0;
}
