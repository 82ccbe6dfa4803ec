//! Scopes that stand for others.
use crate::{
    model::{Client, ScopeSet, Wire},
    policy::salesforce::{OF_ID, OFFLINE, of_full},
};

/// `full` stands for all but a refresh token, `id` for what is known of a person; never for more than `allowed`.
pub fn widened(asked: &ScopeSet, allowed: &ScopeSet) -> ScopeSet {
    let full = |scope: &&str| asked.contains("full") && of_full(scope);
    let id = |scope: &&str| asked.contains("id") && OF_ID.contains(scope);
    let more = allowed.iter().filter(|scope| full(scope) || id(scope));
    ScopeSet::of(&asked.iter().chain(more).collect::<Vec<_>>())
}

/// A refresh token is asked for by one of two names: the one that is not among `allowed` means the other.
pub fn by_their_names(asked: &ScopeSet, allowed: &ScopeSet) -> ScopeSet {
    let known = |scope| OFFLINE.into_iter().find(|name| OFFLINE.contains(&scope) && allowed.contains(name));
    let named = asked.iter().map(|scope| if allowed.contains(scope) { scope } else { known(scope).unwrap_or(scope) });
    ScopeSet::of(&named.collect::<Vec<_>>())
}

/// What `client` may hold without a person: neither everything, nor the web, nor a refresh token.
pub fn without_person(client: &Client) -> ScopeSet {
    let named = client.grantable(Wire::Standard);
    let stays = |scope: &&str| !OFFLINE.contains(scope) && !["full", "web"].contains(scope);
    widened(&ScopeSet::of(&named.iter().filter(stays).collect::<Vec<_>>()), &client.scopes)
}

/// Whether an approval reaches flows without a browser.
pub fn reaches_offline(approved: &ScopeSet) -> bool {
    OFFLINE.iter().any(|scope| approved.contains(scope))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s21_full_and_id_stand_for_what_is_allowed_and_no_more() {
        let allowed = ScopeSet::of(&["full", "id", "api", "email", "refresh_token", "portcullis:admin"]);
        assert_eq!(widened(&ScopeSet::of(&["full"]), &allowed).to_string(), "api email full id");
        assert_eq!(widened(&ScopeSet::of(&["id"]), &allowed).to_string(), "email id");
        assert_eq!(widened(&ScopeSet::of(&["api"]), &allowed).to_string(), "api");
    }

    #[test]
    fn a_refresh_token_has_two_names() {
        let named = |asked: &str, allowed: &[&str]| {
            by_their_names(&ScopeSet::parse(asked).unwrap(), &ScopeSet::of(allowed)).to_string()
        };
        assert_eq!(named("api offline_access", &["api", "refresh_token"]), "api refresh_token");
        assert_eq!(named("api refresh_token", &["offline_access"]), "api offline_access");
        assert_eq!(
            named("offline_access refresh_token", &["offline_access", "refresh_token"]),
            "offline_access refresh_token"
        );
        assert_eq!(named("offline_access web", &["api"]), "offline_access web", "nothing is made up");
    }
}
