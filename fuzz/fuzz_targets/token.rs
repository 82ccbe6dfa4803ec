//! `cargo +nightly fuzz run token fuzz/corpus/token fuzz/seeds/token`
#![no_main]
use libfuzzer_sys::fuzz_target;

#[path = "../targets.rs"]
#[allow(dead_code)]
mod targets;

fuzz_target!(|bytes: &[u8]| targets::token(bytes));
