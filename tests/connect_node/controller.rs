//! The Controller hears who joined and left, also when it was away, and holds nobody up.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use million::framework::Services;
use million::framework::settings::Document;
use million::services::controller::settings::ControllerSettings;
use million::services::controller::{self, RoomInfoOf, RunningController, UserNodeOf};
use tokio::net::TcpListener;

use super::support::{eventually, lasting_address, start, with_services};
use super::user::User;

const LIMIT: Duration = Duration::from_secs(10);

async fn controller(services: &Services, address: &str) -> RunningController {
    let document = Document::default().with_override("controller.listen", address, "test");
    let settings = ControllerSettings::from_document(&document).unwrap();
    controller::start(services, &settings).await.unwrap()
}

fn settings(address: &SocketAddr) -> String {
    address.to_string()
}

/// The users of a room and their nodes, as `user@node`.
async fn room(controller: &RunningController, room: &str) -> Vec<String> {
    let room = controller.handle().call(RoomInfoOf(room.to_owned())).await;
    let users = room.unwrap().map_or_else(Vec::new, |room| room.users);
    users
        .iter()
        .map(|user| format!("{}@{}", user.user_id, user.node_id))
        .collect()
}

async fn eventually_in(controller: &RunningController, name: &str, expected: &[&str]) {
    let what = format!("{name} holds {expected:?}");
    eventually(&what, async || room(controller, name).await == expected).await;
}

#[test]
fn the_controller_hears_who_joined_and_left() {
    with_services(async |services| {
        let controller = controller(services, "127.0.0.1:0").await;
        let address = settings(&controller.address());
        let node = start(services, &[("controller_address", &address), ("id", "n1")]).await;
        let mut ann = User::connect(&node, "user_id=ann&room_id=r&user_name=Ann").await;
        let bob = User::connect(&node, "user_id=bob&room_id=r").await;
        eventually_in(&controller, "r", &["ann@n1", "bob@n1"]).await;
        let info = controller.handle().call(RoomInfoOf("r".to_owned())).await;
        assert_eq!(info.unwrap().unwrap().users[0].user_name, "Ann");

        // In order: the last word of each user is what the Controller ends with.
        for _ in 0..20 {
            ann.join("s").await;
            ann.leave("s").await;
        }
        ann.join("t").await;
        bob.close().await;
        eventually_in(&controller, "t", &["ann@n1"]).await;
        eventually_in(&controller, "r", &["ann@n1"]).await;
        assert_eq!(room(&controller, "s").await, Vec::<String>::new());
        let place = controller.handle().call(UserNodeOf("ann".to_owned()));
        assert_eq!(place.await.unwrap().unwrap().room_id, "t");

        let again = User::connect(&node, "user_id=ann&room_id=u").await;
        eventually_in(&controller, "u", &["ann@n1"]).await;
        eventually_in(&controller, "r", &[]).await;

        node.stop(LIMIT).await;
        assert_eq!(
            room(&controller, "u").await,
            Vec::<String>::new(),
            "told before the node ended"
        );
        drop(again);
        controller.stop(LIMIT).await;
    });
}

#[test]
fn a_user_who_moves_to_another_node_stays_there_when_the_old_one_tells_of_the_leave() {
    with_services(async |services| {
        let controller = controller(services, "127.0.0.1:0").await;
        let address = settings(&controller.address());
        let old = start(services, &[("controller_address", &address), ("id", "old")]).await;
        let new = start(services, &[("controller_address", &address), ("id", "new")]).await;
        let _left_behind = User::connect(&old, "user_id=ann&room_id=r").await;
        let witness = User::connect(&old, "user_id=bob&room_id=q").await;
        eventually_in(&controller, "r", &["ann@old"]).await;
        let _moved = User::connect(&new, "user_id=ann&room_id=r").await;
        eventually_in(&controller, "r", &["ann@new"]).await;
        eventually_in(&controller, "q", &["bob@old"]).await;
        drop(witness);
        old.stop(LIMIT).await;
        assert_eq!(room(&controller, "q").await, Vec::<String>::new());
        assert_eq!(room(&controller, "r").await, ["ann@new"]);
        new.stop(LIMIT).await;
        controller.stop(LIMIT).await;
    });
}

#[test]
fn a_controller_that_comes_back_is_told_who_is_present() {
    with_services(async |services| {
        let address = lasting_address().to_string();
        let first = controller(services, &address).await;
        let node = start(services, &[("controller_address", &address), ("id", "n1")]).await;
        let _ann = User::connect(&node, "user_id=ann&room_id=r").await;
        let bob = User::connect(&node, "user_id=bob&room_id=r").await;
        eventually_in(&first, "r", &["ann@n1", "bob@n1"]).await;
        first.stop(LIMIT).await;

        bob.close().await;
        let mut cid = User::connect(&node, "user_id=cid&room_id=r").await;
        cid.join("s").await;

        let second = controller(services, &address).await;
        eventually_in(&second, "r", &["ann@n1", "cid@n1"]).await;
        eventually_in(&second, "s", &["cid@n1"]).await;

        // And once more while nothing at all happens at the node.
        second.stop(LIMIT).await;
        let third = controller(services, &address).await;
        eventually_in(&third, "r", &["ann@n1", "cid@n1"]).await;
        node.stop(LIMIT).await;
        third.stop(LIMIT).await;
    });
}

#[test]
fn a_controller_that_hangs_holds_nobody_up() {
    with_services(async |services| {
        // It accepts connections, in its backlog, and never says a word.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = settings(&silent.local_addr().unwrap());
        let node = start(services, &[("controller_address", &address)]).await;
        let started = Instant::now();
        let mut ann = User::connect(&node, "user_id=ann&room_id=r").await;
        for _ in 0..100 {
            ann.join("s").await;
            ann.leave("s").await;
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{:?}",
            started.elapsed()
        );
        node.stop(Duration::from_secs(4)).await;
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{:?}",
            started.elapsed()
        );
    });
}
