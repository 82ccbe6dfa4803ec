//! Whether whoever shows a token at the gate may: a bound one needs a proof of its key (DPoP, RFC 9449 §7) or the
//! connection of its client certificate (RFC 8705 §3), an asset
//! token opens the routes that ask for one, an exchanged one what its app may still exchange for. Tokens that say
//! nothing of the kind pass by, and cost nothing.
use super::guard::Denial;
use crate::{
    clock::Timestamp,
    policy::{
        Policy,
        route::{Requirement, Route},
    },
    provider::possession::HEADER,
    secret::Digest,
    token::{
        Opened, Special, Tokens,
        proof::{Asked, Target, verify},
    },
};
use http::HeaderMap;

/// How a token came.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// The token, where it came in a header; a browser's session shows none.
    pub token: Option<&'a [u8]>,
    /// Whether it came under the DPoP scheme.
    pub bound: bool,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// Host and port that the caller asked for.
    pub authority: &'a str,
    /// The canonical path.
    pub path: &'a str,
    /// The method.
    pub method: &'a str,
    /// Thumbprint of the certificate of the connection.
    pub certificate: Option<Digest>,
}

/// Lets `opened` pass along `route`, or says why not.
pub fn check(
    (policy, tokens): (&Policy, &Tokens),
    (route, requirement): (&Route, &Requirement),
    opened: &Opened,
    shown: Shown<'_>,
    now: Timestamp,
) -> Result<(), Denial> {
    let Some(special) = &opened.special else {
        return match (requirement.asset, requirement.proof || shown.bound) {
            (false, false) => Ok(()),
            (true, _) => Err(Denial::OtherToken),
            (false, true) => Err(Denial::NotBound),
        };
    };
    if special.more.asset.is_some() != requirement.asset {
        return Err(Denial::OtherToken);
    }
    still_exchanged(policy, opened, special, route)?;
    let cnf = special.more.cnf.as_ref();
    let certificate = cnf.and_then(|c| c.certificate);
    if certificate.is_some() && certificate != shown.certificate {
        return Err(Denial::NotItsCertificate);
    }
    match (special.key, shown.bound) {
        // A device's key has to be proven where the route asks, any other key always.
        (Some(_), false) if cnf.is_some_and(|c| c.jkt.is_none()) && !requirement.proof => Ok(()),
        (Some(_), false) => Err(Denial::NotProven),
        (Some(key), true) => proven(policy, tokens, key, shown, now),
        // The handshake has proven the certificate's key.
        (None, bound) if bound || requirement.proof && certificate.is_none() => Err(Denial::NotBound),
        (None, _) => Ok(()),
    }
}

fn proven(policy: &Policy, tokens: &Tokens, key: Digest, shown: Shown<'_>, now: Timestamp) -> Result<(), Denial> {
    let mut proofs = shown.headers.get_all(HEADER).iter();
    let (Some(text), None, Some(token)) = (proofs.next(), proofs.next(), shown.token) else {
        return Err(Denial::InvalidProof);
    };
    let text = text.to_str().map_err(|_| Denial::InvalidProof)?;
    let at = [Target { authority: shown.authority, path: shown.path }];
    let rules = policy.dpop;
    let asked = Asked { method: shown.method, at: &at, token: Some(token), lifetime: rules.lifetime, now };
    let proof = verify(text, asked).map_err(|_| Denial::InvalidProof)?;
    if proof.key != key {
        return Err(Denial::InvalidToken);
    }
    if !tokens.nonce_holds(proof.nonce.as_deref(), rules, now) {
        return Err(Denial::UseNonce);
    }
    if !tokens.first_seen(proof.name) {
        return Err(Denial::InvalidProof);
    }
    Ok(())
}

/// What the policy no longer lets an app exchange, its older tokens do not open either (F12).
fn still_exchanged(policy: &Policy, opened: &Opened, special: &Special, route: &Route) -> Result<(), Denial> {
    if let Some(act) = &special.more.act {
        let app = act.client_id.as_deref().and_then(|id| policy.clients.get(id));
        if policy.has_ended(&act.sub) || app.is_some_and(|app| app.blocked) {
            return Err(Denial::InvalidToken);
        }
    }
    let app = policy.clients.get(&*opened.entitlement.client);
    let (Some(from), Some(app)) = (&special.more.exchanged_from, app) else { return Ok(()) };
    let origin = policy.clients.get(from.as_str()).is_some_and(|origin| !origin.blocked);
    let rules = &app.exchange;
    let admitted = app.grants.contains(crate::grant::token_exchange::GRANT_TYPE)
        && match &rules.asset {
            Some(asset) if special.more.asset.is_some() => asset.audiences.iter().any(|a| **a == *route.resource),
            _ => special.more.asset.is_none() && rules.admits(&app.id, from, &app.audience, &route.resource),
        };
    if origin && admitted { Ok(()) } else { Err(Denial::InvalidToken) }
}
