//! Scopes that stand for others.
use crate::model::ScopeSet;

/// Scopes that ask for a refresh token.
const OFFLINE: [&str; 2] = ["refresh_token", "offline_access"];

/// `full` stands for all but a refresh token, `id` for what is known of a person; never for more than `allowed`.
pub fn widened(asked: &ScopeSet, allowed: &ScopeSet) -> ScopeSet {
    let full = |scope: &&str| asked.contains("full") && !OFFLINE.contains(scope);
    let id = |scope: &&str| asked.contains("id") && ["profile", "email", "address", "phone"].contains(scope);
    let more = allowed.iter().filter(|scope| full(scope) || id(scope));
    ScopeSet::of(&asked.iter().chain(more).collect::<Vec<_>>())
}

/// What a program without a person may hold: neither everything, nor the web, nor a refresh token.
pub fn without_person(allowed: &ScopeSet) -> ScopeSet {
    let stays = |scope: &&str| !OFFLINE.contains(scope) && !["full", "web"].contains(scope);
    ScopeSet::of(&allowed.iter().filter(stays).collect::<Vec<_>>())
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
        let allowed = ScopeSet::of(&["full", "id", "api", "email", "refresh_token"]);
        assert_eq!(widened(&ScopeSet::of(&["full"]), &allowed).to_string(), "api email full id");
        assert_eq!(widened(&ScopeSet::of(&["id"]), &allowed).to_string(), "email id");
        assert_eq!(widened(&ScopeSet::of(&["api"]), &allowed).to_string(), "api");
        assert_eq!(without_person(&allowed).to_string(), "api email id");
    }
}
