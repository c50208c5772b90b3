//! The framework's promises, through its public API.

mod calls;
