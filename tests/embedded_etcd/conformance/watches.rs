//! Watches.

use super::*;

same_on_both!(watches_answer_as_etcd_does, script => {
    for (key, value) in [("a", "1"), ("b", "1"), ("a", "2")] {
        script.put(key, value).await;
    }
    let mut stream = script.client.watch("a", None).await.expect("it can be watched");
    script.responses("created", &mut stream, 1).await;
    script.put("a", "3").await;
    script.responses("a put", &mut stream, 1).await;
    script.delete("a", DeleteOptions::new()).await;
    script.responses("a delete", &mut stream, 1).await;
    script.put("b", "2").await;
    script.put("a", "4").await;
    script.responses("only its key", &mut stream, 1).await;

    // More watches on the same stream.
    let watch = |key: &'static str, options| (key, Some(options));
    let new = WatchOptions::new;
    for (key, options) in [
        watch("a", new().with_watch_id(7)),
        watch("a", new().with_watch_id(7)),
        watch("z", new()),
        watch("b", new().with_range("a")),
        watch("", new()),
    ] {
        stream.watch(key, options).await.expect("the stream is open");
        script.responses("another on the stream", &mut stream, 1).await;
    }
    for id in [7, 0, 1, 2] {
        stream.cancel(id).await.expect("the stream is open");
        script.responses(&format!("cancel {id}"), &mut stream, 1).await;
    }
    stream.cancel(1000).await.expect("the stream is open");
    stream.watch("a", None).await.expect("the stream is open");
    script.responses("no answer to a cancel of nothing", &mut stream, 1).await;
    let mut asked = script.client.watch("a", None).await.expect("it can be watched");
    script.responses("created to be asked", &mut asked, 1).await;
    asked.request_progress().await.expect("the stream is open");
    script.responses("progress", &mut asked, 1).await;

    // Of the past, each on a stream of its own.
    let past = [
        ("a", new().with_start_revision(1)),
        ("a", new().with_start_revision(2).with_prev_key()),
        ("a", new().with_start_revision(3).with_prefix().with_prev_key()),
        ("b", new().with_start_revision(2).with_from_key()),
        ("a", new().with_start_revision(1).with_filters([WatchFilterType::NoPut])),
        ("a", new().with_start_revision(1).with_filters([WatchFilterType::NoDelete])),
        ("", new().with_start_revision(1).with_all_keys().with_fragment()),
    ];
    for (key, options) in past {
        let mut stream = script.client.watch(key, Some(options)).await.expect("it can be watched");
        script.responses("of the past", &mut stream, 2).await;
    }

    // A transaction is one response.
    let mut stream = script.client.watch("", Some(new().with_all_keys().with_prev_key())).await
        .expect("it can be watched");
    script.responses("created for all", &mut stream, 1).await;
    script.txn("three keys", Txn::new().and_then([
        put_op("x", "1"), delete_op("a", "b"), put_op("b", "3"),
    ])).await;
    script.responses("one response", &mut stream, 1).await;

    // Of the future: silent until then.
    let mut future = script.client.watch("a", Some(new().with_start_revision(11))).await
        .expect("it can be watched");
    script.responses("created for later", &mut future, 1).await;
    for turn in 0..3 {
        script.put("a", &turn.to_string()).await;
    }
    script.responses("from the revision on", &mut future, 1).await;

    let answer = script.client.compact(10, None).await;
    script.note("compact", answer);
    for start in [1, 9] {
        let mut stream = script.client.watch("a", Some(new().with_start_revision(start))).await
            .expect("it can be watched");
        script.responses("of the compacted", &mut stream, 2).await;
    }
    let at = new().with_start_revision(11).with_prev_key();
    let mut stream = script.client.watch("a", Some(at)).await.expect("it can be watched");
    script.responses("after the compacted", &mut stream, 2).await;
});
