//! Any bytes as a SAML message: nothing panics, and without a trusted key nothing is accepted (S63).
//! `cargo +nightly fuzz run saml_message -- -max_len=65536`; messages saved from a browser make a good corpus.
#![no_main]
use libfuzzer_sys::fuzz_target;
use portcullis::saml::{Kind, TrustedKeys, read};

fuzz_target!(|bytes: &[u8]| {
    for kind in [Kind::Response, Kind::Assertion] {
        if let Ok(passed) = read(bytes, kind) {
            assert!(passed.verify(&TrustedKeys::none()).is_err());
        }
    }
});
