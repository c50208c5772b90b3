//! One call to a node: a batch goes out, and a fate for each of its messages comes back.
//!
//! A batch is sent once. It is tried again only when no connection could be made, for then nothing was sent; that happens
//! within the call's time and before anything else of its lane, so order holds.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_stream::once;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::services::generated::protocol::push_server_client::PushServerClient;
use crate::services::generated::protocol::{BroadCastReq, BroadCastRoomReq};
use crate::services::generated::pubsub::connect_node_service_client::ConnectNodeServiceClient;
use crate::services::generated::pubsub::delivery::{Audience, Payload};
use crate::services::generated::pubsub::{
    Acknowledgement, DeliverRequest, Delivery, DeliveryOutcome, Everyone,
};

use super::counters::Fate;
use super::link::{Link, Pauses};
use super::parcel::Parcel;
use super::target::NodeProtocol;

/// The deadline that the node is told is so much later than ours: the transport acts on it too, and would end the call
/// as cancelled a moment before we end it as expired.
const HEADER_MARGIN: Duration = Duration::from_millis(100);
/// A message expires at the node so much earlier than here: the node counts from when it has received it, and it takes so long on its way
/// there at most, on any network that is worth the name.
const TRANSIT_MARGIN: Duration = Duration::from_millis(100);

/// How a call is made.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// The node's id, for the log.
    pub(crate) node: Arc<str>,
    pub(crate) protocol: NodeProtocol,
    /// How long the call may take, with waiting for a connection.
    pub(crate) timeout: Duration,
    /// For the jitter of repeated tries.
    pub(crate) chance: u64,
}

/// What a call came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// For each message of the batch, in its order.
    pub(crate) fates: Vec<Fate>,
    /// What went wrong, if something did.
    pub(crate) problem: Option<String>,
}

/// Sends `batch` and waits for the answers. To be run on the IO runtime.
pub(crate) async fn deliver(mut link: Link, terms: Terms, batch: Vec<Arc<Parcel>>) -> Outcome {
    let mut answers = Answers(vec![None; batch.len()]);
    let cut = link.clone();
    let deadline = Deadline(Instant::now() + terms.timeout);
    let (rest, problem) = tokio::select! {
        biased;
        () = cut.is_cut() => (Fate::Dropped, Some("given up: the node has left or the push manager stops".to_owned())),
        sent = tokio::time::timeout_at(deadline.0, send(&mut link, &terms, deadline, &batch, &mut answers)) => match sent {
            Err(_) => (Fate::Expired, Some(format!("no answer within {:?}", terms.timeout))),
            Ok(Ok(())) => (Fate::Failed, answers.problem()),
            Ok(Err(status)) if status.code() == Code::DeadlineExceeded => (Fate::Expired, Some(describe(&status))),
            Ok(Err(status)) => (Fate::Failed, Some(describe(&status))),
        },
    };
    Outcome {
        fates: answers
            .0
            .into_iter()
            .map(|answer| answer.map_or(rest, |answer| answer.fate))
            .collect(),
        problem,
    }
}

/// When a call counts as expired, whatever of it has been waiting for a connection.
#[derive(Clone, Copy)]
struct Deadline(Instant);

impl Deadline {
    fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// What the transport is told.
    fn header(self) -> Duration {
        self.left() + HEADER_MARGIN
    }
}

/// Tells the node to drop a message when it counts as expired here, which is in `left`: a node that was stuck must not deliver it behind
/// later ones. Never 0, which would mean that it lives for ever.
fn expires_in_ms(left: Duration) -> u32 {
    let life = left - TRANSIT_MARGIN.min(left / 2);
    u32::try_from(life.as_millis()).unwrap_or(u32::MAX).max(1)
}

/// What the node has said of each message.
struct Answers(Vec<Option<Answer>>);

#[derive(Clone)]
struct Answer {
    fate: Fate,
    reason: String,
}

impl Answers {
    fn are_complete(&self) -> bool {
        self.0.iter().all(Option::is_some)
    }

    fn take(&mut self, acknowledgement: Acknowledgement) {
        let fate = match acknowledgement.outcome() {
            // Nobody of the room is at this node: it has done all that there was to do.
            DeliveryOutcome::Delivered | DeliveryOutcome::NoAudience => Fate::Delivered,
            DeliveryOutcome::Expired => Fate::Expired,
            DeliveryOutcome::Refused | DeliveryOutcome::Unspecified => Fate::Failed,
        };
        let place = acknowledgement
            .id
            .checked_sub(1)
            .and_then(|index| usize::try_from(index).ok())
            .and_then(|index| self.0.get_mut(index));
        // An id that was not sent answers nothing, and the first answer counts.
        if let Some(place @ None) = place {
            *place = Some(Answer {
                fate,
                reason: acknowledgement.reason,
            });
        }
    }

    fn problem(&self) -> Option<String> {
        let bad = self.0.iter().find(|answer| {
            !matches!(
                answer,
                Some(Answer {
                    fate: Fate::Delivered,
                    ..
                })
            )
        })?;
        Some(match bad {
            Some(answer) => format!("the node answered: {}", answer.reason),
            None => "the node ended the call without answering for every message".to_owned(),
        })
    }
}

async fn send(
    link: &mut Link,
    terms: &Terms,
    deadline: Deadline,
    batch: &[Arc<Parcel>],
    answers: &mut Answers,
) -> Result<(), Status> {
    let mut pauses = Pauses::new(terms.chance);
    loop {
        let channel = link.channel().await.map_err(|_| {
            Status::unavailable("there was never a connection, and nobody tries any more")
        })?;
        let sent = match terms.protocol {
            NodeProtocol::ConnectNode => as_frame(channel, deadline, batch, answers).await,
            NodeProtocol::PushServer => one_by_one(channel, deadline, batch, answers).await,
        };
        let connected = !matches!(&sent, Err(status) if was_never_sent(status));
        if link.note(connected) {
            if connected {
                tracing::info!(node = %terms.node, "the node is connected again");
            } else {
                tracing::warn!(node = %terms.node, "the connection to the node is lost, trying for another");
            }
        }
        if connected {
            return sent;
        }
        tokio::time::sleep(pauses.next()).await;
    }
}

async fn as_frame(
    channel: Channel,
    deadline: Deadline,
    batch: &[Arc<Parcel>],
    answers: &mut Answers,
) -> Result<(), Status> {
    let expires_in_ms = expires_in_ms(deadline.left());
    let deliveries = batch
        .iter()
        .zip(1..)
        .map(|(parcel, id)| delivery(id, parcel, expires_in_ms))
        .collect();
    let mut client = ConnectNodeServiceClient::new(channel);
    let mut request = Request::new(once(DeliverRequest { deliveries }));
    request.set_timeout(deadline.header());
    let mut frames = client.deliver(request).await?.into_inner();
    while !answers.are_complete()
        && let Some(frame) = frames.message().await?
    {
        for acknowledgement in frame.acknowledgements {
            answers.take(acknowledgement);
        }
    }
    Ok(())
}

fn delivery(id: u64, parcel: &Parcel, expires_in_ms: u32) -> Delivery {
    Delivery {
        id,
        exclude_user_ids: Vec::new(),
        expires_in_ms,
        audience: Some(match &parcel.room {
            Some(room) => Audience::RoomId(room.clone()),
            None => Audience::Everyone(Everyone {}),
        }),
        payload: Some(Payload::Proto(parcel.proto.clone())),
    }
}

async fn one_by_one(
    channel: Channel,
    deadline: Deadline,
    batch: &[Arc<Parcel>],
    answers: &mut Answers,
) -> Result<(), Status> {
    let mut client = PushServerClient::new(channel);
    for (parcel, answer) in batch.iter().zip(&mut answers.0) {
        if answer.is_some() {
            continue;
        }
        let proto = Some(parcel.proto.clone());
        let (code, reason) = match &parcel.room {
            Some(room) => {
                let room_id = room.clone();
                let mut request = Request::new(BroadCastRoomReq { room_id, proto });
                request.set_timeout(deadline.header());
                let reply = client.broadcast_to_room(request).await?.into_inner();
                (reply.code, reply.msg)
            }
            None => {
                let mut request = Request::new(BroadCastReq { proto });
                request.set_timeout(deadline.header());
                let reply = client.broadcast(request).await?.into_inner();
                (reply.code, reply.msg)
            }
        };
        let fate = if code == "0" {
            Fate::Delivered
        } else {
            Fate::Failed
        };
        *answer = Some(Answer { fate, reason });
    }
    Ok(())
}

/// Whether a call failed for want of a connection, so that nothing of it has left.
fn was_never_sent(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

fn describe(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledgement(id: u64, outcome: DeliveryOutcome) -> Acknowledgement {
        Acknowledgement {
            id,
            outcome: outcome.into(),
            ..Acknowledgement::default()
        }
    }

    #[test]
    fn a_message_expires_at_the_node_before_it_does_here_and_never_lives_for_ever() {
        for millis in [0, 1, 2, 50, 100, 1_000, 5_000, 600_000] {
            let life = expires_in_ms(Duration::from_millis(millis));
            assert!(life >= 1);
            let margin = 100.min(millis / 2);
            assert_eq!(u64::from(life), (millis - margin).max(1), "{millis}");
        }
    }

    #[test]
    fn acknowledgements_for_what_was_not_sent_are_nothing_and_the_first_counts() {
        let mut answers = Answers(vec![None; 2]);
        for id in [0, 3, u64::MAX] {
            answers.take(acknowledgement(id, DeliveryOutcome::Delivered));
        }
        assert!(answers.0.iter().all(Option::is_none));
        answers.take(acknowledgement(2, DeliveryOutcome::Refused));
        answers.take(acknowledgement(2, DeliveryOutcome::Delivered));
        answers.take(acknowledgement(1, DeliveryOutcome::NoAudience));
        assert!(answers.are_complete());
        let fates: Vec<_> = answers
            .0
            .iter()
            .flatten()
            .map(|answer| answer.fate)
            .collect();
        assert_eq!(fates, [Fate::Delivered, Fate::Failed]);
    }
}
