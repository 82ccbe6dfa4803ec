//! What one request carries through the phases.
use super::{access_log::Kept, guard::Permit, pace::Brought, terms::RateLimit, upstream::Attempt, watch};
use crate::{
    metrics::Counted,
    model::ClientCertificate,
    policy::route::Taken,
    secret,
    telemetry::{Trace, Tracer},
    token::Opened,
};
use http::{HeaderMap, HeaderValue};
use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

const NOTHING: HeaderValue = HeaderValue::from_static("");

/// Idle seconds that an HTTP/1.1 connection is kept.
pub const KEEPALIVE: u64 = 10;

/// A permit, and the issuer of the policy that gave it: one request sees one policy.
pub struct Admitted {
    /// Leave to go upstream.
    pub permit: Permit,
    /// `iss` of tokens made for the upstream.
    pub issuer: Arc<str>,
}

/// State of one request.
pub struct Ctx {
    /// Set by the guard alone.
    pub admitted: Option<Admitted>,
    /// Who was refused, where that is known.
    pub refused: Option<Arc<Opened>>,
    /// The request's identifier in logs and at the upstream.
    pub request_id: HeaderValue,
    /// From where it comes.
    pub address: Option<IpAddr>,
    /// W3C Trace Context, as it came or begun here.
    pub traceparent: HeaderValue,
    /// The host asked for, lower case, without port.
    pub host: HeaderValue,
    /// The route's name, where one was found.
    pub route: Arc<str>,
    /// `allow`, `deny` or `local`.
    pub outcome: &'static str,
    /// Why.
    pub reason: &'static str,
    /// When the request's header had been read.
    pub started: Instant,
    /// When the upstream was chosen.
    pub sent: Option<Instant>,
    /// Which of the upstream's addresses it tries.
    pub attempt: Attempt,
    /// How many of them did not answer.
    pub failed: usize,
    /// Which of them it has tried, a bit each, where they are balanced.
    pub tried: u64,
    /// The one it uses, where they are balanced.
    pub taken: Option<Taken>,
    /// Where it stands with the route's limits.
    pub rate: Option<RateLimit>,
    /// What a shadow requirement would have decided.
    pub shadow: Option<&'static str>,
    /// What its body has brought.
    pub body: Brought,
    /// Counts it as in flight.
    pub counted: Option<Counted>,
    /// Whether its trace began here, so that what other tracers said of another one is not passed on.
    pub begins_trace: bool,
    /// The certificate of its connection, where the upstream is to be told.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// Its trace, where it is traced.
    pub trace: Option<Box<Trace>>,
    /// What its line in the log needs, where it may be ended from outside.
    pub(super) kept: Option<Box<Kept>>,
}

impl Ctx {
    /// The state of a request that nothing is known of.
    pub fn new() -> Self {
        Self {
            admitted: None,
            refused: None,
            request_id: NOTHING,
            address: None,
            traceparent: NOTHING,
            host: NOTHING,
            route: "none".into(),
            outcome: "none",
            reason: "none",
            started: Instant::now(),
            sent: None,
            attempt: Attempt::First,
            failed: 0,
            tried: 0,
            taken: None,
            rate: None,
            shadow: None,
            body: Brought::default(),
            counted: None,
            begins_trace: false,
            certificate: None,
            trace: None,
            kept: None,
        }
    }

    /// Takes up the request: a new identifier, and the caller's trace if it is well formed. Whether it is traced here is up
    /// to `tracer`.
    pub fn begin(&mut self, headers: &HeaderMap, tracer: Option<&Tracer>) {
        self.started = Instant::now();
        let (process, number) = unique();
        let (process, request) = (hex(process), hex(number));
        let request_id = [process, request].concat();
        let mut given = headers.get_all("traceparent").iter();
        let sound = given.next().filter(|v| v.to_str().is_ok_and(is_traceparent));
        let (traceparent, known) = match (sound, given.next()) {
            (Some(one), None) => (one.clone(), true),
            _ => (shown([b"00-", &request_id[..], b"-", &request, b"-01"].concat()), false),
        };
        self.traceparent = traceparent;
        self.begins_trace = !known;
        if let Some(tracer) = tracer {
            self.trace = tracer.begin(self.traceparent.to_str().unwrap_or_default(), known, number);
            match &self.trace {
                Some(trace) => self.traceparent = shown(trace.traceparent().into_bytes()),
                // Nobody is asked to trace what is not traced here, unless the caller does.
                None if !known => {
                    self.traceparent = shown([b"00-", &request_id[..], b"-", &request, b"-00"].concat());
                }
                None => (),
            }
        }
        self.request_id = shown(request_id);
    }
}

impl Drop for Ctx {
    /// A request that was ended from outside comes to no further phase, and is in the log all the same.
    fn drop(&mut self) {
        if let Some((kept, why)) = self.kept.take().zip(watch::cut()) {
            self.reason = why;
            kept.tell(self);
        }
    }
}

impl Default for Ctx {
    fn default() -> Self {
        Self::new()
    }
}

/// An identifier that no other request of any process has: random bits drawn once, and a count.
fn unique() -> (u64, u64) {
    static DRAWN: OnceLock<(u64, u64)> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let (first, second) = *DRAWN.get_or_init(|| {
        let half = || u64::from_be_bytes(secret::random::<8>());
        (half() | 1, half())
    });
    // An odd factor permutes the numbers, so that neighbours do not look alike.
    let count = COUNT.fetch_add(1, Ordering::Relaxed).wrapping_add(second);
    (first, count.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 63)
}

fn shown(text: Vec<u8>) -> HeaderValue {
    HeaderValue::try_from(text).expect("hexadecimal digits and dashes are a header value")
}

fn hex(number: u64) -> [u8; 16] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|n| DIGITS[(number >> ((15 - n) * 4)) as usize & 15])
}

/// Version 00 of `traceparent` (W3C Trace Context §3.2).
fn is_traceparent(text: &str) -> bool {
    if text.len() != 55 {
        return false;
    }
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let not_zero = |part: &str| part.bytes().any(|b| b != b'0');
    match parts[..] {
        ["00", trace, span, flags] => {
            hex(trace, 32) && not_zero(trace) && hex(span, 16) && not_zero(span) && hex(flags, 2)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_trace_is_kept_and_anything_else_is_begun_anew() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let taken = |value: &str| {
            let mut ctx = Ctx::new();
            ctx.begin(
                &HeaderMap::from_iter([(http::HeaderName::from_static("traceparent"), value.parse().unwrap())]),
                None,
            );
            ctx.traceparent.clone()
        };
        assert_eq!(taken(good), good);
        for bad in ["00-00000000000000000000000000000000-00f067aa0ba902b7-01", "x", &good[1..], &good.to_uppercase()] {
            assert!(taken(bad) != bad && is_traceparent(taken(bad).to_str().unwrap()), "{bad}");
        }
    }
}
