//! SOAP `login` and `logout`: the username-password flow of the app that the policy names, through the one pipeline.
use super::{Cx, Provider, params::Params, revoke, token};
use crate::{
    policy::salesforce::Salesforce,
    salesforce::soap::{self, BAD_SESSION, Call, Fault},
};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};

impl Provider {
    pub(super) async fn soap(&self, request: &Request<Bytes>, settings: &Salesforce, cx: &Cx) -> Response<Bytes> {
        // `/services/Soap/u/{version}`, and behind it the organization where a session is at work.
        let version = request.uri().path().split('/').nth(4).unwrap_or_default();
        let outcome = match soap::read(request.body()) {
            Ok(Call::Login { username, password }) => {
                self.soap_login(&username, &password, version, settings, cx).await
            }
            Ok(Call::Logout { session }) => logout(&session, cx).await,
            Err(fault) => Err(fault),
        };
        let (status, body) = match outcome {
            Ok(body) => (StatusCode::OK, body),
            Err(fault) => (StatusCode::INTERNAL_SERVER_ERROR, soap::refused(fault)),
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    async fn soap_login(
        &self,
        username: &str,
        password: &str,
        version: &str,
        settings: &Salesforce,
        cx: &Cx,
    ) -> Result<String, Fault> {
        let client = settings.soap_app.as_ref().and_then(|id| cx.policy.clients.get(id));
        let client = client.ok_or(("INVALID_LOGIN", "SOAP login is off"))?;
        let params = Params::default().with("grant_type", "password");
        let params = params.with("username", username).with("password", password);
        let mut trace = token::Trace::default();
        let outcome = token::for_app(client, &params, cx, &mut trace).await;
        let answer = token::told(outcome, &trace, cx).await.map_err(|error| soap::fault(&error))?;
        let user = cx.seen(&trace.subject).ok_or(BAD_SESSION)?;
        let session = answer["access_token"].as_str().unwrap_or_default();
        Ok(soap::logged_in(session, client.token_lifetime, &user, version, settings))
    }
}

async fn logout(session: &str, cx: &Cx) -> Result<String, Fault> {
    cx.tokens.open(session, cx.now).map_err(|_| BAD_SESSION)?;
    revoke::end(session, None, cx).await.map_err(|error| soap::fault(&error))?;
    Ok(soap::logged_out())
}
