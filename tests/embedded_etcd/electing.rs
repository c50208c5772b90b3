//! The election service. What is shown against both holds for etcd too.

use etcd_client::{
    CampaignResponse, Client, Error, LeaderKey, LeaderResponse, ProclaimOptions, ResignOptions,
};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};

use super::{grant, in_time, on_both, refusal, revoke, serve, until_keys};

async fn campaign(client: &Client, value: &str, lease: i64) -> Result<CampaignResponse, Error> {
    in_time(client.election_client().campaign("e", value, lease)).await
}

/// Begins to campaign, and comes back when it stands in line behind `before` others.
async fn run_for(
    client: &Client,
    value: &'static str,
    lease: i64,
    before: i64,
) -> JoinHandle<Result<CampaignResponse, Error>> {
    let running = client.clone();
    let running = tokio::spawn(async move { campaign(&running, value, lease).await });
    until_keys(client, "e/", before + 1).await;
    running
}

async fn elected(running: JoinHandle<Result<CampaignResponse, Error>>) -> LeaderKey {
    let elected = in_time(running).await.expect("it does not panic");
    key_of(&elected.expect("it is elected"))
}

fn key_of(elected: &CampaignResponse) -> LeaderKey {
    elected.leader().expect("it has a leader").clone()
}

async fn leader(client: &Client) -> Result<String, Error> {
    let answer = client.election_client().leader("e").await?;
    let kv = answer.kv().expect("it has a key");
    Ok(kv.value_str().expect("it is text").to_owned())
}

async fn resign(client: &Client, leader: LeaderKey) -> Result<i64, Error> {
    let options = ResignOptions::new().with_leader(leader);
    let answer = client.election_client().resign(Some(options)).await?;
    Ok(answer.header().expect("a header").revision())
}

async fn proclaim(client: &Client, value: &str, leader: LeaderKey) -> Result<i64, Error> {
    let options = ProclaimOptions::new().with_leader(leader);
    let mut elections = client.election_client();
    let answer = elections.proclaim(value, Some(options)).await?;
    Ok(answer.header().expect("a header").revision())
}

/// What an observer hears: the revision of the leader's value, and the value.
struct Observer {
    heard: mpsc::Receiver<Result<(i64, String), Error>>,
    task: AbortHandle,
}

impl Observer {
    /// etcd answers to the call itself only when there is a leader, so it is made apart.
    fn new(client: &Client) -> Self {
        let mut elections = client.election_client();
        let (sender, heard) = mpsc::channel(1);
        let observing = tokio::spawn(async move {
            let mut observed = elections.observe("e").await.expect("it can be observed");
            while let Some(told) = observed.message().await.transpose() {
                if sender.send(told.map(|told| content(&told))).await.is_err() {
                    return;
                }
            }
        });
        let task = observing.abort_handle();
        Self { heard, task }
    }

    async fn next(&mut self) -> Result<(i64, String), Error> {
        let heard = in_time(self.heard.recv()).await;
        heard.expect("it goes on")
    }

    async fn told(&mut self) -> (i64, String) {
        self.next().await.expect("it goes on")
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn content(told: &LeaderResponse) -> (i64, String) {
    let kv = told.kv().expect("it has a key");
    assert!(told.header().expect("a header").revision() >= kv.mod_revision());
    let value = kv.value_str().expect("it is text");
    (kv.mod_revision(), value.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candidates_lead_in_the_order_in_which_they_came() {
    on_both(|client| async move {
        for id in 10..13 {
            grant(&client, id).await;
        }
        let first = campaign(&client, "one", 10).await.expect("nobody leads");
        let key = key_of(&first);
        assert_eq!((key.name(), key.key()), (&b"e"[..], &b"e/a"[..]));
        assert_eq!(key.lease(), 10);
        assert_eq!(key.rev(), first.header().expect("a header").revision());
        let second = run_for(&client, "two", 11, 1).await;
        let third = run_for(&client, "three", 12, 2).await;
        assert_eq!(leader(&client).await.expect("one leads"), "one");

        resign(&client, key.clone()).await.expect("it leads");
        let second = elected(second).await;
        assert_eq!(leader(&client).await.expect("one leads"), "two");
        assert!(!third.is_finished(), "one leads at a time");
        // Who leads no more may resign again, and nothing happens.
        resign(&client, key).await.expect("there is nothing to do");
        assert_eq!(leader(&client).await.expect("one leads"), "two");

        revoke(&client, second.lease()).await;
        assert_eq!(elected(third).await.key(), b"e/c");
        assert_eq!(leader(&client).await.expect("one leads"), "three");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_proclaims_and_one_that_was_does_not() {
    on_both(|client| async move {
        grant(&client, 10).await;
        let key = key_of(&campaign(&client, "one", 10).await.expect("nobody leads"));
        let revision = proclaim(&client, "more", key.clone()).await;
        assert_eq!(revision.expect("it leads"), key.rev() + 1);
        assert_eq!(leader(&client).await.expect("one leads"), "more");
        // The same lease campaigns again: it leads already, and says something else.
        let again = campaign(&client, "most", 10).await.expect("it leads");
        assert_eq!(key_of(&again).rev(), key.rev());
        assert_eq!(leader(&client).await.expect("one leads"), "most");

        resign(&client, key.clone()).await.expect("it leads");
        let refused = proclaim(&client, "late", key).await;
        assert_eq!(
            refusal(refused.expect_err("it has resigned")),
            "Unknown: election: not leader"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_hears_every_leader_and_all_that_it_proclaims_in_order() {
    on_both(|client| async move {
        grant(&client, 10).await;
        grant(&client, 11).await;
        let mut early = Observer::new(&client);
        let key = key_of(&campaign(&client, "one", 10).await.expect("nobody leads"));
        assert_eq!(early.told().await, (key.rev(), "one".to_owned()));
        let second = run_for(&client, "two", 11, 1).await;
        let more = proclaim(&client, "more", key.clone()).await;
        let more = (more.expect("it leads"), "more".to_owned());
        assert_eq!(early.told().await, more);

        let mut late = Observer::new(&client);
        assert_eq!(late.told().await, more);
        resign(&client, key).await.expect("it leads");
        let second = elected(second).await;
        for observer in [&mut early, &mut late] {
            assert_eq!(observer.told().await, (second.rev(), "two".to_owned()));
        }

        // Nobody leads, then somebody does again.
        resign(&client, second).await.expect("it leads");
        let again = key_of(&campaign(&client, "again", 10).await.expect("nobody leads"));
        for observer in [&mut early, &mut late] {
            assert_eq!(observer.told().await, (again.rev(), "again".to_owned()));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_goes_away_is_out_of_the_line() {
    on_both(|client| async move {
        for id in 10..13 {
            grant(&client, id).await;
        }
        let key = key_of(&campaign(&client, "one", 10).await.expect("nobody leads"));
        let gone = run_for(&client, "two", 11, 1).await;
        let last = run_for(&client, "three", 12, 2).await;
        gone.abort();
        until_keys(&client, "e/", 2).await;
        resign(&client, key).await.expect("it leads");
        assert_eq!(elected(last).await.key(), b"e/c");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_have_etcds_codes_and_texts() {
    on_both(|client| async move {
        grant(&client, 10).await;
        let missing = "Unknown: \"leader\" field must be provided";
        let no_lease = "Unknown: etcdserver: requested lease not found";
        let no_key = "Unknown: etcdserver: key is not provided";
        let not_leader = "Unknown: election: not leader";

        let refused = leader(&client).await.expect_err("nobody leads");
        assert_eq!(refusal(refused), "Unknown: election: no leader");
        let refused = campaign(&client, "x", 99).await.expect_err("no such lease");
        assert_eq!(refusal(refused), no_lease);
        let mut elections = client.election_client();
        let refused = elections.resign(None).await.expect_err("whose?");
        assert_eq!(refusal(refused), missing);
        let refused = elections.proclaim("x", None).await.expect_err("whose?");
        assert_eq!(refusal(refused), missing);
        let nobody = LeaderKey::new();
        let refused = resign(&client, nobody.clone()).await.expect_err("whose?");
        assert_eq!(refusal(refused), no_key);
        let refused = proclaim(&client, "x", nobody).await.expect_err("whose?");
        assert_eq!(refusal(refused), no_key);

        let key = key_of(&campaign(&client, "x", 10).await.expect("nobody leads"));
        let other = key.clone().with_rev(key.rev() + 1);
        let refused = proclaim(&client, "y", other.clone()).await;
        assert_eq!(refusal(refused.expect_err("it is another")), not_leader);
        let other_lease = key.clone().with_lease(98);
        let refused = proclaim(&client, "y", other_lease).await;
        assert_eq!(refusal(refused.expect_err("no such lease")), no_lease);
        resign(&client, other)
            .await
            .expect("there is nothing to do");
        assert_eq!(leader(&client).await.expect("one leads"), "x");
    })
    .await;
}

/// etcd goes on waiting, and then calls it the leader, which it is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_loses_its_lease_does_not_lead() {
    let (_etcd, client) = serve().await;
    for id in 10..13 {
        grant(&client, id).await;
    }
    let key = key_of(&campaign(&client, "one", 10).await.expect("nobody leads"));
    let lost = run_for(&client, "two", 11, 1).await;
    let last = run_for(&client, "three", 12, 2).await;
    revoke(&client, 11).await;
    let refused = in_time(lost).await.expect("it does not panic");
    assert_eq!(
        refusal(refused.expect_err("its lease has ended")),
        "Unknown: election: not leader"
    );
    resign(&client, key).await.expect("it leads");
    assert_eq!(elected(last).await.key(), b"e/c");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_candidates_and_observers() {
    let (etcd, client) = serve().await;
    grant(&client, 10).await;
    grant(&client, 11).await;
    campaign(&client, "one", 10).await.expect("nobody leads");
    let waiting = run_for(&client, "two", 11, 1).await;
    let mut observer = Observer::new(&client);
    observer.told().await;
    in_time(etcd.stop()).await;
    let stopped = "Unavailable: etcdserver: server stopped";
    let ended = in_time(waiting).await.expect("it does not panic");
    assert_eq!(refusal(ended.expect_err("the server has stopped")), stopped);
    let ended = observer.next().await;
    assert_eq!(refusal(ended.expect_err("the server has stopped")), stopped);
}
