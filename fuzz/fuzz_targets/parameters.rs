//! `cargo +nightly fuzz run parameters fuzz/corpus/parameters fuzz/seeds/parameters`
#![no_main]
use libfuzzer_sys::fuzz_target;

#[path = "../targets.rs"]
#[allow(dead_code)]
mod targets;

fuzz_target!(|bytes: &[u8]| targets::parameters(bytes));
