//! The reference Connect-Node.

pub mod settings;
