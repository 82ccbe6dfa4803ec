//! `cargo +nightly fuzz run jwt fuzz/corpus/jwt fuzz/seeds/jwt`
#![no_main]
use libfuzzer_sys::fuzz_target;

#[path = "../targets.rs"]
#[allow(dead_code)]
mod targets;

fuzz_target!(|bytes: &[u8]| targets::jwt(bytes));
