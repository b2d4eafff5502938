// SPDX-License-Identifier: GPL-2.0

//! What cannot be preserved or retrieved, and the error for it.
//!
//! The errors are part of the userspace API, see
//! `Documentation/userspace-api/iommu-liveupdate.rst`.

use kernel::{
    fmt,
    prelude::*, //
};

/// Why an iommufd cannot be preserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No HWPT is marked, and no device uses a restored one.
    NothingMarked,
    /// A HWPT has no device.
    NoDevice,
    /// Something other than a device uses the IOAS.
    EmulatedDevice,
    /// The IOAS is being changed by another thread.
    MappingInProgress,
    /// A mapping is memory of a process, or a DMABUF.
    NotAFile,
    /// A file that is mapped, or the one to which a page that a restored HWPT maps belongs, is not
    /// in the session.
    FileNotPreserved,
    /// A file that is mapped can change its size.
    FileNotSealed,
    /// A page that is mapped is no longer part of its file.
    PageNotInFile,
    /// The page tables of a restored HWPT cannot be walked.
    DamagedTables,
    /// A device is not a PCI device.
    NotPci,
    /// A device is a virtual function.
    VirtualFunction,
    /// A device has virtual functions.
    VirtualFunctionsEnabled,
    /// A device caches translations.
    AtsEnabled,
    /// A device can ask for pages.
    PriEnabled,
    /// A device has page tables for a PASID.
    PasidAttached,
    /// A device belongs to a virtual IOMMU.
    VirtualIommu,
    /// A device shares its group with others, or has none.
    GroupNotSingular,
    /// A device was detached while it was preserved.
    DeviceDetached,
}

impl Refusal {
    /// Returns the error for userspace.
    pub(crate) fn errno(self) -> Error {
        match self {
            Self::NothingMarked | Self::NoDevice => ENODATA,
            Self::MappingInProgress => EBUSY,
            Self::NotAFile => EBADF,
            Self::FileNotPreserved => EINVAL,
            Self::FileNotSealed => EPERM,
            Self::PageNotInFile => ESTALE,
            Self::DamagedTables => EBADMSG,
            Self::NotPci | Self::DeviceDetached => ENODEV,
            Self::EmulatedDevice
            | Self::VirtualFunction
            | Self::VirtualFunctionsEnabled
            | Self::AtsEnabled
            | Self::PriEnabled
            | Self::PasidAttached
            | Self::VirtualIommu
            | Self::GroupNotSingular => EOPNOTSUPP,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NothingMarked => "no HWPT is marked for preservation, or restored and in use",
            Self::NoDevice => "no device is attached",
            Self::EmulatedDevice => "an emulated device uses the IOAS",
            Self::MappingInProgress => "the IOAS is being changed",
            Self::NotAFile => "not backed by a file",
            Self::FileNotPreserved => "its file is not preserved in this session",
            Self::FileNotSealed => "its file lacks F_SEAL_SEAL, F_SEAL_GROW or F_SEAL_SHRINK",
            Self::PageNotInFile => "the page is no longer part of its file",
            Self::DamagedTables => "its page tables are damaged",
            Self::NotPci => "not a PCI device",
            Self::VirtualFunction => "virtual functions are not supported",
            Self::VirtualFunctionsEnabled => "has virtual functions enabled",
            Self::AtsEnabled => "ATS is enabled",
            Self::PriEnabled => "PRI is enabled",
            Self::PasidAttached => "a PASID is attached",
            Self::VirtualIommu => "belongs to a virtual IOMMU",
            Self::GroupNotSingular => "not the only device of its IOMMU group",
            Self::DeviceDetached => "a device was detached while preserved",
        })
    }
}

/// What matters about a file that is mapped.
#[derive(Clone, Copy)]
pub(crate) struct MappedFile {
    /// It was added to the session before.
    pub(crate) is_preserved: bool,
    /// It is a memfd with all seals that are required.
    pub(crate) is_sealed: bool,
}

/// Checks what a mapping maps: a file, or else nothing that can be preserved.
pub(crate) fn check_mapping(file: Option<MappedFile>) -> Result<(), Refusal> {
    let file = file.ok_or(Refusal::NotAFile)?;

    if !file.is_preserved {
        return Err(Refusal::FileNotPreserved);
    }
    if !file.is_sealed {
        return Err(Refusal::FileNotSealed);
    }
    Ok(())
}

/// Checks that memory that a restored HWPT maps is in files of the session.
///
/// It is `size` bytes at the physical address `start`. `folio_end` returns the first address after
/// the folio that an address is in, if the folio belongs to such a file. An error of it is returned.
pub(crate) fn check_memory(
    start: u64,
    size: u64,
    mut folio_end: impl FnMut(u64) -> Result<Option<u64>>,
) -> Result<Result<(), Refusal>> {
    let mut covered = 0;

    while covered < size {
        let address = start.saturating_add(covered);

        match folio_end(address)?.and_then(|end| end.checked_sub(address)) {
            None | Some(0) => return Ok(Err(Refusal::FileNotPreserved)),
            Some(length) => covered = covered.saturating_add(length),
        }
    }
    Ok(Ok(()))
}

/// The error for userspace if a state is rejected.
pub(crate) fn rejection_errno(error: liveupdate_state::Error) -> Error {
    if error.is_version() {
        EPROTONOSUPPORT
    } else {
        EBADMSG
    }
}

/// What matters about a device.
#[derive(Clone, Copy, Default)]
pub(crate) struct DeviceFacts {
    /// Number of devices in its IOMMU group.
    pub(crate) group_devices: u32,
    /// It is a PCI function.
    pub(crate) is_pci: bool,
    /// It is a virtual function.
    pub(crate) is_virtfn: bool,
    /// It has virtual functions.
    pub(crate) has_virtfns: bool,
    /// It may cache translations.
    pub(crate) ats_enabled: bool,
    /// It may ask for pages.
    pub(crate) pri_enabled: bool,
    /// It has an attachment for a PASID.
    pub(crate) has_pasids: bool,
    /// It belongs to a virtual IOMMU.
    pub(crate) has_vdevice: bool,
}

/// Checks a device.
pub(crate) fn check_device(device: DeviceFacts) -> Result<(), Refusal> {
    let unsupported = [
        (device.is_virtfn, Refusal::VirtualFunction),
        (device.has_virtfns, Refusal::VirtualFunctionsEnabled),
        (device.ats_enabled, Refusal::AtsEnabled),
        (device.pri_enabled, Refusal::PriEnabled),
        (device.has_pasids, Refusal::PasidAttached),
        (device.has_vdevice, Refusal::VirtualIommu),
        (device.group_devices != 1, Refusal::GroupNotSingular),
    ];

    if !device.is_pci {
        return Err(Refusal::NotPci);
    }
    unsupported
        .into_iter()
        .find_map(|(applies, refusal)| applies.then_some(Err(refusal)))
        .unwrap_or(Ok(()))
}

#[cfg(CONFIG_IOMMU_LIVEUPDATE_KUNIT_TEST)]
#[kunit_tests(iommu_liveupdate_iommufd)]
mod tests {
    use super::*;

    const SUPPORTED: DeviceFacts = DeviceFacts {
        group_devices: 1,
        is_pci: true,
        is_virtfn: false,
        has_virtfns: false,
        ats_enabled: false,
        pri_enabled: false,
        has_pasids: false,
        has_vdevice: false,
    };

    /// The error of a check, 0 if it passes, as userspace sees it.
    fn errno(result: Result<(), Refusal>) -> i32 {
        result.map_or_else(|refusal| refusal.errno().to_errno(), |()| 0)
    }

    #[test]
    fn plain_pci_device_passes() {
        assert_eq!(errno(check_device(SUPPORTED)), 0);
    }

    #[test]
    fn device_errors() {
        let not_pci = DeviceFacts {
            is_pci: false,
            ..SUPPORTED
        };
        let groups = [0, 2, u32::MAX].map(|group_devices| DeviceFacts {
            group_devices,
            ..SUPPORTED
        });
        let unsupported = [
            DeviceFacts {
                is_virtfn: true,
                ..SUPPORTED
            },
            DeviceFacts {
                has_virtfns: true,
                ..SUPPORTED
            },
            DeviceFacts {
                ats_enabled: true,
                ..SUPPORTED
            },
            DeviceFacts {
                pri_enabled: true,
                ..SUPPORTED
            },
            DeviceFacts {
                has_pasids: true,
                ..SUPPORTED
            },
            DeviceFacts {
                has_vdevice: true,
                ..SUPPORTED
            },
        ];

        // ENODEV
        assert_eq!(errno(check_device(not_pci)), -19);
        for device in Iterator::chain(groups.into_iter(), unsupported) {
            // EOPNOTSUPP
            assert_eq!(errno(check_device(device)), -95);
        }
    }

    #[test]
    fn mapping_errors() {
        let file = |is_preserved, is_sealed| {
            Some(MappedFile {
                is_preserved,
                is_sealed,
            })
        };

        assert_eq!(errno(check_mapping(file(true, true))), 0);
        // EBADF
        assert_eq!(errno(check_mapping(None)), -9);
        // EINVAL, whatever the seals
        assert_eq!(errno(check_mapping(file(false, true))), -22);
        assert_eq!(errno(check_mapping(file(false, false))), -22);
        // EPERM
        assert_eq!(errno(check_mapping(file(true, false))), -1);
    }

    /// Folios of the sizes 4 KiB, 8 KiB and 4 KiB from 0x10000 on.
    fn folio_end(address: u64) -> Result<Option<u64>> {
        let ends = [0x11000, 0x13000, 0x14000];

        Ok(ends
            .into_iter()
            .find(|end| address < *end)
            .filter(|_| address >= 0x10000))
    }

    #[test]
    fn memory_in_folios() -> Result {
        for (start, size) in [
            (0x10000, 0x1000),
            (0x10000, 0x4000),
            // The middle of a folio, to the middle of another one.
            (0x12000, 0x1000),
            (0x10800, 0x2000),
            (0x9000, 0),
        ] {
            assert_eq!(errno(check_memory(start, size, folio_end)?), 0);
        }
        Ok(())
    }

    #[test]
    fn memory_elsewhere() -> Result {
        for (start, size) in [
            (0xf000, 0x1000),
            (0xf000, 0x2000),
            (0x13000, 0x2000),
            (0x14000, 0x1000),
            (0x10000, u64::MAX),
            (u64::MAX, 2),
        ] {
            // EINVAL
            assert_eq!(errno(check_memory(start, size, folio_end)?), -22);
        }
        // A folio that ends before the address.
        assert_eq!(errno(check_memory(0x2000, 1, |_| Ok(Some(0x1000)))?), -22);
        assert_eq!(errno(check_memory(0x2000, 1, |_| Ok(Some(0x2000)))?), -22);
        Ok(())
    }

    #[test]
    fn interrupted() {
        let result = check_memory(0x10000, 0x1000, |_| Err(EINTR));

        assert_eq!(result.err(), Some(EINTR));
    }

    #[test]
    fn rejections() {
        use liveupdate_state::Error;

        // EPROTONOSUPPORT
        for error in [Error::Incompatible, Error::UnknownFeature] {
            assert_eq!(rejection_errno(error).to_errno(), -93);
        }
        // EBADMSG
        for error in [Error::NoSpace, Error::Duplicate("hwpt")] {
            assert_eq!(rejection_errno(error).to_errno(), -74);
        }
    }
}
