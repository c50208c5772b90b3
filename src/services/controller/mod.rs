//! The reference Controller.

pub mod settings;
