//! Tokens of other issuers, in the one cache: verified once, and then a cache hit that asks whether the rules, the key
//! and the issuer are still what they were.
use super::{KEYLESS, MAX_TOKEN_LENGTH, More, NEVER, OpenError, Opened, Special, Tokens, assertion, signature_only};
use crate::{
    clock::Timestamp,
    issuer::{Accepted, Foreign, Issuer, claims::Refusal, source::Candidates},
    secret::Digest,
};
use serde_json::Value;
use std::sync::Arc;

/// Apart from where our own tokens are: what opens for one kind of route is never looked up for the other.
const ELSEWHERE: u128 = 1 << 127;

/// What JWTs begin with: `{"` in base64url.
const JWT: &[u8] = b"ey";

/// Why a token of another issuer does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// For good: the same answer waits for it a while.
    Invalid,
    /// For now: it may open later.
    NotNow,
    /// Nothing is known of the issuer's keys.
    Unavailable,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        if refusal == Refusal::NotYet { Self::NotNow } else { Self::Invalid }
    }
}

impl From<Refused> for OpenError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Invalid | Refused::NotNow => Self::Invalid,
            Refused::Unavailable => Self::Unavailable,
        }
    }
}

/// Whether what was opened for another issuer holds still, as far as the issuer says.
pub(super) fn stands(foreign: &Foreign) -> Result<(), OpenError> {
    match (foreign.is_signed_still(), foreign.is_heard_of()) {
        (true, true) => Ok(()),
        (false, _) => Err(OpenError::Revoked),
        (true, false) => Err(OpenError::Unavailable),
    }
}

/// The issuer that a token names and the key that it says signed it, both unverified: good for looking up keys.
pub fn unverified<'a>(token: &str, accepted: &'a Accepted) -> Option<(&'a Arc<Issuer>, Option<String>)> {
    let issuer = accepted.by_url(&assertion::unverified_issuer(token)?)?;
    Some((issuer, jsonwebtoken::decode_header(token).ok()?.kid))
}

impl Tokens {
    /// Opens a token of ours or of another issuer, whatever `accepted` says.
    pub fn open_accepted(&self, token: &[u8], accepted: &Accepted, now: Timestamp) -> Result<Arc<Opened>, OpenError> {
        if !self.ready() {
            return Err(OpenError::Unavailable);
        }
        if token.len() > MAX_TOKEN_LENGTH {
            return Err(OpenError::Invalid);
        }
        let digest = self.places.hash(token).as_u128();
        if accepted.own && (!token.starts_with(JWT) || self.good.contains_key(&digest)) {
            return self.open_bytes(token, now);
        }
        let place = digest ^ ELSEWHERE;
        if let Some(opened) = self.good.get(&place) {
            match opened.foreign() {
                Some(foreign) if foreign.is_signed_still() && accepted.holds(&foreign.issuer) => {
                    self.hits.inc();
                    return self.still(opened, place, now);
                }
                // Opened for another route, and none of this one's business.
                Some(foreign) if accepted.by_url(&foreign.issuer.url).is_none() => {}
                // Other rules, or a key that was taken back: it is judged anew.
                Some(_) | None => self.good.invalidate(&place),
            }
        }
        let text = std::str::from_utf8(token).map_err(|_| OpenError::Invalid)?;
        let Some(issuer) = assertion::unverified_issuer(text).and_then(|iss| accepted.by_url(&iss)) else {
            return if accepted.own { self.open_bytes(token, now) } else { Err(OpenError::Invalid) };
        };
        // A verdict is remembered under the rules that gave it.
        let verdict = place ^ issuer.revision;
        if self.bad.contains_key(&verdict) {
            self.negative.inc();
            return Err(OpenError::Invalid);
        }
        self.misses.inc();
        let cold = || self.verified(text, issuer, now).map(Arc::new);
        let opened = self.good.try_get_with(place, cold).map_err(|refused| {
            if *refused == Refused::Invalid {
                self.bad.insert(verdict, ());
            }
            OpenError::from(*refused)
        })?;
        if opened.foreign().is_some_and(|foreign| foreign.issuer.is_same(issuer)) {
            return self.still(opened, place, now);
        }
        // Somebody with another policy came in between: one request sees one policy.
        self.still(cold().map_err(OpenError::from)?, place, now)
    }

    fn still(&self, opened: Arc<Opened>, place: u128, now: Timestamp) -> Result<Arc<Opened>, OpenError> {
        if opened.expires <= now {
            self.good.invalidate(&place);
        }
        self.alive(&opened, now).map(|()| opened)
    }

    /// What a token of `issuer` says, when its signature and its claims hold.
    fn verified(&self, token: &str, issuer: &Arc<Issuer>, now: Timestamp) -> Result<Opened, Refused> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refused::Invalid)?;
        let rules = &issuer.rules;
        // `jku`, `x5u` and `jwk` of the header are never read (S33).
        if header.crit.is_some() || !rules.algorithms.contains(&header.alg) || !rules.takes(header.typ.as_deref()) {
            return Err(Refused::Invalid);
        }
        let source = self.issuers.of(issuer);
        let keys = match source.candidates(issuer, header.kid.as_deref(), header.alg) {
            Candidates::Keys(keys) => keys,
            Candidates::Unknown => return Err(Refused::NotNow),
            Candidates::Nothing => return Err(Refused::Unavailable),
        };
        let validation = signature_only(header.alg);
        let mut verified = keys.into_iter().filter_map(|key| {
            let claims = jsonwebtoken::decode::<Value>(token, &key.decoding, &validation).ok()?.claims;
            Some((key, claims))
        });
        let (key, claims) = verified.next().ok_or(Refused::Invalid)?;
        let said = rules.judge((&issuer.name, &issuer.url), header.typ.as_deref(), &claims, now)?;
        let entitlement =
            self.shared.entitlement([&said.client, &said.audience, &said.scopes], None, &self.revocations);
        let entitlement = entitlement.ok_or(Refused::Invalid)?;
        let jti = said.jti.unwrap_or_else(|| format!("{}:{}", issuer.name, &Digest::of(token.as_bytes()).hex()[..32]));
        let mut special = Special::of(More { cnf: said.confirmation, ..More::default() }, &self.revocations);
        special.foreign = Some(Foreign { issuer: issuer.clone(), key, source: source.clone() });
        Ok(Opened {
            lifelines: self.revocations.lifelines(&jti, None, entitlement.flag, &said.subject),
            entitlement,
            subject: said.subject.into(),
            authorization: None,
            proved: NEVER,
            generation: 0,
            epoch: KEYLESS,
            jti: jti.into(),
            issued: said.issued,
            expires: said.expires,
            special: Some(Box::new(special)),
        })
    }
}
