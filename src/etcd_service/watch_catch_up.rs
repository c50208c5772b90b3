//! How a watch whose subscriber was too slow gets on: it reads history in pieces of the size of its buffer.
//!
//! Each piece is read on a stream of its own, at the pace of etcd, and told at the pace of the subscriber after the stream is closed. So a laggard keeps
//! neither a stream nor a slot while it is slow, etcd has nothing to hold for it, and what it costs others is bounded.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::failure::Action;
use super::watch_bulk::Slot;
use super::watch_change::Change;
use super::watch_lane::Weight;
use super::watch_roster::is_stale_login;
use super::watch_status::WatchState;
use super::watch_task::{Stop, WatchTask};
use super::watch_wire::{of_library, options};

/// After so much silence nothing is missing any more: etcd looks every 100 ms for those who want history. If it was merely slow, the
/// shared stream goes on from there, and nothing is lost.
const QUIET: Duration = Duration::from_millis(300);

/// The number of the watch on its stream; there is no other.
const ONLY: i64 = 1;

/// What was read and is yet to be told.
#[derive(Default)]
struct Piece {
    changes: Vec<Change>,
    /// What is missing yet comes on the shared stream.
    last: bool,
}

impl WatchTask {
    /// Reads and tells one piece.
    pub(super) async fn catch_up(&mut self, start: i64) -> Result<(), Stop> {
        let key = self.scope.key.clone();
        let what = Action::new("watch", &key);
        let mut piece = Piece::default();
        let read = {
            let bulk = Arc::clone(&self.bulk);
            let slot = bulk.slot(&what).await.map_err(Stop::Failed)?;
            self.read_piece(&slot, &what, start, &mut piece).await
        };
        self.lags = !piece.last;
        // However the reading ended: the cursor counts these as told.
        self.tell(piece.changes).await?;
        read
    }

    async fn read_piece(
        &mut self,
        slot: &Slot<'_>,
        what: &Action<'_>,
        start: i64,
        piece: &mut Piece,
    ) -> Result<(), Stop> {
        let mut watch = slot.clients.watch.clone();
        let spec = self.spec(start);
        let opening = async {
            let mut stream = watch
                .watch(spec.scope.key.clone(), Some(options(ONLY, &spec)))
                .await?;
            let created = stream.message().await?;
            Ok((stream, created))
        };
        let opened = slot.bounded(what, opening).await;
        let (mut stream, mut next) = opened.map_err(Stop::Failed)?;
        // What was told before and comes again does not count, so every piece gets on.
        let mut weight = Weight::default();
        loop {
            let Some(response) = next.map(of_library) else {
                slot.failed().await;
                return Ok(());
            };
            if response.canceled {
                if is_stale_login(&response.reason) {
                    slot.failed().await;
                }
            } else {
                self.is_let(WatchState::CatchingUp);
            }
            let (newest, whole) = (response.revision, !response.fragment);
            let last = response.changes.last();
            let reached = last.is_some_and(|change| change.mod_revision >= newest);
            let Some(changes) = self.react(response)? else {
                return Ok(());
            };
            weight.add(Weight::of(&changes));
            piece.changes.extend(changes);
            piece.last = reached && whole;
            if piece.last || weight.fills_buffer() {
                return Ok(());
            }
            next = match timeout(QUIET, stream.message()).await {
                Ok(message) => message.unwrap_or(None),
                Err(_) => {
                    piece.last = true;
                    return Ok(());
                }
            };
        }
    }
}
