//! wip
pub mod annotations;
pub mod archive;
pub mod compose;
pub mod embedded;
pub mod hit;
pub mod node;
pub mod reference;
pub mod walk;
#[cfg(test)]
mod walked;
