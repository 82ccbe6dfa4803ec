//! What the Salesforce profile needs to know of the organization that it plays.
use super::Policy;
use crate::{
    model::{Client, ScopeSet},
    secret::Digest,
};
use std::sync::Arc;

/// Scopes that ask for a refresh token.
pub const OFFLINE: [&str; 2] = ["refresh_token", "offline_access"];
/// What `id` stands for.
pub const OF_ID: [&str; 4] = ["profile", "email", "address", "phone"];
/// Scopes of Salesforce's own that `full` stands for.
const OF_FULL: [&str; 13] = [
    "api",
    "web",
    "id",
    "openid",
    "profile",
    "email",
    "address",
    "phone",
    "custom_permissions",
    "visualforce",
    "chatter_api",
    "content",
    "lightning",
];

/// Whether `full` may stand for `scope`: for no refresh token, and not for administration of this very server.
pub fn of_full(scope: &str) -> bool {
    !OFFLINE.contains(&scope) && !scope.starts_with("portcullis:")
}

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of an identifier without its check.
pub const SHORT_ID: usize = 15;

/// `[salesforce]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salesforce {
    /// The organization's identifier, 15 characters, beginning with `00D`.
    pub organization: Arc<str>,
    /// Scheme, host and port of the APIs, without trailing slash.
    pub instance_url: Arc<str>,
    /// Accepted `aud` values of assertions besides our own, as they are written.
    pub audiences: Vec<String>,
    /// The app that SOAP `login` issues sessions for; without one it is off.
    pub soap_app: Option<Arc<str>>,
}

/// The 18-character form of a 15-character identifier: three letters that say which of its letters are capitals.
pub fn with_check(short: &str) -> String {
    let capitals = |part: &[u8]| part.iter().rev().fold(0, |sum, b| sum * 2 + usize::from(b.is_ascii_uppercase()));
    let check = short.as_bytes().chunks(5).map(|part| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[capitals(part)]));
    short.chars().chain(check).collect()
}

/// Whether `text` is a 15-character identifier, or an 18-character one whose check is right.
pub fn is_id(text: &str) -> bool {
    let sound = text.bytes().all(|b| b.is_ascii_alphanumeric());
    sound && (text.len() == SHORT_ID || text.len() == SHORT_ID + 3 && with_check(&text[..SHORT_ID]) == text)
}

impl Salesforce {
    /// The organization's identifier, 18 characters.
    pub fn organization_id(&self) -> String {
        with_check(&self.organization)
    }

    /// A user's identifier: drawn from the name, since local users have no other, and the same on every node.
    pub fn user_id(&self, username: &str) -> String {
        let digest = Digest::of(format!("{}/{username}", self.organization).as_bytes());
        let mut number = digest.0[..16].iter().fold(0u128, |n, b| n << 8 | u128::from(*b));
        let mut id = String::from("005");
        while id.len() < SHORT_ID {
            id.push(char::from(LETTERS[(number % 62) as usize]));
            number /= 62;
        }
        with_check(&id)
    }

    /// The identity URL, which clients take the two identifiers from.
    pub fn identity_url(&self, username: &str) -> String {
        format!("{}/id/{}/{}", self.instance_url, self.organization_id(), self.user_id(username))
    }
}

impl Policy {
    /// What `named`, scopes of an app whose tokens are for `audience`, stands for besides, where the Salesforce paths are
    /// on: `full` for Salesforce's own and all that the routes of that resource ask for, `id` for what is known of a
    /// person.
    pub fn implied(&self, named: &ScopeSet, audience: &str) -> ScopeSet {
        if self.salesforce.is_none() {
            return ScopeSet::default();
        }
        let mut all: Vec<&str> = Vec::new();
        if named.contains("id") {
            all.extend(OF_ID);
        }
        if named.contains("full") {
            all.extend(OF_FULL);
            for route in self.routes.iter().filter(|route| *route.resource == *audience) {
                let asked = std::iter::once(&route.requirement).chain(route.per_method.iter().map(|(_, r)| r));
                all.extend(asked.flat_map(|r| r.all.iter().chain(r.any.iter())));
            }
        }
        all.retain(|scope| of_full(scope) && !named.contains(scope));
        ScopeSet::of(&all)
    }

    /// `client` with what its scopes stand for.
    #[must_use]
    pub fn widened(&self, mut client: Client) -> Client {
        client.salesforce.implied = self.implied(&client.scopes, &client.audience);
        client.scopes = client.scopes.union(&client.salesforce.implied);
        client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_carry_their_check_and_users_keep_theirs() {
        assert_eq!(with_check("00D000000000062"), "00D000000000062EAA");
        assert_eq!(with_check("001A0000006Vm9r"), "001A0000006Vm9rIAC");
        assert!(is_id("001A0000006Vm9rIAC") && is_id("001A0000006Vm9r"));
        assert!(!is_id("001A0000006Vm9rIAD") && !is_id("001A0000006Vm9") && !is_id("001A0000006Vm9!"));
        let org = Salesforce { organization: "00D000000000062".into(), ..Salesforce::default() };
        let id = org.user_id("alice");
        assert!(is_id(&id) && id.starts_with("005") && id != org.user_id("bob") && id == org.user_id("alice"));
    }
}
