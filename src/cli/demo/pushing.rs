//! Pushing: broadcasts and room messages through gRPC, with a change of nodes half way.

use std::time::{Duration, Instant};

use million::services::generated::protocol::push_server_client::PushServerClient;
use million::services::generated::protocol::{BroadCastReq, BroadCastRoomReq, Proto};
use tonic::Status;
use tonic::transport::Channel;

use super::super::error::CliError;
use super::super::output;
use super::report::{Message, Report};
use super::system::{LIMIT, System};
use super::users::{Users, room_name};

/// How often the person who watches hears how far it is.
const PROGRESS: Duration = Duration::from_secs(2);

/// A node that refused a message is offered the next only after a pause, so that its queue can empty.
const REFUSED_PAUSE: Duration = Duration::from_millis(5);

/// Pushes `count` messages over `seconds`, changes the nodes half way, and waits until all have arrived.
pub(super) async fn push(
    system: &mut System,
    users: Users,
    count: u32,
    seconds: u32,
) -> Result<Report, CliError> {
    let endpoint = format!("http://{}", system.push_address());
    let channel = tonic::transport::Endpoint::from_shared(endpoint)
        .map_err(demo_error)?
        .tcp_nodelay(true)
        .connect()
        .await
        .map_err(demo_error)?;
    let mut pusher = Pusher {
        client: PushServerClient::new(channel),
        messages: Vec::new(),
        expected: 0,
        rooms: users.rooms(),
    };
    let pause = Duration::from_secs(u64::from(seconds)) / count;
    let half = count / 2;
    let mut told = system.services().now();
    let mut next = tokio::time::Instant::now();
    for number in 0..count {
        if number == half {
            change_nodes(system, &users, &pusher).await?;
            next = tokio::time::Instant::now();
        }
        tokio::time::sleep_until(next).await;
        next += pause;
        pusher.push(system, &users, number).await?;
        if system.services().now() - told > PROGRESS {
            told = system.services().now();
            output::note(format_args!(
                "demo: {} of {count} messages pushed",
                number + 1
            ));
        }
    }
    settle(system, &users, &pusher).await?;
    let nodes = system.node_count();
    Ok(Report::new(
        nodes,
        pusher.messages,
        pusher.expected,
        system.discoveries().to_vec(),
        users.diaries().await?,
    ))
}

struct Pusher {
    client: PushServerClient<Channel>,
    messages: Vec<Message>,
    expected: u64,
    rooms: u32,
}

impl Pusher {
    /// Pushes message `number`: an even one to everyone, an odd one to a room.
    async fn push(&mut self, system: &System, users: &Users, number: u32) -> Result<(), CliError> {
        let room = (number % 2 == 1).then_some(number / 2 % self.rooms);
        let proto = Proto {
            ver: 1,
            op: 1000,
            seq: i32::try_from(number).unwrap_or(i32::MAX),
            roomid: room.map(room_name).unwrap_or_default(),
            userid: "demo".to_owned(),
            body: format!("message {number}").into_bytes().into(),
        };
        let begun = system.services().now();
        loop {
            let taken = self.offer(room, proto.clone()).await?;
            if taken {
                break;
            }
            // Nobody took it, so offering it again cannot make it come twice.
            if system.services().now() - begun > LIMIT {
                return Err(CliError::Demo(format!(
                    "message {number} was refused by every node for {LIMIT:?}"
                )));
            }
            tokio::time::sleep(REFUSED_PAUSE).await;
        }
        self.expected += users.audience(room);
        self.messages.push(Message {
            number,
            room,
            sent: begun,
        });
        Ok(())
    }

    async fn offer(&mut self, room: Option<u32>, proto: Proto) -> Result<bool, CliError> {
        let replied = match room {
            None => self
                .client
                .broadcast(BroadCastReq { proto: Some(proto) })
                .await
                .map(|reply| {
                    (
                        reply.get_ref().accepted_nodes,
                        reply.get_ref().refused_nodes,
                    )
                }),
            Some(room) => self
                .client
                .broadcast_to_room(BroadCastRoomReq {
                    room_id: room_name(room),
                    proto: Some(proto),
                })
                .await
                .map(|reply| {
                    (
                        reply.get_ref().accepted_nodes,
                        reply.get_ref().refused_nodes,
                    )
                }),
        };
        match replied {
            Ok((0, 0)) => Err(CliError::Demo("the push manager knows no node".to_owned())),
            Ok((_, 0)) => Ok(true),
            Ok((0, _)) => Ok(false),
            Ok((accepted, refused)) => {
                tracing::warn!(
                    accepted,
                    refused,
                    "some nodes refused a message: their users miss it"
                );
                Ok(true)
            }
            Err(status) => Err(refused(&status)),
        }
    }
}

fn refused(status: &Status) -> CliError {
    CliError::Demo(format!("the push manager answered {status}"))
}

fn demo_error(error: tonic::transport::Error) -> CliError {
    CliError::Demo(format!("the push manager cannot be reached: {error}"))
}

/// One node leaves and another comes. Users of the first find another by themselves. Pushing pauses meanwhile: what is
/// expected can only be told for users who are connected.
async fn change_nodes(system: &mut System, users: &Users, pusher: &Pusher) -> Result<(), CliError> {
    settle(system, users, pusher).await?;
    output::note("demo: half way; one node leaves, another comes");
    let leaving = system.entrances().first().copied();
    system.start_node().await?;
    let entrances = system.entrances();
    users.set_entrances(
        entrances
            .into_iter()
            .filter(|entrance| Some(*entrance) != leaving)
            .collect(),
    );
    system.stop_oldest_node().await?;
    users.all_present().await
}

/// Waits until everything that was pushed has arrived at every user.
async fn settle(system: &System, users: &Users, pusher: &Pusher) -> Result<(), CliError> {
    system.drained().await?;
    let begun: Instant = system.services().now();
    while users.received() < pusher.expected {
        if system.services().now() - begun > LIMIT {
            tracing::error!(
                received = users.received(),
                expected = pusher.expected,
                "messages are missing"
            );
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
