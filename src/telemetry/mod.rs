//! OpenTelemetry traces: what one request in so many did, and how long each part took. Off without `[telemetry]`.
//!
//! A request that is not sampled costs one comparison. A sampled one gathers its spans in memory and hands them over when it
//! has ended; a thread of its own sends them, and what finds no room is dropped and counted: no request waits for a collector.
mod export;
mod otlp;
mod stored;
#[cfg(test)]
mod tests;

use crate::{clock, metrics::Metrics, secret::Plain};
use export::Exporter;
pub use export::Target;
use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
pub use stored::Traced;

/// Spans of one request at most; the rest is dropped and counted.
const MOST_SPANS: usize = 64;

/// What is traced, and where it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The collector.
    pub target: Target,
    /// The part of requests that is traced, from 0 to 1.
    pub ratio: f64,
    /// Whether a caller's own decision, the `sampled` flag of its `traceparent`, is followed.
    pub follow: bool,
    /// `service.name`.
    pub service: String,
    /// Traces that wait at most.
    pub queue: usize,
}

impl Eq for Options {}

/// Decides which requests are traced, and sends what they did.
pub struct Tracer {
    least: u64,
    follow: bool,
    exporter: Exporter,
    metrics: Arc<Metrics>,
}

/// Part of the random bits of a number that the decision looks at.
const BITS: u32 = 56;

impl Tracer {
    /// Begins to send; `headers` go with each message. The error says what could not be started.
    pub fn start(options: Options, headers: Vec<(String, Plain)>, metrics: Arc<Metrics>) -> Result<Self, String> {
        let whole = 1_u64 << BITS;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let least = ((1.0 - options.ratio.clamp(0.0, 1.0)) * whole as f64) as u64;
        let follow = options.follow;
        Ok(Self { least, follow, exporter: Exporter::start(options, headers, metrics.clone())?, metrics })
    }

    /// The trace of a request, if it is traced. `traceparent` is sound (W3C Trace Context §3.2) and either `given` by the
    /// caller or begun here; `number` is the request's own. A caller cannot have itself traced by the choice of its
    /// trace identifier, as the decision is by a number of ours.
    pub fn begin(&self, traceparent: &str, given: bool, number: u64) -> Option<Box<Trace>> {
        let sampled = match given && self.follow {
            true => u8::from_str_radix(traceparent.get(53..55)?, 16).ok()? & 1 == 1,
            false => number & ((1 << BITS) - 1) >= self.least,
        };
        if !sampled {
            return None;
        }
        let id = traceparent.get(3..35)?.to_owned();
        let parent = if given { u64::from_str_radix(traceparent.get(36..52)?, 16).ok()? } else { 0 };
        let (server, upstream) = (span_id(), span_id());
        let gathered = Gathered::default();
        let (begun, at) = (clock::unix_nanos(), Instant::now());
        Some(Box::new(Trace {
            here: Here { spans: Arc::new(Shared { id, begun, at, gathered: Mutex::new(gathered) }), parent: server },
            parent,
            server,
            upstream,
            peer: None,
        }))
    }

    /// Takes the spans of a request that has ended.
    pub fn end(&self, trace: &Trace) {
        let shared = &trace.here.spans;
        let mut gathered = shared.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        self.metrics.trace_spans.with_label_values(&["dropped"]).inc_by(gathered.lost);
        self.exporter.take(otlp::Batch { id: shared.id.clone(), spans: std::mem::take(&mut gathered.spans) });
    }

    /// Sends what waits; returns when it has been sent or the time for that is over. Blocks.
    pub fn flush(&self) {
        self.exporter.flush();
    }
}

/// A fresh identifier of a span; never nought (W3C Trace Context §3.2.2.4).
fn span_id() -> u64 {
    u64::from_be_bytes(crate::secret::random::<8>()) | 1
}

/// A request that is traced.
pub struct Trace {
    /// For spans beneath the server's.
    pub here: Here,
    parent: u64,
    server: u64,
    upstream: u64,
    /// The upstream's address, where one was chosen.
    pub peer: Option<String>,
}

impl Trace {
    /// `traceparent` for the upstream: the span of the call to it is its parent.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{:016x}-01", self.here.spans.id, self.upstream)
    }

    /// Notes the call to the upstream, which began at `from` and ends now.
    pub fn upstream(&self, from: Instant, name: String, failed: bool, attributes: Vec<Attribute>) {
        let id = self.upstream;
        self.here.spans.add(Span {
            id,
            parent: self.server,
            name: name.into(),
            kind: CLIENT,
            failed,
            attributes,
            ..self.here.spans.times(from)
        });
    }

    /// Notes the request itself, which ends now.
    pub fn server(&self, name: String, failed: bool, attributes: Vec<Attribute>) {
        let times = self.here.spans.times(self.here.spans.at);
        // Its place is kept for it, however many there are beneath it.
        self.here.spans.add_always(Span {
            id: self.server,
            parent: self.parent,
            name: name.into(),
            kind: SERVER,
            failed,
            attributes,
            ..times
        });
    }
}

/// What is known of a span: OpenTelemetry's name for it, and its value.
pub type Attribute = (&'static str, Value);

/// An attribute's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// Within the program (`SpanKind` of OTLP).
pub const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
/// A call of something outside.
pub const CLIENT: u8 = 3;

/// One span, ready to be sent.
#[derive(Default)]
struct Span {
    id: u64,
    parent: u64,
    name: Cow<'static, str>,
    kind: u8,
    /// Nanoseconds since the epoch.
    start: u64,
    end: u64,
    failed: bool,
    attributes: Vec<Attribute>,
}

#[derive(Default)]
struct Gathered {
    spans: Vec<Span>,
    lost: u64,
}

struct Shared {
    id: String,
    begun: u64,
    at: Instant,
    gathered: Mutex<Gathered>,
}

impl Shared {
    fn add(&self, span: Span) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        if gathered.spans.len() < MOST_SPANS - 1 {
            gathered.spans.push(span);
        } else {
            gathered.lost += 1;
        }
    }

    fn add_always(&self, span: Span) {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner).spans.push(span);
    }

    /// From `from` until now, by the clock that the request began with: no change of the machine's moves it.
    fn times(&self, from: Instant) -> Span {
        let since = |i: Instant| {
            self.begun + u64::try_from(i.saturating_duration_since(self.at).as_nanos()).unwrap_or(u64::MAX / 2)
        };
        Span { start: since(from), end: since(Instant::now()), ..Span::default() }
    }
}

/// Where in a trace the work stands.
#[derive(Clone)]
pub struct Here {
    spans: Arc<Shared>,
    parent: u64,
}

tokio::task_local! {
    static HERE: Here;
}

/// Does `work` as a part of `trace`, so that spans begun in it have a parent.
pub async fn within<T>(trace: Option<&Trace>, work: impl Future<Output = T>) -> T {
    match trace {
        None => work.await,
        Some(trace) => Box::pin(HERE.scope(trace.here.clone(), work)).await,
    }
}

/// Does `work` as a span of its own, where it is part of a request that is traced; `told` says what is to be known of the
/// outcome: whether it failed, the span's name, and attributes.
pub async fn span<T>(
    kind: u8,
    work: impl Future<Output = T>,
    told: impl FnOnce(&T) -> (bool, Cow<'static, str>, Vec<Attribute>),
) -> T {
    let Ok(here) = HERE.try_with(Clone::clone) else { return work.await };
    let (id, from) = (span_id(), Instant::now());
    let beneath = Here { spans: here.spans.clone(), parent: id };
    let outcome = Box::pin(HERE.scope(beneath, work)).await;
    let (failed, name, attributes) = told(&outcome);
    here.spans.add(Span { id, parent: here.parent, name, kind, failed, attributes, ..here.spans.times(from) });
    outcome
}
