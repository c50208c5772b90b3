//! Teaches the etcd service: a service that registers itself, and another that hears who comes and goes. The etcd is in
//! this process, so nothing needs to be installed.

use std::collections::BTreeMap;
use std::time::Duration;

use million::etcd_service::settings::EtcdSettings;
use million::etcd_service::{
    Discovery, Etcd, NodeDown, NodeRecord, NodeUp, Register, Subscriber, Synchronized,
};
use million::framework::{Cx, Handler, Million, Service};
use tokio::sync::mpsc::{self, Sender};

/// Tells the program what it hears.
struct Lookout(Sender<String>);

impl Service for Lookout {}

impl Lookout {
    async fn tell(cx: &Cx<Self>, what: String) {
        let tell = cx.state().0.clone();
        // If nobody listens any more, nobody misses it.
        let _ = tell.send(what).await;
    }
}

impl Handler<NodeUp> for Lookout {
    async fn handle(cx: &Cx<Self>, NodeUp(node): NodeUp) {
        Self::tell(cx, format!("up: {} {:?}", node.address, node.metadata)).await;
    }
}

impl Handler<NodeDown> for Lookout {
    async fn handle(cx: &Cx<Self>, NodeDown(node): NodeDown) {
        Self::tell(cx, format!("down: {}", node.address)).await;
    }
}

impl Handler<Synchronized> for Lookout {
    async fn handle(cx: &Cx<Self>, _: Synchronized) {
        Self::tell(cx, "every node that was there has been told".to_owned()).await;
    }
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let million = Million::builder().build()?;
    let (tell, mut told) = mpsc::channel(4);
    let etcd = million.spawn(Etcd::new(EtcdSettings::default()));
    let lookout = million.spawn(Lookout(tell));
    million.spawn(Discovery::new(
        etcd.clone(),
        "/services/demo/",
        Subscriber::of(&lookout),
    ));
    million.block_on(async {
        println!("{}", told.recv().await.ok_or("the lookout has ended")?);
        let record = NodeRecord {
            address: "127.0.0.1:7000".to_owned(),
            metadata: BTreeMap::from([("node_id".to_owned(), "one".to_owned())]),
        };
        let key = format!("/services/demo/{}", record.address);
        let register = Register::new(key, record.to_value(), Duration::from_secs(10));
        let registration = etcd.call(register).await??;
        println!("{}", told.recv().await.ok_or("the lookout has ended")?);
        registration.unregister().await?;
        println!("{}", told.recv().await.ok_or("the lookout has ended")?);
        Ok(())
    })
}
