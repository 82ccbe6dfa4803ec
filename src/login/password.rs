//! Local passwords: argon2id, few at a time, and nobody learns from text or time whether an account exists (S59).
use super::{Login, throttle::origin};
use crate::{clock::Timestamp, policy::Policy, secret::Digest};
use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier, password_hash::SaltString};
use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

/// Longest password that is hashed, bytes.
pub const LONGEST: usize = 1024;
/// Characters of a security token.
pub const SECURITY_TOKEN: usize = 24;
/// Passwords that are or wait to be hashed at most, for each that may be at one time.
const WAITING: usize = 16;

/// Why somebody is not signed in; the page says the same for the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Wrong name or password.
    Wrong,
    /// Too many guesses.
    Throttled,
    /// Too many people sign in at this moment.
    Busy,
}

/// The hash that a name which nobody has is checked against, whatever comes out: that of one of the users, so that it
/// takes as long as theirs do, with whichever parameters those were made. Salts that nobody knows decide whose it is: always
/// the same one's for one name, and whose cannot be found out by trying names that are alike.
fn anybody(hashes: &[Arc<str>], username: &str) -> Arc<str> {
    let Some(salted) = hashes.first() else { return nobody().into() };
    let drawn = Digest::of(format!("{salted}\0{username}").as_bytes()).0;
    let at = drawn.iter().fold(0, |at, byte| (at * 256 + usize::from(*byte)) % hashes.len());
    hashes[at].clone()
}

/// A hash that no password has, where no user has one.
fn nobody() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| {
        let salt = SaltString::encode_b64(&crate::secret::random::<16>()).expect("16 bytes are a salt");
        let password = crate::secret::random::<32>();
        let hash = Argon2::default().hash_password(&password, &salt).expect("the usual parameters hash");
        hash.to_string()
    })
}

/// Verifies a password, within the limits of the policy.
pub async fn verify(
    login: &Arc<Login>,
    policy: &Policy,
    username: &str,
    password: &str,
    address: Option<IpAddr>,
    now: Timestamp,
) -> Result<Arc<str>, Refused> {
    verify_if(true, login, policy, (username, password), address, now).await
}

/// The same where no browser takes part: whoever has a security token types it behind the password.
pub async fn verify_appended(
    login: &Arc<Login>,
    policy: &Policy,
    username: &str,
    typed: &str,
    address: Option<IpAddr>,
    now: Timestamp,
) -> Result<Arc<str>, Refused> {
    let digest = policy.users.get(username).and_then(|u| u.security_token);
    let at = typed.len().checked_sub(SECURITY_TOKEN);
    let (password, right) = match (digest, at.and_then(|at| typed.split_at_checked(at))) {
        (None, _) => (typed, true),
        (Some(digest), Some((password, token))) => (password, digest.matches(token.as_bytes())),
        (Some(_), None) => (typed, false),
    };
    verify_if(right, login, policy, (username, password), address, now).await
}

/// Whoever fails for another reason, `right` being false, waits as long as everybody.
async fn verify_if(
    right: bool,
    login: &Arc<Login>,
    policy: &Policy,
    (username, password): (&str, &str),
    address: Option<IpAddr>,
    now: Timestamp,
) -> Result<Arc<str>, Refused> {
    let limits = policy.people.limits;
    let (account, address) =
        (format!("account/{}", Digest::text(username)), address.map(|a| format!("address/{}", origin(a))));
    if let Some(address) = &address
        && !login.throttle.take(address, limits.address, limits.window, now)
    {
        return Err(Refused::Throttled);
    }
    if !login.throttle.take(&account, limits.account, limits.window, now) {
        return Err(Refused::Throttled);
    }
    let user = policy.users.get(username).filter(|u| u.active);
    let hash = user.and_then(|u| u.password.clone()).unwrap_or_else(|| anybody(&policy.passwords, username));
    let known = user.filter(|u| u.password.is_some()).map(|u| u.username.clone());
    if password.len() > LONGEST {
        return Err(Refused::Wrong);
    }
    let password = zeroize::Zeroizing::new(password.to_owned());
    let (_waits, before) = login.wait();
    if before >= WAITING * limits.hashes {
        return Err(Refused::Busy);
    }
    let Ok(permit) = login.turns(limits.hashes).acquire_owned().await else { return Err(Refused::Busy) };
    let matches = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        PasswordHash::new(&hash).is_ok_and(|h| Argon2::default().verify_password(password.as_bytes(), &h).is_ok())
    });
    match (matches.await, known) {
        (Ok(true), Some(known)) if right => {
            login.throttle.give_back(&account);
            address.iter().for_each(|a| login.throttle.give_back(a));
            Ok(known)
        }
        _ => Err(Refused::Wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s59_a_name_that_nobody_has_takes_as_long_as_one_of_the_users_and_always_the_same() {
        let hashes =
            ["$argon2id$v=19$m=8,t=1$a", "$argon2id$v=19$m=64,t=3$b", "$argon2id$v=19$m=64,t=3$c"].map(Arc::from);
        let names: Vec<String> = (0..100).map(|n| format!("nobody-{n}")).collect();
        for hash in &hashes {
            assert!(names.iter().any(|name| anybody(&hashes, name) == *hash), "{hash}: each in its share");
        }
        assert!(names.iter().all(|name| anybody(&hashes, name) == anybody(&hashes.clone(), name)));
        let other = ["$argon2id$v=19$m=8,t=1$x", &*hashes[1], &*hashes[2]].map(Arc::from);
        let drawn = |hashes: &[Arc<str>]| names.iter().map(|n| anybody(hashes, n) == hashes[0]).collect::<Vec<_>>();
        assert_ne!(drawn(&hashes), drawn(&other), "nobody without the salts knows whose");
        assert!(PasswordHash::new(&anybody(&[], "nobody")).is_ok());
    }
}
