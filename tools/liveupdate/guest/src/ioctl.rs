// SPDX-License-Identifier: GPL-2.0
//! The one place that calls ioctl(2).

use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// An ioctl without direction bits, as iommufd, vfio and liveupdate define theirs (`_IO`).
pub const fn io(kind: u8, number: u8) -> libc::c_ulong {
    ((kind as libc::c_ulong) << 8) | number as libc::c_ulong
}

/// Calls ioctl(2) with a structure that the kernel may fill in.
///
/// # Errors
///
/// The errno of the call.
///
/// # Safety
///
/// `request` must take a pointer to a `T` that is initialised as the kernel wants it; pointers
/// inside must be valid for what the kernel does with them.
pub unsafe fn call<T>(
    fd: BorrowedFd<'_>,
    request: libc::c_ulong,
    argument: &mut T,
) -> Result<libc::c_int, Errno> {
    // SAFETY: `argument` is a valid, exclusive pointer to a `T`; the rest is the caller's promise.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), request, std::ptr::from_mut(argument)) })
}
