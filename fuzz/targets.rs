//! What each fuzz target does with its bytes: shared by `fuzz/fuzz_targets` and by the ordinary tests, which run every
//! target over its seeds and over what becomes of them when they are damaged.
use portcullis::{
    clock::{Clock, ManualClock, Timestamp},
    config::{Main, mistake},
    gateway::{canonical::canonical, proxy_protocol},
    grant::token_exchange::asset::proven,
    issuer::{
        discovery::jwks_uri,
        keys::{self, KeySet},
    },
    metrics::Metrics,
    model::{PublicJwk, VerificationKey},
    provider::params::Params,
    saml::{Assertion, IdentityProvider, Kind, Logout, TrustedKeys, binding::Queried, read},
    store::memory::MemoryStore,
    token::{Tokens, assertion, keys::Keys, proof},
};
use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

/// A target's name, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All of them; the name is that of the folder of its seeds.
pub const ALL: [Target; 13] = [
    ("path", path),
    ("parameters", parameters),
    ("token", token),
    ("jwt", jwt),
    ("jwks", jwks),
    ("saml_message", saml_message),
    ("saml_query", saml_query),
    ("saml_metadata", saml_metadata),
    ("issuer_document", issuer_document),
    ("dpop_proof", dpop_proof),
    ("actor_token", actor_token),
    ("configuration", configuration),
    ("proxy_header", proxy_header),
];

/// A path that passes is unchanged, and whoever decodes it finds no dots, no separators and no control characters.
pub fn path(bytes: &[u8]) {
    let Ok(path) = canonical(bytes) else { return };
    assert_eq!(path.as_bytes(), bytes);
    let mut decoded = path.to_owned();
    for _ in 0..3 {
        decoded = percent_encoding::percent_decode_str(&decoded).decode_utf8().expect("UTF-8").into_owned();
        assert!(decoded.split('/').all(|s| !matches!(s.trim(), "." | "..")), "{path}");
        assert!(!decoded.contains(['\\', '\0', '\r', '\n', ';']), "{path}");
    }
    assert_eq!(decoded.matches('/').count(), path.matches('/').count(), "{path}");
}

/// Parameters are read once each, and never empty.
pub fn parameters(bytes: &[u8]) {
    if let Ok(params) = Params::parse(bytes) {
        for name in ["grant_type", "client_id", "scope", "code", "assertion"] {
            assert!(params.get(name).is_none_or(|value| !value.is_empty()));
        }
    }
}

/// Nothing that we have not made opens.
pub fn token(bytes: &[u8]) {
    static TOKENS: OnceLock<(Tokens, ManualClock)> = OnceLock::new();
    let (tokens, clock) = TOKENS.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("portcullis-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for keys");
        let clock = ManualClock::at(Timestamp(1_700_000_000));
        let keys = Keys::load_or_create(&folder, &clock).expect("keys");
        let _ = std::fs::remove_dir_all(&folder);
        let tokens = Tokens::new(Arc::new(keys), Arc::new(MemoryStore::default()), 1 << 20, &Metrics::new());
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(tokens.load_revocations(clock.now())).expect("an empty store");
        (tokens, clock)
    });
    assert!(tokens.open_bytes(bytes, clock.now()).is_err());
}

/// Without a key of the client nothing is believed.
pub fn jwt(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = assertion::unverified_issuer(text);
    let rules = assertion::Rules::standard(vec!["https://localhost".to_owned()]);
    assert!(assertion::verify(text, "app", &[], &rules, 300, Timestamp(1_700_000_000)).is_err());
}

/// Another issuer's keys, and an app's: a set that is read has keys, the same each time, and none stands for two.
pub fn jwks(bytes: &[u8]) {
    if let Ok(set) = KeySet::read(bytes) {
        for algorithm in ["RS256", "PS512", "ES256", "ES384", "EdDSA"].into_iter().filter_map(keys::algorithm) {
            assert!(set.candidates(None, algorithm).len() <= 1);
        }
        let again = KeySet::read(bytes).expect("as before");
        assert!(again.replacing(Some(&set)).1.is_empty(), "nothing came");
    }
    if let Ok(all) = VerificationKey::from_jwks(bytes) {
        assert!(!all.is_empty());
    }
}

/// The key that signed what is signed among the seeds; nobody has its private half.
fn pinned() -> TrustedKeys {
    TrustedKeys::of([include_bytes!("saml.der").as_slice()]).expect("a certificate")
}

/// What a pinned key signed is accepted, and whatever else is made of it says the same or is refused (S50); without a
/// trusted key nothing is accepted (S63).
pub fn saml_message(bytes: &[u8]) {
    static SAID: OnceLock<(TrustedKeys, Assertion)> = OnceLock::new();
    let (keys, said) = SAID.get_or_init(|| {
        let (keys, signed) = (pinned(), include_bytes!("seeds/saml_message/signed"));
        let verified = read(signed, Kind::Response).and_then(|passed| passed.verify(&keys));
        (keys, verified.expect("the signed seed passes").assertion)
    });
    for kind in [Kind::Response, Kind::Assertion] {
        if let Ok(passed) = read(bytes, kind) {
            assert!(passed.verify(&TrustedKeys::none()).is_err());
            assert!(passed.verify(keys).is_ok_and(|v| v.assertion == *said) || passed.verify(keys).is_err());
        }
    }
}

/// The same of logout messages in a query (SAML Bindings §3.4).
pub fn saml_query(bytes: &[u8]) {
    static SAID: OnceLock<(TrustedKeys, [Logout; 2])> = OnceLock::new();
    const KINDS: [Kind; 2] = [Kind::LogoutRequest, Kind::LogoutResponse];
    let taken = |query: &str, field: &str, keys: &TrustedKeys| {
        let queried = Queried::read(query, field)?;
        queried.inspect(&KINDS).and_then(|passed| queried.verify(&passed, keys))
    };
    let (keys, said) = SAID.get_or_init(|| {
        let keys = pinned();
        let seed = |query: &str, field: &str| taken(query, field, &keys).expect("the signed seeds pass");
        let request = seed(include_str!("seeds/saml_query/request"), "SAMLRequest");
        let response = seed(include_str!("seeds/saml_query/response"), "SAMLResponse");
        (keys, [request, response])
    });
    let Ok(query) = std::str::from_utf8(bytes) else { return };
    for field in ["SAMLRequest", "SAMLResponse"] {
        assert!(taken(query, field, &TrustedKeys::none()).is_err());
        if let Ok(logout) = taken(query, field, keys) {
            assert!(said.contains(&logout), "{logout:?}");
        }
    }
}

/// Metadata that is read pins a key and says where people sign in (S63).
pub fn saml_metadata(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for entity in [None, Some("https://two.example")] {
        if let Ok(idp) = IdentityProvider::read(text, entity) {
            assert!(!idp.keys.is_empty() && !idp.sign_on.is_empty() && !idp.entity.is_empty());
            assert!(entity.is_none_or(|wanted| idp.entity == wanted));
        }
    }
}

/// What another issuer publishes: a set that is read holds a key, and keys are fetched from no address in clear.
pub fn issuer_document(bytes: &[u8]) {
    if let Ok(set) = KeySet::read(bytes) {
        assert!(!set.replacing(None).1.is_empty());
    }
    if let Ok(uri) = jwks_uri(bytes, "https://issuer.example") {
        assert!(portcullis::outgoing::sound(&uri).is_ok(), "{uri}");
    }
}

/// Nothing holds that no key signed (RFC 9449 §4.3).
pub fn dpop_proof(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let at = [proof::Target { authority: "api.example", path: "/orders" }];
    // No clock stands there: what the seeds' key signed is long over, so nothing may hold.
    let asked = proof::Asked { method: "GET", at: &at, token: None, lifetime: 60, now: Timestamp(i64::MAX / 2) };
    assert!(proof::verify(text, asked).is_err());
    let _ = at[0].is(text);
}

/// What a device says of itself is taken only when it was signed with the key in it (RFC 7800).
pub fn actor_token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok((key, claims)) = proven(text) {
        assert_eq!(PublicJwk::read(&claims["cnf"]["jwk"]), Ok(key));
    }
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(text) {
        // A thumbprint is of a public key, whatever it stands beside.
        let _ = PublicJwk::read(&value).map(|key| key.thumbprint());
    }
}

/// Every mistake has a line that exists.
pub fn configuration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(mistakes) = mistake::parse::<Main>(Path::new("fuzz.toml"), text) {
        let lines = text.lines().count() + 1;
        assert!(!mistakes.is_empty() && mistakes.iter().all(|m| (1..=lines).contains(&m.line)));
    }
}

/// A header ends within what came.
pub fn proxy_header(bytes: &[u8]) {
    if let proxy_protocol::Said::Header(length, _) = proxy_protocol::parse(bytes) {
        assert!(length <= bytes.len());
    }
}
