//! Progress in bytes, for people who look at a terminal. Silent otherwise.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Takes the bytes as they pass.
pub trait Progress: Send {
    /// So many more were done.
    fn advance(&mut self, bytes: u64);

    /// What is being done at the moment, in a few words.
    fn about(&mut self, _text: &str) {}
}

/// Shows nothing.
pub struct Silent;

impl Progress for Silent {
    fn advance(&mut self, _bytes: u64) {}
}

/// A bar with bytes, rate and time left.
pub struct Bar(ProgressBar);

impl Progress for Bar {
    fn advance(&mut self, bytes: u64) {
        self.0.inc(bytes);
    }

    fn about(&mut self, text: &str) {
        self.0.set_message(text.to_string());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A bar if `wanted`, otherwise nothing.
#[must_use]
pub fn new(wanted: bool, label: &str, total_bytes: u64) -> Box<dyn Progress> {
    if !wanted {
        return Box::new(Silent);
    }
    let bar = ProgressBar::new(total_bytes);
    let template = "{prefix} {msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(label.to_string());
    bar.enable_steady_tick(Duration::from_millis(200));
    Box::new(Bar(bar))
}
