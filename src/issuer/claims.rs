//! What an issuer's token must say, and what it means here. The signature has been verified when this is asked.
use crate::{
    clock::Timestamp,
    model::{Confirmation, ScopeSet, scope::is_scope_token},
};
use jsonwebtoken::Algorithm;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Seconds after its `iat` for which a token is good at most, whatever its `exp` says: as long as endings are remembered.
const LONGEST: i64 = 86_400;
/// Longest name that is taken over, characters.
const LONGEST_NAME: usize = 255;
/// Scopes of theirs that are looked at, at most.
const MOST_SCOPES: usize = 512;
/// `typ` of access tokens (RFC 9068 §2.1), as it is compared.
pub const ACCESS_TOKEN: &str = "at+jwt";
/// The word for a header without `typ`.
pub const ABSENT: &str = "absent";

/// The audiences that are ours.
#[derive(Clone, Debug)]
pub enum Audience {
    /// Each opens every route that names the issuer.
    Any(BTreeSet<String>),
    /// Each opens the routes with this resource.
    Of(BTreeMap<String, String>),
}

/// What an issuer's tokens must say.
#[derive(Clone, Debug)]
pub struct Rules {
    /// `aud` must name one of these, exactly.
    pub audience: Audience,
    /// What they may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// Accepted difference of clocks, seconds.
    pub skew: i64,
    /// Accepted `typ`, in lower case and without `application/`; [`ABSENT`] for none.
    pub types: BTreeSet<String>,
    /// Claims that name scopes.
    pub scope_claims: Vec<String>,
    /// Theirs → ours.
    pub scopes: BTreeMap<String, Vec<String>>,
    /// Scopes that mean the same here; one that ends with `*` stands for all that begin so.
    pub pass: Vec<String>,
    /// The claim that names the subject.
    pub subject: String,
    /// What comes before it here.
    pub prefix: String,
    /// Claims that may name the client; the first that is there does.
    pub clients: Vec<String>,
    /// Claims that must have exactly these values, or hold them among others.
    pub required: BTreeMap<String, Value>,
}

/// What a token says, in our words.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// Who, with the issuer's prefix.
    pub subject: String,
    /// Through which program, with the issuer's name before it.
    pub client: String,
    /// Which of our audiences it names, space-delimited.
    pub audience: String,
    /// Our scopes, space-delimited.
    pub scopes: String,
    /// `jti`, where it is a usable one.
    pub jti: Option<String>,
    /// `iat`.
    pub issued: Timestamp,
    /// `exp`, with the difference of clocks.
    pub expires: Timestamp,
    /// The key that it is bound to.
    pub confirmation: Option<Confirmation>,
}

/// Why a token is refused: for the log, never for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A claim is missing, or of the wrong type.
    #[error("malformed")]
    Malformed,
    /// `iss` is another.
    #[error("issuer")]
    Issuer,
    /// `aud` names nothing of ours.
    #[error("audience")]
    Audience,
    /// Another kind of token: an ID token, a logout token (RFC 8725 §3.11).
    #[error("type")]
    Type,
    /// `exp` has passed.
    #[error("expired")]
    Expired,
    /// `nbf` or `iat` lies ahead.
    #[error("not yet valid")]
    NotYet,
    /// A required claim has another value.
    #[error("a required claim")]
    Required,
    /// Bound to a key in a way that is not known here.
    #[error("confirmation")]
    Confirmation,
}

/// The claim with this name, or at this dotted path.
pub fn claim<'a>(claims: &'a Value, path: &str) -> Option<&'a Value> {
    claims.get(path).or_else(|| path.split('.').try_fold(claims, |value, step| value.get(step)))
}

/// Seconds since the epoch; anything but a number is none (S34).
fn instant(claims: &Value, name: &str) -> Result<Option<Timestamp>, Refusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let whole = value.as_i64().or_else(|| value.as_f64().filter(|f| f.is_finite()).map(|f| f as i64));
    whole.map(|seconds| Some(Timestamp(seconds))).ok_or(Refusal::Malformed)
}

/// A text, or several of an array.
fn texts(value: Option<&Value>, split: bool) -> Vec<&str> {
    match value {
        Some(Value::String(one)) if split => one.split_ascii_whitespace().collect(),
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// A name that headers, logs and endings can carry.
fn name(value: Option<&Value>) -> Option<&str> {
    let name = value?.as_str()?;
    let sound = !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(|b| b.is_ascii_graphic());
    sound.then_some(name)
}

/// `typ` as it is compared (RFC 7515 §4.1.9).
pub fn typ(value: &str) -> String {
    let lower = value.to_ascii_lowercase();
    lower.strip_prefix("application/").unwrap_or(&lower).to_owned()
}

impl Rules {
    /// Whether a header of this `typ` is that of a token to look at.
    pub fn takes(&self, header: Option<&str>) -> bool {
        self.types.contains(&header.map_or_else(|| ABSENT.to_owned(), typ))
    }

    /// Whether only this issuer's tokens carry `name`, as a subject or as a client.
    pub fn owns(&self, issuer: &str, name: &str) -> bool {
        name.starts_with(&self.prefix) || name.strip_prefix(issuer).is_some_and(|rest| rest.starts_with(':'))
    }

    /// Whether a token with these of our audiences opens `resource`.
    pub fn opens(&self, audience: &str, resource: &str) -> bool {
        match &self.audience {
            Audience::Any(_) => true,
            Audience::Of(_) => audience.split(' ').any(|one| one == resource),
        }
    }

    /// What `claims` mean, of a token of `issuer` (its name and its URL) with this `typ`.
    pub fn judge(
        &self,
        issuer: (&str, &str),
        header: Option<&str>,
        claims: &Value,
        now: Timestamp,
    ) -> Result<Said, Refusal> {
        if claims.get("iss").and_then(Value::as_str) != Some(issuer.1) {
            return Err(Refusal::Issuer);
        }
        if !self.takes(header) || header.map(typ).as_deref() != Some(ACCESS_TOKEN) && is_another_kind(claims) {
            return Err(Refusal::Type);
        }
        let audience = self.ours(&texts(claims.get("aud"), false)).ok_or(Refusal::Audience)?;
        let (issued, expires) = (instant(claims, "iat")?, instant(claims, "exp")?);
        let (Some(issued), Some(expires)) = (issued, expires) else { return Err(Refusal::Malformed) };
        let expires = expires.plus(self.skew).min(issued.plus(LONGEST));
        if expires <= now {
            return Err(Refusal::Expired);
        }
        if [Some(issued), instant(claims, "nbf")?].into_iter().flatten().any(|t| t > now.plus(self.skew)) {
            return Err(Refusal::NotYet);
        }
        let holds = |(path, wanted): (&String, &Value)| match claim(claims, path) {
            Some(Value::Array(several)) if !wanted.is_array() => several.contains(wanted),
            found => found == Some(wanted),
        };
        if !self.required.iter().all(holds) {
            return Err(Refusal::Required);
        }
        let subject = name(claim(claims, &self.subject)).ok_or(Refusal::Malformed)?;
        let client = self.clients.iter().find_map(|path| claim(claims, path));
        let client = name(client).ok_or(Refusal::Malformed)?;
        Ok(Said {
            subject: format!("{}{subject}", self.prefix),
            client: format!("{}:{client}", issuer.0),
            audience,
            scopes: self.granted(claims).to_string(),
            jti: name(claims.get("jti")).map(|jti| format!("{}:{jti}", issuer.0)),
            issued,
            expires,
            confirmation: confirmation(claims)?,
        })
    }

    fn ours(&self, named: &[&str]) -> Option<String> {
        let ours: Vec<&str> = match &self.audience {
            Audience::Any(all) => named.iter().copied().filter(|one| all.contains(*one)).collect(),
            Audience::Of(all) => named.iter().filter_map(|one| all.get(*one)).map(String::as_str).collect(),
        };
        (!ours.is_empty()).then(|| ours.join(" "))
    }

    /// Our scopes for theirs; what nobody mapped is dropped.
    fn granted(&self, claims: &Value) -> ScopeSet {
        let theirs = self.scope_claims.iter().flat_map(|path| texts(claim(claims, path), true)).take(MOST_SCOPES);
        let mut ours: Vec<&str> = Vec::new();
        for scope in theirs {
            let means_the_same = |pass: &String| match pass.strip_suffix('*') {
                Some(beginning) => scope.starts_with(beginning),
                None => scope == pass,
            };
            ours.extend(self.scopes.get(scope).into_iter().flatten().map(String::as_str));
            if is_scope_token(scope) && self.pass.iter().any(means_the_same) {
                ours.push(scope);
            }
        }
        ScopeSet::of(&ours)
    }
}

/// Whether claims are those of an ID token (OIDC Core §2), a logout token (OIDC Back-Channel Logout §2.4) or one that
/// says itself that it is no access token.
fn is_another_kind(claims: &Value) -> bool {
    let marks = ["nonce", "at_hash", "c_hash", "s_hash", "events"];
    let says = |name: &str, kinds: &[&str]| {
        claims.get(name).and_then(Value::as_str).is_some_and(|kind| kinds.iter().any(|k| kind.eq_ignore_ascii_case(k)))
    };
    marks.iter().any(|mark| claims.get(mark).is_some())
        || says("typ", &["ID", "Refresh", "Offline", "Logout"])
        || says("token_use", &["id", "refresh"])
}

/// `cnf`, by a key or a certificate; one that says it in another way is bound to something that nobody here can check.
fn confirmation(claims: &Value) -> Result<Option<Confirmation>, Refusal> {
    let Some(cnf) = claims.get("cnf") else { return Ok(None) };
    let read: Confirmation = serde_json::from_value(cnf.clone()).map_err(|_| Refusal::Confirmation)?;
    let known = read.jwk.is_none() && (read.jkt.is_some() || read.certificate.is_some());
    if known { Ok(Some(read)) } else { Err(Refusal::Confirmation) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Timestamp = Timestamp(1_700_000_000);
    const THEM: (&str, &str) = ("idp", "https://idp.example/");

    fn rules() -> Rules {
        let set = |all: &[&str]| all.iter().map(|t| (*t).to_owned()).collect();
        let list = |all: &[&str]| all.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        Rules {
            audience: Audience::Any(set(&["api://orders"])),
            algorithms: vec![Algorithm::RS256],
            skew: 30,
            types: set(&["at+jwt", "jwt", ABSENT]),
            scope_claims: list(&["scp", "realm_access.roles", "https://idp.example/roles"]),
            scopes: BTreeMap::from([
                ("Orders.Read".to_owned(), list(&["orders:read"])),
                ("Order Admin".to_owned(), list(&["orders:read", "orders:write"])),
            ]),
            pass: list(&["same", "team:*"]),
            subject: "sub".to_owned(),
            prefix: "idp:".to_owned(),
            clients: list(&["client_id", "azp"]),
            required: BTreeMap::from([("tid".to_owned(), json!("t1")), ("realm_access.level".to_owned(), json!(2))]),
        }
    }

    fn good() -> Value {
        json!({"iss": THEM.1, "sub": "u1", "aud": ["x", "api://orders"], "azp": "app", "iat": NOW.0 - 60,
            "exp": NOW.0 + 300, "tid": "t1", "realm_access": {"level": 2, "roles": ["Order Admin"]},
            "scp": "Orders.Read unknown same team:a"})
    }

    fn with(changes: Value) -> Result<Said, Refusal> {
        let mut claims = good();
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        rules().judge(THEM, Some("JWT"), &claims, NOW)
    }

    #[test]
    fn s61_claims_are_translated_and_what_nobody_mapped_is_dropped() {
        let said = with(json!({"jti": "j"})).unwrap();
        assert_eq!((&*said.subject, &*said.client), ("idp:u1", "idp:app"));
        assert_eq!(said.scopes, "orders:read orders:write same team:a");
        assert_eq!((said.audience.as_str(), said.jti.as_deref()), ("api://orders", Some("idp:j")));
        assert_eq!(said.expires, NOW.plus(330));
        let namespaced =
            with(json!({"scp": null, "realm_access": {"level": 2}, "https://idp.example/roles": ["same"]}));
        assert_eq!(namespaced.unwrap().scopes, "same", "a name with dots in it before a path");
        assert_eq!(
            with(json!({"scp": ["team:\u{7f}", "team:\"", "none"], "realm_access": {"level": 2}})).unwrap().scopes,
            ""
        );
        assert_eq!(with(json!({"tid": ["t0", "t1"]})).unwrap().subject, "idp:u1", "among others");
        assert!(rules().owns("idp", "idp:u1") && rules().owns("idp", "idp:app") && !rules().owns("idp", "idp"));
    }

    #[test]
    fn s34_s35_s36_s38_what_is_not_meant_for_us_or_not_now_or_another_kind_is_refused() {
        let cases = [
            (json!({"iss": "https://idp.example"}), Refusal::Issuer),
            (json!({"iss": null}), Refusal::Issuer),
            (json!({"aud": "api://order"}), Refusal::Audience),
            (json!({"aud": "api://orders api://other"}), Refusal::Audience),
            (json!({"aud": null}), Refusal::Audience),
            (json!({"exp": NOW.0 - 30}), Refusal::Expired),
            (json!({"exp": null}), Refusal::Malformed),
            (json!({"exp": "1700000300"}), Refusal::Malformed),
            (json!({"iat": null}), Refusal::Malformed),
            (json!({"iat": NOW.0 + 31}), Refusal::NotYet),
            (json!({"nbf": NOW.0 + 61}), Refusal::NotYet),
            (json!({"nbf": "soon"}), Refusal::Malformed),
            (json!({"iat": NOW.0 - 86_400, "exp": NOW.0 + 999}), Refusal::Expired),
            (json!({"tid": "t2"}), Refusal::Required),
            (json!({"tid": null}), Refusal::Required),
            (json!({"sub": null}), Refusal::Malformed),
            (json!({"sub": "a b"}), Refusal::Malformed),
            (json!({"sub": "a\r\nx-auth-scopes: all"}), Refusal::Malformed),
            (json!({"sub": "ü"}), Refusal::Malformed),
            (json!({"azp": null}), Refusal::Malformed),
            (json!({"azp": ["app"]}), Refusal::Malformed),
            (json!({"nonce": "n"}), Refusal::Type),
            (json!({"at_hash": "h"}), Refusal::Type),
            (json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}), Refusal::Type),
            (json!({"typ": "ID"}), Refusal::Type),
            (json!({"typ": "Refresh"}), Refusal::Type),
            (json!({"token_use": "id"}), Refusal::Type),
            (json!({"cnf": {"kid": "k"}}), Refusal::Confirmation),
            (json!({"cnf": "k"}), Refusal::Confirmation),
        ];
        for (change, refusal) in cases {
            assert_eq!(with(change.clone()), Err(refusal), "{change}");
        }
        assert!(with(json!({"iat": NOW.0 + 10, "nbf": NOW.0 + 10, "exp": NOW.0 - 29})).is_ok(), "S35");
        let mut strict = rules();
        strict.types.remove("jwt");
        assert_eq!(strict.judge(THEM, Some("JWT"), &good(), NOW), Err(Refusal::Type));
        assert!(strict.judge(THEM, Some("application/AT+JWT"), &good(), NOW).is_ok());
        strict.types.remove(ABSENT);
        assert_eq!(strict.judge(THEM, None, &good(), NOW), Err(Refusal::Type));
    }
}
