//! Any bytes as what a device signs of itself: nothing panics, and what is taken was signed with the key in it (RFC 7800).
//! `cargo +nightly fuzz run actor_token -- -max_len=4096`; `portcullis token actor` makes a good corpus.
#![no_main]
use libfuzzer_sys::fuzz_target;
use portcullis::{grant::token_exchange::asset::proven, model::PublicJwk};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok((key, claims)) = proven(text)
    {
        assert_eq!(PublicJwk::read(&claims["cnf"]["jwk"]), Ok(key));
    }
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) {
        // A thumbprint is of a public key, whatever it stands beside.
        let _ = PublicJwk::read(&value).map(|key| key.thumbprint());
    }
});
