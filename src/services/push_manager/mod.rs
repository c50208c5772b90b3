//! The push manager.

pub mod settings;
