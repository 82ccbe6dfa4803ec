//! `cargo +nightly fuzz run issuer_document fuzz/corpus/issuer_document fuzz/seeds/issuer_document`
#![no_main]
use libfuzzer_sys::fuzz_target;

#[path = "../targets.rs"]
#[allow(dead_code)]
mod targets;

fuzz_target!(|bytes: &[u8]| targets::issuer_document(bytes));
