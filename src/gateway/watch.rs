//! What outlives its decision: WebSocket, server-sent events and gRPC streams end when what let them in does. And what
//! never becomes whole: over HTTP/2 nobody else waits for a body with a deadline.
use super::{client_certificate::Arrived, guard};
use crate::{
    clock::Clock,
    metrics::Metrics,
    policy::{SharedPolicy, route::Route},
    token::{Opened, Tokens},
};
use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// Between two looks at what lets a stream go on: the longest that it outlives its authorization.
const LOOK: Duration = Duration::from_millis(500);

tokio::task_local! {
    static WATCH: Arc<Watch>;
}

/// Stands beside one request, outside of Pingora's phases, and can end it.
#[derive(Default)]
pub struct Watch {
    header_seen: AtomicBool,
    held: OnceLock<Held>,
    /// When more of the request's body has to have come, where it is this watch that waits for it.
    due: Mutex<Option<Instant>>,
    told: Notify,
    cut: OnceLock<&'static str>,
    arrived: Option<Arc<Arrived>>,
}

/// What let a stream in.
pub struct Held {
    /// For whom.
    pub opened: Arc<Opened>,
    /// Along which route, as it was then.
    pub route: Arc<Route>,
    /// From where.
    pub address: Option<IpAddr>,
    /// With which method.
    pub method: String,
    /// Whose tokens.
    pub tokens: Arc<Tokens>,
    /// The policy in force.
    pub policy: SharedPolicy,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Endings are counted here.
    pub metrics: Arc<Metrics>,
}

impl Held {
    fn holds(&self) -> bool {
        let now = self.clock.now();
        let policy = self.policy.load();
        // The route as it is now: a reload may ask for more, or have taken it away.
        let Some(route) = policy.routes.named(&self.route.name) else { return false };
        let requirement = route.requirement(&self.method);
        self.tokens.alive(&self.opened, now).is_ok()
            && guard::entitled(&policy, (route, requirement), &self.opened, self.address, now).is_ok()
    }
}

impl Watch {
    /// For a request over a connection that arrived like this; `None` where nobody was asked for a certificate.
    pub fn of(arrived: Option<Arc<Arrived>>) -> Self {
        Self { arrived, ..Self::default() }
    }

    /// Runs `work`, the phases of one request, under this watch.
    pub async fn over<T>(self: Arc<Self>, work: impl Future<Output = T>) -> T {
        WATCH.scope(self, work).await
    }

    /// Returns when a stream must end, or a body has stalled; never for anything else.
    pub async fn ended(&self) {
        loop {
            let (held, due) = (self.held.get(), *self.due());
            if due.is_some_and(|due| due <= Instant::now()) {
                let _ = self.cut.set("body_stalled");
                return;
            }
            if let Some(held) = held.filter(|held| !held.holds()) {
                held.metrics.streams_ended.with_label_values(&[&*held.route.name]).inc();
                let _ = self.cut.set("authorization_ended");
                return;
            }
            // What is told is told once, and what it tells of is set first.
            let look = held.map(|_| Instant::now() + LOOK);
            match look.into_iter().chain(due).min() {
                Some(next) => {
                    let _ = tokio::time::timeout_at(next, self.told.notified()).await;
                }
                None => self.told.notified().await,
            }
        }
    }

    fn due(&self) -> MutexGuard<'_, Option<Instant>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when no header has come within `limit`, or like [`Self::ended`].
    pub async fn ended_or_late(&self, limit: Duration) {
        tokio::select! {
            () = tokio::time::sleep(limit) => {
                if self.header_seen.load(Ordering::Acquire) {
                    self.ended().await;
                }
            }
            () = self.ended() => {}
        }
    }
}

/// The header of this request has been read.
pub fn header_seen() {
    // A host of its own has no watch, and keeps its own deadlines.
    let _ = WATCH.try_with(|watch| watch.header_seen.store(true, Ordering::Release));
}

/// More of this request's body has to come within `limit`; `None` when it is whole.
pub fn body_due(limit: Option<Duration>) {
    let _ = WATCH.try_with(|watch| {
        let next = limit.map(|limit| Instant::now() + limit);
        let before = std::mem::replace(&mut *watch.due(), next);
        if before.is_none() && next.is_some() {
            watch.told.notify_one();
        }
    });
}

/// Why this request was ended from outside, where it was.
pub fn cut() -> Option<&'static str> {
    WATCH.try_with(|watch| watch.cut.get().copied()).ok().flatten()
}

/// What this request's connection was asked for, and showed.
pub fn arrived() -> Option<Arc<Arrived>> {
    WATCH.try_with(|watch| watch.arrived.clone()).ok().flatten()
}

/// This request's answer is a stream: it goes on only as long as `held` does.
pub fn hold(held: Held) {
    let _ = WATCH.try_with(|watch| {
        let _ = watch.held.set(held);
        watch.told.notify_one();
    });
}
