//! A member of a group, which writes a diary.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use million::framework::{
    Cx, Group, GroupBuilder, Handle, Handler, Message, Million, Restart, Service, StartError,
    Strategy,
};

use crate::flaky::ms;

/// What happened to whom, in order.
#[derive(Clone, Default)]
pub(crate) struct Diary(Arc<Mutex<Vec<(&'static str, char)>>>);

impl Diary {
    pub(crate) fn add(&self, what: &'static str, who: char) {
        self.0.lock().unwrap().push((what, who));
    }

    /// All since the last time, as "up a, up b".
    pub(crate) fn read(&self) -> String {
        let read = std::mem::take(&mut *self.0.lock().unwrap());
        let lines: Vec<_> = read
            .into_iter()
            .map(|(what, who)| format!("{what} {who}"))
            .collect();
        lines.join(", ")
    }
}

pub(crate) struct Member {
    pub(crate) name: char,
    pub(crate) diary: Diary,
    pub(crate) start_takes: Duration,
    pub(crate) stop_takes: Duration,
    pub(crate) fails_to_start: bool,
}

impl Service for Member {
    async fn on_start(cx: &Cx<Self>) -> Result<(), StartError> {
        let takes = cx.with(|member| {
            member.diary.add("begin", member.name);
            member.start_takes
        });
        cx.sleep(takes).await;
        let member = cx.state();
        if member.fails_to_start {
            return Err(StartError::new("no"));
        }
        member.diary.add("up", member.name);
        Ok(())
    }

    async fn on_stop(cx: &Cx<Self>) {
        let takes = cx.with(|member| {
            member.diary.add("stop", member.name);
            member.stop_takes
        });
        cx.sleep(takes).await;
        let member = cx.state();
        member.diary.add("stopped", member.name);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.diary.add("gone", self.name);
    }
}

pub(crate) struct Fail;

impl Message for Fail {
    type Reply = ();
}

impl Handler<Fail> for Member {
    async fn handle(_: &Cx<Self>, _: Fail) {
        panic!("a member failed");
    }
}

pub(crate) struct Who;

impl Message for Who {
    type Reply = char;
}

impl Handler<Who> for Member {
    async fn handle(cx: &Cx<Self>, _: Who) -> char {
        cx.state().name
    }
}

pub(crate) struct Hang;

impl Message for Hang {
    type Reply = ();
}

impl Handler<Hang> for Member {
    async fn handle(_: &Cx<Self>, _: Hang) {
        std::future::pending().await
    }
}

pub(crate) struct House {
    pub(crate) diary: Diary,
    pub(crate) members: Vec<Handle<Member>>,
    pub(crate) group: Group,
}

pub(crate) fn add(group: &mut GroupBuilder, name: char, diary: &Diary) -> Handle<Member> {
    let diary = diary.clone();
    group.add(move || Member {
        name,
        diary: diary.clone(),
        start_takes: ms(20),
        stop_takes: ms(20),
        fails_to_start: false,
    })
}

/// Members a, b and c, up.
pub(crate) async fn house(million: &Million, strategy: Strategy, restart: Restart) -> House {
    let diary = Diary::default();
    let mut group = million.supervise_group(strategy, restart);
    let members = ['a', 'b', 'c'].map(|name| add(&mut group, name, &diary));
    let group = group.start();
    for member in &members {
        assert!(member.call(Who).await.is_ok());
    }
    assert_eq!(diary.read(), "begin a, up a, begin b, up b, begin c, up c");
    House {
        diary,
        members: members.to_vec(),
        group,
    }
}

pub(crate) async fn all_answer(house: &House) {
    for (member, name) in house.members.iter().zip('a'..) {
        assert_eq!(member.call(Who).await, Ok(name));
    }
}
