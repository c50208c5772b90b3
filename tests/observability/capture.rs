//! A subscriber that remembers every span and event of the process. Tests find theirs by types that nobody else uses.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

pub(crate) type Fields = BTreeMap<&'static str, String>;

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) level: Level,
    pub(crate) fields: Fields,
    /// The spans that it happened in, from the outermost.
    pub(crate) spans: Vec<(&'static str, Fields)>,
}

impl Seen {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub(crate) fn number(&self, name: &str) -> u128 {
        self.field(name).parse().expect("a number")
    }

    /// The spans as `name`, or for those of messages as the type of the message and the number of the service.
    pub(crate) fn way(&self) -> Vec<String> {
        let name = |(name, fields): &(&'static str, Fields)| match fields.get("message") {
            Some(message) => format!("{}({})", last(message), fields["id"]),
            None => (*name).to_owned(),
        };
        self.spans.iter().map(name).collect()
    }
}

fn last(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

static SEEN: Mutex<Vec<Seen>> = Mutex::new(Vec::new());

/// The spans that are open: how many for each type of service.
static OPEN: Mutex<BTreeMap<String, isize>> = Mutex::new(BTreeMap::new());

/// Begins to remember, once for the process.
pub(crate) fn begin() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Remember);
        tracing::subscriber::set_global_default(subscriber)
            .expect("nobody else sets a subscriber for the process");
    });
}

/// What was seen that `which` chooses.
pub(crate) fn seen(which: impl Fn(&Seen) -> bool) -> Vec<Seen> {
    let seen = SEEN.lock().unwrap();
    seen.iter().filter(|seen| which(seen)).cloned().collect()
}

/// The reports and errors that name a service of this type.
pub(crate) fn reports_of<S>() -> Vec<Seen> {
    let service = std::any::type_name::<S>();
    seen(|seen| seen.level <= Level::WARN && seen.field("service") == service)
}

/// How many messages to services of this type have an open span.
pub(crate) fn open_spans_of<S>() -> isize {
    let open = OPEN.lock().unwrap();
    open.get(std::any::type_name::<S>()).copied().unwrap_or(0)
}

struct Remember;

struct Collect<'a>(&'a mut Fields);

impl Visit for Collect<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl<S> Layer<S> for Remember
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let mut fields = Fields::new();
        attributes.record(&mut Collect(&mut fields));
        if let Some(service) = fields.get("service") {
            *OPEN.lock().unwrap().entry(service.clone()).or_default() += 1;
        }
        let span = cx.span(id).expect("it is new");
        span.extensions_mut().insert(fields);
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let mut fields = Fields::new();
        event.record(&mut Collect(&mut fields));
        let spans = cx
            .event_scope(event)
            .into_iter()
            .flat_map(|scope| scope.from_root())
            .map(|span| {
                let fields = span.extensions().get::<Fields>().cloned();
                (span.name(), fields.unwrap_or_default())
            })
            .collect();
        SEEN.lock().unwrap().push(Seen {
            level: *event.metadata().level(),
            fields,
            spans,
        });
    }

    fn on_close(&self, id: Id, cx: Context<'_, S>) {
        let span = cx.span(&id).expect("it is just being closed");
        let extensions = span.extensions();
        let service = extensions
            .get::<Fields>()
            .and_then(|fields| fields.get("service"));
        if let Some(service) = service {
            *OPEN.lock().unwrap().entry(service.clone()).or_default() -= 1;
        }
    }
}
