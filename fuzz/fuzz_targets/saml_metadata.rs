//! `cargo +nightly fuzz run saml_metadata fuzz/corpus/saml_metadata fuzz/seeds/saml_metadata`
#![no_main]
use libfuzzer_sys::fuzz_target;

#[path = "../targets.rs"]
#[allow(dead_code)]
mod targets;

fuzz_target!(|bytes: &[u8]| targets::saml_metadata(bytes));
