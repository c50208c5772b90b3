//! Runs the cases of a group against the three servers and compares what they answered.

use std::collections::HashMap;
use std::fmt::Write;

use futures::future::BoxFuture;

use super::script::{Note, Script};
use super::servers::Servers;

/// One case: what is asked, and in which fields the answers are known to differ.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: for<'a> fn(&'a mut Script) -> BoxFuture<'a, ()>,
    pub(crate) differences: &'static [Difference],
}

/// The cases of one file.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) cases: &'static [Case],
    /// Bytes that its servers keep.
    pub(crate) quota: usize,
}

impl Group {
    /// Whether the case's name, as `group/case`, holds `filter`.
    pub(crate) fn holds(&self, case: &Case, filter: &str) -> bool {
        format!("{}/{}", self.name, case.name).contains(filter)
    }
}

/// A field in which the three are known to differ, with what each says. One that is not found as it is told fails the
/// case too, so that none outlives its reason.
#[derive(Debug)]
pub(crate) struct Difference {
    /// The step and the field, as the table of a failure shows them.
    pub(crate) at: &'static str,
    pub(crate) embedded: &'static str,
    pub(crate) etcd_3_4: &'static str,
    pub(crate) etcd_3_5: &'static str,
    pub(crate) why: &'static str,
}

/// The answer has no such field.
pub(crate) const ABSENT: &str = "(no such field)";

impl Difference {
    /// The real ones differ, and the embedded one says what 3.5 says.
    pub(crate) const fn between_real(
        at: &'static str,
        etcd_3_4: &'static str,
        etcd_3_5: &'static str,
        why: &'static str,
    ) -> Self {
        Self {
            at,
            embedded: etcd_3_5,
            etcd_3_4,
            etcd_3_5,
            why,
        }
    }

    /// The real ones agree, and the embedded one differs from both on purpose.
    pub(crate) const fn on_purpose(
        at: &'static str,
        embedded: &'static str,
        real: &'static str,
        why: &'static str,
    ) -> Self {
        Self {
            at,
            embedded,
            etcd_3_4: real,
            etcd_3_5: real,
            why,
        }
    }

    fn is_between_real(&self) -> bool {
        self.etcd_3_4 != self.etcd_3_5
    }
}

/// A table of cases: `name(script) { … }`, with `differs(…)` before the body where answers are known to differ.
macro_rules! cases {
    ($($name:ident($script:ident) $(differs($differences:expr))? $body:block)*) => {
        pub(crate) const CASES: &[crate::suite::Case] = &[$(crate::suite::Case {
            name: stringify!($name),
            run: |$script| Box::pin(async move { $body; }),
            differences: crate::suite::recorded!($($differences)?),
        }),*];
    };
}
pub(crate) use cases;

macro_rules! recorded {
    () => {
        &[]
    };
    ($differences:expr) => {
        $differences
    };
}
pub(crate) use recorded;

/// How a group fared.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cases: usize,
    /// Cases whose answers are the same in every field.
    pub(crate) identical: usize,
    /// Cases in which 3.4 and 3.5 are known to differ.
    pub(crate) real_differ: usize,
    /// Cases in which the embedded one is known to differ from both.
    pub(crate) on_purpose: usize,
    /// Fields compared.
    pub(crate) fields: usize,
    /// What was not expected, ready to be shown.
    pub(crate) failures: Vec<String>,
}

/// Runs the group's cases whose name, as `group/case`, holds `filter`.
pub(crate) async fn run(group: &Group, servers: &Servers, filter: &str) -> Tally {
    let mut tally = Tally::default();
    let [mut embedded, mut old, mut new] = servers.scripts().await;
    for case in group.cases {
        if !group.holds(case, filter) {
            continue;
        }
        let told = tokio::join!(
            run_on(case, &mut embedded),
            run_on(case, &mut old),
            run_on(case, &mut new),
        );
        let compared = Comparison::new(&told.0, &told.1, &told.2);
        tally.cases += 1;
        tally.fields += compared.fields.len();
        if case.differences.iter().any(Difference::is_between_real) {
            tally.real_differ += 1;
        } else if !case.differences.is_empty() {
            tally.on_purpose += 1;
        }
        let unexpected = compared.unexpected(case.differences);
        if !unexpected.is_empty() {
            let name = format!("{}/{}", group.name, case.name);
            tally.failures.push(format!("{name}\n{unexpected}"));
        } else if case.differences.is_empty() {
            tally.identical += 1;
        }
    }
    tally
}

async fn run_on(case: &Case, script: &mut Script) -> Vec<Note> {
    script.begin(case.name).await;
    (case.run)(script).await;
    script.take_notes()
}

/// The answers of the three side by side.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// The field, then what embedded, 3.4 and 3.5 say.
    fields: Vec<(String, [String; 3])>,
}

impl Comparison {
    pub(crate) fn new(embedded: &[Note], old: &[Note], new: &[Note]) -> Self {
        let mut fields: Vec<(String, [String; 3])> = Vec::new();
        let mut places = HashMap::new();
        for (server, notes) in [embedded, old, new].into_iter().enumerate() {
            for (field, value) in notes {
                let place = *places.entry(field.clone()).or_insert_with(|| {
                    fields.push((field.clone(), [ABSENT; 3].map(str::to_owned)));
                    fields.len() - 1
                });
                fields[place].1[server].clone_from(value);
            }
        }
        Self { fields }
    }

    /// Every difference that is not recorded, and every record that is not found so; empty if there is neither.
    pub(crate) fn unexpected(&self, recorded: &[Difference]) -> String {
        let mut told = String::new();
        for (field, [embedded, old, new]) in &self.fields {
            let known = recorded.iter().find(|difference| difference.at == field);
            let expected = match known {
                None => embedded == old && old == new,
                Some(known) => {
                    (embedded.as_str(), old.as_str(), new.as_str())
                        == (known.embedded, known.etcd_3_4, known.etcd_3_5)
                }
            };
            if !expected {
                let _ = write!(
                    told,
                    "  {field}\n    embedded  {embedded}\n    etcd 3.4  {old}\n    etcd 3.5  {new}\n"
                );
                if let Some(known) = known {
                    let _ = writeln!(told, "    recorded  {known:?}");
                }
            }
        }
        for known in recorded {
            if !self.fields.iter().any(|(field, _)| field == known.at) {
                let _ = writeln!(
                    told,
                    "  {}\n    is recorded and not there: {known:?}",
                    known.at
                );
            }
        }
        told
    }
}
