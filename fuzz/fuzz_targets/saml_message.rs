//! `cargo +nightly fuzz run saml_message fuzz/corpus/saml_message fuzz/seeds/saml_message`
#![no_main]
use libfuzzer_sys::fuzz_target;

#[path = "../targets.rs"]
#[allow(dead_code)]
mod targets;

fuzz_target!(|bytes: &[u8]| targets::saml_message(bytes));
