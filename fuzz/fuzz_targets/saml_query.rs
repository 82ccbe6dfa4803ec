//! `cargo +nightly fuzz run saml_query fuzz/corpus/saml_query fuzz/seeds/saml_query`
#![no_main]
use libfuzzer_sys::fuzz_target;

#[path = "../targets.rs"]
#[allow(dead_code)]
mod targets;

fuzz_target!(|bytes: &[u8]| targets::saml_query(bytes));
