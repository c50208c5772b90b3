//! The steps of the ported service: every message that the C++ etcd module has, with what must come of it.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use million::etcd_service::{
    BatchGet, ConfigChangeKind, ConfigDelete, ConfigGet, ConfigSet, ConfigUnwatch, ConfigValue,
    ConfigWatch, Delete, Discovery, Etcd, Get, Grant, KeepAlive, KeyValue, List, Put, Revoke,
    ServiceDiscover, ServiceHeartbeat, ServiceRegister, ServiceUnregister, Subscriber, Unwatch,
    Watch, WatchEvent, WatchKind, service_prefix,
};
use million::framework::{Cx, Handle};
use tokio::sync::mpsc;

use crate::failure::{Failure, same};
use crate::{EtcdTest, Heard};

/// A step at work.
pub(crate) struct Trial<'a> {
    cx: &'a Cx<EtcdTest>,
    etcd: Handle<Etcd>,
    heard: &'a mut mpsc::Receiver<Heard>,
    patience: Duration,
    lines: Vec<String>,
}

impl<'a> Trial<'a> {
    pub(crate) fn new(
        cx: &'a Cx<EtcdTest>,
        heard: &'a mut mpsc::Receiver<Heard>,
        patience: Duration,
    ) -> Self {
        Self {
            cx,
            etcd: cx.state().etcd.clone(),
            heard,
            patience,
            lines: Vec::new(),
        }
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines
    }

    /// Get, put, delete, list: an empty value is a value, and a missing key is none.
    pub(crate) async fn keys(&mut self) -> Result<(), Failure> {
        for (name, value) in [("color", "blue"), ("empty", ""), ("shape", "round")] {
            let key = self.key(name);
            let revision = self.etcd.call(Put::new(key, value)).await??;
            self.say(format_args!("put {name} = {value:?}: revision {revision}"));
        }
        for (name, expected) in [("color", Some("blue")), ("empty", Some("")), ("none", None)] {
            let found = same("get", self.get(name).await?, expected.map(str::to_owned))?;
            self.say(format_args!("get {name}: {found:?}"));
        }
        // One transaction: one round trip and one revision, where the C++ batch took a round trip for each key.
        let keys = ["shape", "color", "none"].map(|name| self.key(name));
        let batch = self.etcd.call(BatchGet::keys(keys)).await??;
        let found: Vec<_> = batch
            .pairs
            .iter()
            .filter_map(|(_, pair)| pair.as_ref())
            .map(|pair| text(&pair.value))
            .collect();
        let found = same("a batch", found, vec!["round".into(), "blue".into()])?;
        self.say(format_args!("batch of shape, color and none: {found:?}"));

        let root = self.key("");
        let listing = self
            .etcd
            .call(List::prefix(root.as_str()).keys_only())
            .await??;
        let names: Vec<_> = listing
            .pairs
            .iter()
            .map(|pair| text(&pair.key).replace(&root, ""))
            .collect();
        let names = same(
            "list",
            names,
            ["color", "empty", "shape"].map(str::to_owned).to_vec(),
        )?;
        self.say(format_args!(
            "list: {names:?} at revision {}",
            listing.revision
        ));

        let deleted = self.etcd.call(Delete::key(self.key("shape"))).await??;
        self.say(format_args!(
            "delete shape: {} key",
            same("delete", deleted.count, 1)?
        ));
        same("get after delete", self.get("shape").await?, None)?;
        Ok(())
    }

    /// A watch of a prefix: what is there, then each change in its order, with the value before.
    pub(crate) async fn watch(&mut self) -> Result<(), Failure> {
        let me = self.cx.handle().recipient();
        let (prefix, sky) = self
            .cx
            .with(|test| (test.key("watched/"), test.key("watched/sky")));
        self.etcd.call(Put::new(sky.as_str(), "blue")).await??;
        let watch = self
            .etcd
            .call(Watch::prefix(prefix).previous().to(me))
            .await??;
        let event = self.event("the snapshot").await?;
        same(
            "the snapshot",
            (event.snapshot, text(&event.value)),
            (true, "blue".to_owned()),
        )?;
        self.say(format_args!("snapshot: sky = {:?}", text(&event.value)));
        let event = self.event("the end of the snapshot").await?;
        same(
            "the end of the snapshot",
            event.kind,
            WatchKind::Synchronized,
        )?;

        self.etcd.call(Put::new(sky.as_str(), "grey")).await??;
        self.etcd.call(Delete::key(sky)).await??;
        for (kind, value, before) in [
            (WatchKind::Put, "grey", "blue"),
            (WatchKind::Delete, "", "grey"),
        ] {
            let event = self.event("a change").await?;
            let previous = event.previous.map(|pair| text(&pair.value));
            let expected = (kind, value.to_owned(), Some(before.to_owned()));
            same(
                "a change",
                (event.kind, text(&event.value), previous),
                expected,
            )?;
            self.say(format_args!("{kind:?}: sky = {value:?}, before {before:?}"));
        }
        self.etcd.call(Unwatch(watch)).await??;
        Ok(())
    }

    /// A lease that is revoked takes its keys along, and so does one that expires.
    pub(crate) async fn leases(&mut self) -> Result<(), Failure> {
        let me = self.cx.handle().recipient();
        let prefix = self.key("leased/");
        let watch = self
            .etcd
            .call(Watch::prefix(prefix.as_str()).to(me))
            .await??;
        self.event("the end of the snapshot").await?;

        let short = self
            .etcd
            .call(Grant {
                ttl: Duration::from_secs(1),
            })
            .await??;
        let long = self
            .etcd
            .call(Grant {
                ttl: Duration::from_secs(60),
            })
            .await??;
        for (name, lease) in [("expires", short), ("revoked", long)] {
            self.etcd
                .call(Put::new(format!("{prefix}{name}"), "1").lease(lease.id))
                .await??;
            same("the put", self.event("the put").await?.kind, WatchKind::Put)?;
            self.say(format_args!("put {name} under a lease of {:?}", lease.ttl));
        }
        let left = self.etcd.call(KeepAlive(long.id)).await??;
        self.say(format_args!("kept alive for {left:?} more"));
        self.etcd.call(Revoke(long.id)).await??;
        for name in ["revoked", "expires"] {
            let event = self.event("the end of a lease").await?;
            let expected = (WatchKind::Delete, format!("{prefix}{name}"));
            same(
                "the end of a lease",
                (event.kind, text(&event.key)),
                expected,
            )?;
            self.say(format_args!("{name} is gone with its lease"));
        }
        self.etcd.call(Unwatch(watch)).await??;
        Ok(())
    }

    /// Configuration: get, set, and a watch that tells the old value and the new.
    pub(crate) async fn configuration(&mut self) -> Result<(), Failure> {
        let etcd = self.etcd.clone();
        let path = "etcd_test/limits/users";
        let set = |value: &str| etcd.call(ConfigSet::new(path, value));
        let value = |text: &str| Some(ConfigValue::new(path, text));

        // Whatever an earlier run has left.
        etcd.call(ConfigDelete::path(path)).await??;
        let found = etcd.call(ConfigGet::path(path)).await??;
        same("a value that is not set", found, None)?;
        set("10").await??;
        let found = etcd.call(ConfigGet::path(path)).await??;
        let users: u32 = found.ok_or(Failure::Unset { path })?.parse()?;
        same("the value set", users, 10)?;
        self.say(format_args!("{path} = {users}"));

        let subscriber = self.cx.handle().recipient();
        let watch = ConfigWatch::prefix("etcd_test/limits/", subscriber).changes_only();
        let watch = etcd.call(watch).await??;
        for (old, new) in [("10", "20"), ("20", "")] {
            set(new).await??;
            let pick = |heard| match heard {
                Heard::Config(change) => Some(change),
                _ => None,
            };
            let change = self.next("a change of configuration", pick).await?;
            same(
                "a change of configuration",
                (change.kind, change.old, change.new),
                (ConfigChangeKind::Changed, value(old), value(new)),
            )?;
            self.say(format_args!("{path} changed from {old:?} to {new:?}"));
        }
        etcd.call(ConfigUnwatch(watch)).await??;
        Ok(())
    }

    /// Registers this very service, finds it, and hears of it.
    pub(crate) async fn registry(&mut self) -> Result<(), Failure> {
        let etcd = self.etcd.clone();
        let own = self.cx.with(|test| test.settings.clone());
        let me = Subscriber::of(&self.cx.handle());
        let discovery = Discovery::new(etcd.clone(), service_prefix(&own.name), me);
        let discovery = self.cx.services().spawn(discovery.with_tag("ported"));
        let pick = |heard| matches!(heard, Heard::Synchronized).then_some(());
        self.next("the end of the snapshot", pick).await?;

        let service = ServiceRegister::new(own.name.as_str(), own.address.as_str(), own.port)
            .tags(["test", "ported"])
            .ttl(Duration::from_secs(10))
            .notify(self.cx.handle().recipient());
        // A port that keeps the lease id, as it did, detaches the registration. To hold it as a value is better: it
        // goes with what holds it.
        let lease = etcd.call(service).await??.detach();
        let pick = |heard| match heard {
            Heard::Up(node) => Some(node),
            _ => None,
        };
        let node = self.next("the registered service", pick).await?;
        let address = format!("{}:{}", own.address, own.port);
        same("the registered service", &node.address, &address)?;
        self.say(format_args!("up: {} {:?}", node.address, node.tags()));

        let name = own.name.as_str();
        let found = etcd.call(ServiceDiscover::name(name).tag("test")).await??;
        let found: Vec<_> = found.into_iter().map(|found| found.address).collect();
        same("the services found", found, vec![address.clone()])?;
        let found = etcd
            .call(ServiceDiscover::name(name).tag("other"))
            .await??;
        same("the services of another tag", found, Vec::new())?;
        let left = etcd.call(ServiceHeartbeat { lease }).await??;
        self.say(format_args!("alive for {left:?} more"));

        etcd.call(ServiceUnregister { lease }).await??;
        let pick = |heard| match heard {
            Heard::Down(node) => Some(node),
            _ => None,
        };
        let node = self.next("the service that left", pick).await?;
        same("the service that left", &node.address, &address)?;
        self.say(format_args!("down: {}", node.address));
        discovery.stop().await;
        Ok(())
    }

    fn key(&self, name: &str) -> String {
        self.cx.state().key(name)
    }

    async fn get(&self, name: &str) -> Result<Option<String>, Failure> {
        let key = self.key(name);
        let found: Option<KeyValue> = self.etcd.call(Get::key(key)).await??;
        Ok(found.map(|pair| text(&pair.value)))
    }

    async fn event(&mut self, what: &'static str) -> Result<WatchEvent, Failure> {
        let pick = |heard| match heard {
            Heard::Watch(event) => Some(event),
            _ => None,
        };
        self.next(what, pick).await
    }

    /// The next that `pick` takes, of what the handlers above pass on.
    async fn next<T>(
        &mut self,
        what: &'static str,
        pick: impl Fn(Heard) -> Option<T>,
    ) -> Result<T, Failure> {
        let patience = self.patience;
        let mut limit = self.cx.sleep(patience);
        loop {
            match select(pin!(self.heard.recv()), &mut limit).await {
                Either::Left((Some(heard), _)) => {
                    if let Some(picked) = pick(heard) {
                        return Ok(picked);
                    }
                }
                Either::Left((None, _)) | Either::Right(_) => {
                    return Err(Failure::Silence { what, patience });
                }
            }
        }
    }

    fn say(&mut self, line: fmt::Arguments<'_>) {
        self.lines.push(line.to_string());
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
