//! `cargo +nightly fuzz run jwks fuzz/corpus/jwks fuzz/seeds/jwks`
#![no_main]
use libfuzzer_sys::fuzz_target;

#[path = "../targets.rs"]
#[allow(dead_code)]
mod targets;

fuzz_target!(|bytes: &[u8]| targets::jwks(bytes));
