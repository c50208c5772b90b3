//! Three real etcd members on loopback, each client port and each peer link behind a proxy that a test can damage.
//!
//! ```text
//! clients ──▶ proxy of the member ──▶ member ◀── link of each pair of members ── the other members
//! ```
//!
//! Members send heartbeats every 50 ms and elect after 500 ms without one, so an election takes half a second to a
//! second. All ends with the handle; when the test's process is killed, a moment later.
//!
//! Everything here blocks the thread. The proxies run on a thread of their own, so what a test has spawned goes on.

// Every test binary compiles this file and uses the part that it needs.
#![allow(dead_code)]

use std::future::Future;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use etcd_client::Client;
use futures::future::join_all;
use tokio::runtime::Runtime;

use super::link::Link;
use super::member::{Member, Process};
use super::origin;
use super::proxy::Proxy;

const MEMBERS: usize = 3;

/// Half the default and less: elections in half a second. Shorter, and a busy machine elects for want of a turn.
const TIMES: [&str; 2] = ["--heartbeat-interval=50", "--election-timeout=500"];

/// A cluster that is left alone is healthy within two seconds on a quiet machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks at how it is.
const POLL: Duration = Duration::from_millis(20);

/// A member that does not tell its status by then does not tell it.
const STATUS_LIMIT: Duration = Duration::from_millis(500);

/// Another process may take a port between its choice and its use; thrice in a row is no accident.
const START_ATTEMPTS: u32 = 3;

/// A cluster of three. Members are numbered from 0.
pub(crate) struct Cluster {
    members: Vec<Member>,
    clients: Vec<Client>,
    doors: Vec<Proxy>,
    peers: Vec<PeerDoor>,
    arguments: Vec<Vec<String>>,
    runtime: Option<Runtime>,
}

/// What a member tells of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemberStatus {
    pub(crate) number: usize,
    pub(crate) id: u64,
    pub(crate) leader: u64,
    pub(crate) term: u64,
    pub(crate) revision: i64,
}

/// The way of the other members to one of them.
struct PeerDoor {
    proxy: Proxy,
    /// The link from each member.
    from: Vec<Link>,
}

impl Cluster {
    /// Starts three members and waits until they are healthy.
    pub(crate) fn start() -> Self {
        let mut last = String::new();
        for _ in 0..START_ATTEMPTS {
            let mut cluster = Self::stopped();
            for number in 0..MEMBERS {
                cluster.restart(number);
            }
            match cluster.healthy_before(DEADLINE) {
                Ok(_) => return cluster,
                Err(told) => last = told,
            }
        }
        panic!("the cluster did not start in {START_ATTEMPTS} attempts; it last said:\n{last}");
    }

    /// A cluster of which no member runs yet.
    pub(crate) fn stopped() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("cluster-proxies")
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let members: Vec<Member> = (0..MEMBERS).map(Member::new).collect();
        let processes: Vec<Process> = members.iter().map(Member::process).collect();
        let mut cluster = Self {
            clients: Vec::new(),
            doors: Vec::new(),
            peers: Vec::new(),
            arguments: Vec::new(),
            runtime: Some(runtime),
            members,
        };
        for number in 0..MEMBERS {
            let (client, peer) = (cluster.members[number].client, cluster.members[number].peer);
            let door = cluster.wait_for(Proxy::start(client));
            let peers = cluster.wait_for(PeerDoor::start(peer, processes.clone()));
            let raw = cluster.wait_for(async move {
                let connecting = Client::connect([format!("http://{client}")], None);
                connecting.await.expect("a client connects when it is used")
            });
            cluster.doors.push(door);
            cluster.peers.push(peers);
            cluster.clients.push(raw);
        }
        let all: Vec<String> = cluster
            .members
            .iter()
            .zip(&cluster.peers)
            .map(|(member, door)| format!("{}={}", member.name, door.proxy.endpoint()))
            .collect();
        cluster.arguments = (0..MEMBERS)
            .map(|number| {
                let mut arguments: Vec<String> = TIMES.map(str::to_owned).to_vec();
                let peer = cluster.peers[number].proxy.endpoint();
                arguments.push(format!("--initial-advertise-peer-urls={peer}"));
                let client = cluster.doors[number].endpoint();
                arguments.push(format!("--advertise-client-urls={client}"));
                arguments.push(format!("--initial-cluster={}", all.join(",")));
                arguments
            })
            .collect();
        cluster
    }

    /// How many members there are.
    pub(crate) fn size(&self) -> usize {
        MEMBERS
    }

    /// Where clients reach the members, each through its proxy.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.doors.iter().map(Proxy::endpoint).collect()
    }

    /// The way of clients to a member.
    pub(crate) fn door(&self, number: usize) -> &Proxy {
        &self.doors[number]
    }

    /// One more way to a member, to be damaged for some clients alone.
    pub(crate) fn proxy_to(&self, number: usize) -> Proxy {
        self.wait_for(Proxy::start(self.members[number].client))
    }

    /// A client of one member that uses no proxy. It is for looking at the store past what is tested.
    pub(crate) fn raw(&self, number: usize) -> Client {
        self.clients[number].clone()
    }

    /// Kills a member (SIGKILL).
    pub(crate) fn kill(&mut self, number: usize) {
        self.members[number].kill();
    }

    /// Starts a member on the data it had, after killing it if it runs; it is healthy only later.
    pub(crate) fn restart(&mut self, number: usize) {
        self.members[number].start(&self.arguments[number]);
    }

    /// Stops a member in its tracks (SIGSTOP).
    pub(crate) fn pause(&self, number: usize) {
        self.members[number].pause();
    }

    /// Lets a member go on after [`pause`](Self::pause) (SIGCONT).
    pub(crate) fn resume(&self, number: usize) {
        self.members[number].resume();
    }

    /// Cuts a member off from the others, both ways; clients still reach it.
    pub(crate) fn isolate(&self, number: usize) {
        for other in (0..MEMBERS).filter(|&other| other != number) {
            self.peers[number].from[other].cut();
            self.peers[other].from[number].cut();
        }
    }

    /// Mends all that [`isolate`](Self::isolate) cut.
    pub(crate) fn rejoin(&self) {
        for door in &self.peers {
            for link in &door.from {
                link.mend();
            }
        }
    }

    /// What each member that answers tells of itself.
    pub(crate) fn statuses(&self) -> Vec<MemberStatus> {
        let asking: Vec<_> = self
            .clients
            .iter()
            .zip(&self.members)
            .enumerate()
            .filter(|(_, (_, member))| member.process().lock().unwrap().is_some())
            .map(|(number, (client, _))| status(number, client.clone()))
            .collect();
        self.wait_for(async move { join_all(asking).await.into_iter().flatten().collect() })
    }

    /// What each member makes of all keys and their history up to `revision`, in one number; of those that answer and have it.
    pub(crate) fn hashes(&self, revision: i64) -> Vec<u32> {
        let asking: Vec<_> = self
            .clients
            .iter()
            .map(|client| hash(client.clone(), revision))
            .collect();
        self.wait_for(async move { join_all(asking).await.into_iter().flatten().collect() })
    }

    /// The member that leads, of those that answer, if one does.
    pub(crate) fn leader(&self) -> Option<usize> {
        self.statuses()
            .into_iter()
            .filter(|status| status.leader == status.id)
            .max_by_key(|status| status.term)
            .map(|status| status.number)
    }

    /// The newest revision that any member knows; waits until one answers.
    pub(crate) fn revision(&self) -> i64 {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let statuses = self.statuses();
            if let Some(newest) = statuses.iter().map(|status| status.revision).max() {
                return newest;
            }
            assert!(Instant::now() < deadline, "no member tells its revision");
            thread::sleep(POLL);
        }
    }

    /// Waits until a member leads, other than `fallen`.
    pub(crate) fn wait_for_leader_after(&self, fallen: usize) -> usize {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.leader() {
                Some(leader) if leader != fallen => return leader,
                _ => assert!(
                    Instant::now() < deadline,
                    "no leader after {fallen}: {:?}",
                    self.statuses()
                ),
            }
            thread::sleep(POLL);
        }
    }

    /// Waits until every member is healthy and all have the same leader, which is returned.
    pub(crate) fn wait_until_healthy(&mut self) -> usize {
        self.healthy_before(DEADLINE).unwrap_or_else(|told| {
            panic!("the cluster is not healthy within {DEADLINE:?}; its members said:\n{told}")
        })
    }

    fn healthy_before(&mut self, limit: Duration) -> Result<usize, String> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(leader) = self.healthy_leader() {
                return Ok(leader);
            }
            let ended = self.members.iter_mut().any(Member::ended);
            if ended || Instant::now() > deadline {
                return Err(self.members.iter().map(Member::told).collect());
            }
            thread::sleep(POLL);
        }
    }

    /// The leader that all members agree on, if they are all healthy.
    fn healthy_leader(&self) -> Option<usize> {
        if !self.members.iter().all(Member::is_healthy) {
            return None;
        }
        let statuses = self.statuses();
        let leader = statuses.iter().find(|one| one.id == one.leader)?;
        let agreed = statuses.iter().all(|one| one.leader == leader.id);
        (agreed && statuses.len() == MEMBERS).then_some(leader.number)
    }

    /// Runs a future on the cluster's own thread and waits for it; also from inside another runtime.
    pub(crate) fn wait_for<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let (sender, result) = mpsc::channel();
        let runtime = self.runtime.as_ref().expect("it is there until the end");
        runtime.spawn(async move { sender.send(future.await) });
        result.recv().expect("the future does not panic")
    }
}

async fn status(number: usize, client: Client) -> Option<MemberStatus> {
    let mut maintenance = client.maintenance_client();
    let asking = tokio::time::timeout(STATUS_LIMIT, maintenance.status());
    let answer = asking.await.ok()?.ok()?;
    let header = answer.header()?;
    Some(MemberStatus {
        number,
        id: header.member_id(),
        leader: answer.leader(),
        term: answer.raft_term(),
        revision: header.revision(),
    })
}

async fn hash(client: Client, revision: i64) -> Option<u32> {
    let mut maintenance = client.maintenance_client();
    let asking = tokio::time::timeout(DEADLINE, maintenance.hash_kv(revision));
    Some(asking.await.ok()?.ok()?.hash())
}

impl PeerDoor {
    async fn start(target: std::net::SocketAddr, processes: Vec<Process>) -> Self {
        let from: Vec<Link> = processes.iter().map(|_| Link::new()).collect();
        let links = from.clone();
        let proxy = Proxy::start_with(target, move |client, here| {
            let running = processes.iter().map(|process| *process.lock().unwrap());
            let running: Vec<Option<u32>> = running.collect();
            let known: Vec<u32> = running.iter().copied().flatten().collect();
            let owner = origin::owner(client, here, &known)?;
            let number = running.iter().position(|&process| process == Some(owner))?;
            Some(links[number].clone())
        });
        Self {
            proxy: proxy.await,
            from,
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            member.kill();
        }
        if let Some(runtime) = self.runtime.take() {
            // Dropping it would wait, which is not allowed inside another runtime.
            runtime.shutdown_background();
        }
    }
}
