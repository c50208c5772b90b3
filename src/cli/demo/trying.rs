//! What to try while the demo runs.

use super::super::output;
use super::system::System;
use super::users::room_name;

/// Prints lines that can be copied into a shell or a browser.
pub(super) fn explain(system: &System, rooms: u32) {
    let push = system.push_address();
    let etcd = system.etcd_endpoint();
    // etcdctl 3.4 wants the address without its scheme.
    let etcd = etcd.strip_prefix("http://").unwrap_or(etcd);
    let room = room_name(0);
    output::note("");
    output::note("The demo is up. In a browser, in several windows:");
    for (index, entrance) in (1..).zip(system.entrances()) {
        output::note(format_args!(
            "  http://{entrance}/?user_id=guest-{index}&room_id={room}"
        ));
    }
    output::note(format_args!(
        "\nPush to everyone, and to a room (there are {rooms}):"
    ));
    output::note(format_args!(
        "  grpcurl -plaintext -d '{{\"proto\":{{\"ver\":1,\"op\":1,\"body\":\"aGVsbG8=\"}}}}' {push} protocol.PushServer/Broadcast"
    ));
    output::note(format_args!(
        "  grpcurl -plaintext -d '{{\"room_id\":\"{room}\",\"proto\":{{\"ver\":1,\"op\":1,\"body\":\"aGVsbG8=\"}}}}' {push} protocol.PushServer/BroadcastToRoom"
    ));
    output::note("\nLook round:");
    output::note(format_args!("  grpcurl -plaintext {push} list"));
    output::note(format_args!(
        "  grpcurl -plaintext -d '{{\"room_id\":\"{room}\"}}' {} pubsub.ControllerService/GetRoomInfo",
        system.controller_address()
    ));
    let metrics = system.metrics_address();
    output::note(format_args!("  curl http://{metrics}/metrics"));
    output::note(format_args!("  curl http://{metrics}/readyz"));
    if let Some(entrance) = system.entrances().first() {
        output::note(format_args!("  curl http://{entrance}/healthz"));
    }
    output::note(format_args!(
        "  ETCDCTL_API=3 etcdctl --endpoints {etcd} get --prefix {}",
        system.node_prefix()
    ));
    output::note("\nCtrl-C ends it.");
}
