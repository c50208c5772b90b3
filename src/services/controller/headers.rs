//! gRPC headers that nodes of this project send to the Controller, for what the requests have no field for.

/// With LeaveRoom: id of the node that says so. The Controller ignores the leave of a node on which the user is no longer.
pub const NODE_ID: &str = "million-node-id";

/// With JoinRoom: how many milliseconds ago the user joined; absent means now. A node that tells its users again sends it, so
/// that a user who has joined on another node since is not taken back. A span and not a moment, because the clocks of two
/// machines differ.
pub const JOINED_MS_AGO: &str = "million-joined-ms-ago";

/// With JoinRoom: [`NO_ROOM_INFO`] asks for an answer without the room's users, who may be many thousands.
pub const ROOM_INFO: &str = "million-room-info";

/// See [`ROOM_INFO`].
pub const NO_ROOM_INFO: &str = "none";
