//! SOAP `login`, `getUserInfo` and `logout`: the username-password flow of the app that the policy names, through the one
//! pipeline.
use super::{
    Cx, Provider,
    error::Code,
    params::Params,
    possession::Shown,
    revoke, token,
    userinfo::{Holder, holder},
};
use crate::{
    policy::salesforce::Salesforce,
    salesforce::soap::{self, Api, BAD_SESSION, Call, Fault, UNAVAILABLE},
};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderValue, Request, Response, StatusCode, header};
use std::{borrow::Cow, io::Read};

/// Largest message that is unpacked, bytes: more is never read.
const LARGEST: u64 = 256 << 10;

impl Provider {
    pub(super) async fn soap(&self, request: &Request<Bytes>, settings: &Salesforce, cx: &Cx) -> Response<Bytes> {
        // `/services/Soap/u/{version}`, and behind it the organization where a session is at work.
        let (api, version) = Api::of(request.uri().path()).unwrap_or((Api::Partner, ""));
        let call = unpacked(request).and_then(|body| soap::read(&body));
        let outcome = match call {
            // What is blocked is not known yet, so nothing can be decided (S66).
            Ok(_) if !self.tokens.ready() => Err(UNAVAILABLE),
            Ok(Call::Login { username, password }) => {
                let login = login(&username, &password, settings, cx).await;
                login.map(|(session, valid, user)| soap::logged_in(&session, valid, &user, version, api, settings))
            }
            Ok(Call::UserInfo { session }) => {
                let known = whose(&session, request, cx).await;
                known.map(|held| soap::user_told(held.opened.expires.0 - cx.now.0, &held.user, api, settings))
            }
            Ok(Call::Logout { session }) => logout(&session, cx).await.map(|()| soap::logged_out(api)),
            Err(fault) => Err(fault),
        };
        let (status, body) = match outcome {
            Ok(body) => (StatusCode::OK, body),
            Err(fault) => (StatusCode::INTERNAL_SERVER_ERROR, soap::refused(fault, api)),
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// The message; Salesforce's own toolkit for Java packs it with gzip.
fn unpacked(request: &Request<Bytes>) -> Result<Cow<'_, [u8]>, Fault> {
    let packed = request.headers().get(header::CONTENT_ENCODING);
    if !packed.is_some_and(|how| how.as_bytes().eq_ignore_ascii_case(b"gzip")) {
        return Ok(Cow::Borrowed(request.body()));
    }
    let mut message = Vec::new();
    let read = GzDecoder::new(&request.body()[..]).take(LARGEST + 1).read_to_end(&mut message);
    match read {
        Ok(_) if message.len() as u64 <= LARGEST => Ok(Cow::Owned(message)),
        Ok(_) | Err(_) => Err(("INVALID_TYPE", "the message does not unpack, or to too much")),
    }
}

type Session = (String, i64, std::sync::Arc<crate::model::User>);

async fn login(username: &str, password: &str, settings: &Salesforce, cx: &Cx) -> Result<Session, Fault> {
    let client = settings.soap_app.as_ref().and_then(|id| cx.policy.clients.get(id));
    let client = client.ok_or(("INVALID_LOGIN", "SOAP login is off"))?;
    let params = Params::default().with("grant_type", "password");
    let params = params.with("username", username).with("password", password);
    let mut trace = token::Trace::default();
    let outcome = token::for_app(client, &params, cx, &mut trace).await;
    let answer = token::told(outcome, &trace, cx).await.map_err(|error| soap::fault(&error))?;
    let user = cx.seen(&trace.subject).ok_or(BAD_SESSION)?;
    let session = answer["access_token"].as_str().unwrap_or_default().to_owned();
    Ok((session, client.token_lifetime, user))
}

async fn whose(session: &str, request: &Request<Bytes>, cx: &Cx) -> Result<Holder, Fault> {
    let shown = Shown { token: session, bound: false, request, path: request.uri().path() };
    let held = holder(&shown, cx).await.map_err(|error| match error.code {
        Code::TemporarilyUnavailable => UNAVAILABLE,
        _ => BAD_SESSION,
    })?;
    let holds = |scope| held.opened.entitlement.scopes.contains(scope) && held.client.scopes.contains(scope);
    if holds("api") || holds("full") {
        Ok(held)
    } else {
        Err(("INSUFFICIENT_ACCESS", "the session lacks the scope api"))
    }
}

async fn logout(session: &str, cx: &Cx) -> Result<(), Fault> {
    cx.tokens.open(session, cx.now).map_err(|_| BAD_SESSION)?;
    revoke::end(session, None, cx).await.map_err(|error| soap::fault(&error))
}
