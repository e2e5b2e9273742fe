//! Asking the person at the drive for another disc.

use std::cell::{Cell, RefCell};

use edge::terminal::{NoTerminal, Terminal};
use edge::{Output, Screen, Stderr};

use crate::discs::Changer;

/// Somebody at a terminal, if there is one and the run prints for people.
pub(super) struct AtTheDrive {
    terminal: RefCell<Box<dyn Terminal>>,
    there: Cell<bool>,
    stderr: Stderr,
}

impl AtTheDrive {
    /// Takes the terminal of this run; nobody else asks anything after that.
    pub(super) fn of(screen: &mut Screen<'_>) -> Self {
        let terminal = std::mem::replace(&mut screen.env.terminal, Box::new(NoTerminal));
        let there = Cell::new(screen.common.output == Output::Human && terminal.is_there());
        Self { terminal: RefCell::new(terminal), there, stderr: screen.env.stderr.clone() }
    }
}

impl Changer for AtTheDrive {
    fn say(&self, text: &str) {
        if self.there.get() {
            self.stderr.say(text);
        }
    }

    fn change(&self, wanted: &str) -> bool {
        let ask = || self.terminal.try_borrow_mut().is_ok_and(|mut terminal| terminal.wait(wanted).is_ok());
        self.stderr.aside(ask)
    }

    fn is_there(&self) -> bool {
        self.there.get()
    }
}
