//! Where an issuer says its keys are: OpenID Connect Discovery §4, RFC 8414 §3.
use crate::outgoing;
use serde::Deserialize;

/// Which document says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Document {
    /// `{issuer}/.well-known/openid-configuration`.
    #[default]
    OpenidConfiguration,
    /// `/.well-known/oauth-authorization-server` between the issuer's host and its path.
    OauthAuthorizationServer,
}

impl Document {
    /// Where it is.
    pub fn url(self, issuer: &str) -> String {
        // A terminating slash is removed first (OIDC Discovery §4.1, RFC 8414 §3.1).
        let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
        match self {
            Self::OpenidConfiguration => format!("{issuer}/.well-known/openid-configuration"),
            Self::OauthAuthorizationServer => {
                let host = issuer.find("://").map_or(0, |at| at + 3);
                let path = issuer[host..].find('/').map_or(issuer.len(), |at| host + at);
                format!("{}/.well-known/oauth-authorization-server{}", &issuer[..path], &issuer[path..])
            }
        }
    }
}

/// `jwks_uri` of a document that `issuer` published under its own name; both are compared and checked before anything
/// else is believed.
pub fn jwks_uri(document: &[u8], issuer: &str) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Metadata {
        issuer: String,
        jwks_uri: String,
    }
    let metadata: Metadata = serde_json::from_slice(document).map_err(|e| format!("not a discovery document: {e}"))?;
    if metadata.issuer != issuer {
        return Err("the document is that of another issuer".to_owned());
    }
    outgoing::sound(&metadata.jwks_uri).map_err(|why| format!("jwks_uri: {why}"))?;
    Ok(metadata.jwks_uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lies_where_the_standards_say_and_speaks_for_its_issuer_alone() {
        let (openid, oauth) = (Document::OpenidConfiguration, Document::OauthAuthorizationServer);
        let well_known = "https://a.example/.well-known";
        assert_eq!(openid.url("https://a.example/"), format!("{well_known}/openid-configuration"));
        assert_eq!(openid.url("https://a.example/t/v2"), "https://a.example/t/v2/.well-known/openid-configuration");
        assert_eq!(oauth.url("https://a.example/t/v2"), format!("{well_known}/oauth-authorization-server/t/v2"));
        assert_eq!(oauth.url("https://a.example"), format!("{well_known}/oauth-authorization-server"));
        let said = |issuer: &str, uri: &str| {
            let text = serde_json::json!({"issuer": issuer, "jwks_uri": uri, "scopes_supported": []}).to_string();
            jwks_uri(text.as_bytes(), "https://a.example/")
        };
        assert_eq!(said("https://a.example/", "https://k.example/keys").unwrap(), "https://k.example/keys");
        assert!(said("https://a.example", "https://k.example/keys").is_err(), "not even a slash less");
        assert!(said("https://a.example/", "http://k.example/keys").is_err());
        assert!(said("https://a.example/", "https://u:p@k.example/keys").is_err());
        assert!(jwks_uri(b"[]", "https://a.example/").is_err());
    }
}
