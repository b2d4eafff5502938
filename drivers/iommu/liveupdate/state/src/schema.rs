// SPDX-License-Identifier: GPL-2.0

//! The names in the state: nodes, properties and the strings that identify formats.
//!
//! These are an ABI between kernels, see `include/linux/kho/abi/iommu.h`.

/// `compatible` of the index; the number is the major version.
pub const INDEX_COMPATIBLE: &str = "linux,iommu-liveupdate-v1";
/// `compatible` of the state of one iommufd.
pub const IOMMUFD_COMPATIBLE: &str = "linux,iommufd-liveupdate-v1";
/// `compatible` of a VT-d unit in legacy mode.
pub const VTD_LEGACY: &str = "intel,vt-d-legacy";
/// `format` of a domain with VT-d second-stage page tables.
pub const VTD_SECOND_STAGE: &str = "vtd-second-stage";

/// Base name of the node of one iommufd in the index, followed by its number.
pub const IOMMUFD: &str = "iommufd";
/// Base name of the node of one IOMMU unit, followed by its register base.
pub const IOMMU: &str = "iommu";
/// Base name of the node of one domain, followed by its number.
pub const DOMAIN: &str = "domain";
/// Base name of the node of one device, followed by its PCI address.
pub const DEVICE: &str = "device";
/// Base name of the node of one HWPT, followed by its token.
pub const HWPT: &str = "hwpt";

/// The bits of [`property::PT_FLAGS`].
pub mod pt_flag {
    /// The page-table walker does not snoop the caches of the CPU.
    pub const INCOHERENT: u32 = 1 << 0;
    /// The entries make all DMA snoop, whatever the device asks for.
    pub const FORCE_SNOOP: u32 = 1 << 1;
    /// All that there are.
    pub const ALL: u32 = INCOHERENT | FORCE_SNOOP;
}

/// The property names.
pub mod property {
    /// The format of the node and its major version.
    pub const COMPATIBLE: &str = "compatible";
    /// What a reader must understand; absent if nothing is needed beyond version 1.
    pub const REQUIRED_FEATURES: &str = "required-features";
    /// The number of an iommufd.
    pub const OWNER: &str = "owner";
    /// Physical address and size in bytes of the state of an iommufd.
    pub const STATE: &str = "state";
    /// Physical addresses of the two copies of a run list, number of entries, and checksum.
    pub const RUN_LIST: &str = "run-list";
    /// Register base of a unit, a physical address.
    pub const REGISTER_BASE: &str = "register-base";
    /// PCI segment of a unit or of a device.
    pub const SEGMENT: &str = "segment";
    /// The capability register of a unit.
    pub const CAPABILITY: &str = "capability";
    /// The extended capability register of a unit.
    pub const EXTENDED_CAPABILITY: &str = "extended-capability";
    /// Physical address of the root table.
    pub const ROOT_TABLE: &str = "root-table";
    /// Pairs of a bus number and the physical address of its context table.
    pub const CONTEXT_TABLES: &str = "context-tables";
    /// The number of a domain.
    pub const NUMBER: &str = "number";
    /// The page-table format of a domain.
    pub const FORMAT: &str = "format";
    /// Physical address of the top table of a domain.
    pub const TOP_TABLE: &str = "top-table";
    /// Level of the top table, counted from 0 at the leaves.
    pub const TOP_LEVEL: &str = "top-level";
    /// Width of the input address of a domain in bits.
    pub const INPUT_BITS: &str = "input-address-bits";
    /// Width of the output address of a domain in bits.
    pub const OUTPUT_BITS: &str = "output-address-bits";
    /// How the page tables of a domain were built, see [`pt_flag`](super::pt_flag).
    pub const PT_FLAGS: &str = "page-table-flags";
    /// Bitmap of the page sizes of a domain.
    pub const PAGE_SIZES: &str = "page-sizes";
    /// How many table pages a domain has.
    pub const TABLE_PAGES: &str = "table-pages";
    /// First entry in the run list and number of entries of the group of a domain.
    pub const RUNS: &str = "runs";
    /// Bus, device and function of a device as one requester id.
    pub const ADDRESS: &str = "address";
    /// All requester ids under which the device appears to the unit.
    pub const REQUESTER_IDS: &str = "requester-ids";
    /// PCI vendor id and device id.
    pub const VENDOR_DEVICE: &str = "vendor-device";
    /// PCI class code.
    pub const CLASS: &str = "class";
    /// Register base of the unit of a device.
    pub const IOMMU: &str = "iommu";
    /// The number of the domain that a device or a HWPT uses.
    pub const DOMAIN: &str = "domain";
    /// The domain id (DID) in the hardware entries of a device.
    pub const DOMAIN_ID: &str = "domain-id";
    /// The token that userspace gave to a HWPT.
    pub const TOKEN: &str = "token";
}
