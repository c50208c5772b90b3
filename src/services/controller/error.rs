//! What can go wrong with a Controller.

use crate::services::server::ListenError;

/// Why a Controller could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControllerError {
    /// Its port could not be taken.
    #[error("the Controller cannot start: {0}")]
    Listen(#[from] ListenError),
}

/// Why a user did not enter a room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefused {
    /// The room would be one too many.
    #[error(
        "there are {limit} rooms already, as many as this Controller takes: raise controller.max_rooms"
    )]
    TooManyRooms {
        /// Rooms that it takes.
        limit: usize,
    },
    /// The user would be one too many.
    #[error(
        "there are {limit} users already, as many as this Controller takes: raise controller.max_users"
    )]
    TooManyUsers {
        /// Users that it takes.
        limit: usize,
    },
    /// The user is in too many rooms.
    #[error("the user is in {limit} rooms already, as many as one user may: leave one first")]
    TooManyRoomsOfUser {
        /// Rooms that one user may be in.
        limit: usize,
    },
    /// The user has joined on another node since.
    #[error("the user has joined on node {node_id} since, and is there now")]
    Superseded {
        /// The node.
        node_id: String,
    },
}
