// SPDX-License-Identifier: GPL-2.0

//! Images as the x86 boot protocol describes them (`Documentation/arch/x86/boot.rst`), with nothing
//! in them but what it says about `kernel_info`.

/// An image in the making.
#[derive(Clone)]
pub struct BzImage {
    /// `setup_sects`.
    pub setup_sects: u8,
    /// `version`.
    pub version: u16,
    /// `kernel_info_offset`.
    pub kernel_info_offset: u32,
    /// The fixed part of `kernel_info`, behind its two sizes.
    pub fixed: Vec<u8>,
    /// The chunks of its variable part.
    pub chunks: Vec<([u8; 4], Vec<u8>)>,
}

impl BzImage {
    /// An image of a current kernel that has `strings` in an entry with the magic `LUpd`.
    pub fn new(strings: &[&str]) -> Self {
        let mut body = Vec::new();
        for string in strings {
            body.extend(string.as_bytes());
            body.push(0);
        }
        Self {
            setup_sects: 3,
            version: 0x020f,
            kernel_info_offset: 0x40,
            // setup_type_max
            fixed: vec![9, 0, 0, 0x80],
            chunks: vec![(*b"LUpd", body)],
        }
    }

    /// The sizes of the chunks include their magic and the size itself.
    pub fn kernel_info(&self) -> Vec<u8> {
        let mut chunks = Vec::new();
        for (magic, body) in &self.chunks {
            chunks.extend(magic);
            chunks.extend((body.len() as u32 + 8).to_le_bytes());
            chunks.extend(body);
        }
        let size = self.fixed.len() as u32 + 12;
        let mut info = b"LToP".to_vec();
        info.extend(size.to_le_bytes());
        info.extend((size + chunks.len() as u32).to_le_bytes());
        info.extend(&self.fixed);
        info.extend(chunks);
        info
    }

    /// Where `kernel_info` is in the file.
    pub fn kernel_info_at(&self) -> usize {
        // "If this field is 0, the real value is 4."
        let sectors = if self.setup_sects == 0 {
            4
        } else {
            self.setup_sects
        };
        (1 + usize::from(sectors)) * 512 + self.kernel_info_offset as usize
    }

    /// The file.
    pub fn build(&self) -> Vec<u8> {
        let mut image = vec![0; self.kernel_info_at()];
        image[0x1f1] = self.setup_sects;
        image[0x1fe..0x200].copy_from_slice(&0xaa55u16.to_le_bytes());
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&self.version.to_le_bytes());
        image[0x268..0x26c].copy_from_slice(&self.kernel_info_offset.to_le_bytes());
        image.extend(self.kernel_info());
        // The kernel goes on.
        image.extend([0xcc; 64]);
        image
    }
}
