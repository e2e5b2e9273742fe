//! Where a program of ours touches the outside: arguments and streams, clock and environment, the
//! programs it starts and the threads, the YAML that people write, progress, and the exit code at the end.
//!
//! Both programs use it, so that there is one place for each of these and tests can drive them all. It
//! knows nothing of bundles: it may depend on `manifests` only for time, printable text and the names of signature
//! schemes.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod at_once;
pub mod env;
pub mod exit;
pub mod manual;
pub mod places;
pub mod process;
pub mod progress;
pub mod scheme;
pub mod show;
pub mod terminal;
pub mod yaml;

pub use env::{Clock, Env, Stderr};
pub use exit::{Classified, Exit, Failure};
pub use show::{Output, Screen};
