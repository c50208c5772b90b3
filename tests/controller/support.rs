//! A Controller on a free port, and a client of it.

use std::time::Duration;

use million::framework::settings::Document;
use million::framework::{Million, Services};
use million::services::controller::settings::ControllerSettings;
use million::services::controller::{self, RunningController, headers};
use million::services::generated::pubsub::controller_service_client::ControllerServiceClient;
use million::services::generated::pubsub::{
    GetRoomInfoRequest, GetRoomStatsRequest, GetRoomStatsResponse, GetUserNodeRequest,
    GetUserNodeResponse, JoinRoomRequest, JoinRoomResponse, LeaveRoomRequest, LeaveRoomResponse,
    RoomInfo,
};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// For a whole test: far more than any takes, so that one that hangs fails.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs a test against a Controller with these settings, stops it, and checks that nothing is left.
pub(crate) fn with_controller(
    settings: &[(&str, &str)],
    test: impl AsyncFnOnce(&RunningController, &Services),
) {
    let million = Million::builder().workers(2).build().unwrap();
    let settings = settings_of(settings);
    million.block_on(async {
        let services = million.services();
        let running = controller::start(&services, &settings).await.unwrap();
        tokio::time::timeout(LIMIT, test(&running, &services))
            .await
            .expect("the test hangs");
        running.stop(Duration::from_secs(5)).await;
        assert_eq!(million.count(), 0, "a stopped Controller leaves no service");
    });
    assert!(million.blocking_shutdown(Duration::from_secs(5)).is_clean());
}

pub(crate) fn settings_of(settings: &[(&str, &str)]) -> ControllerSettings {
    let mut document =
        Document::default().with_override("controller.listen", "127.0.0.1:0", "test");
    for (key, value) in settings {
        document = document.with_override(format!("controller.{key}"), *value, "test");
    }
    ControllerSettings::from_document(&document).unwrap()
}

pub(crate) async fn channel(running: &RunningController) -> Channel {
    Channel::from_shared(format!("http://{}", running.address()))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

/// A node that speaks to the Controller.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) client: ControllerServiceClient<Channel>,
    id: &'static str,
}

impl Node {
    pub(crate) async fn new(running: &RunningController, id: &'static str) -> Self {
        let client = ControllerServiceClient::new(channel(running).await);
        Self { client, id }
    }

    pub(crate) fn join_request(&self, user: &str, room: &str) -> Request<JoinRoomRequest> {
        Request::new(JoinRoomRequest {
            user_id: user.to_owned(),
            room_id: room.to_owned(),
            user_name: format!("{user}'s name"),
            node_id: self.id.to_owned(),
            metadata: [("device".to_owned(), "phone".to_owned())].into(),
        })
    }

    pub(crate) async fn join(
        &mut self,
        user: &str,
        room: &str,
    ) -> Result<JoinRoomResponse, Status> {
        let request = self.join_request(user, room);
        Ok(self.client.join_room(request).await?.into_inner())
    }

    pub(crate) async fn join_again(
        &mut self,
        user: &str,
        room: &str,
        ms_ago: u32,
    ) -> JoinRoomResponse {
        let mut request = self.join_request(user, room);
        request
            .metadata_mut()
            .insert(headers::JOINED_MS_AGO, ms_ago.into());
        self.client.join_room(request).await.unwrap().into_inner()
    }

    /// Leaves as nodes of this project do: telling their id.
    pub(crate) async fn leave(&mut self, user: &str, room: &str) -> LeaveRoomResponse {
        let mut request = leave_request(user, room);
        request
            .metadata_mut()
            .insert(headers::NODE_ID, self.id.parse().unwrap());
        self.client.leave_room(request).await.unwrap().into_inner()
    }

    pub(crate) async fn room(&mut self, room: &str) -> Result<RoomInfo, Status> {
        let request = GetRoomInfoRequest {
            room_id: room.to_owned(),
        };
        let reply = self.client.get_room_info(request).await?.into_inner();
        Ok(reply.room_info.expect("a room that exists is told"))
    }

    pub(crate) async fn user(&mut self, user: &str) -> GetUserNodeResponse {
        let request = GetUserNodeRequest {
            user_id: user.to_owned(),
        };
        self.client
            .get_user_node(request)
            .await
            .unwrap()
            .into_inner()
    }

    pub(crate) async fn stats(&mut self) -> GetRoomStatsResponse {
        let reply = self.client.get_room_stats(GetRoomStatsRequest {}).await;
        reply.unwrap().into_inner()
    }
}

pub(crate) fn leave_request(user: &str, room: &str) -> Request<LeaveRoomRequest> {
    Request::new(LeaveRoomRequest {
        user_id: user.to_owned(),
        room_id: room.to_owned(),
    })
}
