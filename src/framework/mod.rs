//! Services as message handlers.

pub mod settings;
