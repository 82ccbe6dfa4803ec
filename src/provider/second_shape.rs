//! The Salesforce paths: each request goes through the engine as its standard twin, and its answer is told in their shape.
use super::{
    Cx, Provider, browse, device,
    error::{Code, OAuthError},
    gate_session, introspect, not_allowed, paths, registration, respond, revoke, settle, single_access,
    userinfo::Holder,
    web,
};
use crate::{
    model::Wire,
    pages::Page,
    policy::salesforce::Salesforce,
    salesforce::{AUTHORIZE, Door, answer, identity, request},
};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use serde_json::{Value, json};

impl Provider {
    pub(super) async fn second_shape(&self, request: Request<Bytes>, cx: Cx) -> Response<Bytes> {
        let Some(settings) = cx.policy.salesforce.clone() else {
            return respond(StatusCode::NOT_FOUND, None);
        };
        if Door::of(request.uri().path()) == Some(Door::Register) && request.method() == Method::POST {
            // Errors here are RFC 7591's, whatever the path.
            return registration::answer(&request, self.in_force.as_deref(), &cx).await;
        }
        let cx = Cx { wire: Wire::Salesforce, ..cx };
        let Some(door) = Door::of(request.uri().path()) else {
            return respond(StatusCode::NOT_FOUND, Some(&json!({"error": "not_found"})));
        };
        if !door.methods().contains(&request.method()) {
            return not_allowed(door.methods());
        }
        match door {
            Door::Authorize => authorize(request, &settings, &cx).await,
            Door::Token => self.second_token(request, &cx).await,
            Door::Revoke => settle("revoke", &cx, end(&request, &cx).await.map(|()| None)),
            Door::Introspect => {
                let answer = async {
                    let request = request::form(door, request, &cx).await?;
                    introspect::answer(&request, &cx).await
                };
                settle("introspect", &cx, answer.await.map(|a| Some(answer::introspection(&a))))
            }
            Door::Userinfo => person(identity::userinfo(&request, &settings, &cx).await),
            Door::Identity => person(identity::identity(&request, &settings, &cx).await),
            Door::Soap => self.soap(&request, &settings, &cx).await,
            // A GET makes something here, so an address alone, which anybody can have visited, is not enough.
            Door::SingleAccess
                if request.method() == Method::GET && !request.headers().contains_key(header::AUTHORIZATION) =>
            {
                not_allowed(&[&Method::POST])
            }
            Door::SingleAccess => match identity::bearer(&request, identity::From::Request, &cx).await {
                Ok((holder, _)) => settle("single_access", &cx, link(&request, &holder, &cx).await.map(Some)),
                Err(refused) => person(Err(refused)),
            },
            Door::Register => not_allowed(door.methods()),
            Door::Keys => respond(StatusCode::OK, Some(&cx.tokens.jwks())),
            Door::Success => web::Visit::without_session(&request, &cx).page(
                StatusCode::OK,
                Page::message("program_done", &Value::Null),
                &[],
            ),
        }
    }

    async fn second_token(&self, request: Request<Bytes>, cx: &Cx) -> Response<Bytes> {
        match request::form(Door::Token, request, cx).await {
            Err(error) => settle("token_request", cx, Err(error)),
            Ok(request) if request.uri().path() == paths::DEVICE_AUTHORIZATION => {
                let begun = device::authorization(&request, cx).await;
                settle("device", cx, begun.map(|a| Some(answer::device(&a))))
            }
            Ok(request) => self.token(&request, cx).await,
        }
    }
}

/// A form of another site comes again as a GET, for the same reason as on the standard path; whoever asks on the host of
/// the APIs comes again on ours, where sessions and forms are at home.
async fn authorize(mut request: Request<Bytes>, settings: &Salesforce, cx: &Cx) -> Response<Bytes> {
    let host = format!("https://{}", gate_session::authority(&request));
    let home = if host == *settings.instance_url && host != *cx.policy.issuer { &*cx.policy.issuer } else { "" };
    if request.method() == Method::POST {
        let mut form = request::body(&request).await.unwrap_or_default();
        // A form's own address may say the rest; what is said twice is refused when it comes again.
        form.extend(form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned());
        let to = format!("{home}{AUTHORIZE}?{}", web::in_address(form));
        return web::Visit::without_session(&request, cx).redirect(&to);
    }
    if !home.is_empty() {
        let to = format!("{home}{AUTHORIZE}?{}", request.uri().query().unwrap_or_default());
        return web::Visit::without_session(&request, cx).redirect(&to);
    }
    let query = request::authorization(request.uri().query().unwrap_or_default().as_bytes(), &cx.policy);
    match Uri::try_from(format!("{}?{query}", paths::AUTHORIZE)) {
        Ok(uri) => *request.uri_mut() = uri,
        Err(_) => return respond(StatusCode::URI_TOO_LONG, None),
    }
    browse(&request, cx).await
}

/// Whoever holds a token may end it; these clients do not authenticate here.
async fn end(request: &Request<Bytes>, cx: &Cx) -> Result<(), OAuthError> {
    let query = request.uri().query().unwrap_or_default();
    let mut all = request::body(request).await?;
    all.extend(form_urlencoded::parse(query.as_bytes()).into_owned());
    let mut tokens = all.into_iter().filter(|(name, value)| name == "token" && !value.is_empty());
    match (tokens.next(), tokens.next()) {
        (Some((_, token)), None) => revoke::end(&token, None, cx).await,
        (None, _) => Err(OAuthError::new(Code::InvalidRequest, "token is missing")),
        (Some(_), Some(_)) => Err(OAuthError::new(Code::InvalidRequest, "a parameter is repeated")),
    }
}

/// A link for whom the token acts; `redirect_uri`, in the form or the address, is where it shall lead.
async fn link(request: &Request<Bytes>, holder: &Holder, cx: &Cx) -> Result<Value, OAuthError> {
    let query = request.uri().query().unwrap_or_default();
    let mut all = request::body(request).await?;
    all.extend(form_urlencoded::parse(query.as_bytes()).into_owned());
    let mut wanted = all.iter().filter(|(name, value)| name == "redirect_uri" && !value.is_empty());
    match (wanted.next(), wanted.next()) {
        (first, None) => single_access::link(holder, first.map(|(_, uri)| uri.as_str()), cx).await,
        (_, Some(_)) => Err(OAuthError::new(Code::InvalidRequest, "a parameter is repeated")),
    }
}

fn person(outcome: Result<Value, identity::Refused>) -> Response<Bytes> {
    match outcome {
        Ok(told) => respond(StatusCode::OK, Some(&told)),
        Err((status, text)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
            let mut response = respond(status, None);
            *response.body_mut() = Bytes::from_static(text.as_bytes());
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            response
        }
    }
}
