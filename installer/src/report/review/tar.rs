//! The members of a tar archive as they pass by: ustar, pax and GNU headers, for a list. Nothing is unpacked, a
//! length from outside is only counted down, and what a header says is shown and otherwise believed for nothing.

use std::io::{self, Write};

use manifests::{Digest, Hasher};

use super::sniff::PREFIX_BYTES;
use super::{MEMBERS_MAX, UNPACKED_BYTES_MAX};

const BLOCK: usize = 512;
/// A name in a header of its own is not longer.
const META_BYTES_MAX: u64 = 64 * 1024;

/// One member.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) mode: u32,
    pub(super) bytes: u64,
    pub(super) digest: Option<Digest>,
    pub(super) prefix: Vec<u8>,
    /// What it is instead of a file, and where it leads.
    pub(super) link: Option<(&'static str, String)>,
}

impl Member {
    pub(super) fn new(name: String, mode: u32) -> Self {
        Self { name, mode, ..Self::default() }
    }
}

/// Where in the archive it is.
#[derive(Debug)]
enum State {
    /// Collecting a header.
    Header(Vec<u8>),
    /// The content of a member, and the zeros after it.
    Content { member: Member, hasher: Hasher, left: u64, padding: u64 },
    /// What belongs to the next member: kind, text, what is left of it and after it.
    Meta { kind: u8, text: Vec<u8>, left: u64, padding: u64 },
    /// Content that nobody is told of, and the zeros after it.
    Skip(u64),
    /// After the two blocks of zeros.
    End,
}

/// What headers of their own say about the next member.
#[derive(Debug, Default)]
struct Overrides {
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

/// Takes an archive, and hands its members out.
#[derive(Debug)]
pub(super) struct Walk {
    state: State,
    overrides: Overrides,
    zeros: u8,
    seen: u64,
    count: u64,
    found: Vec<Member>,
}

impl Default for Walk {
    fn default() -> Self {
        let state = State::Header(Vec::new());
        Self { state, overrides: Overrides::default(), zeros: 0, seen: 0, count: 0, found: Vec::new() }
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

/// The text of a field, up to its first zero.
fn text(block: &[u8], from: usize, to: usize) -> String {
    let field = block.get(from..to).unwrap_or_default();
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
}

/// A number: octal, or as GNU writes large ones.
fn number(block: &[u8], from: usize, to: usize) -> Option<u64> {
    let field = block.get(from..to)?;
    if field.first().is_some_and(|byte| byte & 0x80 != 0) {
        let rest = field.iter().rev().take(8).rev();
        return Some(rest.fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte)) & (u64::MAX >> 1));
    }
    let digits = text(block, from, to);
    let digits = digits.trim_matches(' ');
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

impl Walk {
    /// The members that were seen to their end since.
    pub(super) fn take(&mut self) -> Vec<Member> {
        std::mem::take(&mut self.found)
    }

    /// Whether it was seen to its end.
    pub(super) fn finish(self) -> Result<(), String> {
        match self.state {
            State::End => Ok(()),
            // Some writers leave the zeros out.
            State::Header(bytes) if bytes.is_empty() => Ok(()),
            _ => Err("it ends in the middle of a member".to_string()),
        }
    }

    /// Takes some of the bytes, at least one of them; how many.
    fn step(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let state = std::mem::replace(&mut self.state, State::End);
        match state {
            State::End => Ok(bytes.len()),
            State::Header(mut block) => {
                let taken = bytes.len().min(BLOCK.saturating_sub(block.len()));
                block.extend(bytes.iter().take(taken));
                self.state = if block.len() == BLOCK { self.header(&block)? } else { State::Header(block) };
                Ok(taken)
            }
            State::Content { mut member, mut hasher, left, padding } => {
                let (piece, taken) = first(bytes, left);
                let room = PREFIX_BYTES.saturating_sub(member.prefix.len());
                member.prefix.extend(piece.iter().take(room));
                hasher.update(piece);
                let left = left.saturating_sub(taken as u64);
                self.state = if left == 0 {
                    member.digest = Some(hasher.finish());
                    self.found.push(member);
                    skip(padding)
                } else {
                    State::Content { member, hasher, left, padding }
                };
                Ok(taken)
            }
            State::Meta { kind, text: mut meta, left, padding } => {
                let (piece, taken) = first(bytes, left);
                meta.extend_from_slice(piece);
                let left = left.saturating_sub(taken as u64);
                self.state = if left == 0 {
                    self.note(kind, &meta);
                    skip(padding)
                } else {
                    State::Meta { kind, text: meta, left, padding }
                };
                Ok(taken)
            }
            State::Skip(left) => {
                let (_, taken) = first(bytes, left);
                self.state = skip(left.saturating_sub(taken as u64));
                Ok(taken)
            }
        }
    }

    fn header(&mut self, block: &[u8]) -> io::Result<State> {
        if block.iter().all(|byte| *byte == 0) {
            self.zeros = self.zeros.saturating_add(1);
            return Ok(if self.zeros >= 2 { State::End } else { State::Header(Vec::new()) });
        }
        self.zeros = 0;
        let sum = block.iter().enumerate().map(|(at, byte)| {
            // The checksum counts itself as spaces.
            if (148..156).contains(&at) { u64::from(b' ') } else { u64::from(*byte) }
        });
        if number(block, 148, 156) != Some(sum.sum()) {
            return Err(broken("there is no header of a member where one should be"));
        }
        let kind = block.get(156).copied().unwrap_or_default();
        let size = number(block, 124, 136).ok_or_else(|| broken("a member without a length"))?;
        if matches!(kind, b'x' | b'L' | b'K') {
            if size > META_BYTES_MAX {
                return Err(broken("a name that is too long"));
            }
            return Ok(meta(kind, size));
        }
        if kind == b'g' {
            return Ok(skip(padded(size)));
        }
        Ok(self.member(block, kind, size))
    }

    fn member(&mut self, block: &[u8], kind: u8, size: u64) -> State {
        let overrides = std::mem::take(&mut self.overrides);
        self.count = self.count.saturating_add(1);
        let (prefix, name) = (text(block, 345, 500), text(block, 0, 100));
        let is_ustar = block.get(257..262) == Some(b"ustar");
        let own = if is_ustar && !prefix.is_empty() { format!("{prefix}/{name}") } else { name };
        let mode = number(block, 100, 108).and_then(|mode| u32::try_from(mode).ok()).unwrap_or_default();
        let mut member = Member::new(overrides.name.unwrap_or(own), mode);
        let to = || overrides.link.clone().unwrap_or_else(|| text(block, 157, 257));
        member.link = match kind {
            b'1' => Some(("hard link", to())),
            b'2' => Some(("symbolic link", to())),
            b'3' | b'4' => Some(("device", "the kernel".to_string())),
            b'6' => Some(("pipe", "whoever opens it".to_string())),
            _ => None,
        };
        let size = overrides.size.unwrap_or(size);
        if kind == b'5' {
            return skip(padded(size));
        }
        if member.link.is_some() {
            self.found.push(member);
            // Links carry nothing, whatever their length says, but for hard links of pax.
            return if kind == b'1' { skip(padded(size)) } else { State::Header(Vec::new()) };
        }
        member.bytes = size;
        if size == 0 {
            member.digest = Some(Digest::of(b""));
            self.found.push(member);
            return State::Header(Vec::new());
        }
        State::Content {
            member,
            hasher: Hasher::new(),
            left: size,
            padding: padded(size).saturating_sub(size),
        }
    }

    fn note(&mut self, kind: u8, meta: &[u8]) {
        let plain = || {
            let end = meta.iter().position(|byte| *byte == 0).unwrap_or(meta.len());
            String::from_utf8_lossy(meta.get(..end).unwrap_or_default()).into_owned()
        };
        match kind {
            b'L' => self.overrides.name = Some(plain()),
            b'K' => self.overrides.link = Some(plain()),
            _ => self.pax(meta),
        }
    }

    /// `LENGTH KEY=VALUE` and a line feed, again and again.
    fn pax(&mut self, mut rest: &[u8]) {
        while let Some(space) = rest.iter().position(|byte| *byte == b' ') {
            let digits = String::from_utf8_lossy(rest.get(..space).unwrap_or_default()).into_owned();
            let Ok(length) = digits.parse::<usize>() else { return };
            let Some(record) = rest.get(space.saturating_add(1)..length.saturating_sub(1)) else { return };
            let record = String::from_utf8_lossy(record).into_owned();
            if let Some((key, value)) = record.split_once('=') {
                match key {
                    "path" => self.overrides.name = Some(value.to_string()),
                    "linkpath" => self.overrides.link = Some(value.to_string()),
                    "size" => self.overrides.size = value.parse().ok(),
                    _ => {}
                }
            }
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

fn first(bytes: &[u8], left: u64) -> (&[u8], usize) {
    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (bytes.get(..taken).unwrap_or_default(), taken)
}

fn padded(size: u64) -> u64 {
    size.checked_next_multiple_of(BLOCK as u64).unwrap_or(u64::MAX)
}

fn skip(left: u64) -> State {
    if left == 0 { State::Header(Vec::new()) } else { State::Skip(left) }
}

fn meta(kind: u8, size: u64) -> State {
    if size == 0 {
        return State::Header(Vec::new());
    }
    State::Meta { kind, text: Vec::new(), left: size, padding: padded(size).saturating_sub(size) }
}

impl Write for Walk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        self.seen = self.seen.saturating_add(bytes.len() as u64);
        if self.seen > UNPACKED_BYTES_MAX || self.count > MEMBERS_MAX {
            return Err(broken("it unpacks to more than is looked at"));
        }
        while !rest.is_empty() {
            let taken = self.step(rest)?;
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(bytes: &[u8], piece: usize) -> (Vec<Member>, Result<(), String>) {
        let mut walk = Walk::default();
        let fed = bytes.chunks(piece).try_for_each(|piece| walk.write_all(piece));
        let members = walk.take();
        (members, fed.map_err(|error| error.to_string()).and_then(|()| walk.finish()))
    }

    fn archive() -> Vec<u8> {
        let mut builder = ::tar::Builder::new(Vec::new());
        let mut add = |name: &str, content: &[u8], mode: u32| {
            let mut header = ::tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(mode);
            builder.append_data(&mut header, name, content).unwrap();
        };
        add("bin/su", b"\x7fELF", 0o4755);
        add(&format!("{}/long", "d".repeat(200)), &[b'x'; 1000], 0o644);
        add("empty", b"", 0o644);
        let mut link = ::tar::Header::new_gnu();
        link.set_entry_type(::tar::EntryType::Symlink);
        link.set_size(0);
        builder.append_link(&mut link, "etc/passwd", "/etc/shadow").unwrap();
        builder.into_inner().unwrap()
    }

    #[test]
    fn every_member_is_found_whatever_the_pieces_it_comes_in() {
        let bytes = archive();
        for piece in [1, 7, 512, 1 << 20] {
            let (members, ended) = walk(&bytes, piece);
            ended.unwrap();
            let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
            assert_eq!(names, ["bin/su", &format!("{}/long", "d".repeat(200)), "empty", "etc/passwd"]);
            assert_eq!(members[0].mode & 0o4000, 0o4000);
            assert_eq!(members[1].digest, Some(Digest::of(&[b'x'; 1000])));
            assert_eq!(members[3].link, Some(("symbolic link", "/etc/shadow".to_string())));
        }
    }

    #[test]
    fn one_that_is_cut_or_bent_is_said_to_be_and_never_stops_the_program() {
        let bytes = archive();
        for cut in 0..bytes.len() {
            let _ = walk(&bytes[..cut], 4096);
        }
        for at in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[at] ^= 0xff;
            let _ = walk(&bent, 4096);
        }
        assert!(walk(&bytes[..600], 4096).1.is_ok() || walk(&bytes[..600], 4096).1.is_err());
        assert!(walk(&bytes[..1030], 4096).1.is_err());
        assert!(walk(&[b'x'; 1024], 4096).1.is_err());
    }
}
