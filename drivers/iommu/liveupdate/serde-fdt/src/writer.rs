// SPDX-License-Identifier: GPL-2.0

//! Writing a blob.

use core::{
    fmt,
    iter::once, //
};

use crate::{
    bytes::{
        align_token,
        to_u32, //
    },
    error::{
        Error,
        Result, //
    },
    header::{
        Header,
        HEADER_SIZE, //
    },
    name::{
        check_node_name,
        check_property_name, //
    },
    property::printable,
    reservation::Reservation,
    token::{
        token_at,
        Token,
        BEGIN_NODE,
        END,
        END_NODE,
        MAX_DEPTH,
        MAX_PROPERTIES,
        PROPERTY, //
    }, //
};

/// Writes a tree into a buffer, node by node.
///
/// A call that fails leaves the tree as it was before it.
///
/// # Examples
///
/// ```
/// use serde_fdt::{Error, Reservation, Writer};
///
/// # fn main() -> serde_fdt::Result<()> {
/// let mut buf = [0; 256];
/// let kept = Reservation { address: 0x10_0000, size: 0x1000 };
/// let mut writer = Writer::with_reservations(&mut buf, &[kept])?;
/// writer.begin_node("")?;
/// writer.property_str_list("required-features", &["runs"])?;
/// writer.property_u64_iter("runs", (0..4).map(|i| i << 21))?;
/// // A second one of that name is refused, and the tree goes on without it.
/// assert_eq!(writer.property_empty("runs"), Err(Error::DuplicateProperty));
/// writer.end_node()?;
/// let len = writer.finish()?;
/// assert_eq!(buf[..4], [0xd0, 0x0d, 0xfe, 0xed]);
/// # assert!(len < buf.len());
/// # Ok(())
/// # }
/// ```
///
/// # Invariants
///
/// - The structure block begins at `structure` and ends, so far, at `end`.
/// - The strings block, so far `strings_len` bytes, is kept at the end of the buffer with its bytes
///   in reverse order. So it can grow while the offsets into it are final, and
///   [`finish`](Self::finish) only has to turn it round and move it.
#[derive(Debug)]
pub struct Writer<'a> {
    buf: &'a mut [u8],
    structure: usize,
    end: usize,
    strings_len: usize,
    depth: usize,
    has_root: bool,
    properties: Option<NodeProperties>,
}

/// The properties of the innermost open node, as long as it has no subnode.
#[derive(Clone, Copy, Debug)]
struct NodeProperties {
    first: usize,
    count: usize,
}

impl<'a> Writer<'a> {
    /// Starts a blob without memory reservations in `buf`.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`].
    pub fn new(buf: &'a mut [u8]) -> Result<Self> {
        Self::with_reservations(buf, &[])
    }

    /// Starts a blob with the memory reservations `reservations` in `buf`.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], and [`Error::BadReservation`] for one that is empty at address zero,
    /// which the format uses as terminator, or that wraps around the end of the address space.
    pub fn with_reservations(buf: &'a mut [u8], reservations: &[Reservation]) -> Result<Self> {
        let mut writer = Self {
            buf,
            structure: 0,
            end: 0,
            strings_len: 0,
            depth: 0,
            has_root: false,
            properties: None,
        };
        let mut at = HEADER_SIZE;
        for entry in reservations {
            entry.check()?;
            at = writer.put_reservation(at, *entry)?;
        }
        at = writer.put_reservation(at, Reservation::TERMINATOR)?;
        writer.structure = at;
        writer.end = at;
        Ok(writer)
    }

    /// Begins a node inside the innermost open one. The first node is the root, whose name is
    /// empty.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`], [`Error::TooDeep`], [`Error::NoSpace`], and [`Error::NestingState`] if
    /// the root is closed.
    pub fn begin_node(&mut self, name: impl fmt::Display) -> Result<()> {
        self.begin_node_fmt(format_args!("{name}"))
    }

    fn begin_node_fmt(&mut self, name: fmt::Arguments<'_>) -> Result<()> {
        let is_root = self.depth == 0;
        if is_root && self.has_root {
            return Err(Error::NestingState);
        }
        if self.depth >= MAX_DEPTH {
            return Err(Error::TooDeep);
        }

        let start = self.put(self.end, &BEGIN_NODE.to_be_bytes())?;
        let mut sink = NameSink {
            end: start,
            writer: self,
            error: Error::BadName,
        };
        fmt::write(&mut sink, name).map_err(|_| sink.error)?;
        let name_end = sink.end;

        let name = self.buf.get(start..name_end).ok_or(Error::NoSpace)?;
        if !is_root {
            check_node_name(name)?;
        } else if !name.is_empty() {
            return Err(Error::BadName);
        }
        let end = self.put(name_end, &[0])?;
        let end = self.pad(end)?;

        self.depth = self.depth.checked_add(1).ok_or(Error::TooDeep)?;
        self.end = end;
        self.has_root = true;
        self.properties = Some(NodeProperties {
            first: end,
            count: 0,
        });
        Ok(())
    }

    /// Ends the innermost open node.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], and [`Error::NestingState`] if no node is open.
    pub fn end_node(&mut self) -> Result<()> {
        let depth = self.depth.checked_sub(1).ok_or(Error::NestingState)?;
        self.end = self.put(self.end, &END_NODE.to_be_bytes())?;
        self.depth = depth;
        self.properties = None;
        Ok(())
    }

    /// Adds a property of type `<u32>` to the innermost open node.
    ///
    /// # Errors
    ///
    /// This and all other methods that add a property return
    ///
    /// - [`Error::NestingState`] if no node is open, or if the node has a subnode already;
    /// - [`Error::BadName`] if `name` is not a property name;
    /// - [`Error::DuplicateProperty`] if the node has a property of that name;
    /// - [`Error::TooManyProperties`] if the node has [`MAX_PROPERTIES`] of them;
    /// - [`Error::NoSpace`] if it does not fit in the buffer, and [`Error::TooLarge`] if it does
    ///   not fit the format.
    pub fn property_u32(&mut self, name: &str, value: u32) -> Result<()> {
        self.property(name, once(value.to_be_bytes()))
    }

    /// Adds a property of type `<u64>`. Fails as [`property_u32`](Self::property_u32) does.
    pub fn property_u64(&mut self, name: &str, value: u64) -> Result<()> {
        self.property(name, once(value.to_be_bytes()))
    }

    /// Adds a property of type `<string>`.
    ///
    /// # Errors
    ///
    /// As for [`property_u32`](Self::property_u32), and [`Error::BadString`] if `value` has
    /// anything other than printable ASCII.
    pub fn property_str(&mut self, name: &str, value: &str) -> Result<()> {
        self.property_str_list(name, &[value])
    }

    /// Adds a property of type `<stringlist>`. Fails as [`property_str`](Self::property_str) does.
    pub fn property_str_list(&mut self, name: &str, values: &[&str]) -> Result<()> {
        for value in values {
            printable(value.as_bytes())?;
        }
        self.property(
            name,
            values.iter().flat_map(|value| [value.as_bytes(), &[0]]),
        )
    }

    /// Adds a property with the value `value`. Fails as [`property_u32`](Self::property_u32) does.
    pub fn property_bytes(&mut self, name: &str, value: &[u8]) -> Result<()> {
        self.property(name, once(value))
    }

    /// Adds an array of `<u32>`. Fails as [`property_u32`](Self::property_u32) does.
    pub fn property_u32_array(&mut self, name: &str, values: &[u32]) -> Result<()> {
        self.property_u32_iter(name, values.iter().copied())
    }

    /// Adds an array of `<u32>` from an iterator. Fails as [`property_u32`](Self::property_u32)
    /// does.
    pub fn property_u32_iter(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = u32>,
    ) -> Result<()> {
        self.property(name, values.into_iter().map(u32::to_be_bytes))
    }

    /// Adds an array of `<u64>`. Fails as [`property_u32`](Self::property_u32) does.
    pub fn property_u64_array(&mut self, name: &str, values: &[u64]) -> Result<()> {
        self.property_u64_iter(name, values.iter().copied())
    }

    /// Adds an array of `<u64>` from an iterator. Fails as [`property_u32`](Self::property_u32)
    /// does.
    pub fn property_u64_iter(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = u64>,
    ) -> Result<()> {
        self.property(name, values.into_iter().map(u64::to_be_bytes))
    }

    /// Adds a property of type `<empty>`. Fails as [`property_u32`](Self::property_u32) does.
    pub fn property_empty(&mut self, name: &str) -> Result<()> {
        self.property_bytes(name, &[])
    }

    /// Ends the blob and returns its size in bytes. It begins at the start of the buffer.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], [`Error::TooLarge`], and [`Error::NestingState`] if there is no root or
    /// a node is open.
    pub fn finish(mut self) -> Result<usize> {
        if !self.has_root || self.depth != 0 {
            return Err(Error::NestingState);
        }
        let strings = self.put(self.end, &END.to_be_bytes())?;
        let total = self.move_strings(strings)?;

        let header = Header {
            total_size: to_u32(total)?,
            structure_offset: to_u32(self.structure)?,
            strings_offset: to_u32(strings)?,
            reservations_offset: to_u32(HEADER_SIZE)?,
            boot_cpuid: 0,
            strings_size: to_u32(self.strings_len)?,
            structure_size: to_u32(strings.checked_sub(self.structure).ok_or(Error::NoSpace)?)?,
        };
        // The strings are at their final place now, so nothing has to be kept free for them.
        self.strings_len = 0;
        let mut at = 0;
        for field in header.fields() {
            at = self.put(at, &field.to_be_bytes())?;
        }
        Ok(total)
    }

    /// Adds a property whose value is the concatenation of `chunks`.
    fn property<B: AsRef<[u8]>>(
        &mut self,
        name: &str,
        chunks: impl Iterator<Item = B>,
    ) -> Result<()> {
        let properties = self.properties.ok_or(Error::NestingState)?;
        check_property_name(name.as_bytes())?;
        if properties.count >= MAX_PROPERTIES {
            return Err(Error::TooManyProperties);
        }

        let strings_len = self.strings_len;
        let name_offset = match self.find_string(name) {
            Some(offset) => {
                let offset = to_u32(offset)?;
                if self.has_property(properties, offset) {
                    return Err(Error::DuplicateProperty);
                }
                offset
            }
            None => self.add_string(name)?,
        };
        match self.put_property(name_offset, chunks) {
            Ok(end) => {
                self.end = end;
                let count = properties.count.saturating_add(1);
                self.properties = Some(NodeProperties {
                    count,
                    ..properties
                });
                Ok(())
            }
            Err(error) => {
                self.strings_len = strings_len;
                Err(error)
            }
        }
    }

    /// Writes a property after the end of the structure block; returns where it ends.
    fn put_property<B: AsRef<[u8]>>(
        &mut self,
        name_offset: u32,
        chunks: impl Iterator<Item = B>,
    ) -> Result<usize> {
        let len_at = self.put(self.end, &PROPERTY.to_be_bytes())?;
        let name_at = self.put(len_at, &[0; 4])?;
        let start = self.put(name_at, &name_offset.to_be_bytes())?;
        let mut end = start;
        for chunk in chunks {
            end = self.put(end, chunk.as_ref())?;
        }
        let len = end.checked_sub(start).ok_or(Error::TooLarge)?;
        self.put(len_at, &to_u32(len)?.to_be_bytes())?;
        self.pad(end)
    }

    /// Whether the innermost open node has a property whose name is at `wanted`.
    ///
    /// Names are stored once, so equal names have equal offsets.
    fn has_property(&self, properties: NodeProperties, wanted: u32) -> bool {
        let mut at = properties.first;
        let block = self.buf.get(..self.end).unwrap_or_default();
        while let Ok((Token::Property { name_offset, .. }, next)) = token_at(block, at) {
            if name_offset == wanted {
                return true;
            }
            at = next;
        }
        false
    }

    /// Returns the offset of `name` in the strings block.
    fn find_string(&self, name: &str) -> Option<usize> {
        let start = self.buf.len().checked_sub(self.strings_len)?;
        let mut offset: usize = 0;
        for reversed in self.buf.get(start..)?.rsplit(|c| *c == 0) {
            if reversed.iter().rev().copied().eq(name.bytes()) {
                return Some(offset);
            }
            offset = offset.checked_add(reversed.len())?.checked_add(1)?;
        }
        None
    }

    /// Adds `name` to the strings block; returns its offset.
    fn add_string(&mut self, name: &str) -> Result<u32> {
        let offset = self.strings_len;
        let len = offset
            .checked_add(name.len())
            .and_then(|len| len.checked_add(1))
            .ok_or(Error::NoSpace)?;
        let start = self.buf.len().checked_sub(len).ok_or(Error::NoSpace)?;
        let free = self.limit()?;
        if start < self.end {
            return Err(Error::NoSpace);
        }
        let place = self.buf.get_mut(start..free).ok_or(Error::NoSpace)?;
        for (to, from) in place.iter_mut().rev().zip(name.bytes().chain(once(0))) {
            *to = from;
        }
        self.strings_len = len;
        to_u32(offset)
    }

    /// Moves the strings block to `to`, in its final order; returns where it ends.
    fn move_strings(&mut self, to: usize) -> Result<usize> {
        let from = self.limit()?;
        let total = to.checked_add(self.strings_len).ok_or(Error::NoSpace)?;
        let tail = self.buf.get_mut(to..).ok_or(Error::NoSpace)?;
        let gap = from.checked_sub(to).ok_or(Error::NoSpace)?;
        tail.get_mut(gap..).ok_or(Error::NoSpace)?.reverse();
        // The blocks may overlap; it moves down, so this order never overwrites what is to move.
        for at in 0..self.strings_len {
            let byte = gap.checked_add(at).and_then(|from| tail.get(from)).copied();
            let place = tail.get_mut(at).ok_or(Error::NoSpace)?;
            *place = byte.ok_or(Error::NoSpace)?;
        }
        Ok(total)
    }

    /// Returns the offset up to which the buffer is free for the structure block.
    fn limit(&self) -> Result<usize> {
        self.buf
            .len()
            .checked_sub(self.strings_len)
            .ok_or(Error::NoSpace)
    }

    /// Writes `bytes` at `at`; returns where they end.
    fn put(&mut self, at: usize, bytes: &[u8]) -> Result<usize> {
        let end = at.checked_add(bytes.len()).ok_or(Error::NoSpace)?;
        if end > self.limit()? {
            return Err(Error::NoSpace);
        }
        let place = self.buf.get_mut(at..end).ok_or(Error::NoSpace)?;
        for (to, from) in place.iter_mut().zip(bytes) {
            *to = *from;
        }
        Ok(end)
    }

    fn put_reservation(&mut self, at: usize, entry: Reservation) -> Result<usize> {
        let at = self.put(at, &entry.address.to_be_bytes())?;
        self.put(at, &entry.size.to_be_bytes())
    }

    /// Writes zeroes from `at` to the next token; returns where that is.
    fn pad(&mut self, at: usize) -> Result<usize> {
        let end = align_token(at).ok_or(Error::NoSpace)?;
        let len = end.checked_sub(at).ok_or(Error::NoSpace)?;
        self.put(at, [0; 3].get(..len).ok_or(Error::NoSpace)?)
    }
}

/// Writes the name of a node as it is formatted.
struct NameSink<'w, 'a> {
    writer: &'w mut Writer<'a>,
    end: usize,
    error: Error,
}

impl fmt::Write for NameSink<'_, '_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.end = self.writer.put(self.end, s.as_bytes()).map_err(|error| {
            self.error = error;
            fmt::Error
        })?;
        Ok(())
    }
}
