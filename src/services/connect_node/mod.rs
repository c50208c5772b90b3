//! The reference Connect-Node.
