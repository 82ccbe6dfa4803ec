//! Device flow: a code on one screen, a person's yes on another (RFC 8628).
use super::{Grant, Held, Redeemed, TokenRequest, begin, user_may};
use crate::{
    clock::Timestamp,
    model::{Level, ScopeSet, session::Method},
    provider::{
        Cx,
        error::{Code, OAuthError},
    },
    secret::{self, Digest},
    store::{Change, Expect, Record, Store, StoreError},
};
use serde::{Deserialize, Serialize};

/// Seconds that a device code lives.
pub const LIFETIME: i64 = 600;
/// Seconds between two polls.
pub const INTERVAL: i64 = 5;
/// Characters of a user code: no vowels, so that no words come out, and nothing that looks like another (RFC 8628 §6.1).
pub const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// Characters in a user code: 34 bits.
const LENGTH: usize = 8;

/// A device's request; stored under its code's digest, found by its user code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceCode {
    /// The client.
    pub client: String,
    /// Asked scopes.
    pub scopes: String,
    /// When it ends.
    pub expires: Timestamp,
    /// Where it stands.
    pub state: State,
}

/// `Pending → Approved → Redeemed`, or `Pending → Denied`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nobody has decided.
    Pending,
    /// A person said yes.
    Approved {
        /// Who.
        subject: String,
        /// Their session.
        sid: String,
        /// When that ends at the latest.
        #[serde(default)]
        session_ends: Option<Timestamp>,
        /// When they said so; of before this was written down, it counts as long ago.
        #[serde(default)]
        approved_at: Timestamp,
        /// When they proved who they are.
        auth_time: Timestamp,
        /// How.
        level: Level,
        /// With what, here.
        #[serde(default)]
        amr: Vec<Method>,
    },
    /// A person said no.
    Denied,
    /// The device has its tokens.
    Redeemed,
}

fn key(device_code: &str) -> String {
    format!("device/{}", Digest::text(device_code))
}

/// A fresh user code, without the dash in its middle.
pub fn new_user_code() -> String {
    let mut code = String::with_capacity(LENGTH);
    while code.len() < LENGTH {
        // Bytes from 240 on would make the first letters likelier.
        let drawn = secret::random::<16>().into_iter().filter(|b| *b < 240);
        code.extend(drawn.map(|b| char::from(ALPHABET[usize::from(b) % ALPHABET.len()])));
    }
    code.truncate(LENGTH);
    code
}

/// What a person typed, as a user code: case, spaces and dashes do not matter.
pub fn normal_user_code(typed: &str) -> Option<String> {
    let code: String =
        typed.chars().filter(|c| !c.is_whitespace() && *c != '-').map(|c| c.to_ascii_uppercase()).take(64).collect();
    (code.len() == LENGTH && code.bytes().all(|b| ALPHABET.contains(&b))).then_some(code)
}

/// `WDJB-MJHT`, as it is shown.
pub fn shown_user_code(code: &str) -> String {
    format!("{}-{}", &code[..LENGTH / 2], &code[LENGTH / 2..])
}

impl DeviceCode {
    /// The write that begins it.
    pub fn begin(&self, device_code: &str, user_code: &str) -> Change {
        Change::Put(self.record(key(device_code), user_code), Expect::Absent)
    }

    fn record(&self, key: String, user_code: &str) -> Record {
        Record {
            key,
            version: 0,
            index: Some(format!("user_code/{user_code}")),
            expires: Some(self.expires.plus(60)),
            body: serde_json::to_vec(self).expect("a device code is plain data"),
        }
    }

    /// The request that shows `user_code`, and its record.
    pub async fn find(
        store: &dyn Store,
        user_code: &str,
        now: Timestamp,
    ) -> Result<Option<(Self, Record)>, StoreError> {
        let Some(record) = store.find(&format!("user_code/{user_code}"), now).await?.pop() else { return Ok(None) };
        let code = serde_json::from_slice::<Self>(&record.body);
        let code = code.map_err(|_| StoreError::Corrupt(format!("record {}", record.key)))?;
        Ok((code.expires > now && code.state == State::Pending).then_some((code, record)))
    }

    /// The write that decides a pending request.
    pub fn decide(self, state: State, record: Record) -> Change {
        let body = serde_json::to_vec(&Self { state, ..self }).expect("a device code is plain data");
        let expect = Expect::Version(record.version);
        Change::Put(Record { body, ..record }, expect)
    }
}

/// The flow.
pub struct DeviceCodeGrant;

#[async_trait::async_trait]
impl Grant for DeviceCodeGrant {
    fn grant_type(&self) -> &'static str {
        "urn:ietf:params:oauth:grant-type:device_code"
    }

    async fn redeem(&self, request: &TokenRequest<'_>, cx: &Cx) -> Result<Redeemed, OAuthError> {
        let text = request.params.require("device_code", "device_code is missing")?;
        let invalid = |detail: &str| OAuthError::new(Code::InvalidGrant, "the device code is invalid").detail(detail);
        let client = request.client.ok_or_else(|| OAuthError::new(Code::InvalidClient, "client_id is missing"))?;
        let record = cx.store.get(&key(text), cx.now).await?.ok_or_else(|| invalid("unknown or long expired"))?;
        let code: DeviceCode = super::stored(&record)?;
        if *code.client != *client.id {
            return Err(invalid("issued to another client"));
        }
        if code.expires <= cx.now {
            return Err(OAuthError::new(Code::ExpiredToken, "the device code has expired"));
        }
        match code.state.clone() {
            State::Pending if !cx.login.may_poll(&record.key, INTERVAL, cx.now) => {
                Err(OAuthError::new(Code::SlowDown, "the device polls too often"))
            }
            State::Pending => Err(OAuthError::new(Code::AuthorizationPending, "the person has not decided yet")),
            State::Denied => Err(OAuthError::new(Code::AccessDenied, "the person said no")),
            State::Redeemed => Err(invalid("redeemed before")),
            State::Approved { subject, sid, session_ends, approved_at, auth_time, level, amr } => {
                if let Some(why) = super::taken_back(&client.id, &subject, (&sid, session_ends), approved_at, cx) {
                    return Err(invalid(why));
                }
                user_may(client, &subject, cx).await?;
                let scopes = ScopeSet::parse(&code.scopes).unwrap_or_default().intersection(&client.scopes);
                let stands_for = super::authorization_code::AuthorizationCode {
                    client: client.id.to_string(),
                    redirect_uri: String::new(),
                    redirect_uri_named: false,
                    challenge: None,
                    subject: subject.clone(),
                    scopes: scopes.to_string(),
                    nonce: None,
                    sid,
                    session_ends,
                    auth_time,
                    level,
                    amr,
                    claims: Default::default(),
                    key: None,
                    authorization: super::new_id(),
                    expires: code.expires,
                    redeemed: false,
                };
                let mut changes = vec![code.decide(State::Redeemed, record)];
                let mut endings = Vec::new();
                let held = Held::first(&stands_for, client);
                if held.rotate {
                    begin(client, &subject, &mut changes, &mut endings, cx).await?;
                }
                Ok(Redeemed {
                    client: client.clone(),
                    subject: subject.into(),
                    scopes,
                    changes,
                    endings,
                    held: Some(held),
                    terms: Default::default(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_codes_are_read_as_people_type_them() {
        let code = new_user_code();
        assert_eq!(normal_user_code(&shown_user_code(&code)).as_deref(), Some(&*code));
        assert_eq!(normal_user_code(" bcdf ghjk ").as_deref(), Some("BCDFGHJK"));
        for wrong in ["", "BCDF", "BCDFGHJKL", "AEIOUAEI", "BCDFGHJ0"] {
            assert_eq!(normal_user_code(wrong), None, "{wrong}");
        }
    }
}
