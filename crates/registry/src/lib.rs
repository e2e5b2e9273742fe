//! The one HTTP client of Airlock, and the OCI distribution protocol over it: `bundler` pulls with it,
//! `installer` pushes with it.
//!
//! **What this crate may never do:** trust a length, a digest or a media type that a server states
//! without checking it; write a manifest anew (its bytes are its identity); send credentials to another
//! host than the one they are for; decompress anything; print.
//!
//! It follows the OCI distribution spec 1.1, and where servers in the field differ from it, says so
//! beside the code. Read in this order: [`url`], [`http`], [`retry`], [`login`],
//! [`user_logins`], [`repository`], [`blob`]. [`tls`] is a look at a certificate,
//! [`connect`] at a port. [`engine`] is apart: the Docker Engine's API over its socket.

mod auth;
pub mod blob;
mod challenge;
pub mod connect;
pub mod engine;
pub mod error;
pub mod http;
pub mod login;
pub mod referrers;
pub mod repository;
pub mod retry;
pub mod tls;
pub mod url;
pub mod user_logins;

pub use blob::BlobReader;
pub use error::RegistryError;
pub use http::{Http, HttpError, HttpSettings};
pub use login::{Credential, Login, LoginError, Logins, Secret};
pub use referrers::Referrers;
pub use repository::{Deleted, RawManifest, Registry, Repository, TagOrDigest};
pub use url::Url;
pub use user_logins::UserLogins;
