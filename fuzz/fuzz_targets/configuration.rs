//! `cargo +nightly fuzz run configuration fuzz/corpus/configuration fuzz/seeds/configuration`
#![no_main]
use libfuzzer_sys::fuzz_target;

#[path = "../targets.rs"]
#[allow(dead_code)]
mod targets;

fuzz_target!(|bytes: &[u8]| targets::configuration(bytes));
