// SPDX-License-Identifier: GPL-2.0

//! Whether an image can take over what this kernel would hand over.

use crate::{
    command_line,
    features::{
        write_list,
        Features,
        FEATURES, //
    },
    image,
    schema, //
};
use core::fmt;

/// The formats of a hand-over that are defined elsewhere.
pub mod format {
    /// The tree of Kexec Handover.
    pub const KHO: &str = "kho-v4";
    /// The sessions and files of the Live Update Orchestrator.
    pub const LUO: &str = "luo-v5";
    /// A preserved memfd.
    pub const MEMFD: &str = "memfd-v2";
    /// A preserved file of vfio-pci.
    pub const VFIO_PCI: &str = "vfio-pci-v1";
}

/// Says that Kexec Handover is on unless the command line switches it off.
pub const KHO_ON: &str = "kho=on";

/// What every hand-over needs, with its bit in an [`Offer`].
const FORMATS: [(u32, &str); 6] = [
    (62, schema::INDEX_COMPATIBLE),
    (63, schema::IOMMUFD_COMPATIBLE),
    (59, format::KHO),
    (58, format::LUO),
    (57, format::MEMFD),
    (56, format::VFIO_PCI),
];

/// The parameters that have to be on, with their bits in an [`Offer`], and how an image says that
/// they are unless the command line switches them off.
const PARAMETERS: [(u32, &str, &str); 2] =
    [(61, "kho", KHO_ON), (60, "liveupdate", "liveupdate=on")];

/// What the image of a kernel, started with a certain command line, can take over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer(u64);

const fn bit(number: u32) -> u64 {
    match 1u64.checked_shl(number) {
        Some(bit) => bit,
        None => 0,
    }
}

/// The names of what is in `bits`.
fn names(bits: u64) -> impl Iterator<Item = &'static str> + Clone {
    let formats = FORMATS.iter().copied();
    let features = (0..).zip(FEATURES.iter().copied());
    let parameters = PARAMETERS.iter().map(|(number, _, on)| (*number, *on));

    formats
        .chain(features)
        .chain(parameters)
        .filter(move |(number, _)| bits & bit(*number) != 0)
        .map(|(_, name)| name)
}

/// Everything that a hand-over with these features needs.
fn needed(features: Features) -> u64 {
    let formats = FORMATS.iter().map(|(number, _)| bit(*number));
    let parameters = PARAMETERS.iter().map(|(number, _, _)| bit(*number));

    formats
        .chain(parameters)
        .fold(features.bits(), |all, bit| all | bit)
}

/// The strings that an image must have to take over a state that needs `features`.
pub fn required(features: Features) -> impl Iterator<Item = &'static str> + Clone {
    FORMATS
        .iter()
        .map(|(_, name)| *name)
        .chain(features.names())
}

/// Whether `parameter` is on in a kernel with this command line, whose image tells by the string `on`
/// that it is unless switched off.
fn is_on(command_line: &[u8], parameter: &str, on: &str, says: impl Fn(&str) -> bool) -> bool {
    command_line::switch(command_line, parameter).unwrap_or_else(|| says(on))
}

/// The parameters that a hand-over needs and that are not on in a kernel with this command line.
/// `says` tells whether its image has a string.
pub fn missing_parameters<'a>(
    command_line: &'a [u8],
    says: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = &'static str> + 'a {
    PARAMETERS
        .iter()
        .filter(move |(_, parameter, on)| !is_on(command_line, parameter, on, &says))
        .map(|(_, _, on)| *on)
}

impl Offer {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// Reads what `image`, the complete file, says, and how `command_line` sets the parameters that
    /// a live update needs. Both may contain anything.
    ///
    /// # Errors
    ///
    /// See [`image::strings`].
    pub fn read(image: &[u8], command_line: &[u8]) -> Result<Self, image::Error> {
        let strings = image::strings(image)?;
        let says = |name: &str| strings.clone().any(|string| string == name);
        let mut bits = 0;

        for (number, name) in FORMATS
            .iter()
            .copied()
            .chain((0..).zip(FEATURES.iter().copied()))
        {
            if says(name) {
                bits |= bit(number);
            }
        }
        for (number, parameter, on) in PARAMETERS {
            if is_on(command_line, parameter, on, says) {
                bits |= bit(number);
            }
        }
        Ok(Self(bits))
    }

    /// Returns the value from which [`bits`](Self::bits) came.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The offer as a number, 0 for nothing. Only means something to the kernel that made it.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// What is missing to take over a state that needs `features`.
    pub fn missing(self, features: Features) -> Missing {
        Missing(needed(features) & !self.0)
    }
}

/// What an [`Offer`] lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing(u64);

impl Missing {
    /// Whether nothing is missing.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The strings that the image lacks, then the parameters that the command line lacks.
    pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        names(self.0)
    }
}

/// The names with commas between them.
impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_list(f, self.names())
    }
}
