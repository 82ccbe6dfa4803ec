//! `conf/users.toml`: local users.
use super::mistake::{Findings, Mistake, parse};
use crate::{
    clock::Timestamp,
    model::{Profile, User},
    secret::Digest,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::Arc,
};
use toml::Spanned;

/// Local users.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "conf/users.toml")]
pub struct Users {
    #[serde(default)]
    #[schemars(with = "Vec<LocalUser>")]
    user: Vec<Spanned<LocalUser>>,
}

/// One local user.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LocalUser {
    /// The name they sign in with, and the `sub` of assertions for them.
    username: String,
    /// The password's argon2id hash, as `portcullis hash-password` prints it.
    password: Option<String>,
    /// `sha256:` and the digest of the 24 characters that follow the password in the username-password flow and SOAP
    /// `login`; `portcullis apps new-security-token` makes them. None are asked for without.
    security_token: Option<String>,
    /// Profiles and permission sets, which decide admin approval.
    #[serde(default)]
    permissions: BTreeSet<String>,
    /// An inactive user gets no token, and tokens for them open nothing.
    #[serde(default = "yes")]
    active: bool,
    /// What apps may learn of them: by the scopes profile, email, address and phone, `attributes` by the apps' own
    /// `custom_attributes`.
    #[serde(default)]
    profile: Profile,
}

fn yes() -> bool {
    true
}

/// Reads all users, by name.
pub fn read(file: &Path, text: &str) -> Result<HashMap<Arc<str>, Arc<User>>, Vec<Mistake>> {
    let raw: Users = parse(file, text)?;
    let mut found = Findings::of(file, text);
    let mut users = HashMap::new();
    let written = std::fs::metadata(file).and_then(|m| m.modified()).ok();
    let written = written.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let written = written.and_then(|since| i64::try_from(since.as_secs()).ok()).map(Timestamp);
    for user in raw.user {
        found.within(user.span().start);
        let user = user.into_inner();
        let visible = !user.username.is_empty() && user.username.bytes().all(|b| b.is_ascii_graphic());
        if !visible {
            found.wrong("username", "visible ASCII characters without spaces");
        }
        if let Some(hash) = &user.password {
            found.or("password", argon2id(hash), ());
        }
        let token = user.security_token.as_deref().map(Digest::parse);
        if token == Some(None) {
            found.wrong("security_token", "must be sha256: and 64 hexadecimal digits");
        }
        let security_token = token.flatten();
        let username: Arc<str> = user.username.into();
        let mut profile = user.profile;
        profile.updated_at = profile.updated_at.or(written);
        let known = User {
            username: username.clone(),
            permissions: user.permissions,
            password: user.password.map(Arc::from),
            security_token,
            active: user.active,
            profile,
        };
        if users.insert(username, Arc::new(known)).is_some() {
            found.wrong("username", "stands twice in this file");
        }
    }
    if found.mistakes.is_empty() { Ok(users) } else { Err(found.mistakes) }
}

fn argon2id(hash: &str) -> Result<(), String> {
    match argon2::PasswordHash::new(hash) {
        Ok(parsed) if parsed.algorithm == argon2::ARGON2ID_IDENT && parsed.hash.is_some() => Ok(()),
        _ => Err("must be an argon2id hash ($argon2id$…); `portcullis hash-password` makes one".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_name_the_line_of_the_second_user_too() {
        let text = "[[user]]\nusername = \"alice\"\n\n[[user]]\nusername = \"bob\"\npassword = \"hunter2\"\n\n[[user]]\nusername = \"alice\"\n";
        let told: Vec<String> = read(Path::new("u.toml"), text).unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("u.toml:6: password: must be an argon2id hash"), "{told:?}");
        assert!(told[1].starts_with("u.toml:9: username: stands twice"), "{told:?}");
    }
}
