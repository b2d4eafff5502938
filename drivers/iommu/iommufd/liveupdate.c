// SPDX-License-Identifier: GPL-2.0
/*
 * What the live update handler of iommufd needs to know about, and to do to,
 * the objects of an iommufd, and the ioctls for userspace.
 *
 * Which HWPT can be preserved, and what it is refused for, is decided in
 * drivers/iommu/liveupdate/iommufd.rs.
 *
 * There are two kinds of HWPTs to preserve: those of an IOAS that userspace has
 * marked, and restored ones, which the previous kernel preserved. The latter
 * have no IOAS, and their page tables cannot change; only their attachments are
 * to be frozen.
 *
 * Preserving goes: iommufd_liveupdate_begin() fixes the set of marked HWPTs,
 * iommufd_liveupdate_freeze_hwpt() fixes the mappings and the attachments of
 * one of them, and only then are they looked at. Nothing that was looked at can
 * change until the same is undone in reverse order.
 *
 * Not frozen is what leaves the preserved page tables alone: allocating and
 * destroying other HWPTs on the same IOAS, the ranges that may be mapped later
 * (IOMMU_IOAS_ALLOW_IOVAS, IOMMU_OPTION), reading and clearing dirty bits, and
 * the process that pinned pages are accounted to (IOMMU_IOAS_CHANGE_PROCESS).
 */
#include <linux/iommu.h>
#include <linux/iommufd.h>
#include <linux/memfd.h>
#include <linux/pagemap.h>
#include <linux/pci.h>
#include <linux/sched/signal.h>

#include "../liveupdate/hooks.h"
#include "io_pagetable.h"
#include "iommufd_private.h"

/* The HWPT if the object is one that can have a token, or else NULL. */
static struct iommufd_hw_pagetable *
iommufd_liveupdate_to_hwpt(struct iommufd_object *obj)
{
	switch (obj->type) {
	case IOMMUFD_OBJ_HWPT_PAGING:
	case IOMMUFD_OBJ_HWPT_RESTORED:
		return container_of(obj, struct iommufd_hw_pagetable, obj);
	default:
		return NULL;
	}
}

/**
 * iommufd_liveupdate_find_token() - Find the HWPT that has a token
 * @ictx: iommufd context
 * @token: Token to look for
 * @type: Set to the type of the HWPT
 *
 * Return: Its object ID, which another thread may be destroying, or 0.
 */
static u32 iommufd_liveupdate_find_token(struct iommufd_ctx *ictx, u64 token,
					 enum iommufd_object_type *type)
{
	struct iommufd_object *obj;
	unsigned long index;
	u32 id = 0;

	lockdep_assert_held(&ictx->liveupdate_lock);

	xa_lock(&ictx->objects);
	xa_for_each(&ictx->objects, index, obj) {
		struct iommufd_hw_pagetable *hwpt =
			iommufd_liveupdate_to_hwpt(obj);

		if (!hwpt || !hwpt->liveupdate.marked ||
		    hwpt->liveupdate.token != token)
			continue;
		id = obj->id;
		*type = obj->type;
		break;
	}
	xa_unlock(&ictx->objects);
	return id;
}

/**
 * iommufd_liveupdate_prepare_domain() - Get ready to preserve a new domain
 * @domain: Domain without mappings
 *
 * Return: 0, -EOPNOTSUPP if its page tables can never be preserved, or -ENOMEM.
 */
int iommufd_liveupdate_prepare_domain(struct iommu_domain *domain)
{
	return iommu_liveupdate_add_pool(domain, true);
}

static int iommufd_liveupdate_set_mark(struct iommufd_ctx *ictx,
				       struct iommufd_hw_pagetable *hwpt,
				       u64 token)
{
	enum iommufd_object_type type;
	u32 id;
	int rc;

	guard(mutex)(&ictx->liveupdate_lock);
	if (ictx->liveupdate_preserved)
		return -EBUSY;

	id = iommufd_liveupdate_find_token(ictx, token, &type);
	if (id && id != hwpt->obj.id)
		return -EADDRINUSE;

	/* Whether the page tables can be preserved is looked at later. */
	rc = iommu_liveupdate_add_pool(hwpt->domain, false);
	if (rc && rc != -EOPNOTSUPP)
		return rc;

	hwpt->liveupdate.token = token;
	hwpt->liveupdate.marked = true;
	return 0;
}

int iommufd_hwpt_liveupdate_mark_preserve(struct iommufd_ucmd *ucmd)
{
	struct iommu_hwpt_liveupdate_mark_preserve *cmd = ucmd->cmd;
	struct iommufd_hwpt_paging *hwpt;
	int rc;

	hwpt = iommufd_get_hwpt_paging(ucmd, cmd->hwpt_id);
	if (IS_ERR(hwpt))
		return PTR_ERR(hwpt);

	if (hwpt->auto_domain)
		rc = -EINVAL;
	else if (hwpt->nest_parent || hwpt->common.fault)
		rc = -EOPNOTSUPP;
	else
		rc = iommufd_liveupdate_set_mark(ucmd->ictx, &hwpt->common,
						 cmd->hwpt_token);

	iommufd_put_object(ucmd->ictx, &hwpt->common.obj);
	return rc;
}

/**
 * iommufd_hwpt_liveupdate_restore() - Make an object for preserved page tables
 * @ucmd: With &struct iommu_hwpt_liveupdate_restore
 *
 * The lock is held until the object can be found, so that a token leads to one
 * object only. It does not wait for an object that is being destroyed: that one
 * can no longer be found, but keeps its page tables until its destruction is
 * complete.
 *
 * Return: 0 or a negative errno, see &struct iommu_hwpt_liveupdate_restore.
 */
int iommufd_hwpt_liveupdate_restore(struct iommufd_ucmd *ucmd)
{
	struct iommu_hwpt_liveupdate_restore *cmd = ucmd->cmd;
	struct iommu_liveupdate_hwpt tables = {};
	struct iommufd_ctx *ictx = ucmd->ictx;
	struct iommufd_hwpt_restored *hwpt;
	enum iommufd_object_type type;
	int rc;

	if (cmd->flags || cmd->__reserved)
		return -EOPNOTSUPP;

	guard(mutex)(&ictx->liveupdate_lock);

	cmd->out_hwpt_id =
		iommufd_liveupdate_find_token(ictx, cmd->hwpt_token, &type);
	if (cmd->out_hwpt_id) {
		if (type != IOMMUFD_OBJ_HWPT_RESTORED)
			return -EADDRINUSE;
		return iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	}
	if (ictx->liveupdate_preserved)
		return -EBUSY;

	hwpt = __iommufd_object_alloc(ictx, hwpt, IOMMUFD_OBJ_HWPT_RESTORED,
				      common.obj);
	if (IS_ERR(hwpt))
		return PTR_ERR(hwpt);

	/* After the restoration nothing may fail, undoing it frees the tables */
	cmd->out_hwpt_id = hwpt->common.obj.id;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (rc)
		goto out_abort;

	rc = iommu_liveupdate_restore_hwpt(ictx, cmd->hwpt_token, &tables);
	if (rc) {
		/* Another thread is destroying its object */
		if (rc == -EEXIST)
			rc = -EBUSY;
		goto out_abort;
	}

	hwpt->handle = tables.handle;
	hwpt->common.domain = tables.domain;
	hwpt->common.liveupdate.token = cmd->hwpt_token;
	hwpt->common.liveupdate.marked = true;
	iommufd_object_finalize(ictx, &hwpt->common.obj);
	return 0;

out_abort:
	iommufd_object_abort(ictx, &hwpt->common.obj);
	return rc;
}

void iommufd_hwpt_restored_destroy(struct iommufd_object *obj)
{
	struct iommufd_hwpt_restored *hwpt =
		container_of(obj, struct iommufd_hwpt_restored, common.obj);

	/* Also the end of the domain, unless the IOMMU core still uses it */
	iommu_liveupdate_release_hwpt(hwpt->handle);
}

static bool iommufd_liveupdate_maps_dmabuf(struct io_pagetable *iopt)
{
	struct iopt_area *area;

	guard(rwsem_read)(&iopt->iova_rwsem);
	for (area = iopt_area_iter_first(iopt, 0, ULONG_MAX); area;
	     area = iopt_area_iter_next(area, 0, ULONG_MAX))
		if (area->pages && iopt_is_dmabuf(area->pages))
			return true;
	return false;
}

/**
 * iommufd_hwpt_liveupdate_verify() - Compare a restored HWPT with a new one
 * @ucmd: With &struct iommu_hwpt_liveupdate_verify
 *
 * The restored page tables cannot change. Those of the new HWPT are changed,
 * and freed, with domains_rwsem held: for reading by what maps and unmaps areas,
 * for writing by what adds and removes domains. Two things go without. Dirty
 * tracking does not replace any table. The exporter of a DMABUF can revoke it
 * at any time, which unmaps it under iopt_pages::mutex alone, so there must be
 * none; a restored HWPT has none either.
 *
 * Return: 0 or a negative errno, see &struct iommu_hwpt_liveupdate_verify.
 */
int iommufd_hwpt_liveupdate_verify(struct iommufd_ucmd *ucmd)
{
	struct iommu_hwpt_liveupdate_verify *cmd = ucmd->cmd;
	bool allow_extra =
		cmd->flags & IOMMU_HWPT_LIVEUPDATE_VERIFY_ALLOW_EXTRA;
	struct iommufd_hw_pagetable *restored;
	struct iommufd_hwpt_paging *hwpt;
	struct io_pagetable *iopt;
	u32 reason = 0;
	u64 iova = 0;
	int rc;

	if ((cmd->flags & ~IOMMU_HWPT_LIVEUPDATE_VERIFY_ALLOW_EXTRA) ||
	    cmd->__reserved)
		return -EOPNOTSUPP;

	restored = container_of(iommufd_get_object(ucmd->ictx,
						   cmd->restored_hwpt_id,
						   IOMMUFD_OBJ_HWPT_RESTORED),
				struct iommufd_hw_pagetable, obj);
	if (IS_ERR(restored))
		return PTR_ERR(restored);
	hwpt = iommufd_get_hwpt_paging(ucmd, cmd->new_hwpt_id);
	if (IS_ERR(hwpt)) {
		rc = PTR_ERR(hwpt);
		goto out_put_restored;
	}

	iopt = &hwpt->ioas->iopt;
	rc = down_write_killable(&iopt->domains_rwsem);
	if (rc)
		goto out_put_hwpt;
	if (iommufd_liveupdate_maps_dmabuf(iopt))
		rc = -EOPNOTSUPP;
	else
		rc = iommu_liveupdate_verify(restored->domain,
					     hwpt->common.domain, allow_extra,
					     &iova, &reason);
	up_write(&iopt->domains_rwsem);

	if (!rc) {
		cmd->out_iova = iova;
		cmd->out_reason = reason;
		rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	}
out_put_hwpt:
	iommufd_put_object(ucmd->ictx, &hwpt->common.obj);
out_put_restored:
	iommufd_put_object(ucmd->ictx, &restored->obj);
	return rc;
}

/**
 * iommufd_liveupdate_pause() - Let other tasks run if it is time for that
 *
 * Return: 0, or -EINTR if the caller was killed.
 */
int iommufd_liveupdate_pause(void)
{
	cond_resched();
	return fatal_signal_pending(current) ? -EINTR : 0;
}

/**
 * iommufd_liveupdate_begin() - Start to preserve an iommufd
 * @ictx: iommufd context
 *
 * From here on IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE fails with -EBUSY, and so
 * does IOMMU_HWPT_LIVEUPDATE_RESTORE unless the object exists. Hence the set of
 * marked and restored HWPTs, as far as they are not destroyed, and their tokens
 * are fixed.
 *
 * Return: 0, or -EBUSY if it is preserved already.
 */
int iommufd_liveupdate_begin(struct iommufd_ctx *ictx)
{
	guard(mutex)(&ictx->liveupdate_lock);
	if (ictx->liveupdate_preserved)
		return -EBUSY;
	ictx->liveupdate_preserved = true;
	return 0;
}

/**
 * iommufd_liveupdate_end() - Undo iommufd_liveupdate_begin()
 * @ictx: iommufd context
 */
void iommufd_liveupdate_end(struct iommufd_ctx *ictx)
{
	guard(mutex)(&ictx->liveupdate_lock);
	ictx->liveupdate_preserved = false;
}

/**
 * iommufd_liveupdate_next_hwpt() - Find the next marked or restored HWPT
 * @ictx: iommufd context, after iommufd_liveupdate_begin()
 * @id: Object ID to start after, 0 for the first. Updated to that of the HWPT.
 * @token: Set to the token of the HWPT
 *
 * The HWPT, and its IOAS if it has one, cannot be destroyed until the caller has
 * released the HWPT with iommufd_liveupdate_put_hwpt().
 *
 * Return: The HWPT, or NULL if there is none left.
 */
struct iommufd_hw_pagetable *
iommufd_liveupdate_next_hwpt(struct iommufd_ctx *ictx, u32 *id, u64 *token)
{
	struct iommufd_hw_pagetable *found = NULL;
	struct iommufd_object *obj;
	unsigned long index;

	xa_lock(&ictx->objects);
	xa_for_each_start(&ictx->objects, index, obj, *id + 1UL) {
		struct iommufd_hw_pagetable *hwpt =
			iommufd_liveupdate_to_hwpt(obj);

		if (!hwpt || !hwpt->liveupdate.marked ||
		    !refcount_inc_not_zero(&obj->users))
			continue;
		*id = obj->id;
		*token = hwpt->liveupdate.token;
		found = hwpt;
		break;
	}
	xa_unlock(&ictx->objects);
	return found;
}

/**
 * iommufd_liveupdate_put_hwpt() - Release a HWPT
 * @hwpt: HWPT from iommufd_liveupdate_next_hwpt()
 */
void iommufd_liveupdate_put_hwpt(struct iommufd_hw_pagetable *hwpt)
{
	refcount_dec(&hwpt->obj.users);
}

/**
 * iommufd_liveupdate_hwpt_is_restored() - Check if a HWPT is a restored one
 * @hwpt: HWPT from iommufd_liveupdate_next_hwpt()
 *
 * Return: True if so, false if it is one of an IOAS.
 */
bool iommufd_liveupdate_hwpt_is_restored(struct iommufd_hw_pagetable *hwpt)
{
	return hwpt->obj.type == IOMMUFD_OBJ_HWPT_RESTORED;
}

static void iommufd_liveupdate_set_preserved(struct iommufd_ctx *ictx,
					     struct iommufd_hw_pagetable *hwpt,
					     bool preserved)
{
	xa_lock(&ictx->objects);
	if (preserved)
		WRITE_ONCE(hwpt->liveupdate.broken, false);
	WRITE_ONCE(hwpt->liveupdate.preserved, preserved);
	xa_unlock(&ictx->objects);
}

/**
 * iommufd_liveupdate_freeze_hwpt() - Fix the mappings and attachments of a HWPT
 * @ictx: iommufd context
 * @hwpt: HWPT from iommufd_liveupdate_next_hwpt()
 *
 * Whatever would change the mappings of its IOAS or the attachment of its
 * devices fails with -EBUSY from here on. A restored HWPT has no mappings that
 * could change.
 *
 * Mappings: the counter is raised under domains_rwsem and iova_rwsem. Every
 * mutator tests it under iova_rwsem, and what it began earlier either is
 * complete or has left an area without pages, which is refused here.
 *
 * Attachments: a mutator tests the flag under iommufd_group::lock, while the
 * flag is set without that lock because devices of any group may attach.
 * iommufd_liveupdate_next_device() takes the lock of each group after the flag
 * was set and before it looks. So a mutator either is done by then and seen,
 * or takes the lock later and sees the flag. A device that is bound later is
 * published under the xa_lock under which the flag was set.
 *
 * Return: 0, -EBUSY if a mapping is being set up or torn down, or -EOPNOTSUPP
 * if an emulated device uses the IOAS.
 */
int iommufd_liveupdate_freeze_hwpt(struct iommufd_ctx *ictx,
				   struct iommufd_hw_pagetable *hwpt)
{
	struct io_pagetable *iopt;
	struct iopt_area *area;
	int rc = 0;

	iommufd_liveupdate_set_preserved(ictx, hwpt, true);
	if (!hwpt_is_paging(hwpt))
		return 0;

	iopt = &to_hwpt_paging(hwpt)->ioas->iopt;
	down_write(&iopt->domains_rwsem);
	down_write(&iopt->iova_rwsem);
	for (area = iopt_area_iter_first(iopt, 0, ULONG_MAX); area && !rc;
	     area = iopt_area_iter_next(area, 0, ULONG_MAX))
		if (!area->pages)
			rc = -EBUSY;
	if (!xa_empty(&iopt->access_list))
		rc = -EOPNOTSUPP;
	if (!rc)
		iopt->liveupdate_frozen++;
	up_write(&iopt->iova_rwsem);
	up_write(&iopt->domains_rwsem);

	if (rc)
		iommufd_liveupdate_set_preserved(ictx, hwpt, false);
	return rc;
}

/**
 * iommufd_liveupdate_unfreeze_hwpt() - Undo iommufd_liveupdate_freeze_hwpt()
 * @ictx: iommufd context
 * @hwpt: HWPT that was frozen
 */
void iommufd_liveupdate_unfreeze_hwpt(struct iommufd_ctx *ictx,
				      struct iommufd_hw_pagetable *hwpt)
{
	if (hwpt_is_paging(hwpt)) {
		struct io_pagetable *iopt = &to_hwpt_paging(hwpt)->ioas->iopt;

		down_write(&iopt->iova_rwsem);
		iopt->liveupdate_frozen--;
		up_write(&iopt->iova_rwsem);
	}

	iommufd_liveupdate_set_preserved(ictx, hwpt, false);
}

/**
 * iommufd_liveupdate_hwpt_is_broken() - Check if a frozen HWPT lost a device
 * @hwpt: HWPT that is frozen
 *
 * A driver that gives up its device detaches it, preserved or not.
 *
 * Return: True if so.
 */
bool iommufd_liveupdate_hwpt_is_broken(struct iommufd_hw_pagetable *hwpt)
{
	return READ_ONCE(hwpt->liveupdate.broken);
}

/**
 * iommufd_liveupdate_hwpt_domain() - The domain of a HWPT
 * @hwpt: HWPT from iommufd_liveupdate_next_hwpt()
 *
 * Return: The domain, valid until the HWPT is released.
 */
struct iommu_domain *
iommufd_liveupdate_hwpt_domain(struct iommufd_hw_pagetable *hwpt)
{
	return hwpt->domain;
}

/**
 * iommufd_liveupdate_next_area() - Find the next mapping
 * @hwpt: HWPT that is frozen
 * @iova: IOVA to start at
 * @out: Set to the mapping
 *
 * Return: True if there is a mapping at or above @iova. Nothing is known of the
 * mappings of a restored HWPT.
 */
bool iommufd_liveupdate_next_area(struct iommufd_hw_pagetable *hwpt, u64 iova,
				  struct iommufd_liveupdate_area *out)
{
	struct io_pagetable *iopt;
	struct iopt_area *area;

	if (!hwpt_is_paging(hwpt) || iova > ULONG_MAX)
		return false;

	iopt = &to_hwpt_paging(hwpt)->ioas->iopt;
	guard(rwsem_read)(&iopt->iova_rwsem);
	area = iopt_area_iter_first(iopt, iova, ULONG_MAX);
	if (!area)
		return false;

	out->iova = iopt_area_iova(area);
	out->last_iova = iopt_area_last_iova(area);
	out->file = NULL;
	out->seals = -EINVAL;
	if (area->pages->type == IOPT_ADDRESS_FILE) {
		out->file = area->pages->file;
		out->seals = memfd_get_seals(out->file);
	}
	return true;
}

/**
 * iommufd_liveupdate_check_area() - Compare a mapping with its file
 * @hwpt: HWPT that is frozen
 * @iova: First IOVA of a mapping of a file
 * @stale_iova: Set to the first IOVA that maps another page than the file has
 *
 * Pages stay mapped, and pinned, after a hole was punched where they were. But
 * what is preserved with the file are the pages it has now, and a device that
 * continued to use another one would access memory that the next kernel gives
 * away.
 *
 * The file must be preserved itself, so that its pages cannot change.
 *
 * Return: 0, or -ESTALE.
 */
int iommufd_liveupdate_check_area(struct iommufd_hw_pagetable *hwpt, u64 iova,
				  u64 *stale_iova)
{
	struct iommu_domain *domain = hwpt->domain;
	struct io_pagetable *iopt;
	struct folio *folio = NULL;
	struct iopt_area *area;
	pgoff_t index, last;
	int rc = -ESTALE;

	*stale_iova = iova;
	if (!hwpt_is_paging(hwpt))
		return -ESTALE;

	iopt = &to_hwpt_paging(hwpt)->ioas->iopt;
	guard(rwsem_read)(&iopt->iova_rwsem);
	area = iopt_area_iter_first(iopt, iova, iova);
	if (!area || area->pages->type != IOPT_ADDRESS_FILE)
		return -ESTALE;

	index = area->pages->start / PAGE_SIZE + iopt_area_index(area);
	last = area->pages->start / PAGE_SIZE + iopt_area_last_index(area);
	/* The mapping may begin in the middle of its first page */
	iova -= area->page_offset;

	for (; index <= last; index++) {
		phys_addr_t phys = iommu_iova_to_phys(domain, *stale_iova);

		if (!folio || !folio_contains(folio, index)) {
			if (folio)
				folio_put(folio);
			cond_resched();
			folio = filemap_get_folio(area->pages->file->f_mapping,
						  index);
			if (IS_ERR(folio))
				return -ESTALE;
		}
		if (PHYS_PFN(phys) !=
		    page_to_pfn(folio_file_page(folio, index)))
			goto out_put;

		iova += PAGE_SIZE;
		*stale_iova = iova;
	}
	rc = 0;
out_put:
	folio_put(folio);
	return rc;
}

static int iommufd_liveupdate_count_device(struct device *dev, void *data)
{
	u32 *count = data;

	(*count)++;
	return 0;
}

static bool iommufd_liveupdate_read_device(struct iommufd_device *idev,
					   struct iommufd_hw_pagetable *hwpt,
					   struct iommufd_liveupdate_device *out)
{
	struct iommufd_group *igroup = idev->igroup;
	struct iommufd_attach *attach;
	bool attached = false;
	unsigned long pasid;

	memset(out, 0, sizeof(*out));

	guard(mutex)(&igroup->lock);
	xa_for_each(&igroup->pasid_attach, pasid, attach) {
		if (!xa_load(&attach->device_array, idev->obj.id))
			continue;
		if (attach->hwpt == hwpt)
			attached = true;
		if (pasid != IOMMU_NO_PASID)
			out->has_pasids = true;
	}
	if (!attached)
		return false;

	out->dev = get_device(idev->dev);
	out->id = idev->obj.id;
	out->has_vdevice = idev->vdev;
	if (igroup->group)
		iommu_group_for_each_dev(igroup->group, &out->group_devices,
					 iommufd_liveupdate_count_device);
	if (dev_is_pci(idev->dev)) {
		struct pci_dev *pdev = to_pci_dev(idev->dev);

		out->is_pci = true;
		out->is_virtfn = pdev->is_virtfn;
		out->has_virtfns = pci_num_vf(pdev);
		out->ats_enabled = pdev->ats_enabled;
		out->pri_enabled = pdev->pri_enabled;
	}
	return true;
}

/**
 * iommufd_liveupdate_next_device() - Find the next device of a HWPT
 * @ictx: iommufd context
 * @hwpt: HWPT that is frozen
 * @id: Object ID to start after, 0 for the first. Updated to that of the device.
 * @out: Set to the device, with a reference that the caller has to drop
 *
 * Return: True if there is another device attached to @hwpt.
 */
bool iommufd_liveupdate_next_device(struct iommufd_ctx *ictx,
				    struct iommufd_hw_pagetable *hwpt, u32 *id,
				    struct iommufd_liveupdate_device *out)
{
	struct iommufd_device *idev;
	struct iommufd_object *obj;
	unsigned long index;
	bool found = false;

	xa_lock(&ictx->objects);
	xa_for_each_start(&ictx->objects, index, obj, *id + 1UL) {
		if (obj->type != IOMMUFD_OBJ_DEVICE || !iommufd_lock_obj(obj))
			continue;
		xa_unlock(&ictx->objects);

		idev = container_of(obj, struct iommufd_device, obj);
		found = iommufd_liveupdate_read_device(idev, hwpt, out);
		iommufd_put_object(ictx, obj);

		xa_lock(&ictx->objects);
		if (found) {
			*id = index;
			break;
		}
	}
	xa_unlock(&ictx->objects);
	return found;
}

/**
 * iommufd_liveupdate_file() - Return the file of an iommufd
 * @ictx: The iommufd, whose references are references to the file.
 */
struct file *iommufd_liveupdate_file(struct iommufd_ctx *ictx)
{
	return ictx->file;
}
