//! Writes archives entry by entry, without any of the rules that the real writer keeps.

use std::ops::Range;

use layout::header::{BLOCK_BYTES, padding};
use layout::signatures::AREA_BYTES;

const BLOCK: usize = BLOCK_BYTES as usize;

/// A field of a ustar header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The file's name.
    Name,
    /// Permission bits.
    Mode,
    /// The owner's number.
    Uid,
    /// The group's number.
    Gid,
    /// The content's length.
    Size,
    /// Seconds since 1970.
    Mtime,
    /// `0` is a regular file.
    Type,
    /// Where a link leads.
    LinkName,
    /// `ustar`, its NUL, and the version.
    Magic,
    /// The owner's name.
    OwnerName,
    /// The group's name.
    GroupName,
    /// A device's major number.
    Major,
    /// A device's minor number.
    Minor,
    /// What goes before the name.
    Prefix,
    /// What ustar does not use.
    Rest,
}

impl Field {
    fn range(self) -> Range<usize> {
        match self {
            Self::Name => 0..100,
            Self::Mode => 100..108,
            Self::Uid => 108..116,
            Self::Gid => 116..124,
            Self::Size => 124..136,
            Self::Mtime => 136..148,
            Self::Type => 156..157,
            Self::LinkName => 157..257,
            Self::Magic => 257..265,
            Self::OwnerName => 265..297,
            Self::GroupName => 297..329,
            Self::Major => 329..337,
            Self::Minor => 337..345,
            Self::Prefix => 345..500,
            Self::Rest => 500..512,
        }
    }
}

/// One entry: a header, content, and what fills its last block.
#[derive(Debug, Clone)]
pub struct Entry {
    /// 512 bytes.
    pub header: [u8; BLOCK],
    /// As long as it is, whatever the header says.
    pub content: Vec<u8>,
    /// After the content.
    pub padding: Vec<u8>,
}

impl Entry {
    /// A regular file as a bundle has it. Any name goes, of at most 100 bytes.
    #[must_use]
    pub fn new(name: &str, content: &[u8]) -> Self {
        let filling = usize::try_from(padding(content.len() as u64)).unwrap();
        let mut entry = Self { header: [0; BLOCK], content: content.to_vec(), padding: vec![0; filling] };
        for (field, text) in [
            (Field::Name, name.as_bytes()),
            (Field::Mode, b"0000644\0"),
            (Field::Uid, b"0000000\0"),
            (Field::Gid, b"0000000\0"),
            (Field::Size, format!("{:011o}\0", content.len()).as_bytes()),
            (Field::Mtime, b"00000000000\0"),
            (Field::Type, b"0"),
            (Field::Magic, b"ustar\x0000"),
        ] {
            entry.set(field, text);
        }
        entry
    }

    /// Replaces a field, the rest of it with NULs, and makes the checksum right again.
    pub fn set(&mut self, field: Field, value: &[u8]) {
        let range = field.range();
        assert!(value.len() <= range.len(), "{field:?} has no room for {} bytes", value.len());
        self.header[range.clone()].fill(0);
        self.header[range.start..range.start + value.len()].copy_from_slice(value);
        self.seal();
    }

    /// With a field replaced.
    #[must_use]
    pub fn with(mut self, field: Field, value: &[u8]) -> Self {
        self.set(field, value);
        self
    }

    /// Makes the checksum right.
    fn seal(&mut self) {
        self.header[148..156].fill(b' ');
        let sum: u32 = self.header.iter().map(|byte| u32::from(*byte)).sum();
        self.header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }

    fn name(&self) -> &[u8] {
        self.header[Field::Name.range()].split(|byte| *byte == 0).next().unwrap()
    }
}

/// An archive in the making.
#[derive(Debug, Clone)]
pub struct Forge {
    /// In the order in which they are written.
    pub entries: Vec<Entry>,
    /// What comes after them: two empty blocks.
    pub end: Vec<u8>,
}

impl Forge {
    /// No entries.
    #[must_use]
    pub fn empty() -> Self {
        Self { entries: Vec::new(), end: vec![0; 2 * BLOCK] }
    }

    /// Adds an honest entry.
    pub fn push(&mut self, name: &str, content: &[u8]) {
        self.entries.push(Entry::new(name, content));
    }

    /// Adds the reserved area, as long as the signatures before it leave it.
    pub fn reserve(&mut self) {
        let signatures = self.entries.iter().filter(|entry| entry.name().starts_with(b"signatures/"));
        let used: usize = signatures.map(|entry| BLOCK + entry.content.len() + entry.padding.len()).sum();
        let rest = usize::try_from(AREA_BYTES).unwrap().saturating_sub(used);
        self.push("signatures/.reserved", &vec![0; rest]);
    }

    /// Makes the reserved area as long again as the signatures leave it.
    pub fn reserve_again(&mut self) {
        let place = self.position("signatures/.reserved");
        let after = self.entries.split_off(place + 1);
        self.entries.pop();
        self.reserve();
        self.entries.extend(after);
    }

    /// Where the first entry is whose name starts so.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn position(&self, name: &str) -> usize {
        let found = self.entries.iter().position(|entry| entry.name().starts_with(name.as_bytes()));
        found.unwrap_or_else(|| panic!("no entry starts with {name}"))
    }

    /// The first entry whose name starts so.
    pub fn entry(&mut self, name: &str) -> &mut Entry {
        let place = self.position(name);
        &mut self.entries[place]
    }

    /// The archive.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.header);
            bytes.extend_from_slice(&entry.content);
            bytes.extend_from_slice(&entry.padding);
        }
        bytes.extend_from_slice(&self.end);
        bytes
    }
}
