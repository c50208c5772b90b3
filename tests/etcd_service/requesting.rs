//! A request: its deadline, when it is tried again, how many go at once, and what its errors say.

use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::join_all;
use million::etcd_service::{BatchGet, Etcd, EtcdError, Get, Grant, List, Put, Status as Ask};
use million::framework::{Handle, Million};
use tonic::{Code, Status};

use crate::house::{DEADLINE, House, settings, until};
use crate::scripted::Scripted;
use crate::support::real_etcd::RealEtcd;

/// A service whose one endpoint is scripted, before the embedded etcd.
fn scripted<F: AsyncFnOnce(&Scripted, Handle<Etcd>)>(more: &str, case: F) {
    House::embedded(async |house: &mut House| {
        let server = Scripted::start(&house.server.endpoint()).await;
        let text = format!("endpoints: '{}', {more}", server.endpoint());
        let etcd = house.million.spawn(Etcd::new(settings(&text)));
        case(&server, etcd).await;
    });
}

fn busy() -> Status {
    Status::new(Code::ResourceExhausted, "etcdserver: too many requests")
}

#[test]
fn a_read_is_tried_again_until_it_is_answered() {
    scripted("request_timeout: 30000", async |server, etcd| {
        etcd.call(Put::new("k", "v")).await.unwrap().unwrap();
        for status in [
            Status::new(Code::Unavailable, "etcdserver: leader changed"),
            Status::new(Code::Unavailable, "etcdserver: no leader"),
            Status::new(Code::Unavailable, "etcdserver: request timed out"),
            Status::new(Code::Unknown, "something else"),
            busy(),
        ] {
            let before = server.asked("Range");
            server.refuse("Range", 3, &status);
            let read = etcd.call(Get::key("k")).await.unwrap();
            assert_eq!(read.unwrap().unwrap().value, b"v", "{status:?}");
            // One that the machine holds up is put again.
            assert!(server.asked("Range") - before >= 4, "{status:?}");
        }
    });
}

#[test]
fn a_write_is_tried_again_when_etcd_says_that_it_did_nothing() {
    scripted("request_timeout: 30000", async |server, etcd| {
        for status in [
            Status::new(Code::Unavailable, "etcdserver: no leader"),
            busy(),
        ] {
            let before = server.asked("Put");
            server.refuse("Put", 3, &status);
            etcd.call(Put::new("k", "v")).await.unwrap().unwrap();
            assert_eq!(server.asked("Put") - before, 4, "{status:?}");
        }
    });
}

#[test]
fn a_write_that_may_have_been_done_is_sent_once() {
    scripted("request_timeout: 30000", async |server, etcd| {
        for status in [
            Status::new(Code::Unavailable, "etcdserver: request timed out"),
            Status::new(Code::Unavailable, "etcdserver: leader changed"),
            Status::new(Code::Unknown, "something else"),
            Status::new(Code::Cancelled, "context canceled"),
        ] {
            let before = server.asked("Put");
            server.refuse("Put", 1, &status);
            let write = etcd.call(Put::new("k", "v")).await.unwrap();
            assert!(
                matches!(&write, Err(EtcdError::OutcomeUnknown { .. })),
                "{status:?}: {write:?}"
            );
            assert_eq!(server.asked("Put") - before, 1, "{status:?}");
        }
    });
}

#[test]
fn what_will_not_succeed_is_not_tried_again_and_says_what_to_do() {
    scripted("request_timeout: 30000", async |server, etcd| {
        let told = [
            (
                Status::new(
                    Code::ResourceExhausted,
                    "etcdserver: mvcc: database space exceeded",
                ),
                "alarm disarm",
            ),
            (
                Status::new(Code::PermissionDenied, "etcdserver: permission denied"),
                "etcd.auth",
            ),
            (
                Status::new(Code::InvalidArgument, "etcdserver: request is too large"),
                "1.5 MiB",
            ),
            (
                Status::new(
                    Code::Unavailable,
                    "etcdserver: rpc not supported for learner",
                ),
                "promote it",
            ),
        ];
        for (status, advice) in told {
            let before = server.asked("Put");
            server.refuse("Put", 1, &status);
            let error = etcd.call(Put::new("k", "v")).await.unwrap().unwrap_err();
            let text = error.to_string();
            for part in ["put `k`", &server.endpoint(), status.message(), advice] {
                assert!(text.contains(part), "{part}: {text}");
            }
            assert!(!matches!(error, EtcdError::OutcomeUnknown { .. }), "{text}");
            assert_eq!(server.asked("Put") - before, 1, "{text}");
        }
    });
}

#[test]
fn a_write_too_large_for_etcd_is_refused_by_name() {
    House::real(async |house: &mut House| {
        for megabytes in [2, 3, 20] {
            let value = vec![0; megabytes << 20];
            let write = house.etcd.call(Put::new("k", value)).await.unwrap();
            assert!(
                matches!(&write, Err(error @ EtcdError::Invalid { .. }) if error.to_string().contains("1.5 MiB")),
                "{megabytes} MiB: {write:?}"
            );
        }
        house.etcd.call(Put::new("k", "v")).await.unwrap().unwrap();
    });
}

#[test]
fn a_full_etcd_says_how_to_make_room() {
    let million = Million::builder().workers(1).build().unwrap();
    let server = RealEtcd::start_with(&["--quota-backend-bytes", "2097152"]);
    let text = format!("endpoints: '{}', request_timeout: 20000", server.endpoint());
    let etcd = million.spawn(Etcd::new(settings(&text)));
    million.block_on(async {
        // Many at a time, so that some pass etcd's first look at the quota and are done, and the second look refuses them.
        let put = async |number: usize| {
            let key = format!("k{number:04}");
            let put = etcd.call(Put::new(key.clone(), vec![0; 30_000])).await;
            (key, put.unwrap())
        };
        let mut told = Vec::new();
        for round in 0..20 {
            told.extend(join_all((round * 64..(round + 1) * 64).map(put)).await);
        }
        let (mut written, mut done_and_refused) = (0, 0);
        for (key, put) in told {
            let there = etcd.call(Get::key(key.as_str())).await.unwrap().unwrap();
            let Err(error) = put else {
                assert!(there.is_some(), "{key} was acknowledged");
                written += 1;
                continue;
            };
            assert!(matches!(&error, EtcdError::NoSpace { .. }), "{error:?}");
            assert!(!error.is_retryable());
            let text = error.to_string();
            for part in [
                "compact",
                "defragment",
                "alarm disarm",
                "may have been done",
            ] {
                assert!(text.contains(part), "{text}");
            }
            done_and_refused += usize::from(there.is_some());
        }
        assert!(
            (1..20 * 64).contains(&written),
            "some 38 MB do not fit into 2 MB"
        );
        println!("{written} written, and {done_and_refused} of the others done and refused");
    });
}

#[test]
fn at_most_so_many_are_in_flight_and_the_rest_go_in_order() {
    scripted(
        "max_in_flight: 4, request_timeout: 60000",
        async |server, etcd| {
            let go_on = server.hold("Put");
            let puts: Vec<_> = (0..100)
                .map(|number| {
                    etcd.call(Put::new(format!("k{number:02}"), "v"))
                        .timeout(DEADLINE)
                })
                .collect();
            let mut puts = Box::pin(join_all(puts));
            assert!(puts.as_mut().now_or_never().is_none());
            until("as many are in flight as may", async || {
                server.asked("Put") == 4
            })
            .await;
            // What needs no place in flight shows that those behind had their turn to come through.
            for _ in 0..100 {
                etcd.call(million::etcd_service::Endpoint)
                    .await
                    .unwrap()
                    .unwrap();
            }
            assert_eq!(server.asked("Put"), 4);
            go_on.cancel();
            for put in puts.await {
                put.unwrap().unwrap();
            }
            let listing = etcd.call(List::prefix("k")).await.unwrap().unwrap();
            let revisions: Vec<_> = listing.pairs.iter().map(|pair| pair.mod_revision).collect();
            // Whom it overtakes has begun before and is not answered yet: so at most the three others in flight.
            for (number, revision) in revisions.iter().enumerate() {
                let before = &revisions[..number];
                let overtaken = before.iter().filter(|other| *other > revision).count();
                assert!(overtaken < 4, "{number} overtook {overtaken}");
            }
        },
    );
}

#[test]
fn one_at_a_time_go_exactly_in_the_order_in_which_they_were_sent() {
    scripted(
        "max_in_flight: 1, request_timeout: 60000",
        async |_, etcd| {
            let puts = (0..200).map(|number| etcd.call(Put::new(format!("k{number:03}"), "v")));
            for put in join_all(puts).await {
                put.unwrap().unwrap();
            }
            let listing = etcd.call(List::prefix("k")).await.unwrap().unwrap();
            assert_eq!(listing.pairs.len(), 200);
            assert!(
                listing
                    .pairs
                    .is_sorted_by(|one, other| one.mod_revision < other.mod_revision)
            );
        },
    );
}

#[test]
fn beyond_the_line_requests_are_refused_at_once_by_name() {
    let limits = "max_in_flight: 2, max_queued: 3, request_timeout: 60000";
    scripted(limits, async |server, etcd| {
        let go_on = server.hold("Range");
        let mut held: Vec<_> = (0..20)
            .map(|_| etcd.call(Get::key("k")).timeout(DEADLINE).boxed())
            .collect();
        let mut refused = Vec::new();
        while refused.len() < 15 {
            let (read, _, rest) = futures::future::select_all(held).await;
            refused.push(read.unwrap().unwrap_err());
            held = rest;
        }
        for error in &refused {
            assert!(
                matches!(error, EtcdError::Overloaded { .. }) && error.is_retryable(),
                "{error:?}"
            );
            let text = error.to_string();
            assert!(
                text.contains("2 requests are in flight and 3 wait"),
                "{text}"
            );
            assert!(text.contains("etcd.max_in_flight"), "{text}");
        }
        until("those in flight have come", async || {
            server.asked("Range") == 2
        })
        .await;
        go_on.cancel();
        for read in join_all(held).await {
            assert_eq!(read.unwrap().unwrap(), None);
        }
    });
}

#[test]
fn the_line_is_as_long_as_it_may_be_and_what_needs_no_place_waits_for_none() {
    let limits = "max_in_flight: 2, max_queued: 3000, request_timeout: 60000";
    scripted(limits, async |server, etcd| {
        let go_on = server.hold("Range");
        let get = |_| etcd.call(Get::key("k")).timeout(DEADLINE).boxed();
        let mut held: Vec<_> = (0..3010).map(get).collect();
        for _ in 0..8 {
            let (read, _, rest) = futures::future::select_all(held).await;
            let refused = read.unwrap().unwrap_err();
            assert!(matches!(refused, EtcdError::Overloaded { .. }), "{refused}");
            held = rest;
        }
        etcd.call(million::etcd_service::Endpoint)
            .timeout(DEADLINE)
            .await
            .unwrap()
            .unwrap();
        go_on.cancel();
        for read in join_all(held).await {
            assert_eq!(read.unwrap().unwrap(), None);
        }
    });
}

#[test]
fn a_batch_whose_later_part_meets_a_member_that_is_behind_may_be_asked_for_again() {
    scripted("request_timeout: 30000", async |server, etcd| {
        let text = "etcdserver: mvcc: required revision is a future revision";
        server.pass("Txn", 1);
        server.refuse("Txn", 1, &Status::new(Code::OutOfRange, text));
        let batch = BatchGet::keys((0..200).map(|number| format!("k{number}"))).serializable();
        let error = etcd.call(batch.clone()).await.unwrap().unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        assert!(error.to_string().contains("is behind"), "{error}");
        assert_eq!(etcd.call(batch).await.unwrap().unwrap().pairs.len(), 200);
    });
}

#[test]
fn the_time_in_line_counts_and_what_was_not_sent_says_so() {
    scripted(
        "max_in_flight: 1, request_timeout: 500",
        async |server, etcd| {
            let _held = server.hold("Put");
            let mut puts = (0..4).map(|number| etcd.call(Put::new(format!("k{number}"), "v")));
            let first = puts.next().unwrap();
            let (first, rest) = futures::join!(first, join_all(puts));
            assert!(
                matches!(first.unwrap(), Err(EtcdError::OutcomeUnknown { .. })),
                "it was sent"
            );
            for put in rest {
                let put = put.unwrap();
                // One may have got the place in the very moment when both were late.
                let late = matches!(&put, Err(EtcdError::TimedOut { reason, .. }) if reason.contains("was not sent"));
                let sent = matches!(&put, Err(EtcdError::OutcomeUnknown { .. }));
                assert!(late || sent, "{put:?}");
            }
        },
    );
}

#[test]
fn all_that_hangs_ends_by_its_deadline_and_other_services_never_notice() {
    let million = Million::builder().workers(1).build().unwrap();
    let server = RealEtcd::start();
    let text = format!("endpoints: '{}', request_timeout: 2000", server.endpoint());
    let etcd = million.spawn(Etcd::new(settings(&text)));
    million.block_on(async {
        until("the service has started", async || {
            etcd.call(Ask).await.unwrap().is_ok()
        })
        .await;
        server.pause();
        let begun = Instant::now();
        let reads = join_all((0..300).map(|_| etcd.call(Get::key("k")).timeout(DEADLINE)));
        let writes = join_all((0..300).map(|_| etcd.call(Put::new("k", "v")).timeout(DEADLINE)));
        let ttl = Duration::from_secs(5);
        let grants = join_all((0..10).map(|_| etcd.call(Grant { ttl }).timeout(DEADLINE)));
        let (reads, writes, grants) = futures::join!(reads, writes, grants);
        // Beyond it by what a loaded machine needs to run them.
        assert!(
            begun.elapsed() < Duration::from_secs(7),
            "{:?}",
            begun.elapsed()
        );
        for read in reads {
            assert!(
                matches!(read, Ok(Err(EtcdError::TimedOut { .. }))),
                "{read:?}"
            );
        }
        for write in writes {
            let ended = matches!(
                write,
                Ok(Err(
                    EtcdError::TimedOut { .. } | EtcdError::OutcomeUnknown { .. }
                ))
            );
            assert!(ended, "{write:?}");
        }
        assert!(grants.iter().all(|grant| matches!(grant, Ok(Err(_)))));
        server.resume();
        until("etcd is back", async || {
            etcd.call(Get::key("k")).await.unwrap().is_ok()
        })
        .await;
    });
}
