//! Any bytes as a DPoP proof: nothing panics, and nothing holds that no key signed (RFC 9449 §4.3).
//! `cargo +nightly fuzz run dpop_proof -- -max_len=4096`; `portcullis token proof` makes a good corpus.
#![no_main]
use libfuzzer_sys::fuzz_target;
use portcullis::{
    clock::Timestamp,
    token::proof::{Asked, Target, verify},
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let at = [Target { authority: "api.example", path: "/orders" }];
    // No clock stands there: what the corpus signed is long over, so nothing may hold.
    let asked = Asked { method: "GET", at: &at, token: None, lifetime: 60, now: Timestamp(i64::MAX / 2) };
    assert!(verify(text, asked).is_err());
    let _ = at[0].is(text);
});
