//! What an embedded server keeps on disk: one file, to which every change is appended before anybody hears of it.
//!
//! ```text
//! Store ── entries, under its lock ──▶ Journal ── batch ──▶ Writer (a thread): write, fsync ──▶ etcd.log
//!                                        ▲                     │ the batch is on disk
//!                                        │ wait                ▼
//! answer, watch event ──▶ Gate, Held ────┴──────────── so many entries are durable
//! ```
//!
//! # Promises
//!
//! - **Nothing is told before it is on disk.** Every answer and every piece of a stream passes the [`gate`], or the transport's own place for what it
//!   answers itself (`transport/held.rs`), which hold it until all that had been changed when it was made is on disk: also that of a read, for what it saw might be lost.
//! - **Many share one fsync.** What comes while the disk is busy is one batch, and one write.
//! - **A batch is there as a whole or not at all.** It is one frame with a length and a checksum ([`frame`]). A frame that a crash
//!   cut off is the last of the file, and nobody was told of it: the next start cuts it away and says so. Damage anywhere
//!   else is an error that names the place, and nothing is touched.
//! - **The file is bounded.** When it has grown enough it is written anew from the state in memory by a thread of its own, beside
//!   the running server, and takes the old one's place by a rename ([`rewrite`]). Answers wait only for the last of what came meanwhile.
//! - **An error of the disk is told and survived.** While it lasts nothing is acknowledged, writes are refused and the log says
//!   why; the same batch is tried again until it is on disk, and then the server goes on. A new file on its way is taken or given up
//!   first, for its room may be what is missing.
//!
//! Without fsync "on disk" means: given to the operating system. That survives the end of the process, however it comes, but
//! not that of the machine.

mod entry;
mod frame;
mod gate;
mod journal;
mod log_file;
#[cfg(test)]
mod model;
mod opening;
mod recovery;
mod rewrite;
mod writer;

pub(super) use entry::Entry;
pub(super) use frame::Identity;
pub(super) use gate::{Gate, GateLayer};
pub(super) use journal::Journal;
pub(super) use opening::{Disk, Opened, open};
pub(super) use rewrite::Capture;
pub(super) use writer::TakeState;
