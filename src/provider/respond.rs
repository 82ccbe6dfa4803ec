//! The answer to an authorization request, in the query, in the fragment, or posted (RFC 6749 §4.1.2, RFC 9207).
use super::{
    Cx,
    authorization_request::{AuthorizationRequest, ResponseMode, ResponseType},
    authorize::Refusal,
    error::OAuthError,
    token::Shape,
    web::Visit,
};
use crate::{
    grant::{
        self, Held, Redeemed,
        authorization_code::{self, AuthorizationCode},
        implicit,
    },
    login::session,
    model::{Client, ScopeSet, Session, Wire},
    pages::Page,
    salesforce,
    store::Changes,
};
use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::json;

/// What the session proves, as the code that stands for it.
fn code_of(request: &AuthorizationRequest, session: &Session, cx: &Cx) -> AuthorizationCode {
    AuthorizationCode {
        client: request.client.clone(),
        redirect_uri: request.redirect_uri.clone(),
        redirect_uri_named: request.redirect_uri_named,
        challenge: request.challenge.clone(),
        subject: session.user.clone(),
        scopes: request.scopes.clone(),
        nonce: request.nonce.clone(),
        sid: session.sid.clone(),
        session_ends: Some(session.ends(cx.policy.people.session)),
        auth_time: session.auth_time,
        level: request.told_level.map_or(session.level, |told| session.level.min(told)),
        amr: session.amr.clone(),
        claims: request.claims.clone(),
        key: request.key,
        authorization: grant::new_id(),
        expires: cx.now.plus(authorization_code::LIFETIME),
        redeemed: false,
    }
}

/// The app gets what it asked for.
pub async fn success(
    visit: Visit<'_>,
    request: &AuthorizationRequest,
    client: &std::sync::Arc<Client>,
    session: &Session,
) -> Result<Response<Bytes>, OAuthError> {
    let cx = visit.cx;
    let code = code_of(request, session, cx);
    let mut fields: Vec<(&'static str, String)> = Vec::new();
    let took_part = session::took_part(&session.sid, &client.id, cx.policy.people.session, cx.now);
    match request.response_type {
        ResponseType::Code => {
            let (text, change) = code.issue();
            cx.store.commit(Changes(vec![change, took_part]), cx.now).await?;
            fields.push(("code", text));
        }
        ResponseType::Token | ResponseType::IdTokenToken => {
            let keeps = cx.policy.salesforce.as_ref().is_some_and(|settings| {
                request.wire == Wire::Salesforce
                    && salesforce::keeps_refresh_token(&request.redirect_uri, &cx.policy.issuer, settings)
            });
            let first = Held::first(&code, client);
            let held = Held { rotate: first.rotate && keeps, ..first };
            let (mut changes, mut endings) = (vec![took_part], Vec::new());
            if held.rotate {
                grant::begin(client, &session.user, &mut changes, &mut endings, cx).await?;
            }
            let scopes = ScopeSet::parse(&request.scopes).unwrap_or_default().intersection(&client.scopes);
            let redeemed = Redeemed {
                client: client.clone(),
                subject: session.user.as_str().into(),
                scopes,
                changes,
                endings,
                held: Some(held),
                terms: Default::default(),
            };
            let answer =
                super::token::issue(redeemed, Vec::new(), &Shape { wire: request.wire, ..Shape::default() }, cx)
                    .await?;
            let id_token = request.response_type == ResponseType::IdTokenToken;
            fields.extend(match request.wire {
                Wire::Standard => implicit::fields(&answer, id_token),
                Wire::Salesforce => salesforce::answer::fragment(&answer, id_token),
            });
        }
    }
    cx.audit.write(json!({"event": "authorize", "outcome": "approved", "client": request.client,
        "subject": session.user, "scope": request.scopes, "sid": session.sid, "time": cx.now}));
    Ok(answer(visit, request, fields))
}

/// The app is told why not.
pub fn error(visit: Visit<'_>, request: &AuthorizationRequest, error: &OAuthError) -> Response<Bytes> {
    let cx = visit.cx;
    let (code, public) = match request.wire {
        Wire::Standard => (error.code.name(), error.public),
        Wire::Salesforce => salesforce::error::on_redirect(error),
    };
    cx.audit.write(json!({"event": "authorize", "outcome": code, "client": request.client,
        "subject": visit.session().map(|s| &s.user), "detail": error.detail, "time": cx.now}));
    let fields = vec![("error", code.to_owned()), ("error_description", public.to_owned())];
    answer(visit, request, fields)
}

/// The same where nobody has been asked anything, and so on a page of ours if the app may be anybody's.
pub fn unasked(visit: Visit<'_>, request: &AuthorizationRequest, why: &OAuthError) -> Response<Bytes> {
    if visit.cx.policy.is_anybodys(&request.client) { failed(visit, why) } else { error(visit, request, why) }
}

/// A request that did not pass its checks.
pub fn refuse(visit: Visit<'_>, refusal: Refusal) -> Response<Bytes> {
    match refusal {
        Refusal::Redirect(request, why) => unasked(visit, &request, &why),
        Refusal::Page(why) => failed(visit, &why),
    }
}

/// A page that says what happened and what to do, never more (S2).
pub fn failed(visit: Visit<'_>, error: &OAuthError) -> Response<Bytes> {
    let cx = visit.cx;
    cx.audit.write(json!({"event": "page", "outcome": error.code.name(), "public": error.public,
        "detail": error.detail, "time": cx.now}));
    let status = match error.code.status() {
        StatusCode::UNAUTHORIZED => StatusCode::BAD_REQUEST,
        status => status,
    };
    let told = match cx.wire {
        Wire::Standard => error.public.to_owned(),
        Wire::Salesforce => {
            let (code, text) = salesforce::error::words(error);
            format!("{code}: {text}")
        }
    };
    visit.page(status, Page::refusal(error, &told), &[])
}

fn answer(
    visit: Visit<'_>,
    request: &AuthorizationRequest,
    mut fields: Vec<(&'static str, String)>,
) -> Response<Bytes> {
    fields.extend(request.state.clone().map(|state| ("state", state)));
    fields.push(("iss", visit.cx.policy.issuer.to_string()));
    let uri = &request.redirect_uri;
    if request.response_mode == ResponseMode::FormPost {
        let page = Page::form_post(uri, &fields);
        return visit.page(StatusCode::OK, page, &[uri]);
    }
    let encoded = form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
    let mark = match request.response_mode {
        ResponseMode::Fragment => '#',
        ResponseMode::Query | ResponseMode::FormPost if uri.contains('?') => '&',
        ResponseMode::Query | ResponseMode::FormPost => '?',
    };
    visit.redirect(&format!("{uri}{mark}{encoded}"))
}
