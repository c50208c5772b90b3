//! The cluster of one member, and what it refuses. Nothing here changes the membership: a member that is only announced
//! would take the quorum from the one that runs.

use etcd_client::proto::{
    PbMemberAddRequest, PbMemberListRequest, PbMemberPromoteRequest, PbMemberRemoveRequest,
    PbMemberUpdateRequest,
};

use crate::suite::cases;

/// Every server has its own address.
fn without_addresses(members: &mut [etcd_client::proto::PbMember]) {
    for member in members {
        member.name = format!("named {}", !member.name.is_empty());
        for url in member.peer_ur_ls.iter_mut().chain(&mut member.client_ur_ls) {
            *url = format!("http on loopback {}", url.starts_with("http://127.0.0.1:"));
        }
    }
}

fn adding(urls: &[&str], is_learner: bool) -> PbMemberAddRequest {
    PbMemberAddRequest {
        peer_ur_ls: urls.iter().map(|&url| url.to_owned()).collect(),
        is_learner,
    }
}

cases! {
    members(s) {
        s.ask_changing(PbMemberListRequest { linearizable: false }, |told| {
            without_addresses(&mut told.members);
        }).await;
    }
    members_linearizable(s) {
        s.ask_changing(PbMemberListRequest { linearizable: true }, |told| {
            without_addresses(&mut told.members);
        }).await;
    }
    added_without_an_address(s) { s.ask(adding(&[], false)).await; }
    added_with_an_empty_address(s) { s.ask(adding(&[""], false)).await; }
    added_with_an_address_without_a_scheme(s) { s.ask(adding(&["127.0.0.1:1"], false)).await; }
    added_with_an_address_without_a_port(s) { s.ask(adding(&["http://127.0.0.1"], false)).await; }
    added_with_an_address_with_a_path(s) { s.ask(adding(&["http://127.0.0.1:1/x"], false)).await; }
    added_with_a_scheme_that_is_none_of_etcd(s) { s.ask(adding(&["ftp://127.0.0.1:1"], false)).await; }
    added_as_a_learner_without_an_address(s) { s.ask(adding(&[], true)).await; }
    removed_though_it_is_none(s) { s.ask(PbMemberRemoveRequest { id: 99 }).await; }
    updated_though_it_is_none(s) {
        s.ask(PbMemberUpdateRequest { id: 99, peer_ur_ls: vec!["http://127.0.0.1:1".to_owned()] }).await;
    }
    updated_without_an_address(s) {
        s.ask(PbMemberUpdateRequest { id: 99, peer_ur_ls: vec![] }).await;
    }
    promoted_though_it_is_none(s) { s.ask(PbMemberPromoteRequest { id: 99 }).await; }
    promoted_though_it_votes(s) { s.ask(PbMemberPromoteRequest { id: s.member_id() }).await; }
}
