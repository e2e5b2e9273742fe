//! `installer report`: what an auditor reads, prints and files, from what the site has kept.
//!
//! In the order of a run: [`facts`] reads (the log, the ledger, the journals, the signed originals, every blob),
//! [`model`] and what is beside it make the report of that and of nothing else, [`html`] writes it as one page,
//! [`evidence`] copies the signed originals beside it. [`review`] is apart: the list of every file in a bundle, for
//! whoever lets media across.
//!
//! **What it may never do:** say that something is in order which was not looked at in this run, ask a target,
//! or show the content of a file. What it does not know is said under *not checked*.

pub(crate) mod artifacts;
pub(crate) mod bundle;
pub(crate) mod controls;
pub(crate) mod evidence;
pub(crate) mod facts;
pub(crate) mod gaps;
pub(crate) mod html;
pub(crate) mod log;
pub(crate) mod model;
pub(crate) mod recheck;
pub(crate) mod review;
pub(crate) mod whole;
