// SPDX-License-Identifier: GPL-2.0
/*
 * What the live update code asks of the kernel around it.
 *
 * Thin accessors over private structures, inline functions and macros. What is
 * decided with them is decided in Rust.
 */
#include <linux/cacheflush.h>
#include <linux/debugfs.h>
#include <linux/generic_pt/iommu.h>
#include <linux/ioport.h>
#include <linux/kexec_handover.h>
#include <linux/pci.h>
#include <linux/pfn.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "../iommu-pages.h"
#include "../iommu-priv.h"
#include "hooks.h"

/*
 * Describe how @dev is attached to @domain.
 *
 * Return: 0, -EOPNOTSUPP if the driver cannot do this, or an error of the
 * driver.
 */
int iommu_liveupdate_preserve_device(struct device *dev,
				     struct iommu_domain *domain,
				     struct iommu_liveupdate_device *record)
{
	const struct iommu_ops *ops = dev_iommu_ops(dev);

	if (!ops->preserve_device)
		return -EOPNOTSUPP;
	return ops->preserve_device(dev, domain, record);
}

/* Allocate a domain for the page tables in @record, or return an ERR_PTR. */
struct iommu_domain *
iommu_liveupdate_alloc_domain(struct device *dev,
			      const struct iommu_liveupdate_device *record)
{
	const struct iommu_ops *ops = dev_iommu_ops(dev);
	struct iommu_domain *domain;

	if (!ops->restore_domain)
		return ERR_PTR(-EOPNOTSUPP);
	domain = ops->restore_domain(dev, record);
	if (!IS_ERR(domain))
		domain->owner = ops;
	return domain;
}

/* Remove what the previous kernel left in the hardware tables for @dev. */
void iommu_liveupdate_discard(struct device *dev)
{
	const struct iommu_ops *ops = dev_iommu_ops(dev);

	if (ops->discard_device)
		ops->discard_device(dev);
}

/*
 * Describe the page tables of a paging domain.
 *
 * Return: 0, or -EOPNOTSUPP if the driver cannot do this for the domain.
 */
int iommu_liveupdate_describe_domain(struct iommu_domain *domain,
				     struct iommu_liveupdate_domain *record)
{
	const struct iommu_ops *ops = domain->owner;

	if (!ops || !ops->describe_domain)
		return -EOPNOTSUPP;
	return ops->describe_domain(domain, record);
}

/*
 * Call @found with each page of the page tables of @domain, which nobody may
 * change meanwhile, until it returns an error.
 *
 * Return: 0, the error, or -EOPNOTSUPP for a domain that is not made by
 * generic_pt, or whose tables are not single pages.
 */
int iommu_liveupdate_walk_tables(struct iommu_domain *domain,
				 int (*found)(void *context, u64 page),
				 void *context)
{
	struct iommu_pages_list tables = IOMMU_PAGES_LIST_INIT(tables);
	struct pt_iommu *pt = iommupt_from_domain(domain);
	struct ioptdesc *table;

	if (!pt)
		return -EOPNOTSUPP;
	pt->ops->collect_tables(pt, &tables);
	list_for_each_entry(table, &tables.pages, iopt_freelist_elm) {
		struct folio *folio = ioptdesc_folio(table);
		int ret;

		if (folio_order(folio))
			return -EOPNOTSUPP;
		ret = found(context, PFN_PHYS(folio_pfn(folio)));
		if (ret)
			return ret;
	}
	return 0;
}

int iommu_liveupdate_preserve_pages(phys_addr_t phys, u64 nr_pages)
{
	return kho_preserve_pages(phys_to_page(phys), nr_pages);
}

void iommu_liveupdate_unpreserve_pages(phys_addr_t phys, u64 nr_pages)
{
	kho_unpreserve_pages(phys_to_page(phys), nr_pages);
}

bool iommu_liveupdate_restore_pages(phys_addr_t phys, u64 nr_pages)
{
	return iommu_restore_pages(phys, nr_pages);
}

/*
 * Add pages that this kernel is going to restore to the statistics, or remove
 * them. Whatever is at @phys.
 */
void iommu_liveupdate_account_pages(phys_addr_t phys, u64 nr_pages, bool add)
{
	unsigned long pfn = PHYS_PFN(phys);

	if (pfn_valid(pfn) && pfn_valid(pfn + nr_pages - 1))
		iommu_account_pages(phys, nr_pages, add);
}

void iommu_liveupdate_free_page(phys_addr_t phys)
{
	iommu_free_pages(phys_to_virt(phys));
}

/* Whether this kernel may have used one of the pages before it looked. */
bool iommu_liveupdate_is_scratch(phys_addr_t phys, u64 nr_pages)
{
	return kho_scratch_overlap(phys, nr_pages << PAGE_SHIFT);
}

void iommu_liveupdate_cond_resched(void)
{
	cond_resched();
}

static int add_pages(unsigned long pfn, unsigned long nr_pages, void *sum)
{
	*(unsigned long *)sum += nr_pages;
	return 0;
}

/* The pages from @phys on in the direct map, or NULL if not all are memory. */
void *iommu_liveupdate_map_pages(phys_addr_t phys, u64 nr_pages)
{
	unsigned long pfn = PHYS_PFN(phys);
	unsigned long ram = 0;

	if (!PAGE_ALIGNED(phys) || !pfn_valid(pfn))
		return NULL;
	walk_system_ram_range(pfn, nr_pages, &ram, add_pages);
	return ram == nr_pages ? phys_to_virt(phys) : NULL;
}

void iommu_liveupdate_flush_cache(void *virt, size_t size)
{
	clflush_cache_range(virt, size);
}

/* Return: 0, or -ENODEV if @dev is not a PCI function. */
int iommu_liveupdate_identify(struct device *dev,
			      struct iommu_liveupdate_function *function)
{
	struct pci_dev *pdev;

	if (!dev_is_pci(dev))
		return -ENODEV;

	pdev = to_pci_dev(dev);
	function->segment = pci_domain_nr(pdev->bus);
	function->requester_id = pci_dev_id(pdev);
	function->vendor_device = (u32)pdev->vendor << 16 | pdev->device;
	function->class = pdev->class;
	return 0;
}

/* Let the PCI function, and the bridges above it, keep bus mastering at kexec. */
void iommu_liveupdate_set_dma_preserved(struct device *dev, bool preserved)
{
	to_pci_dev(dev)->dma_preserved = preserved;
}

/* Keep vfio-pci from resetting, powering down or muting the PCI function. */
void iommu_liveupdate_set_dma_inherited(struct device *dev)
{
	to_pci_dev(dev)->dma_inherited = true;
}

/* Clear bus mastering of a PCI function, which may be on its way out. */
void iommu_liveupdate_stop_device(struct device *dev)
{
	to_pci_dev(dev)->dma_inherited = false;
	pci_clear_master(to_pci_dev(dev));
}

/* Clear bus mastering of one function, if it exists. */
void iommu_liveupdate_stop_function(u16 segment, u16 requester_id)
{
	struct pci_dev *pdev =
		pci_get_domain_bus_and_slot(segment, PCI_BUS_NUM(requester_id),
					    requester_id & 0xff);

	if (!pdev)
		return;
	pci_clear_master(pdev);
	pci_dev_put(pdev);
}

/* Clear bus mastering of every function on a bus that is not a bridge. */
void iommu_liveupdate_stop_bus(u16 segment, u8 number)
{
	struct pci_bus *bus = pci_find_bus(segment, number);
	struct pci_dev *pdev;

	if (!bus)
		return;
	list_for_each_entry(pdev, &bus->devices, bus_list) {
		if (!pci_is_bridge(pdev))
			pci_clear_master(pdev);
	}
}

/* Clear bus mastering of every function that is not a bridge. */
void iommu_liveupdate_stop_all(void)
{
	struct pci_dev *pdev = NULL;

	for_each_pci_dev(pdev) {
		if (!pci_is_bridge(pdev))
			pci_clear_master(pdev);
	}
}

static bool use_test_feature;

/*
 * Return: whether what is preserved from now on is to require the feature that
 * exists for tests.
 */
bool iommu_liveupdate_uses_test_feature(void)
{
	return READ_ONCE(use_test_feature);
}

#ifdef CONFIG_IOMMU_DEBUGFS
static int table_show(struct seq_file *m, void *unused)
{
	iommu_liveupdate_show(m, (uintptr_t)m->private);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(table);

static int units_show(struct seq_file *m, void *unused)
{
	intel_iommu_liveupdate_show_units(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(units);

static int counters_show(struct seq_file *m, void *unused)
{
	iommu_liveupdate_show_counters(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(counters);

static ssize_t state_read(struct file *file, char __user *buf, size_t count,
			  loff_t *pos)
{
	uintptr_t direction = (uintptr_t)file_inode(file)->i_private;
	size_t size = IOMMU_LIVEUPDATE_STATE_SIZE;
	void *state = kvzalloc(size, GFP_KERNEL);
	ssize_t ret;

	if (!state)
		return -ENOMEM;
	size = iommu_liveupdate_copy_state(state, size, direction);
	ret = simple_read_from_buffer(buf, count, pos, state, size);
	kvfree(state);
	return ret;
}

static const struct file_operations state_fops = {
	.owner = THIS_MODULE,
	.read = state_read,
	.llseek = default_llseek,
};

static int __init iommu_liveupdate_debugfs(void)
{
	static const char *const names[][2] = {
		[IOMMU_LIVEUPDATE_OUTGOING] = { "outgoing", "outgoing.dtb" },
		[IOMMU_LIVEUPDATE_INCOMING] = { "incoming", "incoming.dtb" },
	};
	struct dentry *dir = debugfs_create_dir("liveupdate",
						iommu_debugfs_dir);
	uintptr_t i;

	debugfs_create_file("units", 0400, dir, NULL, &units_fops);
	debugfs_create_file("counters", 0400, dir, NULL, &counters_fops);
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		debugfs_create_file(names[i][0], 0400, dir, (void *)i,
				    &table_fops);
		debugfs_create_file(names[i][1], 0400, dir, (void *)i,
				    &state_fops);
	}
	if (IS_ENABLED(CONFIG_IOMMU_LIVEUPDATE_TEST_FEATURE))
		debugfs_create_bool("use_test_feature", 0600, dir,
				    &use_test_feature);
	return 0;
}
late_initcall(iommu_liveupdate_debugfs);
#endif
