//! The second factor: time-based one-time passwords (RFC 6238), each accepted once.
use super::Login;
use crate::{
    clock::Timestamp,
    secret,
    store::{Change, Expect, Record, Store, StoreError},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use totp_rs::{Algorithm, TOTP};

/// Seconds of a step.
const STEP: i64 = 30;

#[derive(Serialize, Deserialize)]
struct Enrolled {
    /// The shared secret, sealed.
    secret: String,
    /// The newest step whose code was used; none of these is accepted again.
    last_step: i64,
}

/// A shared secret that an authenticator app is being given.
pub fn new_secret() -> Vec<u8> {
    secret::random::<20>().to_vec()
}

fn generator(secret: &[u8]) -> TOTP {
    TOTP::new_unchecked(Algorithm::SHA1, 6, 1, STEP.unsigned_abs(), secret.to_vec())
}

/// The secret as people type it, and the URI that a QR code carries.
pub fn shown(secret: &[u8], issuer: &str, user: &str) -> (String, String) {
    let text = generator(secret).get_secret_base32();
    let encode = |t: &str| percent_encoding::utf8_percent_encode(t, percent_encoding::NON_ALPHANUMERIC).to_string();
    let uri = format!("otpauth://totp/{}:{}?secret={text}&issuer={}", encode(issuer), encode(user), encode(issuer));
    (text, uri)
}

/// The step that `code` is right for, around `now`.
pub fn step_of(secret: &[u8], code: &str, now: Timestamp) -> Option<i64> {
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let totp = generator(secret);
    let mut found = None;
    for step in [-1, 0, 1].map(|d| now.0 / STEP + d) {
        let right = totp.generate((step * STEP).unsigned_abs());
        if right.as_bytes().ct_eq(code.as_bytes()).into() {
            found = Some(step);
        }
    }
    found
}

fn key(user: &str) -> String {
    format!("totp/{user}")
}

/// Whether `user` has a second factor.
pub async fn is_enrolled(store: &dyn Store, user: &str, now: Timestamp) -> Result<bool, StoreError> {
    Ok(store.get(&key(user), now).await?.is_some())
}

/// The write that enrols `user`, who has no second factor yet and whose first code was right for `step`.
pub fn enrol(login: &Login, user: &str, secret: &[u8], step: i64) -> Change {
    let sealed = B64.encode(login.vault.seal(&key(user), secret));
    let body = serde_json::to_vec(&Enrolled { secret: sealed, last_step: step }).expect("text and a number are JSON");
    Change::Put(Record { key: key(user), version: 0, index: None, expires: None, body }, Expect::Absent)
}

/// The write that takes a second factor away.
pub fn withdraw(user: &str) -> Change {
    Change::Delete(key(user), Expect::Any)
}

/// The write that uses `code` up, if it is right and newer than the last one.
pub async fn check(
    login: &Login,
    store: &dyn Store,
    user: &str,
    code: &str,
    now: Timestamp,
) -> Result<Option<Change>, StoreError> {
    let Some(record) = store.get(&key(user), now).await? else { return Ok(None) };
    let corrupt = || StoreError::Corrupt(format!("record {}", record.key));
    let enrolled: Enrolled = serde_json::from_slice(&record.body).map_err(|_| corrupt())?;
    let sealed = B64.decode(&enrolled.secret).map_err(|_| corrupt())?;
    let secret = login.vault.open(&record.key, &sealed).ok_or_else(corrupt)?;
    Ok(step_of(&secret, code, now).filter(|step| *step > enrolled.last_step).map(|step| {
        let body = serde_json::to_vec(&Enrolled { last_step: step, ..enrolled }).expect("text and a number are JSON");
        let expect = Expect::Version(record.version);
        Change::Put(Record { body, ..record }, expect)
    }))
}
