// SPDX-License-Identifier: GPL-2.0
/*
 * What live update asks of vfio.
 *
 * A device whose DMA outlived the previous kernel is opened by retrieving its
 * file from the session in which it was preserved, and in no other way. LUO
 * holds that file until the session is finished, which may be never, so that a
 * file that is not bound to an iommufd must not delay that its device is
 * unregistered. It is revoked instead: it puts its registration and cannot be
 * bound any more. What it keeps of the device is the memory.
 */
#include <linux/anon_inodes.h>
#include <linux/iommufd.h>
#include <linux/pci.h>
#include <linux/vfio.h>

#include "../iommu/liveupdate/hooks.h"
#include "pci/vfio_pci_priv.h"
#include "vfio.h"

/* The previous kernel preserved the device, and nobody has closed it since. */
bool vfio_device_dma_inherited(struct vfio_device *device)
{
	return dev_is_pci(device->dev) &&
	       to_pci_dev(device->dev)->dma_inherited;
}

bool vfio_device_awaits_retrieval(struct vfio_device *device)
{
	return vfio_device_dma_inherited(device) &&
	       !to_pci_dev(device->dev)->dma_retrieved;
}

/* Keep a retrieved file from delaying that the device is unregistered. */
void vfio_device_revoke_retrieved(struct vfio_device *device)
{
	struct vfio_device_file *df;
	bool revoke;

	mutex_lock(&device->dev_set->lock);
	device->retrieve_disabled = true;
	df = device->retrieved_file;
	revoke = df && !df->access_granted;
	if (revoke)
		df->revoked = true;
	mutex_unlock(&device->dev_set->lock);

	if (revoke)
		vfio_device_put_registration(device);
}

/* Whoever uses the file now may not be the one who bound it. */
bool vfio_df_is_retrieved(struct vfio_device_file *df)
{
	return df->retrieved;
}

/* The next user of a retrieved file, which is bound, sets interrupts up anew. */
int vfio_df_change_user(struct vfio_device_file *df)
{
	return vfio_pci_assume_lost_irqs(container_of(df->device,
						      struct vfio_pci_core_device,
						      vdev));
}

bool vfio_df_is_revoked(struct vfio_device_file *df)
{
	lockdep_assert_held(&df->device->dev_set->lock);

	return df->revoked;
}

/* Put what a file that is being released holds of its device. */
void vfio_df_put_registration(struct vfio_device_file *df)
{
	struct vfio_device *device = df->device;
	struct device *dev = device->dev;
	bool revoked;

	if (!df->retrieved) {
		vfio_device_put_registration(device);
		return;
	}

	mutex_lock(&device->dev_set->lock);
	device->retrieved_file = NULL;
	revoked = df->revoked;
	mutex_unlock(&device->dev_set->lock);

	if (!revoked)
		vfio_device_put_registration(device);
	put_device(&device->device);
	put_device(dev);
}

static int is_vfio_device(struct device *dev, const void *unused)
{
	return dev->class == &vfio_device_class;
}

/* Return the device that vfio-pci has registered for @dev, or NULL. */
static struct vfio_device *get_registered_device(struct device *dev)
{
	struct vfio_device *device;
	struct device *child;

	child = device_find_child(dev, NULL, is_vfio_device);
	if (!child)
		return NULL;

	device = container_of(child, struct vfio_device, device);
	if (device->ops != &vfio_pci_ops ||
	    !vfio_device_try_get_registration(device))
		device = NULL;
	put_device(child);
	return device;
}

/**
 * vfio_liveupdate_find() - Find a PCI function
 * @segment: PCI segment
 * @requester_id: bus, device and function
 *
 * Return: the device, of which the caller gets a reference, or NULL.
 */
struct device *vfio_liveupdate_find(u16 segment, u16 requester_id)
{
	struct pci_dev *pdev =
		pci_get_domain_bus_and_slot(segment, PCI_BUS_NUM(requester_id),
					    requester_id & 0xff);

	return pdev ? &pdev->dev : NULL;
}

/**
 * vfio_liveupdate_retrieve() - Open a device without touching it
 * @dev: PCI function
 *
 * Context: Process context. Takes the lock of the device set.
 * Return: a file as if the character device had been opened, or an ERR_PTR:
 * -EAGAIN if vfio-pci is not bound to the device, -EBADMSG if its DMA did not
 * go on, -EBUSY if it was retrieved before, -ENOMEM or -ENFILE.
 */
struct file *vfio_liveupdate_retrieve(struct device *dev)
{
	struct vfio_device *device = get_registered_device(dev);
	struct vfio_device_file *df;
	struct file *file;
	int ret = 0;

	if (!device)
		return ERR_PTR(-EAGAIN);

	df = vfio_allocate_device_file(device);
	if (IS_ERR(df)) {
		ret = PTR_ERR(df);
		goto err_put_registration;
	}

	mutex_lock(&device->dev_set->lock);
	if (device->retrieve_disabled)
		ret = -EAGAIN;
	else if (device->retrieved_file)
		ret = -EBUSY;
	else if (!vfio_device_dma_inherited(device))
		ret = -EBADMSG;
	else
		device->retrieved_file = df;
	mutex_unlock(&device->dev_set->lock);
	if (ret)
		goto err_free;

	/* From here on, the registration is that of the file. */
	get_device(dev);
	get_device(&device->device);
	df->retrieved = true;
	file = anon_inode_getfile_fmode("[vfio-device]", &vfio_device_fops, df,
					O_RDWR, FMODE_PREAD | FMODE_PWRITE);
	if (IS_ERR(file)) {
		vfio_df_put_registration(df);
		kfree(df);
		return file;
	}

	/* As in vfio_device_fops_cdev_open() */
	file->f_mapping = device->inode->i_mapping;
	to_pci_dev(dev)->dma_retrieved = true;
	return file;

err_free:
	kfree(df);
err_put_registration:
	vfio_device_put_registration(device);
	return ERR_PTR(ret);
}

/**
 * vfio_liveupdate_bound_device() - Find the device behind a file
 * @file: any file
 * @iommufd: set to the file of the iommufd, valid as long as @file
 *
 * Return: the device, valid as long as @file, or NULL if the file is not that
 * of a character device of vfio-pci bound to an iommufd.
 */
struct device *vfio_liveupdate_bound_device(struct file *file,
					    struct file **iommufd)
{
	struct vfio_device_file *df;

	if (file->f_op != &vfio_device_fops)
		return NULL;

	df = file->private_data;
	/* Paired with smp_store_release() following vfio_df_open() */
	if (!smp_load_acquire(&df->access_granted) || df->group ||
	    df->device->ops != &vfio_pci_ops)
		return NULL;

	/* Does not change until the file is released. */
	*iommufd = iommufd_liveupdate_file(df->iommufd);
	return df->device->dev;
}

static struct vfio_pci_core_device *bound_vfio_pci(struct file *file)
{
	struct vfio_device_file *df = file->private_data;

	return container_of(df->device, struct vfio_pci_core_device, vdev);
}

/**
 * vfio_liveupdate_check() - Check that a device can be handed over
 * @file: file for which vfio_liveupdate_bound_device() finds a device
 *
 * The HWPT of the device is preserved already. A detach that began before that
 * is over when this gets the lock, and a later one fails.
 *
 * Context: Process context. Takes the lock of the device set.
 * Return: 0, -EBUSY if the device was detached meanwhile or is not in D0, or
 * -EOPNOTSUPP for Intel graphics, which vfio-pci sets up in ways that can fail
 * when it is opened.
 */
int vfio_liveupdate_check(struct file *file)
{
	struct vfio_pci_core_device *vdev = bound_vfio_pci(file);
	struct iommufd_device *idev;

	scoped_guard(mutex, &vdev->vdev.dev_set->lock) {
		idev = vdev->vdev.iommufd_device;
		if (!idev || !iommufd_device_is_preserved(idev))
			return -EBUSY;
	}

	if (vfio_pci_is_intel_display(vdev->pdev))
		return -EOPNOTSUPP;

	guard(rwsem_read)(&vdev->memory_lock);
	return vfio_pci_in_d0(vdev) ? 0 : -EBUSY;
}

/**
 * vfio_liveupdate_freeze() - Keep a device from interrupting
 * @file: file for which vfio_liveupdate_bound_device() finds a device
 *
 * Until vfio_liveupdate_unfreeze(), what could undo that fails with -EBUSY:
 * setting interrupts up, resets, changes of the power state and writes to the
 * configuration space.
 *
 * Context: Process context. Takes locks of vfio-pci.
 * Return: 0, or -EBUSY if the device is not in D0.
 */
int vfio_liveupdate_freeze(struct file *file)
{
	return vfio_pci_freeze(bound_vfio_pci(file));
}

/**
 * vfio_liveupdate_unfreeze() - Undo vfio_liveupdate_freeze()
 * @file: file of a frozen device
 *
 * An interrupt that came meanwhile is delivered now. Where the device cannot
 * tell, that is with MSI, each vector is signalled.
 *
 * Context: Process context. Takes locks of vfio-pci.
 */
void vfio_liveupdate_unfreeze(struct file *file)
{
	vfio_pci_unfreeze(bound_vfio_pci(file));
}
