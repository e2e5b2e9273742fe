//! Every document that crosses the gap: how it is parsed, what its one canonical form is, and what
//! must hold before anybody may act on it.
//!
//! **What this crate may never do:** open a file, reach a network, read a clock, start a process.
//! Bytes and facts go in, a verdict comes out. `no_std` makes the compiler hold us to that.
//!
//! Read in this order: [`digest`], [`key`], [`root`], [`revocation`] and
//! [`trust`] (whom the site trusts), [`bundle`] (the signed
//! bytes), [`inventory`] (what is inside), [`delta`] (what of it does not travel), [`verify`] (the order of checks, as types).
//!
//! *Invariant:* a [`verify::VerifiedBundle`] exists only if every check of `docs/format.md` was made,
//! in that order, on the bytes that will be used.

#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod string_form;

pub mod address;
pub mod archive_path;
pub mod audit;
pub mod bundle;
pub mod canonical;
pub mod checkpoint;
pub mod clock;
mod closure;
pub mod companion;
pub mod delta;
pub mod digest;
pub mod health;
pub mod inventory;
pub mod key;
pub mod kubernetes;
pub mod oci;
pub mod parts;
pub mod range;
pub mod receipt;
pub mod reference;
pub mod requires;
pub mod revocation;
pub mod root;
pub mod script;
pub mod sigstore;
pub mod text;
pub mod timestamp;
pub mod trust;
pub mod verify;

pub use archive_path::ArchivePath;
pub use bundle::BundleManifest;
pub use digest::{Digest, Hasher};
pub use inventory::Inventory;
pub use key::{KeyId, PublicKey, Scheme, SecretKey};
pub use oci::Descriptor;
pub use parts::PartsList;
pub use receipt::VerifiedReceipt;
pub use reference::Reference;
pub use root::TrustRoot;
pub use text::{BundleVersion, Name};
pub use timestamp::Timestamp;
pub use trust::Trust;
pub use verify::VerifiedBundle;
