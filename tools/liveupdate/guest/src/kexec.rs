// SPDX-License-Identifier: GPL-2.0
//! Loading and starting the next kernel.

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot};
use protocol::{Loaded, Preflight};
use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd;

/// The initramfs this kernel was booted with; `retain_initrd` on the command line keeps it.
const RETAINED: &str = "/sys/firmware/initrd";
/// kexec_file_load(2) wants to read a plain file.
const INITRAMFS: &str = "/boot/initramfs";

/// Loads `kernel` and the initramfs that this kernel was booted with.
pub fn load(kernel: &str, cmdline: &str) -> Result<Loaded> {
    let initramfs_bytes = std::fs::copy(RETAINED, INITRAMFS)
        .with_context(|| format!("{RETAINED}: is retain_initrd on the command line?"))?;
    let image = File::open(kernel).context(kernel.to_owned())?;
    let initramfs = File::open(INITRAMFS).context(INITRAMFS)?;
    let cmdline = CString::new(cmdline)?;
    let bytes = cmdline.as_bytes_with_nul();
    // SAFETY: valid file descriptors, and a string with its length including the NUL.
    let result = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            image.as_raw_fd(),
            initramfs.as_raw_fd(),
            bytes.len(),
            bytes.as_ptr(),
            0,
        )
    };
    Errno::result(result).context("kexec_file_load")?;
    Ok(Loaded {
        kernel_bytes: image.metadata()?.len(),
        initramfs_bytes,
    })
}

/// Asks whether `kernel`, started with `cmdline`, can take over what would be handed over now.
pub fn preflight(kernel: &str, cmdline: &str) -> Result<Preflight> {
    let offered = liveupdate_image::offer(kernel)?;
    let required = liveupdate_image::required(liveupdate_image::REQUIRED)?;
    let mut missing = liveupdate_image::missing(&required, &offered);
    missing.extend(liveupdate_image::missing_parameters(cmdline, &offered));
    Ok(Preflight {
        offered,
        required,
        missing,
    })
}

/// Starts the loaded kernel; returns only when that fails.
pub fn start() -> Result<()> {
    reboot(RebootMode::RB_KEXEC).context("reboot(LINUX_REBOOT_CMD_KEXEC)")?;
    Ok(())
}
