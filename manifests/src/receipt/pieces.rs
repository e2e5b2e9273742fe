//! A receipt in pieces: lines of a text that somebody prints and types again, or QR codes that somebody scans.
//!
//! ```text
//! airlock-receipt/v1 7f3a91c2                                           a text: which receipt, and then its lines
//! 3/41 |e":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc2| 9c1d02
//!
//! airlock-receipt/v1 7f3a91c2 3/6 |e":"sha256:44136fa355…| 9c1d02       a code says all of it
//! ```
//!
//! Between the bars are the very characters of the receipt's two lines, without their line feeds: no encoding, so what
//! is printed can be read by whoever decides whether it may leave. `7f3a91c2` begins the SHA-256 of the file. The
//! last six digits begin the SHA-256 of `7f3a91c2 3/41 |…|`, bars included. They find what was mistyped or misread, and
//! are no protection against anybody: that is the signature's.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::file::{FormError, RECEIPT_BYTES_MAX, SignedReceipt};
use crate::digest::Digest;
use crate::text::printable_up_to;

/// What each code, and the first line of a text, begins with.
const MARK: &str = "airlock-receipt/v1";

/// How many characters stand between the bars of a line of text: it fits eighty columns.
pub const LINE_CHARACTERS: usize = 60;

/// How many there are in a QR code at most: with error correction Q they need version 20, of 97 modules.
pub const CODE_CHARACTERS: usize = 430;

/// How many pieces there can be: more than anybody types or scans.
pub const PIECES_MAX: u32 = 9999;

/// How many digits say which receipt a piece is of, and how many check it.
const SET_DIGITS: usize = 8;
const CHECK_DIGITS: usize = 6;

/// One piece of a receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    set: String,
    number: u32,
    of: u32,
    text: String,
}

/// Why pieces are not a receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PieceError {
    /// Nothing of it is ours.
    #[error("it is not a receipt")]
    NotAReceipt,
    /// A line that is none of ours.
    #[error("line {line} is not a line of a receipt: {found}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What it says.
        found: String,
    },
    /// A line of a text whose first line is missing.
    #[error("line {line} does not say which receipt it is of, and no line before it does")]
    NoSet {
        /// Counted from 1.
        line: usize,
    },
    /// A piece that is not what was printed.
    #[error("line {line} is not what was printed: its check value would be {expected}, and it says {found}")]
    Check {
        /// Counted from 1.
        line: usize,
        /// What the characters give.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// Pieces of several receipts.
    #[error("there are pieces of two receipts, {first} and {second}")]
    TwoReceipts {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// Two pieces that cannot both be right.
    #[error("line {line} contradicts another piece of the same receipt")]
    Contradiction {
        /// Counted from 1.
        line: usize,
    },
    /// Some are missing.
    #[error("of {of} pieces of the receipt {set} these are missing: {}", spans(missing))]
    Missing {
        /// Which receipt.
        set: String,
        /// The numbers of those that are missing.
        missing: Vec<u32>,
        /// How many there are.
        of: u32,
    },
    /// All there, and together something else.
    #[error("all pieces are there, and together they are not the receipt {set}")]
    Whole {
        /// Which receipt.
        set: String,
    },
    /// Longer than any receipt, or in more pieces.
    #[error("it is too long for a receipt in pieces")]
    TooLong,
    /// Put together, and not a receipt.
    #[error(transparent)]
    Form(#[from] FormError),
}

/// `1-3, 7`
fn spans(numbers: &[u32]) -> String {
    let mut spans: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => spans.push((*number, *number)),
        }
    }
    let shown = |(first, last): &(u32, u32)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    spans.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// Cuts a receipt into pieces of at most so many characters, of about the same length.
///
/// # Errors
/// It would be too many pieces, or it has other characters than ASCII.
pub fn cut(signed: &SignedReceipt, characters: usize) -> Result<Vec<Piece>, PieceError> {
    let text: Vec<u8> = signed.bytes().iter().copied().filter(|byte| *byte != b'\n').collect();
    let pieces = text.len().div_ceil(characters.max(1)).max(1);
    let of = u32::try_from(pieces).ok().filter(|of| *of <= PIECES_MAX).ok_or(PieceError::TooLong)?;
    let set = set_of(signed);
    let piece = |(number, bytes): (u32, &[u8])| {
        let text = core::str::from_utf8(bytes).ok().filter(|text| text.is_ascii())?;
        Some(Piece { set: set.clone(), number, of, text: text.to_string() })
    };
    let cut = (1..).zip(text.chunks(text.len().div_ceil(pieces).max(1))).map(piece);
    cut.collect::<Option<Vec<Piece>>>().ok_or(PieceError::Form(FormError::NotAReceipt))
}

fn set_of(signed: &SignedReceipt) -> String {
    let mut set = signed.digest().hex();
    set.truncate(SET_DIGITS);
    set
}

/// The first line of a text.
#[must_use]
pub fn heading(signed: &SignedReceipt) -> String {
    format!("{MARK} {}", set_of(signed))
}

impl Piece {
    /// Which one it is.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// How many there are.
    #[must_use]
    pub fn of(&self) -> u32 {
        self.of
    }

    /// As a line of a text, below [`heading`].
    #[must_use]
    pub fn line(&self) -> String {
        let Self { number, of, text, .. } = self;
        format!("{number}/{of} |{text}| {}", self.check())
    }

    /// As the content of a code.
    #[must_use]
    pub fn code(&self) -> String {
        format!("{MARK} {} {}", self.set, self.line())
    }

    fn check(&self) -> String {
        let Self { set, number, of, text } = self;
        let mut check = Digest::of(format!("{set} {number}/{of} |{text}|").as_bytes()).hex();
        check.truncate(CHECK_DIGITS);
        check
    }
}

/// Pieces that were read, in any order.
#[derive(Debug, Default)]
pub struct Pieces {
    /// Which receipt, and in how many pieces.
    whole: Option<(String, u32)>,
    found: BTreeMap<u32, String>,
    bytes: u64,
}

impl Pieces {
    /// Takes every piece of a text: what was typed, or what a scanner read, one code on each line. Empty lines and
    /// those that begin with `#` are remarks.
    ///
    /// # Errors
    /// See [`PieceError`].
    pub fn read(&mut self, text: &str) -> Result<(), PieceError> {
        if !super::looks_like_receipt(text.as_bytes()) {
            return Err(PieceError::NotAReceipt);
        }
        let mut set = None;
        for (line, found) in (1..).zip(text.lines()) {
            let found = found.trim();
            if found.is_empty() || found.starts_with('#') {
                continue;
            }
            let stray = || PieceError::Line { line, found: printable_up_to(found, 60) };
            let mut rest = found;
            if let Some(after) = found.strip_prefix(MARK).and_then(|rest| rest.strip_prefix(' ')) {
                let (named, piece) = after.split_once(' ').unwrap_or((after, ""));
                set = Some(digits(named, SET_DIGITS).ok_or_else(stray)?);
                rest = piece;
            }
            if !rest.is_empty() {
                let (number, of, text, check) = split(rest).ok_or_else(stray)?;
                let set = set.ok_or(PieceError::NoSet { line })?.to_string();
                let piece = Piece { set, number, of, text: text.to_string() };
                let (expected, found) = (piece.check(), printable_up_to(check, CHECK_DIGITS));
                if expected != check {
                    return Err(PieceError::Check { line, expected, found });
                }
                self.take(piece, line)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, piece: Piece, line: usize) -> Result<(), PieceError> {
        match &self.whole {
            None => self.whole = Some((piece.set, piece.of)),
            Some((set, _)) if *set != piece.set => {
                return Err(PieceError::TwoReceipts { first: set.clone(), second: piece.set });
            }
            Some((_, of)) if *of != piece.of => return Err(PieceError::Contradiction { line }),
            Some(_) => {}
        }
        match self.found.get(&piece.number) {
            Some(known) if *known != piece.text => return Err(PieceError::Contradiction { line }),
            Some(_) => return Ok(()),
            None => {}
        }
        self.bytes = self.bytes.saturating_add(piece.text.len() as u64);
        if self.bytes > RECEIPT_BYTES_MAX {
            return Err(PieceError::TooLong);
        }
        self.found.insert(piece.number, piece.text);
        Ok(())
    }

    /// Puts them together.
    ///
    /// # Errors
    /// See [`PieceError`].
    pub fn finish(self) -> Result<SignedReceipt, PieceError> {
        let (set, of) = self.whole.ok_or(PieceError::NotAReceipt)?;
        let missing: Vec<u32> = (1..=of).filter(|number| !self.found.contains_key(number)).collect();
        if !missing.is_empty() {
            return Err(PieceError::Missing { set, missing, of });
        }
        let text: String = self.found.into_values().collect();
        // Neither a key id nor base64 has a brace: the last one begins the second line.
        let second = text.rfind('{').filter(|at| *at > 0).ok_or(FormError::Lines)?;
        let (first, second) = text.split_at(second);
        let signed = SignedReceipt::from_bytes(format!("{first}\n{second}\n").as_bytes())?;
        if set_of(&signed) == set { Ok(signed) } else { Err(PieceError::Whole { set }) }
    }
}

/// `3/41 |…| 9c1d02`
fn split(text: &str) -> Option<(u32, u32, &str, &str)> {
    let (numbers, rest) = text.split_once('|')?;
    let (piece, check) = rest.rsplit_once('|')?;
    let (number, of) = numbers.trim().split_once('/')?;
    let (number, of): (u32, u32) = (number.parse().ok()?, of.parse().ok()?);
    let is_one_of = (1..=of).contains(&number) && of <= PIECES_MAX;
    (is_one_of && piece.is_ascii()).then_some((number, of, piece, check.trim()))
}

/// So many lower-case hex digits.
fn digits(text: &str, count: usize) -> Option<&str> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == count && text.bytes().all(is_digit)).then_some(text)
}
