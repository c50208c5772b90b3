//! How a watch whose subscriber was too slow gets on: it reads history in pieces of the size of its buffer.
//!
//! Each piece is read on a stream of its own, at the pace of etcd, and told at the pace of the subscriber after the stream is closed. So a laggard keeps
//! neither a stream nor a slot while it is slow, etcd has nothing to hold for it, and what it costs others is bounded.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::Error as ClientError;
use tokio::time::timeout;
use tonic::Code;

use super::clients::MAX_DECODED_BYTES;
use super::failure::Action;
use super::watch_bulk::Slot;
use super::watch_change::Change;
use super::watch_lane::Weight;
use super::watch_roster::is_stale_login;
use super::watch_status::WatchState;
use super::watch_task::{Stop, WatchTask};
use super::watch_wire::{of_library, options};

/// After so much silence a piece ends: etcd looks every 100 ms for those who want history.
const QUIET: Duration = Duration::from_millis(300);

/// After so much a piece in which nothing has come is the last. If etcd was merely slow, the shared stream goes on from there, and nothing is lost.
const QUIET_ENOUGH: Duration = Duration::from_millis(600);

/// The longest response that is taken at first, far above a fragment. etcd does not cut what it finds before it has told that the watch is
/// made: then a thousand revisions come in one response, of any length. Such a one is refused unread, and the piece asked for anew.
const LONGEST_RESPONSE: usize = 8 * 1024 * 1024;

/// So many refusals in a row are no accident, and the limit doubles: where the server takes larger requests, one event may be longer.
const REFUSALS_A_LIMIT: u32 = 4;

/// Until the limit is what the wire format allows.
const DOUBLINGS: u32 = 8;

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
        let longest = longest_response(self.refused_responses);
        let mut watch = slot
            .clients
            .watch
            .clone()
            .max_decoding_message_size(longest);
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
        let mut made = false;
        loop {
            let Some(response) = next else {
                slot.failed().await;
                return Ok(());
            };
            let mut response = of_library(response, self.hub.history());
            if response.canceled {
                if is_stale_login(&response.reason) {
                    slot.failed().await;
                }
            } else {
                self.is_let(WatchState::CatchingUp);
                if !std::mem::replace(&mut made, true) {
                    response = self.confirmed(slot, response).await?;
                }
            }
            let (newest, whole) = (response.revision, !response.fragment);
            let Some(changes) = self.react(response)? else {
                return Ok(());
            };
            if !changes.is_empty() && self.refused_responses < REFUSALS_A_LIMIT {
                self.refused_responses = 0;
            }
            weight.add(Weight::of(&changes));
            piece.changes.extend(changes);
            piece.last = whole && self.cursor.last() >= newest;
            if piece.last || weight.fills_buffer() {
                return Ok(());
            }
            let quiet = match weight.events {
                0 => QUIET_ENOUGH,
                _ => QUIET,
            };
            next = match timeout(quiet, stream.message()).await {
                Ok(Err(error)) if is_too_long(&error) => {
                    self.refused_responses += 1;
                    return Ok(());
                }
                Ok(message) => message.unwrap_or(None),
                Err(_) => {
                    // One that has brought something may only have paused: the next piece tells.
                    piece.last = weight.events == 0;
                    return Ok(());
                }
            };
        }
    }
}

/// How long a response may be after so many refusals in a row. In the end as long as the wire format allows.
fn longest_response(refused: u32) -> usize {
    let doublings = (refused / REFUSALS_A_LIMIT).min(DOUBLINGS);
    (LONGEST_RESPONSE << doublings).min(MAX_DECODED_BYTES)
}

/// Whether a message was refused for its length, of which nothing but that was read.
fn is_too_long(error: &ClientError) -> bool {
    matches!(error, ClientError::GRpcStatus(status)
        if status.code() == Code::OutOfRange && status.message().contains("length too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_grows_until_any_response_is_taken() {
        assert_eq!(longest_response(0), LONGEST_RESPONSE);
        assert_eq!(longest_response(3), LONGEST_RESPONSE);
        assert_eq!(longest_response(4), 2 * LONGEST_RESPONSE);
        assert_eq!(longest_response(100), MAX_DECODED_BYTES);
        assert_eq!(longest_response(u32::MAX), MAX_DECODED_BYTES);
    }
}
