//! The service registry: who serves what, by name and by tag.
//!
//! An instance of the service `shop` on `10.0.0.7:7007` is the key `/services/shop/10.0.0.7:7007`, whose value is a
//! [`NodeRecord`]: the JSON of Go's etcd naming package, with the tags in its metadata. Connect-Nodes register in the same way, so
//! [`Discovery`](super::Discovery), [`ServiceDiscover`] and programs of other languages find both.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use super::connection::Connection;
use super::error::EtcdError;
use super::failure::Effect;
use super::lease::LeaseId;
use super::messages::{KeyValue, List};
use super::node_record::{NodeRecord, is_tag, tags};
use super::registration::{Register, Registration, Shared, register};
use super::registration_event::{RegistrationEvent, RegistrationStatus};
use super::service::{Etcd, run};
use crate::framework::settings::Address;
use crate::framework::{Cx, Handler, Message, Recipient};

/// What the keys of services begin with.
const SERVICES: &str = "/services/";

/// How long a service outlives its process unless it says otherwise, as Connect-Nodes have it.
const TTL: Duration = Duration::from_secs(10);

/// The prefix under which the instances of the service `name` are registered, for [`Discovery`](super::Discovery) and
/// [`Watch`](super::Watch).
///
/// ```
/// assert_eq!(million::etcd_service::service_prefix("shop"), "/services/shop/");
/// ```
pub fn service_prefix(name: impl fmt::Display) -> String {
    format!("{SERVICES}{name}/")
}

/// Registers an instance of a service, for as long as the [`Registration`] that comes back is held.
///
/// ```
/// use std::time::Duration;
///
/// use million::etcd_service::settings::EtcdSettings;
/// use million::etcd_service::{Etcd, ServiceDiscover, ServiceRegister};
/// use million::framework::Million;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let million = Million::builder().build()?;
/// let etcd = million.spawn(Etcd::new(EtcdSettings::default()));
/// million.block_on(async {
///     let shop = ServiceRegister::new("shop", "10.0.0.7", 7007).tags(["fresh", "local"]);
///     let registration = etcd.call(shop).await??;
///     let fresh = etcd.call(ServiceDiscover::name("shop").tag("fresh")).await??;
///     assert_eq!(fresh[0].address, "10.0.0.7:7007");
///     assert_eq!(fresh[0].lease, Some(registration.lease()));
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a message does nothing until it is sent"]
pub struct ServiceRegister {
    /// The name of the service: not empty, and without a slash.
    pub name: String,
    /// Where it listens: a host name or an IP address.
    pub address: String,
    /// The port there.
    pub port: u16,
    /// Words to be found by: not empty, without commas and without space around them.
    pub tags: Vec<String>,
    /// What it tells of itself besides, such as `node_id`.
    pub metadata: BTreeMap<String, String>,
    /// How long it stays registered after its process died; whole seconds, rounded up.
    pub ttl: Duration,
    /// Who is told what happens to the registration.
    pub owner: Option<Recipient<RegistrationEvent>>,
}

impl ServiceRegister {
    /// An instance without tags that outlives its process by 10 s.
    pub fn new(name: impl Into<String>, address: impl Into<String>, port: u16) -> Self {
        Self {
            name: name.into(),
            address: address.into(),
            port,
            tags: Vec::new(),
            metadata: BTreeMap::new(),
            ttl: TTL,
            owner: None,
        }
    }

    /// With these tags besides those it has.
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// Tells this of itself as well.
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// Lets it stay registered for so long after its process died.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Tells `owner` what happens to the registration, as [`Register::notify`].
    pub fn notify(mut self, owner: Recipient<RegistrationEvent>) -> Self {
        self.owner = Some(owner);
        self
    }

    fn into_register(self) -> Result<Register, String> {
        check_name(&self.name)?;
        if let Some(tag) = self.tags.iter().find(|tag| !is_tag(tag)) {
            return Err(format!(
                "`{tag}` is no tag: it is empty, has a comma, or begins or ends with a space"
            ));
        }
        let address = match self.address.parse::<Ipv6Addr>() {
            Ok(ip) => format!("[{ip}]:{}", self.port),
            Err(_) => format!("{}:{}", self.address, self.port),
        };
        address
            .parse::<Address>()
            .map_err(|error| error.to_string())?;
        let key = format!("{}{address}", service_prefix(&self.name));
        let record = NodeRecord {
            address,
            metadata: self.metadata,
        };
        let value = match self.tags.as_slice() {
            // Those that the metadata may have stay.
            [] => record,
            tags => record.with_tags(tags),
        }
        .to_value();
        let register = Register::new(key, value, self.ttl);
        Ok(match self.owner {
            Some(owner) => register.notify(owner),
            None => register,
        })
    }
}

impl Message for ServiceRegister {
    /// The registration; its lease is the number by which the other messages know it.
    type Reply = Result<Registration, EtcdError>;
}

/// Finds the instances of a service that are registered now. [`Discovery`](super::Discovery) tells who comes and goes instead.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct ServiceDiscover {
    /// The name of the service.
    pub name: String,
    /// The tags that an instance must have, all of them.
    pub tags: Vec<String>,
}

impl ServiceDiscover {
    /// Finds every instance of the service `name`.
    pub fn name(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            tags: Vec::new(),
        }
    }

    /// Only those that have `tag` as well.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }
}

impl Message for ServiceDiscover {
    /// The instances, in the order of their addresses. A record that cannot be read is logged and left away.
    type Reply = Result<Vec<ServiceEndpoint>, EtcdError>;
}

/// An instance of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEndpoint {
    /// The key under which it is registered.
    pub key: String,
    /// Where it listens, `host:port`.
    pub address: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// What it tells of itself, the tags included.
    pub metadata: BTreeMap<String, String>,
    /// The lease of its registration, if it has one.
    pub lease: Option<LeaseId>,
}

/// Ends a registration that this service holds, known by its lease: that of the reply to [`ServiceRegister`], also when it
/// was lost since and another took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct ServiceUnregister {
    /// The lease.
    pub lease: LeaseId,
}

impl Message for ServiceUnregister {
    /// Whether the key is gone. [`EtcdError::NotFound`] when this service holds no such registration.
    type Reply = Result<(), EtcdError>;
}

/// Gives a sign of life for a registration that this service holds, known by its lease as for [`ServiceUnregister`].
///
/// A registration is kept alive without it. This asks etcd now, and has the registration mended if it was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct ServiceHeartbeat {
    /// The lease.
    pub lease: LeaseId,
}

impl Message for ServiceHeartbeat {
    /// How long the registration lives from now on without another sign of life. [`EtcdError::NotFound`] when this service holds
    /// none with that lease, or it ended meanwhile; [`EtcdError::TimedOut`] when it was lost and could not be mended in the time of one request.
    type Reply = Result<Duration, EtcdError>;
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains('/') {
        return Err(format!(
            "`{name}` is no name of a service: it is empty or has a slash"
        ));
    }
    Ok(())
}

fn invalid(what: String, reason: String) -> EtcdError {
    EtcdError::Invalid {
        what,
        endpoint: "this service".to_owned(),
        reason,
    }
}

fn not_held(what: &str, lease: LeaseId) -> EtcdError {
    EtcdError::NotFound {
        what: what.to_owned(),
        endpoint: "this service".to_owned(),
        reason: format!("no registration has the lease `{lease}`"),
    }
}

fn endpoint(pair: KeyValue) -> Option<ServiceEndpoint> {
    let key = String::from_utf8_lossy(&pair.key).into_owned();
    match NodeRecord::parse(&pair.value) {
        Ok(NodeRecord { address, metadata }) => Some(ServiceEndpoint {
            key,
            address,
            tags: tags(&metadata),
            metadata,
            lease: pair.lease,
        }),
        Err(error) => {
            tracing::warn!(key, %error, "a registered record is not that of a service, and is skipped");
            None
        }
    }
}

impl Handler<ServiceRegister> for Etcd {
    async fn handle(cx: &Cx<Self>, message: ServiceRegister) -> Result<Registration, EtcdError> {
        let what = format!("register the service `{}`", message.name);
        let message = message
            .into_register()
            .map_err(|reason| invalid(what, reason))?;
        register(cx, message).await
    }
}

impl Handler<ServiceDiscover> for Etcd {
    async fn handle(
        cx: &Cx<Self>,
        message: ServiceDiscover,
    ) -> Result<Vec<ServiceEndpoint>, EtcdError> {
        let ServiceDiscover { name, tags } = message;
        check_name(&name)
            .map_err(|reason| invalid(format!("discover the service `{name}`"), reason))?;
        let list = List::prefix(service_prefix(&name));
        let list = |etcd: Arc<Connection>| async move { etcd.list(&list).await };
        let listing = run(cx, "discover a service", Effect::Reads, list).await?;
        let found = listing.pairs.into_iter().filter_map(endpoint);
        Ok(found
            .filter(|endpoint| tags.iter().all(|tag| endpoint.tags.contains(tag)))
            .collect())
    }
}

impl Handler<ServiceUnregister> for Etcd {
    async fn handle(
        cx: &Cx<Self>,
        ServiceUnregister { lease }: ServiceUnregister,
    ) -> Result<(), EtcdError> {
        let registration = cx.state().holdings().registration(lease);
        match registration {
            Some(registration) => registration.unregister().await,
            None => Err(not_held("unregister a service", lease)),
        }
    }
}

impl Handler<ServiceHeartbeat> for Etcd {
    async fn handle(
        cx: &Cx<Self>,
        ServiceHeartbeat { lease }: ServiceHeartbeat,
    ) -> Result<Duration, EtcdError> {
        let (registration, keeper) = cx.with(|etcd| {
            let holdings = etcd.holdings();
            (holdings.registration(lease), holdings.keeper())
        });
        let registration =
            registration.ok_or_else(|| not_held("give a sign of life for a service", lease))?;
        let beat = move |etcd: Arc<Connection>| async move {
            let now = registration.lease();
            match etcd.keep_alive(now).await {
                Err(EtcdError::NotFound { .. }) => {
                    keeper.lost(now);
                    mended(&registration, now, &etcd).await?;
                    etcd.keep_alive(registration.lease()).await
                }
                beaten => beaten,
            }
        };
        run(cx, "give a sign of life for a service", Effect::Reads, beat).await
    }
}

/// Waits until a registration is there again under another lease than `lost`, for the time of one request.
async fn mended(shared: &Shared, lost: LeaseId, etcd: &Connection) -> Result<(), EtcdError> {
    let what = || format!("mend the registration of `{}`", shared.key());
    let mut status = shared.status.subscribe();
    let limit = etcd.request_timeout();
    let mending = status.wait_for(|status| match status {
        RegistrationStatus::Ended => true,
        RegistrationStatus::Lost => false,
        _ => shared.lease() != lost,
    });
    match tokio::time::timeout(limit, mending).await {
        Ok(Ok(status)) if *status != RegistrationStatus::Ended => Ok(()),
        Ok(_) => Err(EtcdError::NotFound {
            what: what(),
            endpoint: etcd.endpoint().to_owned(),
            reason: "it was let go".to_owned(),
        }),
        Err(_) => Err(EtcdError::TimedOut {
            what: what(),
            endpoint: etcd.endpoint().to_owned(),
            reason: format!("its lease was lost, and it was not there again within {limit:?}"),
        }),
    }
}
