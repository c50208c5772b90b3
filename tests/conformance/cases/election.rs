//! The election service.

use crate::messages::{CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest};
use crate::requests::{all, delete, grant, revoke};
use crate::script::Script;
use crate::suite::cases;

fn campaign(name: &str, lease: i64, value: &str) -> CampaignRequest {
    CampaignRequest {
        name: name.into(),
        lease,
        value: value.into(),
    }
}

fn leader(name: &str) -> LeaderRequest {
    LeaderRequest { name: name.into() }
}

fn proclaim(leader: Option<LeaderKey>, value: &str) -> ProclaimRequest {
    ProclaimRequest {
        leader,
        value: value.into(),
    }
}

/// Wins the election `e` with the lease 7.
async fn elected(script: &mut Script) -> Option<LeaderKey> {
    script.ask(grant(7, 100)).await;
    let won = script.ask(campaign("e", 7, "first")).await;
    won.and_then(|won| won.leader)
}

cases! {
    won(s) {
        elected(s).await;
        s.ask(leader("e")).await;
        s.ask(all()).await;
    }
    won_twice_with_one_lease(s) {
        elected(s).await;
        s.ask(campaign("e", 7, "again")).await;
        s.ask(leader("e")).await;
    }
    won_twice_with_the_same_value(s) {
        elected(s).await;
        s.ask(campaign("e", 7, "first")).await;
        s.ask(leader("e")).await;
    }
    won_with_a_lease_that_is_not_there(s) { s.ask(campaign("e", 99, "x")).await; }
    won_without_a_value(s) {
        s.ask(grant(7, 100)).await;
        s.ask(campaign("e", 7, "")).await;
        s.ask(leader("e")).await;
    }
    a_leader_of_no_election(s) { s.ask(leader("none")).await; }
    a_leader_after_its_lease_ended(s) {
        elected(s).await;
        s.ask(revoke(7)).await;
        s.ask(leader("e")).await;
    }
    proclaimed(s) {
        let key = elected(s).await;
        s.ask(proclaim(key, "second")).await;
        s.ask(leader("e")).await;
    }
    proclaimed_without_a_leader(s) { s.ask(proclaim(None, "x")).await; }
    proclaimed_after_it_resigned(s) {
        let key = elected(s).await;
        s.ask(ResignRequest { leader: key.clone() }).await;
        s.ask(proclaim(key, "second")).await;
    }
    proclaimed_after_its_lease_ended(s) {
        let key = elected(s).await;
        s.ask(revoke(7)).await;
        s.ask(proclaim(key, "second")).await;
    }
    proclaimed_by_an_earlier_one(s) {
        let key = elected(s).await;
        s.ask(delete("e/7")).await;
        s.ask(campaign("e", 7, "later")).await;
        s.ask(proclaim(key, "second")).await;
        s.ask(leader("e")).await;
    }
    resigned(s) {
        let key = elected(s).await;
        s.ask(ResignRequest { leader: key }).await;
        s.ask(leader("e")).await;
        s.ask(all()).await;
    }
    resigned_twice(s) {
        let key = elected(s).await;
        s.ask(ResignRequest { leader: key.clone() }).await;
        s.ask(ResignRequest { leader: key }).await;
    }
    resigned_without_a_leader(s) { s.ask(ResignRequest { leader: None }).await; }
    resigned_by_an_earlier_one(s) {
        let key = elected(s).await;
        s.ask(delete("e/7")).await;
        s.ask(campaign("e", 7, "later")).await;
        s.ask(ResignRequest { leader: key }).await;
        s.ask(leader("e")).await;
    }
    won_by_the_next_when_the_first_resigns(s) {
        let key = elected(s).await;
        s.ask(grant(8, 100)).await;
        let waiting = s.later(campaign("e", 8, "next"));
        s.there("e/8").await;
        s.ask(leader("e")).await;
        s.ask(ResignRequest { leader: key }).await;
        s.done(waiting).await;
        s.ask(leader("e")).await;
    }
    won_by_the_next_when_the_lease_ends(s) {
        elected(s).await;
        s.ask(grant(8, 100)).await;
        let waiting = s.later(campaign("e", 8, "next"));
        s.there("e/8").await;
        s.ask(revoke(7)).await;
        s.done(waiting).await;
        s.ask(leader("e")).await;
    }
    given_up_by_a_candidate(s) {
        elected(s).await;
        s.ask(grant(8, 100)).await;
        let waiting = s.later(campaign("e", 8, "next"));
        s.there("e/8").await;
        drop(waiting);
        s.gone("e/8").await;
        s.ask(leader("e")).await;
        s.ask(all()).await;
    }
    observed(s) {
        let key = elected(s).await;
        let Some(mut stream) = s.open(leader("e")).await else { return };
        s.ask(proclaim(key, "second")).await;
        s.next(&mut stream).await;
    }
    observed_over_a_change(s) {
        let key = elected(s).await;
        s.ask(grant(8, 100)).await;
        let waiting = s.later(campaign("e", 8, "next"));
        s.there("e/8").await;
        let Some(mut stream) = s.open(leader("e")).await else { return };
        s.ask(ResignRequest { leader: key }).await;
        s.done(waiting).await;
        s.next(&mut stream).await;
    }
    observed_before_anyone_is_elected(s) {
        s.ask(grant(7, 100)).await;
        let opening = s.opening(leader("e"));
        s.ask(campaign("e", 7, "first")).await;
        s.done(opening).await;
    }
}
