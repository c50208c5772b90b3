//! Teaches how a program with a tokio runtime of its own hosts services: the IO goes to the host's runtime, and the end is
//! in order and reported.

use std::time::Duration;

use million::framework::{Cx, Handler, Message, Million, Service};

/// Looks up the addresses of names.
struct Resolver {
    lookups: u32,
}

impl Service for Resolver {
    async fn on_stop(cx: &Cx<Self>) {
        tracing::info!(lookups = cx.state().lookups, "the resolver stops");
    }
}

struct Resolve(&'static str);

impl Message for Resolve {
    type Reply = Result<usize, String>;
}

impl Handler<Resolve> for Resolver {
    async fn handle(cx: &Cx<Self>, message: Resolve) -> Result<usize, String> {
        cx.state().lookups += 1;
        // The network belongs on the IO runtime; the service handles other messages until the answer is there.
        let found = cx.io(async move {
            tokio::net::lookup_host(message.0)
                .await
                .map(Iterator::count)
        });
        match found.await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[tokio::main]
#[allow(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let million = Million::builder()
        .workers(2)
        .io_runtime(tokio::runtime::Handle::current())
        .build()?;
    let resolver = million.spawn(Resolver { lookups: 0 });
    let addresses = resolver.call(Resolve("localhost:80")).await??;
    println!("localhost: {addresses} addresses");
    let report = million.shutdown(Duration::from_secs(5)).await;
    println!(
        "ended in order: {}, services stopped: {}",
        report.is_clean(),
        report.stopped
    );
    Ok(())
}
