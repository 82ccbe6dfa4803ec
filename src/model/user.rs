//! Local users and what is known of them.
use crate::{clock::Timestamp, secret::Digest};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A person, or a program that acts under a name of its own.
#[derive(Clone, Debug)]
pub struct User {
    /// The name they sign in with; `sub` of tokens for them.
    pub username: Arc<str>,
    /// Profiles and permission sets, which decide admin approval.
    pub permissions: BTreeSet<String>,
    /// The password's argon2id hash in PHC form; without one they cannot sign in here.
    pub password: Option<Arc<str>>,
    /// Digest of the security token that follows the password where no browser takes part; none is asked for without.
    pub security_token: Option<Digest>,
    /// An inactive user gets no token, and tokens for them open nothing.
    pub active: bool,
    /// What apps may learn of them.
    pub profile: Profile,
}

/// Standard claims (OIDC Core §5.1), each as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// Full name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Given name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_name: Option<String>,
    /// Family name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family_name: Option<String>,
    /// Casual name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    /// URL of a picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// Time zone, such as `Europe/Berlin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zoneinfo: Option<String>,
    /// BCP 47 language tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// E-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether the address is known to be theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<bool>,
    /// Telephone number (E.164).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    /// Postal address in full (`address.formatted`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// When any of it last changed, seconds since the epoch; of users of the configuration, when their file did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>")]
    pub updated_at: Option<Timestamp>,
    /// What apps may be told besides, where their `custom_attributes` name it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// Which claims a scope stands for (OIDC Core §5.4).
pub const SCOPE_CLAIMS: [(&str, &[&str]); 4] = [
    (
        "profile",
        &[
            "name",
            "given_name",
            "family_name",
            "nickname",
            "preferred_username",
            "picture",
            "zoneinfo",
            "locale",
            "updated_at",
        ],
    ),
    ("email", &["email", "email_verified"]),
    ("address", &["address"]),
    ("phone", &["phone_number"]),
];

impl User {
    /// The value of one standard claim, if it is known.
    pub fn claim(&self, name: &str) -> Option<serde_json::Value> {
        let p = &self.profile;
        let text = |value: &Option<String>| value.clone().map(serde_json::Value::from);
        match name {
            "preferred_username" => Some(serde_json::Value::from(&*self.username)),
            "name" => text(&p.name),
            "given_name" => text(&p.given_name),
            "family_name" => text(&p.family_name),
            "nickname" => text(&p.nickname),
            "picture" => text(&p.picture),
            "zoneinfo" => text(&p.zoneinfo),
            "locale" => text(&p.locale),
            "email" => text(&p.email),
            "email_verified" => p.email_verified.map(Into::into),
            "phone_number" => text(&p.phone_number),
            "updated_at" => p.updated_at.map(|at| at.0.into()),
            "address" => p.address.as_ref().map(|a| serde_json::json!({ "formatted": a })),
            _ => None,
        }
    }

    /// The name that pages greet them with.
    pub fn display_name(&self) -> &str {
        self.profile.name.as_deref().unwrap_or(&self.username)
    }
}
