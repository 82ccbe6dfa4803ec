//! `[salesforce]` of an app: what it may do on the Salesforce paths alone.
use schemars::JsonSchema;
use serde::Deserialize;

/// What programs written for Salesforce need of it: what they put into addresses is never logged here, but others may.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SalesforceTable {
    /// `/services/oauth2/token` takes its parameters from the query of an empty POST.
    pub query_parameters: bool,
    /// `/services/oauth2/userinfo` and `/id/…` take the token as `oauth_token` or `access_token` of the query.
    pub query_tokens: bool,
    /// The names of the hybrid flow stand for those of the web server, refresh and user-agent flows. No web sessions are
    /// handed over.
    pub hybrid: bool,
    /// Further `aud` values of its assertions, compared as they are written, in place of those of `[salesforce]`.
    pub audiences: Option<Vec<String>>,
}
