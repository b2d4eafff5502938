// SPDX-License-Identifier: GPL-2.0
#include <libliveupdate.h>

#include "iommufd.h"
#include "pci.h"
#include "vmm.h"

const char *vmm_missing(char *bdf)
{
	const char *reason = hwpt_mark_missing();

	if (reason)
		return reason;
	if (pci_find(PCI_VENDOR_ENSONIQ, PCI_DEVICE_ES1370, PCI_GROUP_SINGLE,
		     bdf))
		return "no ES1370 alone in its IOMMU group";
	return NULL;
}

int vmm_create(struct vmm *vmm, const char *bdf)
{
	int ret = pci_bind_group(bdf, "vfio-pci");

	if (ret)
		return ret;

	vmm->iommufd = iommufd_open();
	if (vmm->iommufd < 0)
		return vmm->iommufd;
	ret = vfio_pci_open(&vmm->dev, bdf, vmm->iommufd);
	if (ret)
		goto err_iommufd;

	vmm->memory = guest_memory_create(GUEST_MEMORY_SEALS);
	if (vmm->memory < 0) {
		ret = vmm->memory;
		goto err_dev;
	}
	vmm->guest = mmap(NULL, GUEST_MEMORY_SIZE, PROT_READ | PROT_WRITE,
			  MAP_SHARED, vmm->memory, 0);
	if (vmm->guest == MAP_FAILED) {
		ret = -errno;
		goto err_memory;
	}

	ret = ioas_alloc(vmm->iommufd, &vmm->ioas);
	if (!ret)
		ret = ioas_map_file(vmm->iommufd, vmm->ioas, vmm->memory,
				    GUEST_MEMORY_SIZE, GUEST_IOVA);
	if (!ret)
		ret = hwpt_alloc(vmm->iommufd, vmm->dev.id, vmm->ioas, 0,
				 &vmm->hwpt);
	if (!ret)
		ret = vfio_pci_attach(&vmm->dev, vmm->hwpt);
	if (!ret)
		ret = hwpt_mark(vmm->iommufd, vmm->hwpt, VMM_HWPT_TOKEN);
	if (!ret)
		return 0;

	munmap(vmm->guest, GUEST_MEMORY_SIZE);
err_memory:
	close(vmm->memory);
err_dev:
	close(vmm->dev.fd);
err_iommufd:
	close(vmm->iommufd);
	return ret;
}

void vmm_destroy(struct vmm *vmm)
{
	close(vmm->dev.fd);
	munmap(vmm->guest, GUEST_MEMORY_SIZE);
	close(vmm->memory);
	close(vmm->iommufd);
}

int vmm_preserve_iommufd(const struct vmm *vmm, int session)
{
	int ret = luo_session_preserve_fd(session, vmm->memory,
					  VMM_MEMORY_TOKEN);

	if (ret)
		return ret;
	return luo_session_preserve_fd(session, vmm->iommufd,
				       VMM_IOMMUFD_TOKEN);
}

int vmm_preserve(const struct vmm *vmm, int session)
{
	int ret = vmm_preserve_iommufd(vmm, session);

	if (ret)
		return ret;
	return luo_session_preserve_fd(session, vmm->dev.fd, VMM_DEVICE_TOKEN);
}
