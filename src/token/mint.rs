//! Everything that is sealed or signed with our own keys.
use super::{
    Claims, Opened, Tokens,
    claims::{More, Sealed},
    signer::Unsigned,
};
use crate::{
    clock::Timestamp,
    model::{SigningAlgorithm, TokenFormat},
    secret,
};
use base64::{
    Engine,
    alphabet::Alphabet,
    engine::general_purpose::{self, GeneralPurpose, URL_SAFE_NO_PAD as B64},
};
use jsonwebtoken::Header;
use serde::Serialize;
use std::sync::Arc;

/// Seconds that a token made for an upstream is good for.
const UPSTREAM_LIFETIME: i64 = 60;

/// base64url with a dot where it has a dash.
const DOTTED: GeneralPurpose = {
    let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._";
    match Alphabet::new(letters) {
        Ok(alphabet) => GeneralPurpose::new(&alphabet, general_purpose::NO_PAD),
        Err(_) => panic!("64 different characters are an alphabet"),
    }
};

fn purpose(organization: &str) -> String {
    format!("organization/{organization}")
}

/// The parts of a token in Salesforce's shape: what it is sealed for, its key's name, the sealed bytes.
pub fn for_organization(token: &str) -> Option<(String, String, Vec<u8>)> {
    let (organization, rest) = token.split_once('!')?;
    let (kid, body) = (rest.get(..8)?, rest.get(8..)?.strip_prefix('_')?);
    (!kid.contains('-')).then_some((purpose(organization), kid.replace('.', "-"), DOTTED.decode(body).ok()?))
}

/// What an opaque token seals: the common claims in their compact form, and the rest behind it, where there is any.
fn plain(claims: &Claims) -> Vec<u8> {
    let mut plain = postcard::to_stdvec(&Sealed::from(claims)).expect("claims are strings and numbers");
    if !claims.more.is_empty() {
        serde_json::to_writer(&mut plain, &claims.more).expect("what few tokens say is plain data");
    }
    plain
}

impl Tokens {
    /// Mints an access token; nothing is written anywhere.
    pub async fn mint(
        &self,
        claims: &Claims,
        format: TokenFormat,
        algorithm: SigningAlgorithm,
    ) -> Result<String, Unsigned> {
        match format {
            TokenFormat::Opaque => {
                let keys = self.keys.load();
                let key = keys.current();
                Ok(format!("pc_{}_{}", key.kid, B64.encode(key.seal(&plain(claims)))))
            }
            TokenFormat::Jwt => self.sign("at+jwt", claims, algorithm).await,
        }
    }

    /// Mints a JWT access token that also says `more`, none of which this server reads again.
    pub async fn mint_telling(
        &self,
        claims: &Claims,
        more: serde_json::Map<String, serde_json::Value>,
        algorithm: SigningAlgorithm,
    ) -> Result<String, Unsigned> {
        let mut all = serde_json::to_value(claims).expect("claims are strings and numbers");
        if let Some(members) = all.as_object_mut() {
            more.into_iter().for_each(|(name, value)| {
                members.entry(name).or_insert(value);
            });
        }
        self.sign("at+jwt", &all, algorithm).await
    }

    /// Mints an opaque token in Salesforce's shape, `{organization}!{letters, digits, dots and underscores}`. It opens
    /// behind this very organization's identifier alone, so that one token has one text.
    pub fn mint_for_organization(&self, claims: &Claims, organization: &str) -> String {
        let keys = self.keys.load();
        let key = keys.current();
        let sealed = key.seal_for(&purpose(organization), &plain(claims));
        format!("{organization}!{}_{}", key.kid.replace('-', "."), DOTTED.encode(sealed))
    }

    /// An asset token: a JWT with a type of its own, which opens nothing else (RFC 8725 §3.11).
    pub async fn mint_asset(&self, claims: &Claims, algorithm: SigningAlgorithm) -> Result<String, Unsigned> {
        self.sign(super::ASSET, claims, algorithm).await
    }

    /// A JWT of ours for one upstream, good for a minute (the phantom-token pattern).
    pub async fn mint_for_upstream(
        &self,
        opened: &Opened,
        issuer: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<String, Unsigned> {
        let claims = Claims {
            iss: issuer.to_owned(),
            sub: opened.subject.to_string(),
            client_id: opened.entitlement.client.to_string(),
            aud: audience.to_owned(),
            scope: opened.entitlement.scopes.to_string(),
            jti: secret::random_id(),
            grant_id: None,
            generation: None,
            auth_time: opened.auth_time(),
            iat: now,
            exp: now.plus(UPSTREAM_LIFETIME).min(opened.expires),
            more: More { act: opened.special.as_ref().and_then(|s| s.more.act.clone()), ..More::default() },
        };
        // Its own type, so that it never opens the gate itself (RFC 8725 §3.11).
        self.sign("upstream+jwt", &claims, SigningAlgorithm::Es256).await
    }

    /// Seals `value` for our own eyes; it opens for the same purpose as long as its key is kept.
    pub fn seal<T: Serialize>(&self, purpose: &str, value: &T) -> String {
        let keys = self.keys.load();
        let key = keys.current();
        let plain = serde_json::to_vec(value).expect("what is sealed is plain data");
        format!("{}_{}", key.kid, B64.encode(key.seal_for(purpose, &plain)))
    }

    /// Opens what [`Self::seal`] made.
    pub fn unseal_value<T: serde::de::DeserializeOwned>(
        &self,
        purpose: &str,
        sealed: &str,
        now: Timestamp,
    ) -> Option<T> {
        let (kid, body) = (sealed.get(..8)?, sealed.get(8..)?.strip_prefix('_')?);
        let mut body = B64.decode(body).ok()?;
        let keys = self.keys.load();
        serde_json::from_slice(keys.find(kid, now)?.unseal_for(purpose, &mut body)?).ok()
    }

    /// An ID or logout token: `claims` signed under its own `typ` (RFC 8725 §3.11).
    pub async fn sign_claims(
        &self,
        typ: &str,
        claims: &serde_json::Value,
        algorithm: SigningAlgorithm,
    ) -> Result<String, Unsigned> {
        self.sign(typ, claims, algorithm).await
    }

    /// The claims of a JWT of ours with this `typ`, whatever its times say.
    pub fn verify_claims(&self, typ: &str, token: &str, now: Timestamp) -> Option<serde_json::Value> {
        self.verify(typ, token, now)
    }

    /// The public keys (RFC 7517).
    pub fn jwks(&self) -> serde_json::Value {
        let mut keys = self.keys.load().jwks();
        keys.extend(self.outside.iter().map(|signer| signer.key().jwk.clone()));
        serde_json::json!({ "keys": keys })
    }

    /// A JWS in compact form (RFC 7515 §7.1).
    async fn sign<T: Serialize + Sync>(
        &self,
        typ: &str,
        claims: &T,
        algorithm: SigningAlgorithm,
    ) -> Result<String, Unsigned> {
        let outside = self.outside.iter().find(|signer| signer.key().algorithm == algorithm.jose());
        let signer = outside.map_or_else(|| self.keys.load().current().signer(algorithm).clone(), Arc::clone);
        let mut header = Header::new(signer.key().algorithm);
        header.typ = Some(typ.to_owned());
        header.kid = Some(signer.key().kid.clone());
        let plain = |value| B64.encode(value);
        let header = serde_json::to_vec(&header).expect("a header is plain data");
        let claims = serde_json::to_vec(claims).expect("claims are plain data");
        let mut token = [plain(header), plain(claims)].join(".");
        let signature = signer.sign(token.as_bytes()).await?;
        token.push('.');
        B64.encode_string(signature, &mut token);
        Ok(token)
    }
}
