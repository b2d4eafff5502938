// SPDX-License-Identifier: GPL-2.0
/*
 * Live update of VT-d units in legacy mode.
 *
 * Describes attachments and units to the live update code, and carries out what
 * that code decides. See Documentation/driver-api/iommu-liveupdate.rst.
 */
#include <linux/kexec.h>
#include <linux/pci-ats.h>
#include <linux/seq_file.h>

#include "../iommu-pages.h"
#include "../liveupdate/hooks.h"
#include "iommu.h"

static void describe_unit(struct intel_iommu *iommu, u64 rtaddr,
			  struct iommu_liveupdate_unit *unit)
{
	*unit = (struct iommu_liveupdate_unit){
		.register_base = iommu->reg_phys,
		.capability = iommu->cap,
		.extended_capability = iommu->ecap,
		.root_table = rtaddr & VTD_PAGE_MASK,
		.segment = iommu->segment,
		.scalable_mode = sm_supported(iommu) ||
				 (rtaddr & DMA_RTADDR_SMT),
	};
}

static void describe_domain(struct dmar_domain *domain,
			    struct iommu_liveupdate_domain *record)
{
	struct pt_common *common = &domain->sspt.vtdss_pt.common;
	struct pt_iommu_vtdss_hw_info info;
	u32 flags = 0;

	if (common->features & BIT(PT_FEAT_DMA_INCOHERENT))
		flags |= IOMMU_LIVEUPDATE_PT_INCOHERENT;
	if (common->features & BIT(PT_FEAT_VTDSS_FORCE_COHERENCE))
		flags |= IOMMU_LIVEUPDATE_PT_FORCE_SNOOP;

	pt_iommu_vtdss_hw_info(&domain->sspt, &info);
	*record = (struct iommu_liveupdate_domain){
		.top_table = info.ssptptr,
		.page_sizes = domain->domain.pgsize_bitmap,
		.top_level = info.aw + 1,
		.input_bits = common->max_vasz_lg2,
		.output_bits = common->max_oasz_lg2,
		.pt_flags = flags,
	};
}

/* Implements &iommu_ops.describe_domain. */
int intel_iommu_describe_domain(struct iommu_domain *domain,
				struct iommu_liveupdate_domain *record)
{
	if (!intel_domain_is_ss_paging(to_dmar_domain(domain)))
		return -EOPNOTSUPP;
	describe_domain(to_dmar_domain(domain), record);
	return 0;
}

static int add_requester_id(struct pci_dev *pdev, u16 alias, void *opaque)
{
	struct device_domain_info *info = dev_iommu_priv_get(&pdev->dev);
	struct iommu_liveupdate_device *record = opaque;
	struct intel_iommu *iommu = info->iommu;
	u16 nr = record->nr_requester_ids;
	struct context_entry *context;

	if (nr == ARRAY_SIZE(record->requester_ids))
		return -E2BIG;

	spin_lock(&iommu->lock);
	context = iommu_context_addr(iommu, PCI_BUS_NUM(alias), alias & 0xff,
				     0);
	spin_unlock(&iommu->lock);
	if (!context)
		return -ENODEV;

	record->requester_ids[nr] = alias;
	record->context_tables[nr] = virt_to_phys(context) & VTD_PAGE_MASK;
	record->nr_requester_ids++;
	return 0;
}

/* Implements &iommu_ops.preserve_device. */
int intel_iommu_preserve_device(struct device *dev, struct iommu_domain *domain,
				struct iommu_liveupdate_device *record)
{
	struct device_domain_info *info = dev_iommu_priv_get(dev);
	struct dmar_domain *dmar_domain = to_dmar_domain(domain);
	struct intel_iommu *iommu = info->iommu;

	if (!dev_is_pci(dev))
		return -ENODEV;
	if (info->domain != dmar_domain)
		return -EINVAL;
	if (sm_supported(iommu) || !intel_domain_is_ss_paging(dmar_domain) ||
	    dmar_domain->nested_parent || dmar_domain->dirty_tracking ||
	    dev_is_real_dma_subdevice(dev) || info->ats_supported)
		return -EOPNOTSUPP;

	memset(record, 0, sizeof(*record));
	describe_unit(iommu, virt_to_phys(iommu->root_entry), &record->unit);
	describe_domain(dmar_domain, &record->domain);
	record->domain_id = domain_id_iommu(dmar_domain, iommu);
	return pci_for_each_dma_alias(to_pci_dev(dev), add_requester_id,
				      record);
}

/*
 * Attach a restored domain where the previous kernel attached it. Hardware is
 * not touched, as its entries have the right content already.
 */
static int restored_attach_dev(struct iommu_domain *domain, struct device *dev,
			       struct iommu_domain *old)
{
	struct device_domain_info *info = dev_iommu_priv_get(dev);
	struct dmar_domain *dmar_domain = to_dmar_domain(domain);
	int ret;

	if (info->domain_attached || !iommu_liveupdate_may_attach(domain, dev))
		return -EINVAL;

	ret = domain_attach_iommu(dmar_domain, info->iommu);
	if (ret)
		return ret;
	ret = cache_tag_assign_domain(dmar_domain, dev, IOMMU_NO_PASID);
	if (ret) {
		domain_detach_iommu(dmar_domain, info->iommu);
		return ret;
	}

	info->domain = dmar_domain;
	info->domain_attached = true;
	guard(spinlock_irqsave)(&dmar_domain->lock);
	list_add(&info->link, &dmar_domain->devices);
	return 0;
}

/*
 * The page tables are left to the live update code, which knows whether this
 * kernel owns their pages. The domain id goes back.
 */
static void restored_free(struct iommu_domain *domain)
{
	struct dmar_domain *dmar_domain = to_dmar_domain(domain);
	struct iommu_domain_info *info;
	unsigned long index;

	if (WARN_ON(!list_empty(&dmar_domain->devices)))
		return;

	xa_for_each(&dmar_domain->iommu_array, index, info)
		domain_detach_iommu(dmar_domain, info->iommu);
	kfree(dmar_domain->qi_batch);
	kfree(dmar_domain);
}

/* The core neither maps nor unmaps: a restored domain is immutable. */
static const struct iommu_domain_ops restored_domain_ops = {
	IOMMU_PT_DOMAIN_OPS(vtdss),
	.attach_dev = restored_attach_dev,
	.free = restored_free,
};

/* Let @domain, freshly allocated, stand for the page tables in @record. */
static int adopt_tables(struct dmar_domain *domain,
			const struct iommu_liveupdate_domain *record)
{
	bool force_snoop = record->pt_flags & IOMMU_LIVEUPDATE_PT_FORCE_SNOOP;
	struct pt_common *common = &domain->sspt.vtdss_pt.common;
	struct iommu_liveupdate_domain own;

	/* A domain gets to force snooping only after it was allocated. */
	if (force_snoop)
		common->features |= BIT(PT_FEAT_VTDSS_FORCE_COHERENCE);
	describe_domain(domain, &own);
	if (own.top_level != record->top_level ||
	    own.input_bits != record->input_bits ||
	    own.output_bits != record->output_bits ||
	    own.pt_flags != record->pt_flags ||
	    (record->page_sizes & ~own.page_sizes))
		return -EINVAL;

	iommu_free_pages(phys_to_virt(own.top_table));
	common->top_of_table = (uintptr_t)phys_to_virt(record->top_table) |
			       record->top_level;
	domain->force_snooping = force_snoop;
	domain->domain.pgsize_bitmap = record->page_sizes;
	domain->domain.restored = true;
	domain->domain.type = IOMMU_DOMAIN_UNMANAGED;
	domain->domain.ops = &restored_domain_ops;
	return 0;
}

/* Implements &iommu_ops.restore_domain. */
struct iommu_domain *
intel_iommu_restore_domain(struct device *dev,
			   const struct iommu_liveupdate_device *record)
{
	struct device_domain_info *info = dev_iommu_priv_get(dev);
	struct iommu_domain_info *did;
	struct iommu_domain *domain;
	int ret;

	did = kzalloc_obj(*did);
	if (!did)
		return ERR_PTR(-ENOMEM);
	domain = intel_iommu_ops.domain_alloc_paging_flags(dev, 0, NULL);
	if (IS_ERR(domain)) {
		kfree(did);
		return domain;
	}

	/* The domain id was reserved at takeover, and belongs to the domain. */
	did->refcnt = 1;
	did->did = record->domain_id;
	did->iommu = info->iommu;
	ret = xa_err(xa_store(&to_dmar_domain(domain)->iommu_array,
			      info->iommu->seq_id, did, GFP_KERNEL));
	if (!ret)
		ret = adopt_tables(to_dmar_domain(domain), &record->domain);
	if (ret) {
		xa_destroy(&to_dmar_domain(domain)->iommu_array);
		kfree(did);
		iommu_domain_free(domain);
		return ERR_PTR(ret);
	}
	return domain;
}

static int discard_requester_id(struct pci_dev *pdev, u16 alias, void *opaque)
{
	domain_context_clear_one(opaque, PCI_BUS_NUM(alias), alias & 0xff);
	return 0;
}

/* Implements &iommu_ops.discard_device. */
void intel_iommu_discard_device(struct device *dev)
{
	struct device_domain_info *info = dev_iommu_priv_get(dev);

	if (dev_is_pci(dev) && !sm_supported(info->iommu))
		pci_for_each_dma_alias(to_pci_dev(dev), discard_requester_id,
				       info);
}

/*
 * Keep @did from being given to another domain.
 *
 * Return: 0, -ERANGE if the unit has no such domain id, -ENOSPC if it is taken,
 * or -ENOMEM.
 */
int intel_iommu_liveupdate_reserve_domain_id(struct intel_iommu *iommu, u16 did)
{
	int ret;

	if (did < IDA_START_DID || did >= iommu->max_domain_id)
		return -ERANGE;
	ret = ida_alloc_range(&iommu->domain_ida, did, did, GFP_KERNEL);
	return ret < 0 ? ret : 0;
}

static struct intel_iommu *find_unit(u64 register_base)
{
	struct dmar_drhd_unit *drhd;
	struct intel_iommu *iommu;

	for_each_active_iommu(iommu, drhd)
		if (iommu->reg_phys == register_base)
			return iommu;
	return NULL;
}

/*
 * Clear the entry that the previous kernel left for a device that did not come
 * back, unless another device has got it meanwhile, under another domain id.
 */
void intel_iommu_liveupdate_clear_entry(u64 register_base, u16 requester_id,
					u16 did)
{
	u8 bus = PCI_BUS_NUM(requester_id), devfn = requester_id & 0xff;
	struct context_entry *context;
	struct intel_iommu *iommu;

	guard(rwsem_read)(&dmar_global_lock);
	iommu = find_unit(register_base);
	if (!iommu)
		return;

	scoped_guard(spinlock, &iommu->lock) {
		context = iommu_context_addr(iommu, bus, devfn, 0);
		if (!context || !context_present(context) ||
		    context_domain_id(context) != did)
			return;
		context_clear_present(context);
		__iommu_flush_cache(iommu, context, sizeof(*context));
	}

	iommu->flush.flush_context(iommu, did, requester_id,
				   DMA_CCMD_MASK_NOBIT, DMA_CCMD_DEVICE_INVL);
	iommu->flush.flush_iotlb(iommu, did, 0, 0, DMA_TLB_DSI_FLUSH);
	context_clear_entry(context);
	__iommu_flush_cache(iommu, context, sizeof(*context));
}

/* Undo intel_iommu_liveupdate_reserve_domain_id(). */
void intel_iommu_liveupdate_release_domain_id(u64 register_base, u16 did)
{
	struct intel_iommu *iommu;

	guard(rwsem_read)(&dmar_global_lock);
	iommu = find_unit(register_base);
	if (iommu)
		ida_free(&iommu->domain_ida, did);
}

#ifdef CONFIG_IOMMU_DEBUGFS
/* List the units, with the number of domain ids that are in use. */
void intel_iommu_liveupdate_show_units(struct seq_file *m)
{
	struct dmar_drhd_unit *drhd;
	struct intel_iommu *iommu;

	guard(rwsem_read)(&dmar_global_lock);
	for_each_active_iommu(iommu, drhd) {
		unsigned int nr = 0;
		int did;

		for (did = ida_find_first_range(&iommu->domain_ida,
						IDA_START_DID,
						iommu->max_domain_id - 1);
		     did >= 0;
		     did = ida_find_first_range(&iommu->domain_ida, did + 1,
						iommu->max_domain_id - 1))
			nr++;
		seq_printf(m, "iommu %#llx domain ids in use: %u\n",
			   (u64)iommu->reg_phys, nr);
	}
}
#endif

/**
 * intel_iommu_liveupdate_takeover - decide about a unit that is translating
 * @iommu: the unit, with translation enabled by the previous kernel
 *
 * Return: True if translation must stay enabled. The unit then either has its
 * root table, or needs an empty one.
 */
bool intel_iommu_liveupdate_takeover(struct intel_iommu *iommu)
{
	struct iommu_liveupdate_unit unit;

	describe_unit(iommu, readq(iommu->reg + DMAR_RTADDR_REG), &unit);
	switch (iommu_liveupdate_takeover(&unit, iommu)) {
	case IOMMU_LIVEUPDATE_TAKEOVER_ADOPT:
		iommu->root_entry = phys_to_virt(unit.root_table);
		return true;
	case IOMMU_LIVEUPDATE_TAKEOVER_BLOCK:
		return true;
	default:
		return false;
	}
}

/**
 * intel_iommu_liveupdate_shutdown - leave a unit to the next kernel
 * @iommu: the unit
 *
 * Context: All other CPUs are down, and interrupts are off.
 * Return: True if the unit translates for a preserved device, and nothing but
 * such devices can use it any more. Translation must stay enabled.
 */
bool intel_iommu_liveupdate_shutdown(struct intel_iommu *iommu)
{
	struct iommu_liveupdate_unit unit;
	bool goes_on;

	if (!kexec_in_progress || !iommu->root_entry)
		return false;

	describe_unit(iommu, virt_to_phys(iommu->root_entry), &unit);
	goes_on = iommu_liveupdate_scrub(&unit);
	if (!goes_on && !iommu_liveupdate_is_stopping())
		return false;

	iommu->flush.flush_context(iommu, 0, 0, 0, DMA_CCMD_GLOBAL_INVL);
	iommu->flush.flush_iotlb(iommu, 0, 0, 0, DMA_TLB_GLOBAL_FLUSH);
	if (!goes_on)
		return false;
	/* The vector for faults belongs to a kernel that is about to go. */
	writel(DMA_FECTL_IM, iommu->reg + DMAR_FECTL_REG);
	return true;
}
