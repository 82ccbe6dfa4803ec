//! What a proxy in front of the web app asks: whether a browser's session lets it in (nginx's `auth_request`, Traefik's
//! `forwardAuth`).
use super::{asked_for, open};
use crate::provider::{
    error::OAuthError,
    restriction,
    web::{GATE_COOKIE, Visit, cookie},
};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use std::{borrow::Cow, collections::BTreeMap};

/// `GET /oauth2/auth`: 202 with who it is, or 401; 403 where `allowed_groups`, `allowed_emails` or
/// `allowed_email_domains` names nothing of theirs. For nginx's `auth_request` and Traefik's `forwardAuth`.
pub async fn auth(visit: Visit<'_>) -> Result<Response<Bytes>, OAuthError> {
    let cx = visit.cx;
    let opened = match cookie(visit.request.headers(), GATE_COOKIE) {
        Some(value) => open(&value, &asked_for(visit.request), cx).await?,
        None => None,
    };
    let mut response = Response::new(Bytes::new());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let Some(opened) = opened.filter(|o| cx.tokens.alive(o, cx.now).is_ok()) else {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return Ok(response);
    };
    let known = cx.user(&opened.subject).await?;
    let user = known.as_ref();
    let Some(standing) = cx.policy.standing(&opened, cx.now).filter(|_| user.is_none_or(|u| u.active)) else {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return Ok(response);
    };
    if restriction::address(standing.client, user.map(|u| &**u), opened.shown(), cx).is_err() {
        *response.status_mut() = StatusCode::FORBIDDEN;
        return Ok(response);
    }
    let groups: Vec<&str> = user.iter().flat_map(|u| u.permissions.iter().map(String::as_str)).collect();
    let email = user.and_then(|u| u.profile.email.as_deref());
    if !allowed(visit.request.uri().query().unwrap_or_default(), &groups, email) {
        *response.status_mut() = StatusCode::FORBIDDEN;
        return Ok(response);
    }
    *response.status_mut() = StatusCode::ACCEPTED;
    for (name, value) in [
        ("x-auth-request-user", Some(opened.subject.to_string())),
        ("x-auth-request-preferred-username", Some(opened.subject.to_string())),
        ("x-auth-request-email", email.map(str::to_owned)),
        ("x-auth-request-groups", (!groups.is_empty()).then(|| groups.join(","))),
    ] {
        if let Some(value) = value.and_then(|v| HeaderValue::from_str(&v).ok()) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// Whether the query of a question lets in somebody of these `groups` and this `email`, as oauth2-proxy decides: every
/// `allowed_…` that it holds must name something of theirs, each as often as it likes and with commas. One that is not
/// known here lets nobody in.
fn allowed(query: &str, groups: &[&str], email: Option<&str>) -> bool {
    let mut asked: BTreeMap<Cow<'_, str>, bool> = BTreeMap::new();
    let pairs = form_urlencoded::parse(query.as_bytes());
    for (name, values) in pairs.filter(|(name, values)| name.starts_with("allowed_") && !values.is_empty()) {
        let names_theirs = values.split(',').filter(|value| !value.is_empty()).any(|value| match &*name {
            "allowed_groups" => groups.contains(&value),
            "allowed_emails" => email == Some(value),
            "allowed_email_domains" => email.is_some_and(|email| is_of_domain(email, value)),
            _ => false,
        });
        *asked.entry(name).or_default() |= names_theirs;
    }
    asked.into_values().all(|theirs| theirs)
}

/// Whether an address is of `domain`, of `.domain` or below it, or below `*.domain`.
fn is_of_domain(email: &str, domain: &str) -> bool {
    let Some((_, host)) = email.split_once('@').filter(|(_, host)| !host.contains('@')) else { return false };
    let (host, domain) = (host.to_ascii_lowercase(), domain.to_ascii_lowercase());
    let (whole, below) = match domain.strip_prefix('*') {
        Some(below) => (None, Some(below)),
        None => (Some(domain.trim_start_matches('.')), Some(&*domain)),
    };
    whole == Some(&*host) || below.is_some_and(|below| below.starts_with('.') && host.ends_with(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_decided_as_oauth2_proxy_decides_it() {
        let ask = |query: &str| allowed(query, &["sales", "ops"], Some("alice@eu.example.com"));
        for yes in [
            "",
            "rd=/x",
            "allowed_groups=",
            "allowed_groups=support,sales",
            "allowed_groups=support&allowed_groups=ops",
            "allowed_emails=bob@example.com,alice@eu.example.com&allowed_groups=ops",
            "allowed_email_domains=other.example,EU.example.com",
            "allowed_email_domains=.example.com",
            "allowed_email_domains=.eu.example.com",
            "allowed_email_domains=*.example.com",
        ] {
            assert!(ask(yes), "{yes}");
        }
        for no in [
            "allowed_groups=support",
            "allowed_groups=,",
            "allowed_emails=bob@example.com",
            "allowed_emails=bob@example.com&allowed_groups=sales",
            "allowed_email_domains=example.com",
            "allowed_email_domains=u.example.com",
            "allowed_email_domains=*.eu.example.com",
            "allowed_email_domains=*",
            "allowed_roles=admin",
        ] {
            assert!(!ask(no), "{no}");
        }
        for query in ["allowed_emails=alice@example.com", "allowed_email_domains=example.com"] {
            assert!(!allowed(query, &[], None) && !allowed(query, &[], Some("a@b@example.com")), "{query}");
        }
    }
}
