// SPDX-License-Identifier: GPL-2.0
//! JSON lines over a byte stream.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, BufRead, Write};

/// Writes `value` as one line and flushes it.
///
/// # Errors
///
/// What the stream reports, or `InvalidData` when the value cannot be written as JSON.
pub fn write_line<T: Serialize>(out: &mut impl Write, value: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}

/// Reads one value per line.
pub struct LineReader<R> {
    input: R,
    line: Vec<u8>,
}

impl<R: BufRead> LineReader<R> {
    /// Reads from `input`.
    pub fn new(input: R) -> Self {
        Self {
            input,
            line: Vec::new(),
        }
    }

    /// Returns the next value, `None` at the end of the stream. Empty lines are skipped.
    ///
    /// # Errors
    ///
    /// What the stream reports, or `InvalidData` when a line is not a `T`.
    pub fn read<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            self.line.clear();
            if self.input.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            if self.line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let value = serde_json::from_slice(&self.line).map_err(|error| {
                let line = String::from_utf8_lossy(&self.line);
                io::Error::new(io::ErrorKind::InvalidData, format!("{error} in {line:?}"))
            })?;
            return Ok(Some(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Request};

    #[test]
    fn what_is_written_is_read_back() {
        let request = Request::BindDriver {
            device: Device::Nvme,
            driver: "nvme".into(),
        };
        let mut stream = Vec::new();
        write_line(&mut stream, &request).unwrap();
        stream.extend_from_slice(b"\n");
        write_line(&mut stream, &Request::PowerOff).unwrap();

        let mut reader = LineReader::new(stream.as_slice());
        assert_eq!(reader.read::<Request>().unwrap(), Some(request));
        assert_eq!(reader.read::<Request>().unwrap(), Some(Request::PowerOff));
        assert_eq!(reader.read::<Request>().unwrap(), None);
    }

    #[test]
    fn a_damaged_line_is_an_error() {
        let mut reader = LineReader::new(&b"{\"request\":\"no such thing\"}\n"[..]);
        let error = reader.read::<Request>().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
