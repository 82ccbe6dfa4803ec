//! The first opening of a token of ours: its seal or its signature, with one of our keys.
use super::{
    ASSET, Claims, KEYLESS, More, NEVER, OpenError, Opened, Special, Tokens, claims::Sealed, mint, signature_only,
};
use crate::clock::Timestamp;
use base64_simd::URL_SAFE_NO_PAD as B64;
use std::sync::{Arc, PoisonError, atomic::Ordering};

/// Characters of an organization's identifier, which tokens in Salesforce's shape begin with.
const ORGANIZATION: usize = 15;

/// Tokens that may be opened for the first time at once; those that share a place wait for each other.
pub(super) const AT_ONCE: usize = 256;

impl Tokens {
    /// What is known of the token with this digest, good or bad.
    pub(super) fn known(&self, digest: &u128) -> Option<Result<Arc<Opened>, OpenError>> {
        if let Some(opened) = self.good.get(digest).filter(|known| self.is_current(known, digest)) {
            self.hits.inc();
            return Some(Ok(opened));
        }
        self.bad.contains_key(digest).then(|| {
            self.negative.inc();
            Err(OpenError::Invalid)
        })
    }

    /// Opens a token that is not known, once for all who wait for it. The cache's own way to do that keeps a list of who
    /// waits, and costs as much as the opening.
    pub(super) fn open_once(&self, token: &[u8], digest: u128, now: Timestamp) -> Result<Arc<Opened>, OpenError> {
        let place = &self.opening[digest as usize % AT_ONCE];
        let _turn = place.lock().unwrap_or_else(PoisonError::into_inner);
        // By whoever had the turn before.
        if let Some(known) = self.known(&digest) {
            return known;
        }
        self.misses.inc();
        let Some(opened) = self.open_cold(token, now).map(Arc::new) else {
            self.bad.insert(digest, ());
            return Err(OpenError::Invalid);
        };
        self.good.insert(digest, opened.clone());
        Ok(opened)
    }

    fn open_cold(&self, token: &[u8], now: Timestamp) -> Option<Opened> {
        // Before the keys: what they open while they are being ended is ended too.
        let epoch = self.epoch.load(Ordering::Acquire);
        let mut opened = match token.strip_prefix(b"pc_") {
            Some(sealed) => self.unseal(sealed, now),
            None if token.get(ORGANIZATION) == Some(&b'!') => {
                self.unseal_for_organization(std::str::from_utf8(token).ok()?, now)
            }
            None => {
                let token = std::str::from_utf8(token).ok()?;
                let usual = self.verify::<Claims>("at+jwt", token, now).filter(|c| c.more.asset.is_none());
                let asset = || self.verify::<Claims>(ASSET, token, now).filter(|c| c.more.asset.is_some());
                self.opened(usual.or_else(asset)?)
            }
        }?;
        opened.epoch = epoch;
        // One that is over is shown, not used.
        if self.alive(&opened, now).is_ok() {
            if let Some(authorization) = &opened.authorization {
                self.usage.note(authorization, opened.generation, now);
            }
            self.tally.opened(&opened.entitlement.client, &opened.subject, now);
        }
        Some(opened)
    }

    /// `claims` as if they had come in a token.
    pub fn opened(&self, mut claims: Claims) -> Option<Opened> {
        let more = std::mem::take(&mut claims.more);
        self.opened_from(Sealed::from(&claims), more)
    }

    /// What was sealed: the common claims, and behind them the rest, where there is any.
    fn opened_from_seal(&self, plain: &[u8]) -> Option<Opened> {
        let (claims, rest) = postcard::take_from_bytes::<Sealed<'_>>(plain).ok()?;
        let more = if rest.is_empty() { More::default() } else { serde_json::from_slice(rest).ok()? };
        self.opened_from(claims, more)
    }

    fn opened_from(&self, claims: Sealed<'_>, mut more: More) -> Option<Opened> {
        let brought_by = more.brought_by.take();
        let shared = [claims.client_id, claims.aud, claims.scope];
        let entitlement = self.shared.entitlement(shared, brought_by.as_deref(), &self.revocations)?;
        Some(Opened {
            lifelines: self.revocations.lifelines(claims.jti, claims.grant_id, entitlement.flag, claims.sub),
            entitlement,
            subject: claims.sub.into(),
            authorization: claims.grant_id.map(Into::into),
            proved: claims.auth_time.unwrap_or(NEVER),
            generation: claims.generation.unwrap_or(0),
            epoch: KEYLESS,
            jti: claims.jti.into(),
            issued: claims.iat,
            expires: claims.exp,
            special: (!more.is_empty()).then(|| Box::new(Special::of(more, &self.revocations))),
        })
    }

    fn unseal_for_organization(&self, token: &str, now: Timestamp) -> Option<Opened> {
        let (purpose, kid, mut body) = mint::for_organization(token)?;
        let keys = self.keys.load();
        self.opened_from_seal(keys.find(&kid, now)?.unseal_for(&purpose, &mut body)?)
    }

    fn unseal(&self, sealed: &[u8], now: Timestamp) -> Option<Opened> {
        let (kid, body) = sealed.split_first_chunk::<8>()?;
        let mut body = B64.decode_to_vec(body.strip_prefix(b"_")?).ok()?;
        let keys = self.keys.load();
        self.opened_from_seal(keys.find(std::str::from_utf8(kid).ok()?, now)?.unseal(&mut body)?)
    }

    pub(super) fn verify<T: serde::de::DeserializeOwned>(&self, typ: &str, token: &str, now: Timestamp) -> Option<T> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        if header.typ.as_deref() != Some(typ) || header.crit.is_some() {
            return None;
        }
        let keys = self.keys.load();
        let kid = header.kid.as_deref()?;
        let outside = || self.outside.iter().map(|s| s.key()).find(|key| key.kid == kid && key.algorithm == header.alg);
        let key = keys.public(kid, header.alg, now).or_else(outside)?;
        Some(jsonwebtoken::decode(token, &key.decoding, &signature_only(key.algorithm)).ok()?.claims)
    }
}
