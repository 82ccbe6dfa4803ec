//! The second wire shape, of Salesforce's connected apps: paths, parameters, fields, errors. A translation both ways and
//! nothing else: engine, policies and tokens are those of the standard paths.
pub mod answer;
pub mod assertion;
pub mod error;
pub mod identity;
pub mod request;
pub mod scope;
pub mod soap;

use crate::policy::salesforce::Salesforce;
use http::Method;

/// Where the user-agent flow of programs without a server may end.
pub const SUCCESS: &str = "/services/oauth2/success";
/// The authorization endpoint.
pub const AUTHORIZE: &str = "/services/oauth2/authorize";
/// The token endpoint.
pub const TOKEN: &str = "/services/oauth2/token";

/// What a path of this shape leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The authorization endpoint.
    Authorize,
    /// The token endpoint, and where a device asks for its code.
    Token,
    /// Ends a token.
    Revoke,
    /// Tells what a token is.
    Introspect,
    /// OpenID Connect's view of a person.
    Userinfo,
    /// Salesforce's view of a person.
    Identity,
    /// The public keys.
    Keys,
    /// The page at the end of the user-agent flow.
    Success,
    /// SOAP `login`, `getUserInfo` and `logout`.
    Soap,
    /// A link into a browser session.
    SingleAccess,
    /// Dynamic client registration, in the standard's own shape.
    Register,
}

/// Whether a path may belong here; cheap, since every request asks.
pub fn may_own(path: &str) -> bool {
    path.starts_with("/services/") || path.starts_with("/id/")
}

/// Whether a path belongs here; a route may lead the rest of `/services/` to an API.
pub fn owns(path: &str, settings: Option<&Salesforce>) -> bool {
    let ours = path.starts_with("/services/oauth2/") || path.starts_with("/id/");
    settings.is_some_and(|s| ours || s.soap_app.is_some() && soap::Api::of(path).is_some())
}

impl Door {
    /// Behind `path`.
    pub fn of(path: &str) -> Option<Self> {
        match path {
            AUTHORIZE => Some(Self::Authorize),
            TOKEN => Some(Self::Token),
            "/services/oauth2/revoke" => Some(Self::Revoke),
            "/services/oauth2/introspect" => Some(Self::Introspect),
            "/services/oauth2/userinfo" => Some(Self::Userinfo),
            "/services/oauth2/singleaccess" => Some(Self::SingleAccess),
            SUCCESS => Some(Self::Success),
            "/services/oauth2/register" => Some(Self::Register),
            "/id/keys" => Some(Self::Keys),
            path if path.strip_prefix("/id/").is_some_and(|rest| rest.split('/').count() == 2) => Some(Self::Identity),
            path if soap::Api::of(path).is_some() => Some(Self::Soap),
            _ => None,
        }
    }

    /// The methods that it takes.
    pub const fn methods(self) -> &'static [&'static Method] {
        match self {
            Self::Token | Self::Introspect | Self::Soap | Self::Register => &[&Method::POST],
            Self::Keys | Self::Success => &[&Method::GET],
            Self::Authorize | Self::Revoke | Self::Userinfo | Self::Identity | Self::SingleAccess => {
                &[&Method::GET, &Method::POST]
            }
        }
    }
}

/// Whether the user-agent flow hands a refresh token to `redirect_uri`: to a program's own scheme, and to our page.
pub fn keeps_refresh_token(redirect_uri: &str, issuer: &str, settings: &Salesforce) -> bool {
    let ours = [issuer, &settings.instance_url].iter().any(|host| redirect_uri.strip_prefix(*host) == Some(SUCCESS));
    ours || !(redirect_uri.starts_with("https:") || redirect_uri.starts_with("http:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_token_goes_to_a_scheme_of_ones_own_and_to_our_page_alone() {
        let org = Salesforce { instance_url: "https://api.example".into(), ..Salesforce::default() };
        let keeps = |uri: &str| keeps_refresh_token(uri, "https://id.example", &org);
        assert!(keeps("com.example.app:/cb") && keeps("https://id.example/services/oauth2/success"));
        assert!(keeps("https://api.example/services/oauth2/success"));
        for no in ["https://app.example/cb", "http://127.0.0.1/cb", "https://evil.example/services/oauth2/success"] {
            assert!(!keeps(no), "{no}");
        }
    }
}
