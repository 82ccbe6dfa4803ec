//! The thread that sends spans, and the bounded queue before it.
use super::{Options, otlp};
use crate::{metrics::Metrics, secret::Plain, secret::reference::Reference};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, channel, sync_channel},
    },
    time::{Duration, Instant},
};
use ureq::{
    Agent,
    http::StatusCode,
    tls::{Certificate, RootCerts, TlsConfig},
};

/// How long spans gather before they are sent together.
const GATHER: Duration = Duration::from_secs(1);
/// Requests that one message speaks of at most.
const MOST_IN_MESSAGE: usize = 256;
/// How often a message is sent again when the collector asks for that (OTLP §"Failures").
const AGAIN: u32 = 2;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// A collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The URL that takes `POST` (OTLP/HTTP): usually ends with `/v1/traces`.
    pub endpoint: String,
    /// Headers that go along, and where their values are kept.
    pub headers: Vec<(String, Reference)>,
    /// Limit of one message.
    pub timeout: Duration,
    /// Authorities to trust, in DER; the public ones if `None`.
    pub authorities: Option<Vec<rustls_pki_types::CertificateDer<'static>>>,
}

enum Item {
    Batch(otlp::Batch),
    Flush(std::sync::mpsc::Sender<()>),
}

/// The queue's end that requests see.
pub(super) struct Exporter {
    queue: SyncSender<Item>,
    metrics: Arc<Metrics>,
    patience: Duration,
    ending: Arc<AtomicBool>,
}

impl Exporter {
    /// Starts the thread.
    pub fn start(options: Options, headers: Vec<(String, Plain)>, metrics: Arc<Metrics>) -> Result<Self, String> {
        let (queue, waiting) = sync_channel(options.queue);
        let (patience, ending) = (options.target.timeout, Arc::new(AtomicBool::new(false)));
        let sender = Sender {
            agent: agent(&options.target),
            options,
            headers,
            metrics: metrics.clone(),
            ending: ending.clone(),
        };
        let thread = std::thread::Builder::new().name("telemetry".to_owned());
        thread.spawn(move || sender.run(&waiting)).map_err(|e| format!("the sender of traces: {e}"))?;
        Ok(Self { queue, metrics, patience, ending })
    }

    /// Takes what is to be sent, or drops and counts it.
    pub fn take(&self, batch: otlp::Batch) {
        let count = batch.spans.len() as u64;
        if self.queue.try_send(Item::Batch(batch)).is_err() {
            self.metrics.trace_spans.with_label_values(&["dropped"]).inc_by(count);
        }
    }

    /// Waits until all that was taken has been sent, as long as one message may take at most.
    pub fn flush(&self) {
        self.ending.store(true, Ordering::Release);
        let (done, sent) = channel();
        let (mut item, until) = (Item::Flush(done), Instant::now() + self.patience);
        while let Err(std::sync::mpsc::TrySendError::Full(back)) = self.queue.try_send(item) {
            if Instant::now() >= until {
                return;
            }
            item = back;
            std::thread::sleep(Duration::from_millis(20));
        }
        // An error means that the time is over, or that there is no thread any more: nothing can be done for the rest.
        let _ = sent.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

fn agent(target: &Target) -> Agent {
    let own = target.authorities.as_ref().map(|all| {
        let all: Vec<Certificate<'static>> = all.iter().map(|c| Certificate::from_der(c).to_owned()).collect();
        TlsConfig::builder().root_certs(RootCerts::new_with_certs(&all)).build()
    });
    let config = Agent::config_builder().tls_config(own.unwrap_or_default()).http_status_as_error(false);
    // What a collector redirects to is not what the configuration trusts with its headers.
    config.max_redirects(0).proxy(None).timeout_global(Some(target.timeout)).build().new_agent()
}

struct Sender {
    agent: Agent,
    options: Options,
    headers: Vec<(String, Plain)>,
    metrics: Arc<Metrics>,
    ending: Arc<AtomicBool>,
}

impl Sender {
    fn run(&self, waiting: &Receiver<Item>) {
        let mut flushed = Vec::new();
        while let Ok(first) = waiting.recv() {
            let (mut batches, until) = (Vec::new(), Instant::now() + GATHER);
            let mut next = Some(first);
            while let Some(item) = next.take() {
                match item {
                    Item::Batch(batch) => batches.push(batch),
                    Item::Flush(done) => flushed.push(done),
                }
                if batches.len() >= MOST_IN_MESSAGE || !flushed.is_empty() {
                    break;
                }
                // The end of the queue is seen at the next round.
                next = waiting.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
            }
            if !batches.is_empty() {
                let count = batches.iter().map(|b| b.spans.len() as u64).sum();
                let outcome = self.send(&otlp::message(&self.options.service, &batches));
                self.metrics.trace_spans.with_label_values(&[outcome]).inc_by(count);
            }
            // Who asked has gone on if he waited too long.
            for done in flushed.drain(..) {
                let _ = done.send(());
            }
        }
    }

    /// Sends one message; says what became of it. A collector that is gone is told of in the metric alone: a line for each
    /// message would drown the log.
    fn send(&self, message: &str) -> &'static str {
        for round in 0..=AGAIN {
            let request = self.agent.post(&self.options.target.endpoint).header("content-type", "application/json");
            let request = self.headers.iter().fold(request, |r, (name, value)| r.header(name, value.expose()));
            let again = match request.send(message) {
                Ok(answer) if answer.status().is_success() => return "sent",
                Ok(answer) => matches!(
                    answer.status(),
                    StatusCode::TOO_MANY_REQUESTS
                        | StatusCode::BAD_GATEWAY
                        | StatusCode::SERVICE_UNAVAILABLE
                        | StatusCode::GATEWAY_TIMEOUT
                ),
                Err(_) => true,
            };
            if !again || round == AGAIN || self.ending.load(Ordering::Acquire) {
                break;
            }
            std::thread::sleep(PAUSE * (round + 1));
        }
        "failed"
    }
}
