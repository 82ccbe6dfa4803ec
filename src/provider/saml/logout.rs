//! Single logout by the browser, both ways (SAML Profiles §4.4): an IdP signs somebody out here, and whoever signs out
//! here is signed out there.
use super::{refused, replayed, sp};
use crate::{
    grant::{saml_bearer::used, stored},
    login::session,
    model::{Session, session::AtIdp},
    pages::Page,
    policy::saml::Partner,
    provider::{
        Cx,
        error::OAuthError,
        logout::signed_out,
        params::Params,
        sign_out::SignOut,
        web::SESSION_COOKIE,
        web::{Visit, set_cookie},
    },
    saml::{
        Kind, Logout, Refusal, Refused, binding,
        binding::Queried,
        logout::{LIFETIME, Request, Response as Answer},
        metadata::{Binding, Endpoint},
        read,
        request::new_id,
    },
    secret::{self, Digest},
    store::{Change, Changes, Expect, Record},
};
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// Longest RelayState of somebody else's that is sent back (SAML Bindings §3.4.3 asks for 80 bytes).
const LONGEST_STATE: usize = 1024;
const SUCCESS: &str = "urn:oasis:names:tc:SAML:2.0:status:Success";

/// A request of ours on its way, stored under the digest of its RelayState.
#[derive(Serialize, Deserialize)]
struct Pending {
    request: String,
    idp: String,
    back: Option<String>,
}

fn key(relay: &str) -> String {
    format!("saml_logout/{}", Digest::text(relay))
}

/// What came, and from whom: verified.
struct Came {
    logout: Logout,
    partner: Arc<Partner>,
    relay: Option<String>,
}

/// `/oauth2/saml/logout`.
pub async fn page(visit: Visit<'_>) -> Result<Response<Bytes>, OAuthError> {
    let cx = visit.cx;
    let ours = &sp(cx)?.logout;
    let Came { logout, partner, relay } = came(&visit)?;
    logout.judge(&[ours], cx.now).map_err(refused)?;
    match logout {
        Logout::Request(request) => asked(visit, &request, &partner, relay.as_deref()).await,
        Logout::Response(answer) => answered(visit, &answer, &partner, relay.as_deref()).await,
    }
}

fn came(visit: &Visit<'_>) -> Result<Came, OAuthError> {
    let cx = visit.cx;
    let from = |issuer: &str| cx.policy.saml.usable(issuer, cx.now).cloned().map_err(refused);
    let same = |logout: Logout, issuer: &str| match logout.issuer() == issuer {
        true => Ok(logout),
        false => Err(Refusal::Issuer.with(format_args!("{} is signed, {issuer} was read", logout.issuer()))),
    };
    if visit.request.method() == Method::POST {
        let form = Params::of_form(visit.request)?;
        let (field, kind) = match form.get("SAMLRequest") {
            Some(field) => (field, Kind::LogoutRequest),
            None => (form.require("SAMLResponse", "no SAML message")?, Kind::LogoutResponse),
        };
        let bytes = binding::from_field(field).map_err(refused)?;
        let passed = read(&bytes, kind).map_err(refused)?;
        let partner = from(&passed.issuer)?;
        let logout = passed.verify_logout(&partner.idp.keys).and_then(|l| same(l, &passed.issuer));
        return Ok(Came {
            logout: logout.map_err(refused)?,
            partner,
            relay: form.get("RelayState").map(str::to_owned),
        });
    }
    let query = visit.request.uri().query().unwrap_or_default();
    let asks = query.split('&').any(|pair| pair.starts_with("SAMLRequest="));
    let (field, kind) =
        if asks { ("SAMLRequest", Kind::LogoutRequest) } else { ("SAMLResponse", Kind::LogoutResponse) };
    let queried = Queried::read(query, field).map_err(refused)?;
    let passed = queried.inspect(&[kind]).map_err(refused)?;
    let partner = from(&passed.issuer)?;
    let logout: Result<Logout, Refused> =
        queried.verify(&passed, &partner.idp.keys).and_then(|l| same(l, &passed.issuer));
    Ok(Came { logout: logout.map_err(refused)?, partner, relay: queried.relay_state.clone() })
}

/// The IdP signs somebody out, once by each of its messages: every session that it began for them, or the ones that it
/// names.
async fn asked(
    mut visit: Visit<'_>,
    request: &Request,
    partner: &Partner,
    relay: Option<&str>,
) -> Result<Response<Bytes>, OAuthError> {
    let cx = visit.cx;
    let mut end = SignOut::default();
    let (mut known, mut own, mut ended, mut offline) = (false, false, 0, 0);
    for origin in session::begun_at(&*cx.store, &partner.idp.entity, &request.name_id, cx.now).await? {
        if !request.sessions.is_empty() && !origin.index.is_some_and(|i| request.sessions.contains(&i)) {
            continue;
        }
        known = true;
        own |= visit.session().is_some_and(|session| session.sid == origin.sid);
        for (key, session) in session::of_user(&*cx.store, &origin.user, cx.now).await? {
            if session.sid == origin.sid {
                end.record(key);
                ended += 1;
            }
        }
        end.sid(&origin.user, &origin.sid, cx).await?;
        if partner.logout_ends_tokens {
            offline += end.offline(&origin.user, &origin.sid, cx).await?;
        }
    }
    // A second one of the same name is somebody else's doing, and would end what was begun since.
    let once = used(&partner.idp.entity, &request.id, request.issue_instant.plus(LIFETIME + 1));
    end.commit(vec![once], cx).await.map_err(replayed)?;
    cx.audit.write(json!({"event": "saml_logout", "outcome": if known { "asked" } else { "unknown" }, "idp": partner.name, "request": request.id,
        "sessions": ended, "authorizations": offline, "time": cx.now}));
    // A browser that a message about somebody else is led to stays signed in.
    if own {
        visit.set(set_cookie(SESSION_COOKIE, String::new(), Some(0)));
    }
    let Some(endpoint) = endpoint(partner) else { return Ok(signed_out(visit)) };
    let (sp, id) = (sp(cx)?, new_id());
    let to = endpoint.response_location.as_ref().unwrap_or(&endpoint.location);
    let message = sp.logout_response(&id, to, &request.id, known, cx.now);
    let relay = relay.filter(|r| r.len() <= LONGEST_STATE);
    send(visit, endpoint.binding, to, "SAMLResponse", (&id, &message), relay)
}

/// The IdP has signed somebody out whom we sent there.
async fn answered(
    visit: Visit<'_>,
    answer: &Answer,
    partner: &Partner,
    relay: Option<&str>,
) -> Result<Response<Bytes>, OAuthError> {
    let cx = visit.cx;
    let record = cx.store.get(&key(relay.unwrap_or_default()), cx.now).await?;
    let record = record.ok_or_else(|| refused("a LogoutResponse that nobody waits for"))?;
    let pending: Pending = stored(&record)?;
    if pending.idp != partner.idp.entity || answer.in_response_to.as_deref() != Some(&*pending.request) {
        let told =
            format!("{:?} of {}, not {} of {}", answer.in_response_to, partner.name, pending.request, pending.idp);
        return Err(refused(told));
    }
    cx.store.commit(Changes(vec![Change::Delete(record.key, Expect::Version(record.version))]), cx.now).await?;
    let outcome = if answer.status.first().is_some_and(|s| s == SUCCESS) { "done" } else { "incomplete" };
    cx.audit.write(json!({"event": "saml_logout", "outcome": outcome, "idp": partner.name,
        "status": answer.status, "time": cx.now}));
    Ok(match pending.back {
        Some(back) => visit.redirect(&back),
        None => signed_out(visit),
    })
}

/// Where a browser goes on to whose session, which has ended here, began at an IdP: there, to be signed out too.
pub async fn there(mut visit: Visit<'_>, at: &AtIdp, back: Option<String>) -> Result<Response<Bytes>, OAuthError> {
    let cx = visit.cx;
    visit.set(set_cookie(SESSION_COOKIE, String::new(), Some(0)));
    let partner = cx.policy.saml.partners.get(&at.idp).filter(|p| p.idp.valid_at(cx.now));
    let found = cx.policy.saml.sp.as_ref().zip(partner).and_then(|(sp, p)| endpoint(p).map(|e| (sp, p, e)));
    let Some((sp, partner, endpoint)) = found else {
        return Ok(match back {
            Some(back) => visit.redirect(&back),
            None => signed_out(visit),
        });
    };
    let (id, relay) = (new_id(), secret::random_id());
    let pending = Pending { request: id.clone(), idp: at.idp.clone(), back };
    let record = Record::passing(key(&relay), cx.now.plus(LIFETIME), &pending);
    cx.store.commit(Changes(vec![Change::Put(record, Expect::Absent)]), cx.now).await?;
    cx.audit.write(json!({"event": "saml_logout", "outcome": "sent", "idp": partner.name, "request": id,
        "time": cx.now}));
    let message = sp.logout_request(&id, &endpoint.location, &at.name, at.index.as_deref(), cx.now);
    send(visit, endpoint.binding, &endpoint.location, "SAMLRequest", (&id, &message), Some(&relay))
}

/// Addresses that the form which signs `session` out may lead on to.
pub fn targets<'a>(session: &Session, cx: &'a Cx) -> impl Iterator<Item = &'a str> + use<'a> {
    let partner = session.at_idp.as_ref().and_then(|at| cx.policy.saml.partners.get(&at.idp));
    partner.into_iter().flat_map(|p| &p.idp.logout).map(|e| e.location.as_str())
}

fn endpoint(partner: &Partner) -> Option<&Endpoint> {
    let by = |binding| partner.idp.logout.iter().find(|e| e.binding == binding);
    by(Binding::Redirect).or_else(|| by(Binding::Post))
}

fn send(
    visit: Visit<'_>,
    how: Binding,
    to: &str,
    field: &'static str,
    (id, message): (&str, &str),
    relay: Option<&str>,
) -> Result<Response<Bytes>, OAuthError> {
    let sp = sp(visit.cx)?;
    Ok(match how {
        Binding::Redirect => visit.redirect(&binding::to_query(to, field, message, relay, &sp.key)),
        Binding::Post => {
            let mut fields = vec![(field, binding::to_field(&sp.signed(message, id)))];
            fields.extend(relay.map(|r| ("RelayState", r.to_owned())));
            visit.page(StatusCode::OK, Page::form_post(to, &fields), &[to])
        }
    })
}
