//! Leases.

use super::*;

same_on_both!(leases_answer_as_etcd_does, script => {
    for (id, ttl) in [(7, 100), (7, 50), (8, 200), (9, 9_000_000_001), (10, 9_000_000_000)] {
        let options = LeaseGrantOptions::new().with_id(id);
        let answer = script.client.lease_grant(ttl, Some(options)).await;
        script.note(&format!("grant {id} {ttl}"), answer);
    }
    let answer = script.client.lease_grant(100, None).await;
    let chosen = answer.expect("a lease is granted").id();
    assert!(chosen > 0);
    let answer = script.client.lease_revoke(chosen).await;
    script.note("revoke the chosen", answer);
    let answer = script.client.lease_revoke(chosen).await;
    script.note("revoke it again", answer);

    script.put_with("b", "1", PutOptions::new().with_lease(7)).await;
    script.put_with("a", "1", PutOptions::new().with_lease(7)).await;
    script.put_with("c", "1", PutOptions::new().with_lease(7)).await;
    script.put_with("d", "1", PutOptions::new().with_lease(7)).await;
    // To another lease, to none, and kept.
    script.put_with("b", "2", PutOptions::new().with_lease(8)).await;
    script.put("c", "2").await;
    script.put_with("d", "2", PutOptions::new().with_ignore_lease()).await;
    script.delete("e", DeleteOptions::new()).await;
    for id in [7, 8, 99] {
        let options = LeaseTimeToLiveOptions::new().with_keys();
        let answer = script.client.lease_time_to_live(id, Some(options)).await;
        let told = answer.map(|told| {
            let mut keys = told.keys().to_vec();
            keys.sort();
            (told.id(), told.granted_ttl(), keys, told.ttl() < told.granted_ttl())
        });
        script.note(&format!("time to live of {id}"), told);
    }
    let answer = script.client.leases().await;
    script.note("leases", answer);
    let (mut keeper, mut stream) = script.client.lease_keep_alive(7).await.expect("7 is there");
    keeper.keep_alive().await.expect("the stream is open");
    let answer = in_time(stream.message()).await;
    script.note("keep alive 7", answer);
    let answer = script.client.lease_keep_alive(99).await.map(drop);
    script.notes.push(format!("keep alive 99: {answer:?}"));

    script.get("", get().with_all_keys()).await;
    let answer = script.client.lease_revoke(7).await;
    script.note("revoke 7", answer);
    script.get("", get().with_all_keys()).await;
    let answer = script.client.lease_revoke(8).await;
    script.note("revoke 8", answer);
    script.get("", get().with_all_keys()).await;
    let leased = Compare::lease("c", CompareOp::Equal, 0);
    script.txn("c has no lease", Txn::new().when([leased])).await;
});
