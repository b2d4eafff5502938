// SPDX-License-Identifier: GPL-2.0
//! What is tried in the kernel after the kexec.

use crate::errno::outcome;
use crate::iommufd::Iommufd;
use crate::luo::Session;
use crate::memory::GuestMemory;
use crate::sysfs::Function;
use crate::vfio::Cdev;
use anyhow::Result;
use devices::block;
use devices::layout::{IO_CQ, PAGE, data_page};
use devices::memory::DmaMemory;
use devices::nvme::QueueProgress;
use devices::plan::{Operation, operation};
use protocol::{
    Bound, Device, OUTCOME_OK, Retrieved, SESSION_NAME, TOKEN_IOMMUFD, TOKEN_MEMFD, VerifiedReads,
};

/// Binds `device` to a host driver.
pub fn bind_driver(device: Device, driver: &str) -> Result<String> {
    let function = Function::find(device)?;
    outcome(function.bind(driver))
}

/// Binds `device` to an iommufd of our own.
pub fn foreign_bind(device: Device) -> Result<Bound> {
    let function = Function::find(device)?;
    let vfio_pci = outcome(function.bind("vfio-pci"))?;
    let iommufd = if vfio_pci == OUTCOME_OK {
        let iommufd = Iommufd::open()?;
        outcome(Cdev::open(&function)?.bind(&iommufd))?
    } else {
        "not tried".into()
    };
    Ok(Bound { vfio_pci, iommufd })
}

/// A session that was taken over; held so that the machine stays as it is.
pub struct TakenOver {
    memory: Option<GuestMemory>,
    _session: Option<Session>,
}

impl TakenOver {
    /// Retrieves whatever can be retrieved.
    pub fn retrieve() -> Result<(Self, Retrieved)> {
        let mut retrieved = Retrieved {
            session: OUTCOME_OK.into(),
            memfd: "not tried".into(),
            iommufd: "not tried".into(),
            pages: Vec::new(),
        };
        let session = match Session::retrieve(SESSION_NAME) {
            Ok(session) => session,
            Err(error) => {
                retrieved.session = outcome::<()>(Err(error))?;
                let nothing = Self {
                    memory: None,
                    _session: None,
                };
                return Ok((nothing, retrieved));
            }
        };
        let memory = match session.retrieve_fd(TOKEN_MEMFD) {
            Ok(fd) => {
                retrieved.memfd = OUTCOME_OK.into();
                Some(GuestMemory::from_retrieved(fd)?)
            }
            Err(error) => {
                retrieved.memfd = outcome::<()>(Err(error))?;
                None
            }
        };
        if let Some(memory) = &memory {
            retrieved.pages = memory.physical_pages()?;
        }
        retrieved.iommufd = outcome(session.retrieve_fd(TOKEN_IOMMUFD))?;
        let taken_over = Self {
            memory,
            _session: Some(session),
        };
        Ok((taken_over, retrieved))
    }

    /// Compares every block whose read is completed with its known content.
    pub fn verify_reads(&self, ios: u16) -> Result<VerifiedReads> {
        const DETAILS: usize = 5;
        let mut result = VerifiedReads {
            completed: 0,
            failed: 0,
            compared: 0,
            wrong: 0,
            details: Vec::new(),
        };
        let Some(memory) = &self.memory else {
            anyhow::bail!("the memfd was not retrieved");
        };
        let mut progress = QueueProgress::new();
        for done in progress.observe(&memory.part(IO_CQ)) {
            result.completed += 1;
            let mut complain = |text: String| {
                if result.details.len() < DETAILS {
                    result.details.push(text);
                }
            };
            if done.status != 0 || done.cid >= ios {
                result.failed += 1;
                complain(format!("command {}: status {:#x}", done.cid, done.status));
                continue;
            }
            if operation(done.cid) == Operation::Read {
                let mut page = [0; PAGE];
                memory.read(data_page(done.cid), &mut page);
                result.compared += 1;
                if let Some(text) = block::difference(&page, done.cid.into(), 0) {
                    result.wrong += 1;
                    complain(text);
                }
            }
        }
        Ok(result)
    }
}
