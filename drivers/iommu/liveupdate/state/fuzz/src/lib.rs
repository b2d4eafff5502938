// SPDX-License-Identifier: GPL-2.0

//! What the fuzz targets share: a machine whose memory the input fills, and the takeover of it.

pub mod input;
pub mod machine;
pub mod takeover;
