// SPDX-License-Identifier: GPL-2.0
/*
 * The pool that the page tables of a domain come from, see pool.rs.
 */
#include <linux/generic_pt/iommu.h>
#include <linux/gfp.h>

#include "../iommu-pages.h"
#include "hooks.h"

/**
 * iommu_liveupdate_add_pool - Let the page tables of a domain come from a pool
 * @domain: Paging domain
 * @is_new: Nobody has mapped anything yet
 *
 * The tables that the domain has already stay where they are. It may be mapped
 * to and attached meanwhile. Nothing happens if the domain has a pool already,
 * or if pools are switched off.
 *
 * Context: May sleep.
 * Return: 0, -EOPNOTSUPP if the page tables cannot be preserved, or -ENOMEM.
 */
int iommu_liveupdate_add_pool(struct iommu_domain *domain, bool is_new)
{
	struct pt_iommu *pt = iommupt_from_domain(domain);
	struct iommu_liveupdate_domain record;
	struct iommu_liveupdate_pool *pool;
	int ret;

	ret = iommu_liveupdate_describe_domain(domain, &record);
	if (ret)
		return ret;
	if (!pt)
		return -EOPNOTSUPP;
	if (READ_ONCE(pt->pool) || !iommu_liveupdate_uses_pools())
		return 0;

	pool = iommu_liveupdate_new_pool(is_new);
	if (!pool)
		return -ENOMEM;
	/* Another thread may have been faster */
	if (cmpxchg(&pt->pool, NULL, pool))
		iommu_liveupdate_put_pool(pool);
	return 0;
}

/* The pool of @domain, or NULL. It lives as long as the domain. */
struct iommu_liveupdate_pool *
iommu_liveupdate_pool_of(struct iommu_domain *domain)
{
	struct pt_iommu *pt = iommupt_from_domain(domain);

	/* Pairs with cmpxchg() in iommu_liveupdate_add_pool() */
	return pt ? smp_load_acquire(&pt->pool) : NULL;
}

/*
 * Allocate a block for a pool.
 *
 * There is a smaller block, or another node, if there is not enough contiguous
 * memory. So no effort is made for anything but a single page on any node.
 *
 * Return: The physical address, or 0.
 */
phys_addr_t iommu_liveupdate_alloc_block(int nid, gfp_t gfp, unsigned int order,
					 bool is_local)
{
	gfp &= ~(__GFP_ZERO | __GFP_COMP);
	if (order) {
		gfp &= ~(__GFP_RETRY_MAYFAIL | __GFP_NOFAIL);
		gfp |= __GFP_NORETRY | __GFP_NOWARN;
	}
	if (is_local)
		gfp |= __GFP_THISNODE;
	return iommu_alloc_block(nid, gfp, order);
}

bool iommu_liveupdate_may_sleep(gfp_t gfp)
{
	return gfpflags_allow_blocking(gfp);
}
