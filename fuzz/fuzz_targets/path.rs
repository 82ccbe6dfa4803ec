//! `cargo +nightly fuzz run path fuzz/corpus/path fuzz/seeds/path`
#![no_main]
use libfuzzer_sys::fuzz_target;

#[path = "../targets.rs"]
#[allow(dead_code)]
mod targets;

fuzz_target!(|bytes: &[u8]| targets::path(bytes));
