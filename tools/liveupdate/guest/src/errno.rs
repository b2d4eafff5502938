// SPDX-License-Identifier: GPL-2.0
//! Names of errors.

use nix::errno::Errno;
use protocol::{Failure, OUTCOME_OK};

/// ENOTSUPP, which the kernel lets out at places although it is not part of the ABI.
const ENOTSUPP: i32 = 524;

fn name_of_raw(raw: i32) -> String {
    match Errno::from_raw(raw) {
        Errno::EOPNOTSUPP => "EOPNOTSUPP".into(),
        Errno::UnknownErrno if raw == ENOTSUPP => "ENOTSUPP".into(),
        Errno::UnknownErrno => format!("errno {raw}"),
        known => format!("{known:?}"),
    }
}

/// Name of the errno at the root of `error`, if there is one.
pub fn name(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        if let Some(errno) = cause.downcast_ref::<Errno>() {
            return Some(name_of_raw(*errno as i32));
        }
        cause
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::raw_os_error)
            .map(name_of_raw)
    })
}

/// `OK` or the name of the errno; an error without errno is passed on.
pub fn outcome<T>(result: anyhow::Result<T>) -> anyhow::Result<String> {
    match result {
        Ok(_) => Ok(OUTCOME_OK.into()),
        Err(error) => name(&error).ok_or(error),
    }
}

/// For the harness.
pub fn failure(error: &anyhow::Error) -> Failure {
    Failure {
        message: format!("{error:#}"),
        errno: name(error),
    }
}
