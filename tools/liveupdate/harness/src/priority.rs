// SPDX-License-Identifier: GPL-2.0
//! Being on time on a busy host.

/// Above ordinary programs.
const NICE: libc::c_int = -10;

/// Lets this program and the machines that it starts run before others. An observer or an emulated
/// device that waits for a processor looks like a device without DMA. Without the privilege nothing
/// changes.
pub fn raise() {
    // SAFETY: setpriority(2) takes numbers only.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}
