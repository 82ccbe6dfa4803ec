//! `cargo +nightly fuzz run dpop_proof fuzz/corpus/dpop_proof fuzz/seeds/dpop_proof`
#![no_main]
use libfuzzer_sys::fuzz_target;

#[path = "../targets.rs"]
#[allow(dead_code)]
mod targets;

fuzz_target!(|bytes: &[u8]| targets::dpop_proof(bytes));
