//! Single sign-on: what browsers and identity providers meet under `/oauth2/saml/`.
pub mod logout;
mod sign_on;

use super::{
    Cx,
    error::{Code, OAuthError},
    interaction::Interaction,
    web::Visit,
};
use crate::{
    model::Session,
    policy::saml::{ACS, LOGOUT, Partner},
    saml::ServiceProvider,
};
use bytes::Bytes;
use http::{HeaderValue, Method, Response, header};
use serde_json::json;
use std::sync::Arc;

/// All of it is beneath this.
pub const PREFIX: &str = "/oauth2/saml/";
/// Off to an identity provider.
pub const START: &str = "/oauth2/saml/start";
/// Back in this browser.
const FINISH: &str = "/oauth2/saml/finish";
/// Our metadata (SAML Metadata §4.1).
const METADATA: &str = "/oauth2/saml/metadata";

/// The methods that `path` takes; `None` for a path that is not there.
pub fn methods(path: &str) -> Option<&'static [&'static Method]> {
    match path {
        ACS => Some(&[&Method::POST]),
        LOGOUT => Some(&[&Method::GET, &Method::POST]),
        START | FINISH | METADATA => Some(&[&Method::GET]),
        _ => None,
    }
}

/// Answers a visit beneath [`PREFIX`].
pub async fn answer(visit: Visit<'_>) -> Result<Response<Bytes>, OAuthError> {
    match visit.request.uri().path() {
        START => sign_on::start(visit).await,
        ACS => sign_on::acs(visit).await,
        FINISH => sign_on::finish(visit).await,
        LOGOUT => logout::page(visit).await,
        _ => metadata(visit.cx),
    }
}

/// The other ways to sign in that the login page offers: `(address, name)`.
pub fn ways(interaction: &str, cx: &Cx) -> Vec<serde_json::Value> {
    let usable = cx.policy.saml.partners.values().filter(|p| cx.policy.saml.sp.is_some() && p.idp.valid_at(cx.now));
    usable.map(|p| json!({"href": address(p, interaction), "name": p.title})).collect()
}

/// Where the people of the domain that `name` ends with sign in, if that is not here.
pub fn elsewhere(name: &str, interaction: &str, cx: &Cx) -> Option<String> {
    cx.policy.saml.sp.as_ref()?;
    cx.policy.saml.for_domain(name).filter(|p| p.idp.valid_at(cx.now)).map(|p| address(p, interaction))
}

/// Where somebody who signed in at an IdP shows it a second factor: there, where it knows how to say so. Who has one here
/// shows that; and the IdP is asked once, whatever it answers.
pub fn step_up(session: &Session, interaction: &Interaction, cx: &Cx) -> Option<String> {
    let at = session.at_idp.as_ref().filter(|_| !session.second_factor_due && session.created < interaction.begun)?;
    let partner = cx.policy.saml.partners.get(&at.idp).filter(|p| p.idp.valid_at(cx.now))?;
    let able = cx.policy.saml.sp.is_some() && !partner.high_assurance_contexts.is_empty();
    able.then(|| address(partner, &interaction.seal(cx)))
}

fn address(partner: &Partner, interaction: &str) -> String {
    format!("{START}?idp={}&i={interaction}", partner.name)
}

fn metadata(cx: &Cx) -> Result<Response<Bytes>, OAuthError> {
    let mut response = Response::new(Bytes::from(sp(cx)?.metadata(cx.policy.saml.sign_metadata)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/samlmetadata+xml"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

fn sp(cx: &Cx) -> Result<&Arc<ServiceProvider>, OAuthError> {
    cx.policy.saml.sp.as_ref().ok_or_else(|| refused("there is no [saml] in the configuration"))
}

/// What was used before ends as a conflict in the store (S52).
fn replayed(error: OAuthError) -> OAuthError {
    let replayed =
        ["assertion/saml/", "saml_request/"].iter().any(|kind| error.detail.contains(&format!("conflict on {kind}")));
    if replayed { refused(format_args!("a replay: {}", error.detail)) } else { error }
}

/// What a person is told: little. The log is told all.
fn refused(detail: impl std::fmt::Display) -> OAuthError {
    OAuthError::new(Code::AccessDenied, "single sign-on failed").detail(detail)
}
