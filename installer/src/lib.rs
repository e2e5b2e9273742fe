//! Disconnected side: verifies a bundle, loads it, and applies it behind preflight checks, with an audit
//! log and a way back.
//!
//! In the order in which a byte travels: [`admit`] (verify, then the site store) → [`plan`] →
//! [`preflight`] → [`apply`] with [`targets`] and [`journal`] → [`audit`]; [`serve`] shows what the store
//! holds. This program contains no fetcher: it never depends on `bundler`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod admit;
pub mod apply;
pub mod audit;
pub mod charts;
pub mod cli;
pub mod cluster;
pub mod diagnose;
pub mod discs;
pub mod drift;
pub mod due;
pub mod explain;
pub mod gc;
pub mod health;
pub mod holdings;
pub mod incoming;
pub mod journal;
pub mod left_out;
pub mod loan;
pub mod machine;
pub mod origins;
mod output;
pub mod patches;
pub mod plan;
pub mod preflight;
pub mod receipt;
pub mod references;
pub mod rendered;
pub mod repair;
mod report;
mod reread;
pub mod retire;
pub mod rot;
pub mod serve;
pub mod shelf;
pub mod site;
pub mod stock;
pub mod targets;
pub mod witness;

/// Runs the program in a world, and tells how it ended.
pub fn run(env: &mut edge::Env) -> edge::Exit {
    cli::run(env)
}
