// SPDX-License-Identifier: GPL-2.0
//! What an image offers.

use crate::Error;
use crate::error::Reason;
use liveupdate_state::image::{
    HEADER_SIZE, KERNEL_INFO_HEADER, kernel_info_offset, kernel_info_size, kernel_info_strings,
};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// The `kernel_info` of today's kernels has less than a hundred bytes. A larger one than this is
/// taken for damaged.
const MAX_KERNEL_INFO: usize = 1 << 20;

/// Reads what a kernel with this image can take over. Less than a kilobyte is read of it, and
/// nothing is unpacked.
///
/// The list is empty if the kernel knows nothing of a live update of IOMMUs.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be read, [`Error::Image`] if it is no bzImage (the format of
/// kernels for x86, Documentation/arch/x86/boot.rst), or a damaged one.
pub fn offer(image: impl AsRef<Path>) -> Result<Vec<String>, Error> {
    let path = image.as_ref();
    let file = File::open(path).map_err(|source| Error::io(path, source))?;
    read(file).map_err(|reason| Error::of(path, reason))
}

/// At most `len` bytes of the file, beginning `at` there.
fn part(file: &mut (impl Read + Seek), at: usize, len: usize) -> Result<Vec<u8>, Reason> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(at as u64))?;
    file.take(len as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read(mut image: impl Read + Seek) -> Result<Vec<String>, Reason> {
    let header = part(&mut image, 0, HEADER_SIZE)?;
    let Some(at) = kernel_info_offset(&header)? else {
        return Ok(Vec::new());
    };
    let size = kernel_info_size(&part(&mut image, at, KERNEL_INFO_HEADER)?)?;
    let info = part(&mut image, at, size.min(MAX_KERNEL_INFO))?;
    Ok(kernel_info_strings(&info)?.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bz_image::BzImage;
    use liveupdate_state::image;
    use std::io::Cursor;

    /// A large image that says "a".
    fn sample() -> BzImage {
        BzImage {
            kernel_info_offset: 3 << 20,
            ..BzImage::new(&["a"])
        }
    }

    /// Counts what is read.
    struct Counting(Cursor<Vec<u8>>, usize);

    impl Read for &mut Counting {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = self.0.read(buffer)?;
            self.1 += count;
            Ok(count)
        }
    }

    impl Seek for &mut Counting {
        fn seek(&mut self, position: SeekFrom) -> std::io::Result<u64> {
            self.0.seek(position)
        }
    }

    #[test]
    fn little_is_read() {
        let mut image = Counting(Cursor::new(sample().build()), 0);
        assert_eq!(read(&mut image).unwrap(), ["a"]);
        assert!(image.1 < 1024, "{} bytes", image.1);
    }

    #[test]
    fn a_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        let mut image = sample();
        std::fs::write(&path, image.build()).unwrap();
        assert_eq!(offer(&path).unwrap(), ["a"]);
        image.chunks.clear();
        std::fs::write(&path, image.build()).unwrap();
        assert!(offer(&path).unwrap().is_empty());
    }

    #[test]
    fn other_files_are_errors_that_name_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        let error = || offer(&path).unwrap_err();
        assert!(matches!(error(), Error::Io { .. }), "{:?}", error());
        assert!(error().to_string().contains("image"));

        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        let reason = || match error() {
            Error::Image { source, .. } => source,
            error => panic!("{error:?}"),
        };
        assert_eq!(reason(), image::Error::Format);

        let mut damaged = sample().build();
        damaged.truncate(sample().kernel_info_at() + 20);
        std::fs::write(&path, damaged).unwrap();
        assert_eq!(reason(), image::Error::KernelInfo);
    }

    #[test]
    fn a_size_that_cannot_be_is_not_read() {
        let mut image = sample().build();
        let at = sample().kernel_info_at();
        image[at + 8..at + 12].copy_from_slice(&[0xff; 4]);
        image.resize(image.len() + 4 * MAX_KERNEL_INFO, 0);
        let mut image = Counting(Cursor::new(image), 0);
        assert!(read(&mut image).is_err());
        assert!(image.1 <= 2 * MAX_KERNEL_INFO, "{} bytes", image.1);
    }
}
