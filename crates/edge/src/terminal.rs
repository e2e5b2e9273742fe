//! The terminal of the person who runs the program: the one way to ask for a passphrase, or for another disc.
//!
//! Nothing that is typed is shown, and nothing that was typed is ever printed, logged or put into an error.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};

use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use zeroize::Zeroizing;

/// The longest passphrase.
pub const PASSPHRASE_BYTES_MAX: usize = 1024;

/// A passphrase. It is wiped when dropped, and its debug output does not hold it.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// Takes these bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, as they were typed or lie in a file.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Passphrase {
    fn eq(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// Why nobody has answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// Nobody sits at a terminal.
    #[error("there is no terminal to ask on")]
    NoTerminal,
    /// The person has pressed Ctrl-C or Ctrl-D.
    #[error("nothing was typed")]
    Interrupted,
    /// Longer than [`PASSPHRASE_BYTES_MAX`].
    #[error("what was typed is longer than {PASSPHRASE_BYTES_MAX} bytes")]
    TooLong,
    /// The terminal does not work.
    #[error("the terminal cannot be used")]
    Terminal(#[source] io::Error),
}

/// Somebody who can be asked.
pub trait Terminal: Send {
    /// Shows a prompt and takes one line, without showing it.
    ///
    /// # Errors
    /// See [`AskError`].
    fn ask(&mut self, prompt: &str) -> Result<Passphrase, AskError>;

    /// Whether somebody can be asked.
    fn is_there(&self) -> bool;

    /// Shows a prompt and waits for Enter; what else was typed is passed over.
    ///
    /// # Errors
    /// See [`AskError`].
    fn wait(&mut self, prompt: &str) -> Result<(), AskError> {
        match self.ask(prompt) {
            Ok(_) | Err(AskError::TooLong) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Nobody.
pub struct NoTerminal;

impl Terminal for NoTerminal {
    fn ask(&mut self, _prompt: &str) -> Result<Passphrase, AskError> {
        Err(AskError::NoTerminal)
    }
    fn is_there(&self) -> bool {
        false
    }
}

/// The terminal that controls this process, wherever its streams go.
pub struct ControllingTerminal;

impl Terminal for ControllingTerminal {
    fn ask(&mut self, prompt: &str) -> Result<Passphrase, AskError> {
        let terminal =
            File::options().read(true).write(true).open("/dev/tty").map_err(|_| AskError::NoTerminal)?;
        // Silent before the prompt is there: who sees it can type.
        let silence = Silence::over(&terminal).map_err(AskError::Terminal)?;
        let say = |text: &str| (&terminal).write_all(text.as_bytes()).map_err(AskError::Terminal);
        say(&crate::show::safe(&format!("{prompt}: ")))?;
        let answer = line(&terminal);
        drop(silence);
        say("\n")?;
        answer
    }

    fn is_there(&self) -> bool {
        File::options().read(true).write(true).open("/dev/tty").is_ok()
    }
}

/// A terminal that shows nothing and sends each key at once, until this is dropped. Ctrl-C is a key like
/// any other meanwhile: a program that it ended would leave the terminal silent.
struct Silence<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Silence<'a> {
    fn over(terminal: &'a File) -> io::Result<Self> {
        let before = termios::tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        termios::tcsetattr(terminal, OptionalActions::Drain, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(self.terminal, OptionalActions::Drain, &self.before);
    }
}

/// One line of keys, with the few that people use to correct themselves.
fn line(mut keys: impl Read) -> Result<Passphrase, AskError> {
    const CTRL_C: u8 = 3;
    const CTRL_D: u8 = 4;
    const BACKSPACE: u8 = 8;
    const CTRL_U: u8 = 21;
    const DELETE: u8 = 127;
    // All room at once: a vector that grows leaves copies behind.
    let mut typed = Zeroizing::new(Vec::with_capacity(PASSPHRASE_BYTES_MAX));
    let mut too_long = false;
    loop {
        let mut key = [0_u8];
        let ended = match keys.read(&mut key) {
            Ok(0) => true,
            Ok(_) => key == [b'\n'] || key == [b'\r'] || (key == [CTRL_D] && !typed.is_empty()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(AskError::Terminal(error)),
        };
        match key {
            _ if ended && too_long => return Err(AskError::TooLong),
            [0] if ended && typed.is_empty() => return Err(AskError::Interrupted),
            _ if ended => return Ok(Passphrase(typed)),
            [CTRL_C | CTRL_D] => return Err(AskError::Interrupted),
            [CTRL_U] => typed.clear(),
            [BACKSPACE | DELETE] => {
                // The bytes of one character in UTF-8.
                while typed.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            [byte] if typed.len() < PASSPHRASE_BYTES_MAX => typed.push(byte),
            _ => too_long = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8]) -> String {
        match line(keys) {
            Ok(passphrase) => String::from_utf8(passphrase.as_bytes().to_vec()).unwrap(),
            Err(error) => format!("({error})"),
        }
    }

    #[test]
    fn takes_a_line_as_it_was_corrected() {
        assert_eq!(typed(b"secret\nmore"), "secret");
        assert_eq!(typed(b"secret\r"), "secret");
        assert_eq!(typed(b"sez\x7fcret\n"), "secret");
        assert_eq!(typed("seé\x08cret\n".as_bytes()), "secret");
        assert_eq!(typed(b"nonsense\x15secret\n"), "secret");
        assert_eq!(typed(b" secret \n"), " secret ");
        assert_eq!(typed(b"secret"), "secret");
        assert_eq!(typed(b"secret\x04"), "secret");
        assert_eq!(typed(b"\n"), "");
    }

    #[test]
    fn gives_up_when_the_person_does() {
        for keys in [b"sec\x03ret\n".as_slice(), b"\x04", b""] {
            assert_eq!(typed(keys), "(nothing was typed)");
        }
        assert!(typed(&[b'x'; PASSPHRASE_BYTES_MAX + 1]).contains("longer than 1024 bytes"));
        assert_eq!(typed(&[b'x'; PASSPHRASE_BYTES_MAX]).len(), PASSPHRASE_BYTES_MAX);
    }

    #[test]
    fn never_shows_a_passphrase() {
        assert_eq!(format!("{:?}", Passphrase::new(b"secret".to_vec())), "Passphrase(…)");
    }
}
