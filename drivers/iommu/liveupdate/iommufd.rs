// SPDX-License-Identifier: GPL-2.0

//! Preserving an iommufd, and getting it back.
//!
//! What is preserved are the HWPTs that userspace marked, as page tables, and which devices are
//! attached to them. IOASes, mappings and everything else in an iommufd are not: userspace makes
//! them anew. The iommufd that comes back is empty, but it can restore the HWPTs.
//!
//! If a HWPT was restored and a device still uses it, it is preserved once more.

pub(crate) mod policy;

use crate::{
    flb::{
        self,
        FLB, //
    },
    hooks::DirectMap,
    incoming::Incoming,
    iommufd_hooks::{
        self,
        Area,
        AttachedDevice,
        FixedMarks,
        FrozenHwpt, //
    },
    outgoing::{
        self,
        HwptRequest, //
    },
    retrieved, //
};
use kernel::{
    fs::File,
    liveupdate::{
        self,
        FileHandler,
        PreservedState,
        Retrieved,
        Session, //
    },
    prelude::*,
    sync::aref::ARef, //
};
use liveupdate_state::{
    extents::Extents,
    second_stage,
    Tree, //
};
use policy::{
    check_device,
    check_mapping,
    check_memory,
    rejection_errno,
    MappedFile,
    Refusal, //
};

/// The handler as LUO knows it.
static HANDLER: liveupdate::Handler<Iommufd> = liveupdate::Handler::new();

/// The registered handler. Dropping it unregisters the handler.
pub(crate) type Handler = liveupdate::Registration<Iommufd>;

/// Registers the handler of iommufds, see [`flb::register`].
pub(crate) fn register() -> Result<Option<Handler>> {
    flb::register(&HANDLER)
}

/// Implements [`FileHandler`].
pub(crate) struct Iommufd;

/// A preserved iommufd in the kernel that ends.
///
/// The fields are dropped in this order, which undoes the steps of preserving it last to first.
pub(crate) struct PreservedIommufd {
    record: outgoing::PreservedIommufd,
    hwpts: KVec<FrozenHwpt>,
    _marks: FixedMarks,
}

#[vtable]
impl FileHandler for Iommufd {
    const COMPATIBLE: &'static CStr = c"iommufd-v1";

    type Preserved = KBox<PreservedIommufd>;

    fn can_preserve(file: &File) -> bool {
        iommufd_hooks::is_iommufd(file)
    }

    fn preserve(file: &File, session: Session<'_>) -> Result<PreservedState<Self::Preserved>> {
        let marks = FixedMarks::new(file)?;
        let hwpts = freeze_all(&marks)?;
        let mut requests = KVec::new();

        for hwpt in &hwpts {
            if hwpt.is_restored() {
                check_tables(hwpt, session)?;
            }
            for area in hwpt.areas() {
                check_area(hwpt, &area, session)?;
            }
        }
        for hwpt in &hwpts {
            if hwpt.devices().next().is_none() {
                return Err(refuse_hwpt(hwpt.id(), Refusal::NoDevice));
            }
        }
        for hwpt in &hwpts {
            requests.push(request(hwpt)?, GFP_KERNEL)?;
        }

        let record = outgoing::preserve(&requests)?;

        Ok(PreservedState {
            data: record.state(),
            private: KBox::new(
                PreservedIommufd {
                    record,
                    hwpts,
                    _marks: marks,
                },
                GFP_KERNEL,
            )?,
        })
    }

    fn unpreserve(_file: &File, _data: u64, _preserved: Self::Preserved) {}

    fn freeze(_file: &File, _data: &mut u64, preserved: &PreservedIommufd) -> Result {
        for hwpt in &preserved.hwpts {
            if hwpt.is_broken() {
                return Err(refuse_hwpt(hwpt.id(), Refusal::DeviceDetached));
            }
        }
        preserved.record.seal()
    }

    fn unfreeze(_file: &File, _data: u64, preserved: &PreservedIommufd) {
        preserved.record.unseal();
    }

    fn retrieve(data: u64) -> Result<ARef<File>> {
        let guard = FLB.incoming().map_err(|e| {
            pr_warn!("iommufd: there is no state of the IOMMUs ({:?})\n", e);
            if e == ENOMEM {
                ENOMEM
            } else {
                EBADMSG
            }
        })?;
        let owner = find(data, &guard.get())?;
        let (file, context) = iommufd_hooks::create()?;
        retrieved::register(owner, context)?;
        Ok(file)
    }

    fn can_finish(_retrieved: Retrieved<'_>, data: u64, session: Session<'_>) -> bool {
        // What nobody has asked for would be gone.
        if !session.all_retrieved() {
            return false;
        }
        // Without a sound state, no domain was restored.
        let Ok(guard) = FLB.incoming() else {
            return true;
        };
        let incoming = guard.get();

        find(data, &incoming).map_or(true, |owner| !retrieved::is_attached(&incoming, owner))
    }

    fn finish(_retrieved: Retrieved<'_>, data: u64) {
        let freed = match FLB.incoming() {
            Ok(guard) => {
                let incoming = guard.get().into();

                retrieved::finish(&incoming, data);
                // Whoever looks at the state in debugfs holds the lock.
                let _progress = incoming.progress.lock();
                iommufd_hooks::free_state(data)
            }
            Err(_) => {
                retrieved::free_unknown(None, data);
                iommufd_hooks::free_state(data)
            }
        };
        if let Err(e) = freed {
            pr_warn!("iommufd: no state to free at {:#x} ({:?})\n", data, e);
        }
    }
}

/// Freezes all marked HWPTs, and the restored ones that a device is attached to.
fn freeze_all(marks: &FixedMarks) -> Result<KVec<FrozenHwpt>> {
    let mut hwpts = KVec::new();

    for hwpt in marks.hwpts() {
        let id = hwpt.id();
        let hwpt = hwpt.freeze().map_err(|refusal| refuse_hwpt(id, refusal))?;

        // Attaching to it fails as long as it is frozen, so this is not known earlier.
        if hwpt.is_restored() && hwpt.devices().next().is_none() {
            continue;
        }
        hwpts.push(hwpt, GFP_KERNEL)?;
    }
    if hwpts.is_empty() {
        pr_warn!("iommufd: {}\n", Refusal::NothingMarked);
        return Err(Refusal::NothingMarked.errno());
    }
    Ok(hwpts)
}

/// Checks the devices of a HWPT and describes it.
fn request(hwpt: &FrozenHwpt) -> Result<HwptRequest> {
    let mut devices = KVec::new();

    for AttachedDevice { device, facts } in hwpt.devices() {
        check_device(facts).map_err(|refusal| {
            dev_warn!(
                device,
                "attached to HWPT {}, which cannot be preserved: {}\n",
                hwpt.id(),
                refusal
            );
            refusal.errno()
        })?;
        devices.push(device, GFP_KERNEL)?;
    }

    Ok(HwptRequest {
        token: hwpt.token(),
        domain: hwpt.domain(),
        devices,
    })
}

/// Checks one mapping.
fn check_area(hwpt: &FrozenHwpt, area: &Area<'_>, session: Session<'_>) -> Result {
    let file = area.file.map(|file| MappedFile {
        is_preserved: session.preserves(file),
        is_sealed: area.is_sealed(),
    });

    check_mapping(file).map_err(|refusal| refuse_mapping(hwpt, area.iova, refusal))?;
    hwpt.check_area(area)
        .map_err(|iova| refuse_mapping(hwpt, iova, Refusal::PageNotInFile))
}

/// Checks everything that a restored HWPT maps.
///
/// It has no mappings that would tell, only its page tables.
fn check_tables(hwpt: &FrozenHwpt, session: Session<'_>) -> Result {
    let record = hwpt.domain().describe()?;
    let damaged = || refuse_hwpt(hwpt.id(), Refusal::DamagedTables);
    let table = second_stage::page_table(&record).ok_or_else(damaged)?;

    for extent in Extents::new(&DirectMap, table) {
        iommufd_hooks::pause()?;

        let extent = extent.map_err(|_| damaged())?;
        let Some(mapping) = extent.mapping else {
            continue;
        };
        let size = extent.end.saturating_sub(extent.iova);

        check_memory(mapping.address, size, |phys| {
            iommufd_hooks::pause()?;
            Ok(session.preserved_folio_end(phys))
        })?
        .map_err(|refusal| refuse_mapping(hwpt, extent.iova, refusal))?;
    }
    Ok(())
}

/// Says why a mapping is refused, and returns the error for userspace.
fn refuse_mapping(hwpt: &FrozenHwpt, iova: u64, refusal: Refusal) -> Error {
    pr_warn!(
        "iommufd: HWPT {} cannot be preserved: mapping at IOVA {:#x}: {}\n",
        hwpt.id(),
        iova,
        refusal
    );
    refusal.errno()
}

/// Says why a HWPT is refused, and returns the error for userspace.
fn refuse_hwpt(id: u32, refusal: Refusal) -> Error {
    pr_warn!("iommufd: HWPT {} cannot be preserved: {}\n", id, refusal);
    refusal.errno()
}

/// Finds the number that the iommufd had whose state is at `data`.
///
/// # Errors
///
/// `EBADMSG` if the state is damaged or missing, or describes none of its units as they are;
/// `EPROTONOSUPPORT` if it is meant for another kernel.
fn find(data: u64, incoming: &Incoming) -> Result<u64> {
    let Some(iommufd) = incoming.iommufd_at(data) else {
        return Err(incoming.error().map_or_else(
            || {
                pr_err!(
                    "iommufd: rejected: no index leads to its state at {:#x}\n",
                    data
                );
                EBADMSG
            },
            rejection_errno,
        ));
    };
    let records = iommufd.records().map_err(rejection_errno)?;
    let owner = records.owner();
    let progress = incoming.progress.lock();

    records
        .units()
        .any(|unit| progress.has_adopted(owner, unit.register_base))
        .then_some(owner)
        .ok_or_else(|| {
            pr_warn!("iommufd: no unit went on with its page tables\n");
            EBADMSG
        })
}
