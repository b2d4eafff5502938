/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The boundary between the live update code in Rust and the C around it.
 *
 * Functions of the first kind are written in Rust and called from C, those of
 * the second kind the other way round.
 */
#ifndef _DRIVERS_IOMMU_LIVEUPDATE_HOOKS_H
#define _DRIVERS_IOMMU_LIVEUPDATE_HOOKS_H

#include <linux/iommu.h>
#include <linux/iommu-liveupdate.h>
#include <linux/iommufd.h>
#include <linux/kho/abi/iommu.h>
#include <linux/types.h>
#include <linux/xxhash.h>

#include "../iommu-pages.h"

struct intel_iommu;
struct iommufd_ctx;
struct seq_file;

/* What becomes of a unit that the previous kernel left translating. */
enum iommu_liveupdate_takeover {
	/* It is none of ours. */
	IOMMU_LIVEUPDATE_TAKEOVER_NONE,
	/* Its root table goes on. */
	IOMMU_LIVEUPDATE_TAKEOVER_ADOPT,
	/* It gets an empty root table and goes on translating. */
	IOMMU_LIVEUPDATE_TAKEOVER_BLOCK,
};

/* One of the two directions of a live update. */
enum iommu_liveupdate_direction {
	IOMMU_LIVEUPDATE_OUTGOING,
	IOMMU_LIVEUPDATE_INCOMING,
};

/* Lists of names, one on a line. */
enum iommu_liveupdate_names {
	/* What this kernel can take over. */
	IOMMU_LIVEUPDATE_SUPPORTED,
	/* What the next kernel needs to take over what is preserved. */
	IOMMU_LIVEUPDATE_REQUIRED,
};

/* What becomes of a reboot into an image that cannot take over. */
enum iommu_liveupdate_policy {
	/* It fails. */
	IOMMU_LIVEUPDATE_REFUSE,
	/* The devices are stopped instead. */
	IOMMU_LIVEUPDATE_STOP,
};

/**
 * struct iommu_liveupdate_function - what identifies a PCI function
 * @segment: PCI segment
 * @requester_id: bus, device and function
 * @vendor_device: vendor id in the upper, device id in the lower 16 bits
 * @class: class code
 */
struct iommu_liveupdate_function {
	u16 segment;
	u16 requester_id;
	u32 vendor_device;
	u32 class;
};

/**
 * struct iommu_liveupdate_hwpt - a HWPT that goes on in this kernel
 * @domain: its domain, valid until @handle is released
 * @handle: for iommu_liveupdate_release_hwpt()
 */
struct iommu_liveupdate_hwpt {
	struct iommu_domain *domain;
	void *handle;
};

/* From C to Rust. */
enum iommu_liveupdate_takeover
iommu_liveupdate_takeover(const struct iommu_liveupdate_unit *unit,
			  struct intel_iommu *iommu);
bool iommu_liveupdate_scrub(const struct iommu_liveupdate_unit *unit);
bool iommu_liveupdate_is_stopping(void);
size_t iommu_liveupdate_list(char *buf, size_t size,
			     enum iommu_liveupdate_names names);
enum iommu_liveupdate_policy iommu_liveupdate_policy(void);
void iommu_liveupdate_set_policy(enum iommu_liveupdate_policy policy);
bool iommu_liveupdate_may_attach(struct iommu_domain *domain,
				 struct device *dev);
void iommu_liveupdate_show(struct seq_file *m,
			   enum iommu_liveupdate_direction direction);
void iommu_liveupdate_show_counters(struct seq_file *m);
size_t iommu_liveupdate_copy_state(void *buf, size_t size,
				   enum iommu_liveupdate_direction direction);
int iommu_liveupdate_restore_hwpt(struct iommufd_ctx *ictx, u64 token,
				  struct iommu_liveupdate_hwpt *hwpt);
void iommu_liveupdate_release_hwpt(void *handle);

/* From Rust to C. */
int iommu_liveupdate_preserve_device(struct device *dev,
				     struct iommu_domain *domain,
				     struct iommu_liveupdate_device *record);
struct iommu_domain *
iommu_liveupdate_alloc_domain(struct device *dev,
			      const struct iommu_liveupdate_device *record);
void iommu_liveupdate_discard(struct device *dev);
int iommu_liveupdate_describe_domain(struct iommu_domain *domain,
				     struct iommu_liveupdate_domain *record);
int iommu_liveupdate_walk_tables(struct iommu_domain *domain,
				 int (*found)(void *context, u64 page),
				 void *context);
int iommu_liveupdate_preserve_pages(phys_addr_t phys, u64 nr_pages);
void iommu_liveupdate_unpreserve_pages(phys_addr_t phys, u64 nr_pages);
bool iommu_liveupdate_restore_pages(phys_addr_t phys, u64 nr_pages);
void iommu_liveupdate_account_pages(phys_addr_t phys, u64 nr_pages, bool add);
void iommu_liveupdate_free_page(phys_addr_t phys);
bool iommu_liveupdate_is_scratch(phys_addr_t phys, u64 nr_pages);
void *iommu_liveupdate_map_pages(phys_addr_t phys, u64 nr_pages);
void iommu_liveupdate_cond_resched(void);
void iommu_liveupdate_flush_cache(void *virt, size_t size);
int iommu_liveupdate_identify(struct device *dev,
			      struct iommu_liveupdate_function *function);
void iommu_liveupdate_set_dma_preserved(struct device *dev, bool preserved);
void iommu_liveupdate_set_dma_inherited(struct device *dev);
void iommu_liveupdate_stop_device(struct device *dev);
void iommu_liveupdate_stop_function(u16 segment, u16 requester_id);
void iommu_liveupdate_stop_bus(u16 segment, u8 number);
void iommu_liveupdate_stop_all(void);
bool iommu_liveupdate_uses_test_feature(void);
int intel_iommu_liveupdate_reserve_domain_id(struct intel_iommu *iommu, u16 did);
void intel_iommu_liveupdate_release_domain_id(u64 register_base, u16 did);
void intel_iommu_liveupdate_clear_entry(u64 register_base, u16 requester_id,
					u16 did);
void intel_iommu_liveupdate_show_units(struct seq_file *m);

/* Pools of domains, in pool_hooks.rs and pool.c */
struct iommu_liveupdate_pool *iommu_liveupdate_new_pool(bool has_all_but_top);
bool iommu_liveupdate_uses_pools(void);
int iommu_liveupdate_add_pool(struct iommu_domain *domain, bool is_new);
struct iommu_liveupdate_pool *
iommu_liveupdate_pool_of(struct iommu_domain *domain);
phys_addr_t iommu_liveupdate_alloc_block(int nid, gfp_t gfp, unsigned int order,
					 bool is_local);
bool iommu_liveupdate_may_sleep(gfp_t gfp);

/* iommufd */
struct file;
struct iommufd_ctx;
struct iommufd_hw_pagetable;

/**
 * struct iommufd_liveupdate_area - A mapping of a frozen IOAS.
 * @iova: First IOVA.
 * @last_iova: Last IOVA.
 * @file: The file whose pages are mapped, NULL for memory of a process and for
 *        a DMABUF. Valid as long as the IOAS is frozen.
 * @seals: F_SEAL_* of the file, negative if it cannot have any.
 */
struct iommufd_liveupdate_area {
	u64 iova;
	u64 last_iova;
	struct file *file;
	int seals;
};

/**
 * struct iommufd_liveupdate_device - A device attached to a preserved HWPT.
 * @dev: The device. The caller owns a reference.
 * @id: Object ID in the iommufd.
 * @group_devices: Number of devices in its IOMMU group, 0 without a group.
 * @is_pci: A PCI function. If not, the other PCI fields are false.
 * @is_virtfn: A virtual function.
 * @has_virtfns: A physical function with virtual functions enabled.
 * @ats_enabled: The device may cache translations.
 * @pri_enabled: The device may ask for pages.
 * @has_pasids: It has an attachment for a PASID, to any HWPT.
 * @has_vdevice: It belongs to a virtual IOMMU.
 */
struct iommufd_liveupdate_device {
	struct device *dev;
	u32 id;
	u32 group_devices;
	bool is_pci;
	bool is_virtfn;
	bool has_virtfns;
	bool ats_enabled;
	bool pri_enabled;
	bool has_pasids;
	bool has_vdevice;
};

/* Implemented in drivers/iommu/liveupdate/iommufd_hooks.rs */
int iommu_liveupdate_verify(struct iommu_domain *restored,
			    struct iommu_domain *new, bool allow_extra,
			    u64 *iova, u32 *reason);

/* Implemented in drivers/iommu/iommufd/main.c */
struct file *iommufd_create_file(void);

/* Implemented in drivers/iommu/iommufd/liveupdate.c */
int iommufd_liveupdate_pause(void);
int iommufd_liveupdate_begin(struct iommufd_ctx *ictx);
void iommufd_liveupdate_end(struct iommufd_ctx *ictx);
struct iommufd_hw_pagetable *
iommufd_liveupdate_next_hwpt(struct iommufd_ctx *ictx, u32 *id, u64 *token);
void iommufd_liveupdate_put_hwpt(struct iommufd_hw_pagetable *hwpt);
bool iommufd_liveupdate_hwpt_is_restored(struct iommufd_hw_pagetable *hwpt);
int iommufd_liveupdate_freeze_hwpt(struct iommufd_ctx *ictx,
				   struct iommufd_hw_pagetable *hwpt);
void iommufd_liveupdate_unfreeze_hwpt(struct iommufd_ctx *ictx,
				      struct iommufd_hw_pagetable *hwpt);
bool iommufd_liveupdate_hwpt_is_broken(struct iommufd_hw_pagetable *hwpt);
struct iommu_domain *
iommufd_liveupdate_hwpt_domain(struct iommufd_hw_pagetable *hwpt);
bool iommufd_liveupdate_next_area(struct iommufd_hw_pagetable *hwpt, u64 iova,
				  struct iommufd_liveupdate_area *out);
int iommufd_liveupdate_check_area(struct iommufd_hw_pagetable *hwpt, u64 iova,
				  u64 *stale_iova);
bool iommufd_liveupdate_next_device(struct iommufd_ctx *ictx,
				    struct iommufd_hw_pagetable *hwpt, u32 *id,
				    struct iommufd_liveupdate_device *out);
struct file *iommufd_liveupdate_file(struct iommufd_ctx *ictx);
/* end iommufd */

/* vfio, implemented in drivers/vfio/liveupdate.c */
struct device *vfio_liveupdate_bound_device(struct file *file,
					    struct file **iommufd);
int vfio_liveupdate_check(struct file *file);
int vfio_liveupdate_freeze(struct file *file);
void vfio_liveupdate_unfreeze(struct file *file);
struct device *vfio_liveupdate_find(u16 segment, u16 requester_id);
struct file *vfio_liveupdate_retrieve(struct device *dev);
/* end vfio */

/* With CONFIG_IOMMU_LIVEUPDATE_DAMAGE only, in damage_hooks.rs and damage.c */
int iommu_liveupdate_set_damage(const void *list, size_t size);
bool iommu_liveupdate_trust(void);

#endif /* _DRIVERS_IOMMU_LIVEUPDATE_HOOKS_H */
