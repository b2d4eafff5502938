/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_KHO_ABI_IOMMU_H
#define _LINUX_KHO_ABI_IOMMU_H

/**
 * DOC: IOMMU state handed over by a live update
 *
 * The file-lifecycle-bound state %IOMMU_LIVEUPDATE_FLB_COMPATIBLE is the
 * physical address of a block of %IOMMU_LIVEUPDATE_STATE_SIZE bytes, preserved
 * by KHO as one folio, with a flattened device tree at its start. Each
 * preserved iommufd (%IOMMUFD_LIVEUPDATE_FH_COMPATIBLE) has a device tree of
 * its own, at the start of a folio that is large enough for it. A preserved
 * file of vfio-pci (%VFIO_PCI_LIVEUPDATE_FH_COMPATIBLE) is the PCI address of
 * its function: the segment in bits 31:16, the requester id in bits 15:0.
 *
 * The nodes and properties are described in
 * Documentation/driver-api/iommu-liveupdate-state.rst. They are a contract
 * between kernels: the version in a compatible string changes with every
 * change that an older reader could misunderstand.
 */

/* Names in the terms of the Live Update Orchestrator. */
#define IOMMU_LIVEUPDATE_FLB_COMPATIBLE		"iommu-liveupdate-v1"
#define IOMMUFD_LIVEUPDATE_FH_COMPATIBLE	"iommufd-v1"
#define VFIO_PCI_LIVEUPDATE_FH_COMPATIBLE	"vfio-pci-v1"

/* Size of the block with the state of all IOMMUs, in bytes. */
#define IOMMU_LIVEUPDATE_STATE_SIZE		(128 * 1024)

#endif /* _LINUX_KHO_ABI_IOMMU_H */
