// SPDX-License-Identifier: GPL-2.0
//! Which state of IOMMUs a kernel image can take over, and whether that suffices.
//!
//! The state that a kernel hands over by a live update *requires* a set of strings: the formats that
//! it is written in, and the features that a reader has to understand beyond them. The kernel lists
//! them in [`REQUIRED`]. An image *offers* those that it can read. What is required and not offered
//! is missing, and so is a parameter that is not on in the next kernel. Then the kernel refuses the
//! update (`EPROTONOSUPPORT`). Here is the same answer before anything is loaded:
//!
//! ```no_run
//! use liveupdate_image::{REQUIRED, missing, missing_parameters, offer, required};
//!
//! # fn main() -> Result<(), liveupdate_image::Error> {
//! let offer = offer("/boot/vmlinuz-next")?;
//! let mut missing = missing(&required(REQUIRED)?, &offer);
//! missing.extend(missing_parameters("root=/dev/vda1 kho=on liveupdate=on", &offer));
//! if missing.is_empty() {
//!     println!("the next kernel can take everything over");
//! } else {
//!     println!("the next kernel lacks: {}", missing.join(", "));
//! }
//! # Ok(())
//! # }
//! ```

mod error;
mod offer;
mod required;

#[cfg(test)]
#[path = "../../../../drivers/iommu/liveupdate/state/tests/bz_image/mod.rs"]
mod bz_image;

pub use error::Error;
pub use offer::offer;
pub use required::{REQUIRED, missing, missing_parameters, required};
