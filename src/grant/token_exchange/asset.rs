//! Asset tokens: a JWT that ties a user and a device, for an access token of the user and a JWT that the device signed
//! with the key it will prove later on. The device is registered, or linked by its identifier or serial number.
use super::{
    bad,
    party::{Kind, Party, Role, invalid},
    ties,
};
use crate::{
    clock::Timestamp,
    grant::{Form, LONGEST_TOKEN, Redeemed, Terms, TokenRequest, stored, user_may},
    model::{
        Actor, Client, Confirmation, PublicJwk, User,
        asset::{Asset, AssetClaim, AssetData},
        exchange::AssetTokens,
    },
    provider::{
        Cx,
        error::{Code, OAuthError},
        params::Params,
    },
    secret::Digest,
    store::{Change, Expect, Record},
    token::{More, assertion, proof, revocation::Ending},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// Seconds after which it is worth writing down that a device is still there.
const SEEN: i64 = 3600;
/// Furthest accepted `exp` of an actor token, seconds ahead.
const LONGEST_ACTOR: i64 = 86_400;
/// Longest accepted text of an actor token, characters.
const LONGEST_TEXT: usize = 255;

/// Whether a request means an asset token: the app gets them, nothing else is asked for by name, and who acts is nobody
/// or a device that brings its key.
pub fn asked_for(client: &Client, subject: Kind, params: &Params) -> bool {
    let requested = params.get("requested_token_type").map(Kind::parse);
    let device = |text: &str| unverified(text).is_some_and(|claims| claims["cnf"]["jwk"].is_object());
    client.exchange.asset.is_some()
        && matches!(subject, Kind::AccessToken | Kind::Jwt)
        && matches!(requested, None | Some(Some(Kind::Jwt)))
        && params.get("actor_token").is_none_or(device)
}

fn unverified(jws: &str) -> Option<Value> {
    serde_json::from_slice(&B64.decode(jws.split('.').nth(1)?).ok()?).ok()
}

/// The asset token for the access token `text`.
pub async fn redeem(
    request: &TokenRequest<'_>,
    client: &Arc<Client>,
    text: &str,
    cx: &Cx,
) -> Result<Redeemed, OAuthError> {
    let Some(rules) = &client.exchange.asset else { return Err(bad("this app gets no asset tokens")) };
    let subject = Party::read(Kind::AccessToken, text, Role::Subject, request, client, cx).await?;
    let from = subject.client.clone().unwrap_or_default();
    if from != *client.id && !client.exchange.from.contains(&from) {
        return Err(invalid("its app is none whose tokens this one may exchange"));
    }
    if !rules.needs.iter().all(|scope| subject.scopes.contains(scope)) {
        return Err(OAuthError::new(Code::InvalidScope, "the access token lacks a scope that asset tokens need"));
    }
    user_may(client, &subject.subject, cx).await?;
    let user = cx.user(&subject.subject).await?;
    let device = match (request.params.get("actor_token"), request.params.get("actor_token_type")) {
        (None, None) => None,
        (Some(jws), Some(kind)) if Kind::parse(kind) == Some(Kind::Jwt) => Some(Device::read(jws, client, cx)?),
        _ => return Err(bad("actor_token comes with the actor_token_type of a JWT")),
    };
    let mut changes: Vec<Change> = subject.once.clone().into_iter().collect();
    let mut tied_to = ties(&subject, None)?;
    let acr = More::acr_of(subject.level);
    let mut more = More { exchanged_from: Some(from), may_act: subject.may_act.clone(), acr, ..More::default() };
    let mut expires = subject.expires.min(cx.now.plus(rules.lifetime));
    let mut claim = claim(rules, user.as_deref());
    let mut event = None;
    match device {
        Some(device) => {
            let (asset, change, outcome) = known_or_new(&device, client, &subject.subject, cx).await?;
            changes.extend(change);
            changes.push(device.once);
            tied_to.push(Asset::key(&asset.id));
            let actor = Actor { sub: asset.id.clone(), iss: None, client_id: Some(client.id.to_string()), act: None };
            if subject.may_act.as_ref().is_some_and(|may| !may.admits(&actor, &cx.policy.issuer)) {
                return Err(invalid("may_act names somebody else"));
            }
            let chain = actor.after(subject.act.as_ref());
            more.act = Some(chain.ok_or_else(|| invalid("too many actors, one behind the other"))?);
            more.cnf = Some(Confirmation { jwk: Some(device.key), ..Confirmation::default() });
            expires = expires.min(device.expires);
            claim.id = Some(asset.id);
            claim.name = asset.data.name;
            claim.serial_number = asset.data.serial_number;
            event = Some(outcome);
        }
        None => {
            more.act.clone_from(&subject.act);
            more.cnf = request.proof.map(Confirmation::of_key);
        }
    }
    let scopes = subject.scopes.intersection(&client.scopes);
    let terms = Terms {
        expires: Some(expires),
        audience: Some(audience(rules, request.params)?),
        auth_time: subject.auth_time,
        issued_token_type: Some(Kind::Jwt.name()),
        form: Form::Asset,
        asset: event,
        more: More { asset: Some(claim), tied_to, ..more },
    };
    Ok(Redeemed {
        client: client.clone(),
        subject: subject.subject.into(),
        scopes,
        changes,
        endings: Vec::new(),
        held: None,
        terms,
    })
}

/// One of the configured audiences where one is asked for, all of them otherwise.
fn audience(rules: &AssetTokens, params: &Params) -> Result<Arc<str>, OAuthError> {
    let refused = |why| OAuthError::new(Code::InvalidTarget, why);
    match (params.get("resource"), params.get("audience")) {
        (Some(a), Some(b)) if a != b => Err(refused("resource and audience name two")),
        (Some(asked), _) | (None, Some(asked)) if rules.audiences.iter().any(|a| a == asked) => Ok(asked.into()),
        (None, None) => Ok(rules.audiences.join(" ").into()),
        _ => Err(refused("this app's asset tokens do not open this audience")),
    }
}

fn claim(rules: &AssetTokens, user: Option<&User>) -> AssetClaim {
    let told = |name: &String| {
        let value = user?.claim(name)?;
        Some((name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
    };
    let attributes = rules.attributes.iter().filter_map(told).collect();
    AssetClaim { id: None, name: None, serial_number: None, attributes }
}

/// What a device says of itself, signed with the key that it will prove.
#[derive(Debug)]
pub struct Device {
    key: PublicJwk,
    /// The asset that it is, if it has been told.
    id: Option<String>,
    data: AssetData,
    expires: Timestamp,
    once: Change,
}

#[derive(Deserialize)]
struct Says {
    exp: i64,
    nbf: Option<i64>,
    iat: Option<i64>,
    #[serde(default)]
    aud: Value,
    id: Option<String>,
    #[serde(alias = "Name")]
    name: Option<String>,
    #[serde(alias = "SerialNumber")]
    serial_number: Option<String>,
    #[serde(alias = "did")]
    device_id: Option<String>,
    #[serde(alias = "AccountId", alias = "account_id")]
    account: Option<String>,
    #[serde(alias = "ContactId", alias = "contact_id")]
    contact: Option<String>,
    #[serde(alias = "Product2Id", alias = "product_id")]
    product: Option<String>,
}

impl Device {
    /// Verifies an actor token that `client` shows, with the very key that it brings along (RFC 7800 §3.1).
    pub fn read(jws: &str, client: &Client, cx: &Cx) -> Result<Self, OAuthError> {
        let (key, claims) = proven(jws).map_err(|why| invalid(format_args!("actor token: {why}")))?;
        let unread = |e| invalid(format_args!("actor token: {e}"));
        let mut plain = claims;
        let rules = cx.rules(client);
        (rules.read)(&mut plain);
        let says: Says = serde_json::from_value(plain).map_err(unread)?;
        let refused = |why: assertion::Refusal| Err(invalid(format_args!("actor token: {why}")));
        let named: Vec<&str> = match &says.aud {
            Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        // A device need not know for whom it signs; what it says of that has to be right (S36).
        if !says.aud.is_null() && !named.iter().any(|aud| rules.audiences.iter().any(|ours| ours == aud)) {
            return refused(assertion::Refusal::Audience);
        }
        let expires = Timestamp(says.exp);
        if expires.plus(rules.late) <= cx.now {
            return refused(assertion::Refusal::Expired);
        }
        if says.exp > cx.now.plus(LONGEST_ACTOR).0 {
            return refused(assertion::Refusal::TooLong);
        }
        if [says.nbf, says.iat].into_iter().flatten().any(|t| t > cx.now.plus(rules.ahead).0) {
            return refused(assertion::Refusal::NotYet);
        }
        let texts =
            [&says.id, &says.name, &says.serial_number, &says.device_id, &says.account, &says.contact, &says.product];
        let sound = |text: &str| !text.is_empty() && text.len() <= LONGEST_TEXT && !text.contains(char::is_control);
        if !texts.into_iter().flatten().all(|text| sound(text)) {
            return Err(invalid("actor token: an empty, long or unprintable text"));
        }
        let signed = jws.rsplit_once('.').map_or(jws, |(signed, _)| signed);
        let once = Record {
            key: format!("assertion/actor/{}", Digest::of(signed.as_bytes()).hex()),
            version: 0,
            index: None,
            expires: Some(expires.plus(rules.late)),
            body: Vec::new(),
        };
        Ok(Self {
            key,
            id: says.id,
            data: AssetData {
                name: says.name,
                serial_number: says.serial_number,
                device_id: says.device_id,
                account: says.account,
                contact: says.contact,
                product: says.product,
            },
            expires,
            once: Change::Put(once, Expect::Absent),
        })
    }
}

/// The key in `cnf.jwk` of a JWT, and its claims, if that key signed it: its algorithm is pinned to the key's type (S32),
/// a key in the header is ignored (S33), and no other kind of JWT is taken for it (S38).
pub fn proven(jws: &str) -> Result<(PublicJwk, Value), proof::Refusal> {
    let header = proof::header(jws)?;
    if !matches!(header["typ"].as_str().map(str::to_ascii_lowercase).as_deref(), None | Some("jwt")) {
        return Err(proof::Refusal::Type);
    }
    let claims = unverified(jws).ok_or(proof::Refusal::Malformed)?;
    let key = PublicJwk::read(&claims["cnf"]["jwk"]).map_err(|_| proof::Refusal::Key)?;
    let claims = proof::signed_by(jws, &header, &key)?;
    Ok((key, claims))
}

/// The device's asset, what has to be written for it, and what that is called.
async fn known_or_new(
    device: &Device,
    client: &Client,
    user: &str,
    cx: &Cx,
) -> Result<(Asset, Option<Change>, &'static str), OAuthError> {
    let id = device.id.clone().unwrap_or_else(|| Asset::id_of(&client.id, &device.data, &device.key));
    let record = cx.store.get(&Asset::key(&id), cx.now).await?;
    let Some(record) = record else {
        if device.id.is_some() {
            return Err(invalid("no asset has this id"));
        }
        let asset = Asset {
            id,
            client: client.id.to_string(),
            user: user.to_owned(),
            data: device.data.clone(),
            key: Some(device.key.clone()),
            registered: cx.now,
            seen: cx.now,
            blocked: false,
        };
        let change = Change::Put(record_of(&asset), Expect::Absent);
        return Ok((asset, Some(change), "registered"));
    };
    let mut asset: Asset = stored(&record)?;
    if *asset.client != *client.id {
        return Err(invalid("an asset of another app"));
    }
    if asset.blocked {
        return Err(invalid("the asset is blocked"));
    }
    if asset.user != user {
        return Err(invalid("the asset belongs to another user"));
    }
    // Whoever has another key is another device; an administrator removes the old one first.
    if asset.key.as_ref().is_some_and(|key| *key != device.key) {
        return Err(invalid("the asset has another key"));
    }
    let data = merged(&asset.data, &device.data);
    let changed = asset.key.is_none() || data != asset.data;
    if !changed && asset.seen.plus(SEEN) > cx.now {
        return Ok((asset, None, "renewed"));
    }
    (asset.data, asset.key, asset.seen) = (data, Some(device.key.clone()), cx.now);
    let change = Change::Put(record_of(&asset), Expect::Version(record.version));
    Ok((asset, Some(change), if changed { "linked" } else { "renewed" }))
}

/// What is not said anew stays.
fn merged(old: &AssetData, new: &AssetData) -> AssetData {
    let pick = |new: &Option<String>, old: &Option<String>| new.clone().or_else(|| old.clone());
    AssetData {
        name: pick(&new.name, &old.name),
        serial_number: pick(&new.serial_number, &old.serial_number),
        device_id: pick(&new.device_id, &old.device_id),
        account: pick(&new.account, &old.account),
        contact: pick(&new.contact, &old.contact),
        product: pick(&new.product, &old.product),
    }
}

/// An asset as it is stored.
pub fn record_of(asset: &Asset) -> Record {
    Record {
        key: Asset::key(&asset.id),
        version: 0,
        index: Some(format!("owner/{}", asset.user)),
        expires: None,
        body: serde_json::to_vec(asset).expect("an asset is plain data"),
    }
}

/// What ends every token of an asset that was issued up to now.
pub fn ending(id: &str, now: Timestamp) -> Ending {
    Ending { target: Asset::key(id), before: now, until: now.plus(LONGEST_TOKEN) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_does_not_say_anew_stays() {
        let old = AssetData { name: Some("old".to_owned()), account: Some("a".to_owned()), ..AssetData::default() };
        let new = AssetData { name: Some("new".to_owned()), ..AssetData::default() };
        let both = merged(&old, &new);
        assert_eq!((both.name.as_deref(), both.account.as_deref()), (Some("new"), Some("a")));
    }

    proptest::proptest! {
        #[test]
        fn foreign_bytes_never_panic_and_never_prove(header in "\\PC{0,60}", body in "\\PC{0,120}", x in "[a-zA-Z0-9_-]{0,43}") {
            let encoded = |text: &str| B64.encode(text);
            proptest::prop_assert!(proven(&[encoded(&header), encoded(&body), x.clone()].join(".")).is_err());
            proptest::prop_assert!(proven(&header).is_err());
            let claims = serde_json::json!({"cnf": {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": x}}, "exp": 1}).to_string();
            let text = [encoded(r#"{"alg":"EdDSA","typ":"JWT"}"#), encoded(&claims), x].join(".");
            proptest::prop_assert!(proven(&text).is_err());
        }
    }
}
