//! Deliveries as the push manager sends them: what they ask for, and how they are acknowledged. Pure.

use std::time::Duration;

use crate::services::generated::pubsub::{Acknowledgement, Delivery, DeliveryOutcome, delivery};

use super::messages::{Audience, Payload, Placed, Push};

/// What a delivery asks for, or the acknowledgement that refuses it. `waited` is how long ago it was received.
pub(crate) fn open(delivery: Delivery, waited: Duration) -> Result<Push, Acknowledgement> {
    let id = delivery.id;
    let refuse = |outcome, reason: &str| Acknowledgement {
        id,
        outcome: outcome as i32,
        delivered_count: 0,
        failed_count: 0,
        reason: reason.to_owned(),
    };
    let malformed = |reason| refuse(DeliveryOutcome::Refused, reason);
    if id == 0 {
        return Err(malformed("the delivery has no id: ids count from 1"));
    }
    let audience = match delivery.audience {
        None => return Err(malformed("the delivery has no audience")),
        Some(delivery::Audience::RoomId(room)) if room.is_empty() => {
            return Err(malformed(
                "the delivery is for a room, but room_id is empty",
            ));
        }
        Some(delivery::Audience::Users(users)) if users.user_ids.is_empty() => {
            return Err(malformed("the delivery is for users, but names none"));
        }
        Some(delivery::Audience::Everyone(_)) => Audience::Everyone,
        Some(delivery::Audience::RoomId(room)) => Audience::Room(room),
        Some(delivery::Audience::Users(users)) => Audience::Users(users.user_ids),
    };
    let payload = match delivery.payload {
        None => return Err(malformed("the delivery has neither proto nor content")),
        Some(delivery::Payload::Proto(proto)) => Payload::Proto(proto),
        Some(delivery::Payload::Content(content)) => Payload::Content(content),
    };
    let lifetime = Duration::from_millis(u64::from(delivery.expires_in_ms));
    if !lifetime.is_zero() && waited >= lifetime {
        return Err(refuse(
            DeliveryOutcome::Expired,
            "the node came to it only after it had expired",
        ));
    }
    Ok(Push {
        audience,
        exclude: delivery.exclude_user_ids,
        payload,
    })
}

/// What is answered to a delivery that was taken up.
pub(crate) fn acknowledge(id: u64, placed: &Placed) -> Acknowledgement {
    let (outcome, reason) = match (placed.delivered, placed.full) {
        (0, 0) => (
            DeliveryOutcome::NoAudience,
            "nobody of the audience is connected to this node",
        ),
        (0, _) => (
            DeliveryOutcome::Refused,
            "the queue of everyone in the audience is full",
        ),
        _ => (DeliveryOutcome::Delivered, ""),
    };
    Acknowledgement {
        id,
        outcome: outcome as i32,
        delivered_count: count(placed.delivered),
        failed_count: count(placed.full),
        reason: reason.to_owned(),
    }
}

/// A number of users as the wire holds it.
pub(crate) fn count(users: usize) -> i32 {
    i32::try_from(users).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use crate::services::generated::protocol::Proto;
    use crate::services::generated::pubsub::Everyone;

    use super::*;

    #[test]
    fn a_delivery_lives_until_its_span_has_passed_and_zero_is_for_ever() {
        let delivery = |expires_in_ms| Delivery {
            id: 1,
            audience: Some(delivery::Audience::Everyone(Everyone {})),
            exclude_user_ids: vec![],
            payload: Some(delivery::Payload::Proto(Proto::default())),
            expires_in_ms,
        };
        let (short, long) = (Duration::from_millis(9), Duration::from_millis(10));
        assert!(open(delivery(10), short).is_ok());
        let late = open(delivery(10), long).unwrap_err();
        assert_eq!(late.outcome(), DeliveryOutcome::Expired);
        assert!(open(delivery(0), Duration::from_secs(86_400)).is_ok());
    }
}
