//! ID tokens and logout tokens (OIDC Core §2, OIDC Back-Channel Logout §2.4).
use super::Cx;
use crate::{
    model::{Authorization, Client, ScopeSet, SigningAlgorithm, user::SCOPE_CLAIMS},
    secret,
    token::signer::Unsigned,
};
use aws_lc_rs::digest::{SHA256, SHA512, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde_json::{Value, json};

/// Seconds that an ID token may be taken for news.
const LIFETIME: i64 = 600;
/// `typ` of ID tokens: it opens nothing (RFC 8725 §3.11).
pub const TYPE: &str = "JWT";

/// What the ID token is bound to.
#[derive(Default)]
pub struct Asked<'a> {
    /// The request's `nonce`.
    pub nonce: Option<&'a str>,
    /// For `at_hash`.
    pub access_token: Option<&'a str>,
    /// For `c_hash`.
    pub code: Option<&'a str>,
    /// What was granted, of which the app's policy may let the token tell more.
    pub scopes: Option<&'a ScopeSet>,
}

/// Signs an ID token for `client` about the subject of `authorization`.
pub async fn sign(
    client: &Client,
    authorization: &Authorization,
    asked: &Asked<'_>,
    cx: &Cx,
) -> Result<String, Unsigned> {
    let algorithm = client.interactive.id_token_algorithm;
    let rules = &client.policies.id_token;
    let mut claims = json!({
        "iss": cx.policy.issuer, "sub": authorization.subject, "aud": client.id,
        "iat": cx.now, "exp": cx.now.plus(rules.lifetime.unwrap_or(LIFETIME)), "auth_time": authorization.auth_time,
        "acr": authorization.level.acr(),
    });
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            claims[name] = value;
        }
    };
    put("amr", (!authorization.amr.is_empty()).then(|| json!(authorization.amr)));
    put("nonce", asked.nonce.map(Value::from));
    put("at_hash", asked.access_token.map(|t| half_hash(t, algorithm).into()));
    put("c_hash", asked.code.map(|c| half_hash(c, algorithm).into()));
    put("sid", authorization.sid.clone().map(Value::from));
    if !rules.audiences.is_empty() {
        let all: Vec<&str> = std::iter::once(&*client.id).chain(rules.audiences.iter().map(String::as_str)).collect();
        put("aud", Some(json!(all)));
        put("azp", Some(json!(client.id)));
    }
    // What it may be exchanged for ends with the authorization (RFC 8693).
    put("grant_id", Some(authorization.id.clone().into()));
    if let Some(user) = cx.seen(&authorization.subject) {
        let holds = |scope: &str| asked.scopes.is_some_and(|all| all.contains(scope));
        let of_scopes = SCOPE_CLAIMS.iter().filter(|(scope, _)| rules.claims && holds(scope));
        let of_scopes = of_scopes.flat_map(|(_, names)| names.iter().copied());
        for name in of_scopes.chain(authorization.claims.id_token.iter().map(String::as_str)) {
            put(name, user.claim(name));
        }
        put("custom_attributes", rules.custom_attributes.then(|| client.policies.attributes_of(&user).into()));
        let told = rules.custom_permissions && holds("custom_permissions");
        put("custom_permissions", told.then(|| client.policies.permissions_of(&user).into()));
    }
    cx.tokens.sign_claims(TYPE, &claims, algorithm).await
}

/// The app that an ID token of ours was made for.
pub fn made_for(claims: &Value) -> Option<&str> {
    claims["azp"].as_str().or(claims["aud"].as_str())
}

/// A logout token about the session `sid` of `user`.
pub async fn sign_logout(client: &Client, (user, sid): (&str, &str), cx: &Cx) -> Result<String, Unsigned> {
    let claims = json!({
        "iss": cx.policy.issuer, "sub": user, "aud": client.id, "iat": cx.now, "exp": cx.now.plus(120),
        "jti": secret::random_id(), "sid": sid,
        "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
    });
    cx.tokens.sign_claims("logout+jwt", &claims, client.interactive.id_token_algorithm).await
}

/// The left half of a digest (OIDC Core §3.1.3.6).
fn half_hash(text: &str, algorithm: SigningAlgorithm) -> String {
    let hash = match algorithm {
        SigningAlgorithm::Es256 | SigningAlgorithm::Rs256 => digest(&SHA256, text.as_bytes()),
        SigningAlgorithm::EdDsa => digest(&SHA512, text.as_bytes()),
    };
    let half = hash.as_ref().len() / 2;
    B64.encode(&hash.as_ref()[..half])
}
