//! What a flow proved, kept for as long as something may be renewed from it; its refresh tokens' states.
use super::{Level, session::Method};
use crate::{
    clock::Timestamp,
    secret::{self, Digest},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// Spent refresh tokens of a family that are still recognised; one older than these is merely refused.
const SPENT_KEPT: usize = 64;
/// What is kept of a spent token's digest, bytes: enough that nobody comes upon one by guessing, and little, since a
/// family's record is written with every token.
const MARK: usize = 8;

/// An authorization: this client may act for this subject, with these scopes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Authorization {
    /// Identifier; `grant_id` of its access tokens.
    pub id: String,
    /// The client.
    pub client: String,
    /// The subject.
    pub subject: String,
    /// The most its tokens may carry.
    pub scopes: String,
    /// The sign-on session it came from, if there was one.
    pub sid: Option<String>,
    /// When that session ends at the latest, where what is issued from it lives by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
    /// When the subject proved who they are.
    pub auth_time: Timestamp,
    /// How.
    pub level: Level,
    /// With what, here.
    #[serde(default)]
    pub amr: Vec<Method>,
    /// When it began.
    pub created: Timestamp,
    /// When something was last issued from it.
    pub renewed: Timestamp,
    /// Claims asked for by name.
    #[serde(default)]
    pub claims: ClaimsRequest,
    /// Thumbprint of the key that its refresh token is bound to (RFC 9449 §5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Digest>,
    /// Thumbprint of the certificate that its refresh token is bound to (RFC 8705 §4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Digest>,
    /// Its refresh token, if it has one.
    pub refresh: Option<Refresh>,
}

/// Members of the `claims` parameter that are served (OIDC Core §5.5): names alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimsRequest {
    /// In the ID token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub id_token: Vec<String>,
    /// In userinfo's answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub userinfo: Vec<String>,
}

/// A refresh token's family: one token is live, and all that came before are known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refresh {
    /// Grows with each token issued; `generation` of the access tokens issued beside it.
    pub generation: u32,
    current: Digest,
    previous: Option<Digest>,
    /// The previous token has already been used once more.
    recovered: bool,
    spent: Spent,
    /// `jti` of the access token issued last.
    pub access_token: String,
}

/// The tokens of a family that were replaced before the previous one, the oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
struct Spent(Vec<[u8; MARK]>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Marks(String),
    /// Of before marks were kept.
    Digests(Vec<Digest>),
}

impl From<Written> for Spent {
    fn from(written: Written) -> Self {
        match written {
            Written::Marks(text) => {
                let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
                Self(bytes.as_chunks().0.to_vec())
            }
            Written::Digests(all) => Self(all.iter().map(mark).collect()),
        }
    }
}

impl From<Spent> for Written {
    fn from(spent: Spent) -> Self {
        Self::Marks(URL_SAFE_NO_PAD.encode(spent.0.as_flattened()))
    }
}

impl Spent {
    fn push(&mut self, digest: &Digest) {
        let surplus = (self.0.len() + 1).saturating_sub(SPENT_KEPT);
        self.0.drain(..surplus);
        self.0.push(mark(digest));
    }
}

fn mark(digest: &Digest) -> [u8; MARK] {
    *digest.0.first_chunk().expect("a digest is longer")
}

/// What a presented refresh token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// The live one.
    Current,
    /// The one before, whose successor may have been lost on its way.
    Previous,
    /// The one before, which was used once more already.
    PreviousAgain,
    /// One that has been replaced.
    Spent,
    /// None of this family's.
    Unknown,
}

impl Authorization {
    /// The key of an authorization's record.
    pub fn key(id: &str) -> String {
        format!("authorization/{id}")
    }

    /// A first refresh token, or the next one. Returns its text.
    pub fn rotate(&mut self, access_token: &str) -> String {
        let secret = secret::random_token();
        let digest = Digest::of(secret.as_bytes());
        self.refresh = Some(match self.refresh.take() {
            None => Refresh {
                generation: 1,
                current: digest,
                previous: None,
                recovered: false,
                spent: Spent::default(),
                access_token: access_token.to_owned(),
            },
            Some(mut old) => {
                old.previous.iter().for_each(|previous| old.spent.push(previous));
                Refresh {
                    generation: old.generation + 1,
                    current: digest,
                    previous: Some(old.current),
                    recovered: false,
                    spent: old.spent,
                    access_token: access_token.to_owned(),
                }
            }
        });
        format!("pr_{}.{secret}", self.id)
    }

    /// The identifier and the secret of a refresh token's text.
    pub fn parse(token: &str) -> Option<(&str, &str)> {
        token.strip_prefix("pr_")?.split_once('.').filter(|(id, secret)| !id.is_empty() && secret.len() == 43)
    }
}

impl Refresh {
    /// Which of the family's tokens `secret` is.
    pub fn judge(&self, secret: &str) -> Presented {
        let shown = Digest::of(secret.as_bytes());
        if shown.is(&self.current) {
            Presented::Current
        } else if self.previous.as_ref().is_some_and(|previous| shown.is(previous)) {
            if self.recovered { Presented::PreviousAgain } else { Presented::Previous }
        } else if self.spent.0.contains(&mark(&shown)) {
            Presented::Spent
        } else {
            Presented::Unknown
        }
    }

    /// Gives up the successor that nobody has used, so that the previous token may be replaced anew. Once.
    pub fn recover(&mut self) {
        if let Some(previous) = self.previous.take() {
            self.spent.push(&std::mem::replace(&mut self.current, previous));
        }
    }

    /// Remembers that the token just replaced was one that had been replaced before.
    pub fn recovered(&mut self) {
        self.recovered = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(token: &str) -> &str {
        Authorization::parse(token).unwrap().1
    }

    #[test]
    fn s28_a_lost_answer_costs_nothing_and_two_branches_never_live() {
        let mut a = Authorization {
            id: "a".to_owned(),
            client: String::new(),
            subject: String::new(),
            scopes: String::new(),
            sid: None,
            ends: None,
            auth_time: Timestamp(0),
            level: Level::Standard,
            amr: Vec::new(),
            created: Timestamp(0),
            renewed: Timestamp(0),
            claims: ClaimsRequest::default(),
            key: None,
            certificate: None,
            refresh: None,
        };
        let judge = |a: &Authorization, token: &str| a.refresh.as_ref().unwrap().judge(secret(token));
        let first = a.rotate("t1");
        let lost = a.rotate("t2");
        assert_eq!((judge(&a, &first), judge(&a, &lost)), (Presented::Previous, Presented::Current));
        a.refresh.as_mut().unwrap().recover();
        let third = a.rotate("t3");
        a.refresh.as_mut().unwrap().recovered();
        assert_eq!(judge(&a, &lost), Presented::Spent, "the unused successor is dead");
        assert_eq!(judge(&a, &first), Presented::PreviousAgain);
        let fourth = a.rotate("t4");
        assert_eq!(judge(&a, &third), Presented::Previous);
        assert_eq!(judge(&a, &first), Presented::Spent);
        assert_eq!(
            (judge(&a, &fourth), judge(&a, &format!("pr_a.{}", "y".repeat(43)))),
            (Presented::Current, Presented::Unknown)
        );
        let before = serde_json::to_value(a.refresh.as_ref().unwrap()).unwrap();
        let mut older = before.clone();
        older["spent"] = serde_json::json!([Digest::of(secret(&first).as_bytes())]);
        for written in [before, older] {
            let refresh: Refresh = serde_json::from_value(written).unwrap();
            assert_eq!(refresh.judge(secret(&first)), Presented::Spent);
            assert_eq!(refresh.judge(secret(&fourth)), Presented::Current);
        }
        (0..2 * SPENT_KEPT).for_each(|_| drop(a.rotate("t")));
        assert_eq!(a.refresh.as_ref().unwrap().spent.0.len(), SPENT_KEPT);
        assert_eq!(judge(&a, &fourth), Presented::Unknown, "forgotten, and refused all the same");
    }
}
