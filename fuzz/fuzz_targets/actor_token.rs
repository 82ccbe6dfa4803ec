//! `cargo +nightly fuzz run actor_token fuzz/corpus/actor_token fuzz/seeds/actor_token`
#![no_main]
use libfuzzer_sys::fuzz_target;

#[path = "../targets.rs"]
#[allow(dead_code)]
mod targets;

fuzz_target!(|bytes: &[u8]| targets::actor_token(bytes));
