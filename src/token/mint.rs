//! Everything that is sealed or signed with our own keys.
use super::{
    Claims, Opened, Tokens,
    claims::{More, Sealed},
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
    pub fn mint(&self, claims: &Claims, format: TokenFormat, algorithm: SigningAlgorithm) -> String {
        match format {
            TokenFormat::Opaque => {
                let keys = self.keys.load();
                let key = keys.current();
                format!("pc_{}_{}", key.kid, B64.encode(key.seal(&plain(claims))))
            }
            TokenFormat::Jwt => self.sign("at+jwt", claims, algorithm),
        }
    }

    /// Mints a JWT access token that also says `more`, none of which this server reads again.
    pub fn mint_telling(
        &self,
        claims: &Claims,
        more: serde_json::Map<String, serde_json::Value>,
        algorithm: SigningAlgorithm,
    ) -> String {
        let mut all = serde_json::to_value(claims).expect("claims are strings and numbers");
        if let Some(members) = all.as_object_mut() {
            more.into_iter().for_each(|(name, value)| {
                members.entry(name).or_insert(value);
            });
        }
        self.sign("at+jwt", &all, algorithm)
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
    pub fn mint_asset(&self, claims: &Claims, algorithm: SigningAlgorithm) -> String {
        self.sign(super::ASSET, claims, algorithm)
    }

    /// A JWT of ours for one upstream, good for a minute (the phantom-token pattern).
    pub fn mint_for_upstream(&self, opened: &Opened, issuer: &str, audience: &str, now: Timestamp) -> String {
        let claims = Claims {
            iss: issuer.to_owned(),
            sub: opened.subject.to_string(),
            client_id: opened.entitlement.client.to_string(),
            aud: audience.to_owned(),
            scope: opened.entitlement.scopes.to_string(),
            jti: secret::random_id(),
            grant_id: None,
            generation: None,
            auth_time: opened.auth_time,
            iat: now,
            exp: now.plus(UPSTREAM_LIFETIME).min(opened.expires),
            more: More { act: opened.special.as_ref().and_then(|s| s.more.act.clone()), ..More::default() },
        };
        // Its own type, so that it never opens the gate itself (RFC 8725 §3.11).
        self.sign("upstream+jwt", &claims, SigningAlgorithm::Es256)
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
    pub fn sign_claims(&self, typ: &str, claims: &serde_json::Value, algorithm: SigningAlgorithm) -> String {
        self.sign(typ, claims, algorithm)
    }

    /// The claims of a JWT of ours with this `typ`, whatever its times say.
    pub fn verify_claims(&self, typ: &str, token: &str, now: Timestamp) -> Option<serde_json::Value> {
        self.verify(typ, token, now)
    }

    /// The public keys (RFC 7517).
    pub fn jwks(&self) -> serde_json::Value {
        self.keys.load().jwks()
    }

    fn sign<T: Serialize>(&self, typ: &str, claims: &T, algorithm: SigningAlgorithm) -> String {
        let keys = self.keys.load();
        let signer = keys.current().signer(algorithm);
        let mut header = Header::new(signer.algorithm);
        header.typ = Some(typ.to_owned());
        header.kid = Some(signer.kid.clone());
        jsonwebtoken::encode(&header, claims, &signer.encoding).expect("a key that was opened signs")
    }
}
