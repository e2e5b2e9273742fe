//! What the tests of `installer serve` share: a site store made by hand, a running server, a client that
//! sends exactly the bytes it is told to, and the real tools.

pub(crate) mod client;
#[allow(dead_code, reason = "the journeys use a part of this that the server's own tests do not")]
pub(crate) mod content;
pub(crate) mod server;
pub(crate) mod store;
pub(crate) mod tools;
