/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_KHO_ABI_IOMMU_H
#define _LINUX_KHO_ABI_IOMMU_H

/**
 * DOC: IOMMU state handed over by a live update
 *
 * The file-lifecycle-bound state %IOMMU_LIVEUPDATE_FLB_COMPATIBLE is the
 * physical address of a block of %IOMMU_LIVEUPDATE_STATE_SIZE bytes, preserved
 * by KHO as one folio, with a flattened device tree at its start: the index.
 * Each preserved iommufd (%IOMMUFD_LIVEUPDATE_FH_COMPATIBLE) has a device tree
 * of its own, at the start of a folio that is large enough for it. A preserved
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

/* The "compatible" of the device trees, with the major version. */
#define IOMMU_LIVEUPDATE_INDEX_COMPATIBLE	"linux,iommu-liveupdate-v1"
#define IOMMUFD_LIVEUPDATE_STATE_COMPATIBLE	"linux,iommufd-liveupdate-v1"

/* What a state may require of its reader beyond that, by "required-features". */
#define IOMMU_LIVEUPDATE_FEATURE_TEST		"test"

/*
 * An x86 kernel image says in its kernel_info what it can take over: the magic,
 * the size of the entry (u32) and strings that end with a zero byte. It needs
 * to say each "compatible" above, VFIO_PCI_LIVEUPDATE_FH_COMPATIBLE, the formats
 * of others below, and the features that the state requires. The parameters are
 * for an image in which they are on by default; others need them on the command
 * line.
 */
#define IOMMU_LIVEUPDATE_INFO_MAGIC		"LUpd"
#define IOMMU_LIVEUPDATE_INFO_KHO		"kho-v4"
#define IOMMU_LIVEUPDATE_INFO_LUO		"luo-v5"
#define IOMMU_LIVEUPDATE_INFO_MEMFD		"memfd-v2"
#define IOMMU_LIVEUPDATE_INFO_KHO_ON		"kho=on"

/* Size of the block with the index, in bytes. */
#define IOMMU_LIVEUPDATE_STATE_SIZE		(128 * 1024)

#endif /* _LINUX_KHO_ABI_IOMMU_H */
