//! For tests only: servers that count, lie and fail on request, and real tools where they are installed.
//!
//! **What this crate may never do:** be a dependency of anything but tests, or reach beyond the loopback
//! interface and temporary directories. It fails loudly: a test double that hides a mistake is worse
//! than none.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "test code: it stops at the first surprise, and starts real tools by itself"
)]

pub mod certificates;
pub mod chromium;
pub mod cluster;
pub mod cutting_proxy;
pub mod exercise;
pub mod fake_registry;
pub mod fake_server;
pub mod pod_images;
pub mod real;
pub mod real_registry;
pub mod sample;

pub use chromium::{Chromium, Look, Seen};
pub use cluster::{Cluster, Node};
pub use cutting_proxy::CuttingProxy;
pub use fake_registry::{FakeRegistry, Fault};
pub use fake_server::{FakeServer, Reply, Request};
pub use pod_images::{ImageNames, Unresolved, unresolved_images};
pub use real::real_part;
pub use real_registry::{REAL_PASSWORD, REAL_USER, RealRegistry, RealRegistryOptions};
