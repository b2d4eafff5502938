// SPDX-License-Identifier: GPL-2.0
//! /dev/liveupdate and its sessions.
//!
//! Structures and numbers mirror include/uapi/linux/liveupdate.h.

use crate::ioctl;
use anyhow::{Context, Result, ensure};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const TYPE: u8 = 0xba;
const CREATE_SESSION: u8 = 0x00;
const RETRIEVE_SESSION: u8 = 0x01;
const SESSION_PRESERVE_FD: u8 = 0x40;
const SESSION_RETRIEVE_FD: u8 = 0x41;
const SESSION_FINISH: u8 = 0x42;
const NAME_LENGTH: usize = 64;

#[repr(C)]
struct NamedSession {
    size: u32,
    fd: i32,
    name: [u8; NAME_LENGTH],
}

#[repr(C)]
struct TokenFd {
    size: u32,
    fd: i32,
    token: u64,
}

#[repr(C)]
struct Finish {
    size: u32,
    reserved: u32,
}

/// A session; closing it before the kexec gives everything in it back.
pub struct Session(OwnedFd);

impl Session {
    /// Creates an outgoing session.
    pub fn create(name: &str) -> Result<Self> {
        Self::open(CREATE_SESSION, name).context("LIVEUPDATE_IOCTL_CREATE_SESSION")
    }

    /// Takes a session over from the previous kernel.
    pub fn retrieve(name: &str) -> Result<Self> {
        Self::open(RETRIEVE_SESSION, name).context("LIVEUPDATE_IOCTL_RETRIEVE_SESSION")
    }

    fn open(number: u8, name: &str) -> Result<Self> {
        let path = "/dev/liveupdate";
        let device: File = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .context(path)?;
        ensure!(name.len() < NAME_LENGTH, "session name is too long");
        let mut session = NamedSession {
            size: size_of::<NamedSession>() as u32,
            fd: -1,
            name: [0; NAME_LENGTH],
        };
        session.name[..name.len()].copy_from_slice(name.as_bytes());
        // SAFETY: both requests take this structure, which holds no pointers.
        unsafe { ioctl::call(device.as_fd(), ioctl::io(TYPE, number), &mut session) }?;
        // SAFETY: the kernel has just installed this fd for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(session.fd) }))
    }

    /// Preserves `file` under `token`.
    pub fn preserve(&self, file: BorrowedFd<'_>, token: u64) -> Result<()> {
        let mut preserve = TokenFd {
            size: size_of::<TokenFd>() as u32,
            fd: file.as_raw_fd(),
            token,
        };
        let request = ioctl::io(TYPE, SESSION_PRESERVE_FD);
        // SAFETY: the request takes this structure, which holds no pointers.
        unsafe { ioctl::call(self.0.as_fd(), request, &mut preserve) }
            .context("LIVEUPDATE_SESSION_PRESERVE_FD")?;
        Ok(())
    }

    /// Retrieves the file that was preserved under `token`.
    pub fn retrieve_fd(&self, token: u64) -> Result<OwnedFd> {
        let mut retrieve = TokenFd {
            size: size_of::<TokenFd>() as u32,
            fd: -1,
            token,
        };
        let request = ioctl::io(TYPE, SESSION_RETRIEVE_FD);
        // SAFETY: the request takes this structure, which holds no pointers.
        unsafe { ioctl::call(self.0.as_fd(), request, &mut retrieve) }
            .context("LIVEUPDATE_SESSION_RETRIEVE_FD")?;
        // SAFETY: the kernel has just installed this fd for us.
        Ok(unsafe { OwnedFd::from_raw_fd(retrieve.fd) })
    }

    /// Releases what the previous kernel has kept for this session.
    pub fn finish(&self) -> Result<()> {
        let mut finish = Finish {
            size: size_of::<Finish>() as u32,
            reserved: 0,
        };
        let request = ioctl::io(TYPE, SESSION_FINISH);
        // SAFETY: the request takes this structure, which holds no pointers.
        unsafe { ioctl::call(self.0.as_fd(), request, &mut finish) }
            .context("LIVEUPDATE_SESSION_FINISH")?;
        Ok(())
    }
}
