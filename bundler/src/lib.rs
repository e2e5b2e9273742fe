//! Connected side: packs container images, Python wheels, Helm charts and files into one signed archive.
//!
//! In the order in which a byte travels: [`spec`] (what a person wrote) → [`sources`] → [`resolve`] (to
//! digests) → [`lock`] → [`countersign`] (if asked for) → [`pack`] (inventory and manifest; of a [`delta`] with
//! [`patches`]) → [`sign`] → [`export`] (the archive, or with [`media`] the [`discs`] of it) → [`write`] (onto a medium). [`attest`] states
//! afterwards where it came from.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod attest;
pub mod cache;
pub mod ceremony;
pub mod cli;
pub mod countersign;
pub mod delta;
pub mod diff;
pub mod discover;
pub mod discs;
pub mod download;
pub mod export;
pub mod keys;
pub mod lock;
pub mod media;
pub mod pack;
pub mod parted;
pub mod patches;
pub mod prepare;
pub mod receipt;
pub mod recovery;
pub mod registries;
pub mod resolve;
pub mod sbom;
pub mod sign;
pub mod sources;
pub mod spec;
pub mod write;

/// Runs the program in a world, and tells how it ended.
pub fn run(env: &mut edge::Env) -> edge::Exit {
    cli::run(env)
}
