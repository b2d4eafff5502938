// SPDX-License-Identifier: GPL-2.0
#include <libliveupdate.h>

#include "iommufd.h"
#include "pci.h"
#include "vmm_retrieve.h"

int vmm_retrieve_memory(struct vmm *vmm, int session)
{
	int fd = luo_session_retrieve_fd(session, VMM_MEMORY_TOKEN);

	if (fd < 0)
		return fd;
	vmm->memory = fd;
	vmm->guest = mmap(NULL, GUEST_MEMORY_SIZE, PROT_READ | PROT_WRITE,
			  MAP_SHARED, fd, 0);
	return vmm->guest == MAP_FAILED ? -errno : 0;
}

int vmm_retrieve_iommufd(struct vmm *vmm, int session)
{
	int fd = luo_session_retrieve_fd(session, VMM_IOMMUFD_TOKEN);

	if (fd < 0)
		return fd;
	vmm->iommufd = fd;
	return 0;
}

int vmm_retrieve_device(struct vmm *vmm, int session)
{
	int fd = luo_session_retrieve_fd(session, VMM_DEVICE_TOKEN);

	if (fd < 0)
		return fd;
	vmm->dev.fd = fd;
	return 0;
}

int vmm_restore(struct vmm *vmm)
{
	int ret = vfio_pci_bind(&vmm->dev, vmm->iommufd);

	if (!ret)
		ret = hwpt_restore(vmm->iommufd, VMM_HWPT_TOKEN, &vmm->hwpt);
	if (!ret)
		ret = vfio_pci_attach(&vmm->dev, vmm->hwpt);
	return ret;
}

int vmm_retrieve(struct vmm *vmm, const char *bdf, int session)
{
	int ret = pci_bind_group(bdf, "vfio-pci");

	if (!ret)
		ret = vmm_retrieve_memory(vmm, session);
	if (!ret)
		ret = vmm_retrieve_iommufd(vmm, session);
	if (!ret)
		ret = vmm_retrieve_device(vmm, session);
	if (!ret)
		ret = vmm_restore(vmm);
	return ret;
}

int vmm_rebuild(const struct vmm *vmm, __u32 *ioas, __u32 *hwpt)
{
	int ret = ioas_alloc(vmm->iommufd, ioas);

	if (!ret)
		ret = ioas_map_file(vmm->iommufd, *ioas, vmm->memory,
				    GUEST_MEMORY_SIZE, GUEST_IOVA);
	if (!ret)
		ret = hwpt_alloc(vmm->iommufd, vmm->dev.id, *ioas, 0, hwpt);
	return ret;
}
