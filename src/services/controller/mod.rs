//! The reference Controller.
