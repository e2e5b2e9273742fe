//! What charts render to, and the images in it. Both sides use it, so that a site looks for images by the very
//! rules by which the bundler has looked: [`helm`] renders → [`node`] reads → [`walk`] finds, with
//! [`reference`](mod@reference), [`compose`] and [`embedded`] → [`hit`] collects; [`rewrite`] puts others in
//! their place.
//!
//! What counts as *certain* and what as *probable* is decided in `docs/adr/0010-image-discovery.md`.
//!
//! **What this may never do:** pass over what it cannot read, let a chart reach anything, or know of bundles.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod compose;
pub mod embedded;
pub mod helm;
pub mod hit;
pub mod node;
pub mod reference;
pub mod rewrite;
pub mod walk;
#[cfg(test)]
mod walked;
