//! Paths of the standard profile.
pub use crate::policy::own_paths::{JWKS, METADATA, OPENID};

/// RFC 6749 §3.2.
pub const TOKEN: &str = "/oauth2/token";
/// RFC 7009.
pub const REVOKE: &str = "/oauth2/revoke";
/// RFC 7591; each app's own path is beneath it (RFC 7592).
pub const REGISTER: &str = "/oauth2/register";
/// RFC 7662.
pub const INTROSPECT: &str = "/oauth2/introspect";
/// RFC 6749 §3.1.
pub const AUTHORIZE: &str = "/oauth2/authorize";
/// RFC 9126.
pub const PAR: &str = "/oauth2/par";
/// RFC 8628 §3.1.
pub const DEVICE_AUTHORIZATION: &str = "/oauth2/device_authorization";
/// OIDC Core §5.3.
pub const USERINFO: &str = "/oauth2/userinfo";
/// OIDC RP-Initiated Logout.
pub const LOGOUT: &str = "/oauth2/logout";
/// Page: name and password.
pub const LOGIN: &str = "/oauth2/login";
/// Page: one-time code.
pub const SECOND_FACTOR: &str = "/oauth2/second_factor";
/// Page: as whom.
pub const SELECT_ACCOUNT: &str = "/oauth2/select_account";
/// Page: yes or no.
pub const CONSENT: &str = "/oauth2/consent";
/// Into a browser session, by a link that a program was given.
pub const FRONT_DOOR: &str = "/oauth2/frontdoor";
/// On to the next step.
pub const CONTINUE: &str = "/oauth2/continue";
/// Page: the second screen of the device flow.
pub const DEVICE: &str = "/oauth2/device";
/// Page: a person's apps.
pub const ACCOUNT: &str = "/oauth2/account";
/// The gate's own sign-in; these four are oauth2-proxy's paths.
pub const START: &str = "/oauth2/start";
/// Where it comes back to.
pub const CALLBACK: &str = "/oauth2/callback";
/// Its end.
pub const SIGN_OUT: &str = "/oauth2/sign_out";
/// For forward authentication.
pub const AUTH: &str = "/oauth2/auth";
/// Style sheet of the pages.
pub const STYLE: &str = "/oauth2/assets/style.css";
/// The operator's logo.
pub const LOGO: &str = "/oauth2/assets/logo";
