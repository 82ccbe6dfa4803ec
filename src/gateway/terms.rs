//! What a route's terms make of a request: a preflight answered, a limit reached, a closed door, a shadow decision.
use super::{
    denial::{self, Told},
    guard::{self, Carried, Permit},
};
use crate::{
    clock::Timestamp,
    metrics::Metrics,
    policy::{
        Policy,
        route::{Cors, ErrorStyle, Found, Limit, Per, Requirement, Standing, Terms, preflight},
    },
    token::Tokens,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use pingora::{
    http::{RequestHeader, ResponseHeader},
    prelude::*,
};
use serde_json::json;
use std::{net::IpAddr, sync::Arc, time::Instant};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// What an upstream says of other origins does not count where the route speaks of them.
const FOREIGN: [HeaderName; 3] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
];
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The answer to a preflight, where the route that is meant allows other origins; none for anything else.
pub fn to_preflight(policy: &Policy, host: &str, path: &str, request: &RequestHeader) -> Option<Response<Bytes>> {
    let method = preflight(&request.method, &request.headers)?;
    let Found::Route(route) = policy.routes.find(host, path, method) else { return None };
    let cors = route.terms.as_ref()?.cors.as_ref()?;
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    if cors.answer(request.headers.get(header::ORIGIN), response.headers_mut()) {
        cors.preflight(response.headers_mut());
    }
    Some(response)
}

/// Lets the page that asked read an answer.
pub fn readable(cors: &Cors, request: &HeaderMap, response: &mut HeaderMap) {
    cors.answer(request.get(header::ORIGIN), response);
}

/// Where a request stands with the route's limits, as its answer says it.
#[derive(Debug)]
pub struct RateLimit {
    /// `RateLimit-Policy`
    policy: HeaderValue,
    /// `RateLimit`
    standing: HeaderValue,
    /// Seconds to wait, where a limit is reached.
    retry_after: Option<u64>,
}

impl RateLimit {
    /// Says it in `headers` (draft-ietf-httpapi-ratelimit-headers).
    pub fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(RATE_LIMIT_POLICY, self.policy.clone());
        headers.insert(RATE_LIMIT, self.standing.clone());
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
    }

    /// Whether a limit is reached.
    pub fn reached(&self) -> bool {
        self.retry_after.is_some()
    }
}

/// Counts an admitted request against all of the route's limits, or against none if one is reached.
pub fn count(
    limits: &[Limit],
    permit: &Permit,
    address: Option<IpAddr>,
    buckets: impl Fn(&Limit) -> Arc<crate::policy::route::Buckets>,
) -> Option<RateLimit> {
    let now = Instant::now();
    let look = |limit: &Limit, count: bool| {
        let caller = caller(limit.per, permit, address);
        limit.standing(&buckets(limit), caller.as_bytes(), now, count)
    };
    let all: Vec<(&Limit, Standing)> = limits.iter().map(|limit| (limit, look(limit, false))).collect();
    let reached = all.iter().filter(|(_, s)| !s.within).map(|(_, s)| s.retry_after).max();
    let all: Vec<(&Limit, Standing)> = match reached {
        Some(_) => all,
        None => limits.iter().map(|limit| (limit, look(limit, true))).collect(),
    };
    let reached = reached.or_else(|| all.iter().filter(|(_, s)| !s.within).map(|(_, s)| s.retry_after).max());
    let policies: Vec<String> = all.iter().map(|(limit, _)| limit.policy()).collect();
    let standings: Vec<String> =
        all.iter().map(|(limit, s)| format!("\"{}\";r={};t={}", limit.name, s.left, s.reset)).collect();
    let value = |items: Vec<String>| HeaderValue::try_from(items.join(", ")).ok();
    Some(RateLimit { policy: value(policies)?, standing: value(standings)?, retry_after: reached })
}

fn caller(per: Per, permit: &Permit, address: Option<IpAddr>) -> String {
    match (per, permit.opened(), address) {
        (Per::App, Some(opened), _) => opened.entitlement.client.to_string(),
        (Per::User, Some(opened), _) => opened.subject.to_string(),
        (_, _, Some(IpAddr::V6(v6))) => format!("{:x?}", &v6.octets()[..8]),
        (_, _, Some(address)) => address.to_string(),
        (_, _, None) => String::new(),
    }
}

/// What the decision would be under the requirement that is going to come: counted, and a word for the log.
pub fn shadow(
    (policy, tokens): (&Policy, &Tokens),
    (permit, requirement): (&Permit, &Requirement),
    asked: (&str, &str),
    carried: &Carried<'_>,
    now: Timestamp,
    metrics: &Metrics,
) -> &'static str {
    let route = permit.route();
    let decided = match permit.opened() {
        // Its proof has been looked at, and holds once.
        Some(opened) => guard::entitled(policy, (route, requirement), opened, carried.address, now),
        None => guard::decide((policy, tokens), (route, requirement), asked, carried, now).map(|_| ()),
    };
    let (outcome, reason) = match decided {
        Ok(()) => ("allow", "ok"),
        Err(denial) => ("deny", denial.words().1),
    };
    metrics.shadow_decisions.with_label_values(&[&*route.name, outcome, reason]).inc();
    reason
}

/// What a closed route, or a reached limit, answers.
pub fn refusal(limit: Option<&RateLimit>, told: &Told) -> Response<Bytes> {
    let maintenance = told.terms.as_ref().and_then(|t| t.maintenance.as_ref());
    let mut response = match (limit, maintenance) {
        (None, Some(maintenance)) => {
            let mut response = denial::failure(503, told.style);
            let (code, message) = ("temporarily_unavailable", &maintenance.message);
            let body = match told.style {
                ErrorStyle::Oauth => json!({"error": code, "error_description": message}),
                ErrorStyle::Salesforce => json!([{"message": message, "errorCode": code.to_ascii_uppercase()}]),
            };
            *response.body_mut() = Bytes::from(body.to_string());
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(maintenance.retry_after));
            response
        }
        _ => denial::failure(429, told.style),
    };
    if let Some(limit) = limit {
        limit.tell(response.headers_mut());
    }
    response
}

/// Changes an upstream's answer as the route's terms say.
pub fn on_response(
    terms: &Terms,
    rate: Option<&RateLimit>,
    request: &HeaderMap,
    response: &mut ResponseHeader,
) -> Result<()> {
    let rules = &terms.response_headers;
    for name in &rules.remove {
        response.remove_header(name);
    }
    for (name, value) in &rules.set {
        response.insert_header(name, value)?;
    }
    let mut headers = HeaderMap::new();
    if let Some(cors) = &terms.cors {
        for name in FOREIGN {
            response.remove_header(&name);
        }
        cors.answer(request.get(header::ORIGIN), &mut headers);
    }
    if let Some(rate) = rate {
        rate.tell(&mut headers);
    }
    for (name, value) in &headers {
        if name == header::VARY {
            response.append_header(name, value)?;
        } else {
            response.insert_header(name, value)?;
        }
    }
    Ok(())
}
