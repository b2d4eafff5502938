/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Keeping the DMA of devices running while the kernel is replaced.
 *
 * What the IOMMU core and the IOMMU drivers tell the live update code, and ask
 * of it. See Documentation/driver-api/iommu-liveupdate.rst.
 */
#ifndef _LINUX_IOMMU_LIVEUPDATE_H
#define _LINUX_IOMMU_LIVEUPDATE_H

#include <linux/types.h>

struct device;
struct iommu_domain;
struct pci_dev;

/* How many requester ids, aliases included, a preserved device may have. */
#define IOMMU_LIVEUPDATE_MAX_REQUESTER_IDS	16

/* What the next kernel has to know about how the page tables were built. */
enum iommu_liveupdate_pt_flags {
	/* The page-table walker does not snoop the caches of the CPU. */
	IOMMU_LIVEUPDATE_PT_INCOHERENT	= 1 << 0,
	/* The entries make all DMA snoop, whatever the device asks for. */
	IOMMU_LIVEUPDATE_PT_FORCE_SNOOP	= 1 << 1,
};

/**
 * struct iommu_liveupdate_domain - what defines the page tables of a domain
 * @top_table: physical address of the top table
 * @page_sizes: bitmap of the page sizes
 * @top_level: level of the top table, counted from 0 at the leaves
 * @input_bits: width of the input address
 * @output_bits: width of the output address
 * @pt_flags: &enum iommu_liveupdate_pt_flags
 */
struct iommu_liveupdate_domain {
	u64 top_table;
	u64 page_sizes;
	u32 top_level;
	u32 input_bits;
	u32 output_bits;
	u32 pt_flags;
};

/**
 * struct iommu_liveupdate_unit - an IOMMU unit as its driver sees it
 * @register_base: physical address of the registers
 * @capability: capability register
 * @extended_capability: extended capability register
 * @root_table: physical address of the root table that hardware uses
 * @segment: PCI segment
 * @scalable_mode: root_table is one of scalable mode
 */
struct iommu_liveupdate_unit {
	u64 register_base;
	u64 capability;
	u64 extended_capability;
	u64 root_table;
	u16 segment;
	bool scalable_mode;
};

/**
 * struct iommu_liveupdate_device - how a device is attached to its domain
 * @unit: the unit that translates for the device
 * @domain: the page tables that it uses
 * @context_tables: physical addresses of the context tables, one for each of
 *	@requester_ids
 * @requester_ids: all requester ids under which the device appears to the unit
 * @nr_requester_ids: how many there are
 * @domain_id: the domain id in the hardware entries
 */
struct iommu_liveupdate_device {
	struct iommu_liveupdate_unit unit;
	struct iommu_liveupdate_domain domain;
	u64 context_tables[IOMMU_LIVEUPDATE_MAX_REQUESTER_IDS];
	u16 requester_ids[IOMMU_LIVEUPDATE_MAX_REQUESTER_IDS];
	u16 nr_requester_ids;
	u16 domain_id;
};

#ifdef CONFIG_IOMMU_LIVEUPDATE
u64 iommu_liveupdate_offer(const void *image, size_t image_len,
			   const char *cmdline, size_t cmdline_len);
struct iommu_domain *iommu_liveupdate_restore_domain(struct device *dev,
						     bool singular);
void iommu_liveupdate_discard_device(struct device *dev);
void iommu_liveupdate_leave_domain(struct iommu_domain *domain,
				   struct device *dev);
bool iommu_liveupdate_may_claim(struct device *dev, void *owner);
void iommu_liveupdate_stop_devices(void);
void iommu_liveupdate_count_replaced(unsigned int flushes);
#else
static inline u64 iommu_liveupdate_offer(const void *image, size_t image_len,
					 const char *cmdline,
					 size_t cmdline_len)
{
	return 0;
}

static inline struct iommu_domain *
iommu_liveupdate_restore_domain(struct device *dev, bool singular)
{
	return NULL;
}

static inline void iommu_liveupdate_discard_device(struct device *dev)
{
}

static inline void iommu_liveupdate_leave_domain(struct iommu_domain *domain,
						 struct device *dev)
{
}

static inline bool iommu_liveupdate_may_claim(struct device *dev, void *owner)
{
	return false;
}

static inline void iommu_liveupdate_stop_devices(void)
{
}

static inline void iommu_liveupdate_count_replaced(unsigned int flushes)
{
}
#endif

#endif /* _LINUX_IOMMU_LIVEUPDATE_H */
