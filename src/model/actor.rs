//! Who acts for somebody else (RFC 8693 §4.1), and who may (§4.4).
use serde::{Deserialize, Serialize};

/// Actors that one token may name, one behind the other.
pub const MOST: usize = 8;

/// `act`: the party that acts now; inside it the one that acted before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Its subject.
    pub sub: String,
    /// Who says so, where that is somebody else than the issuer of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// The app that its own token was issued to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Who acted before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Actor>>,
}

impl Actor {
    /// This actor after `before`; `None` where the chain would grow too long.
    pub fn after(self, before: Option<&Self>) -> Option<Self> {
        let length = std::iter::successors(before, |a| a.act.as_deref()).count();
        (length < MOST).then(|| Self { act: before.cloned().map(Box::new), ..self })
    }
}

/// `may_act`: who may become the actor; what is not named is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MayAct {
    /// Its subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// Its issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// The app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
}

impl MayAct {
    /// Whether `actor` is the one; `issuer` is who speaks for an actor that names nobody.
    pub fn admits(&self, actor: &Actor, issuer: &str) -> bool {
        let is = |asked: &Option<String>, is: Option<&str>| asked.as_deref().is_none_or(|a| Some(a) == is);
        (self.sub.is_some() || self.client_id.is_some())
            && is(&self.sub, Some(&actor.sub))
            && is(&self.client_id, actor.client_id.as_deref())
            && is(&self.iss, Some(actor.iss.as_deref().unwrap_or(issuer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(sub: &str) -> Actor {
        Actor { sub: sub.to_owned(), iss: None, client_id: Some("app".to_owned()), act: None }
    }

    #[test]
    fn s41_a_chain_keeps_who_acted_before_and_has_an_end() {
        let first = actor("a").after(None).unwrap();
        let second = actor("b").after(Some(&first)).unwrap();
        assert_eq!(second.act.as_deref(), Some(&first));
        let longest = (0..MOST).try_fold(None, |before, _| actor("x").after(before.as_ref()).map(Some)).unwrap();
        assert_eq!(actor("y").after(longest.as_ref()), None);
    }

    #[test]
    fn may_act_admits_whom_it_names_and_an_empty_one_nobody() {
        let may = |sub: Option<&str>, iss: Option<&str>| MayAct {
            sub: sub.map(str::to_owned),
            iss: iss.map(str::to_owned),
            client_id: None,
        };
        assert!(may(Some("a"), None).admits(&actor("a"), "https://id.example"));
        assert!(may(Some("a"), Some("https://id.example")).admits(&actor("a"), "https://id.example"));
        assert!(!may(Some("a"), Some("https://other.example")).admits(&actor("a"), "https://id.example"));
        assert!(!may(Some("b"), None).admits(&actor("a"), "i") && !may(None, Some("i")).admits(&actor("a"), "i"));
    }
}
