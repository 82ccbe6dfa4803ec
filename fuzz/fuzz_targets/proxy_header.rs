//! `cargo +nightly fuzz run proxy_header fuzz/corpus/proxy_header fuzz/seeds/proxy_header`
#![no_main]
use libfuzzer_sys::fuzz_target;

#[path = "../targets.rs"]
#[allow(dead_code)]
mod targets;

fuzz_target!(|bytes: &[u8]| targets::proxy_header(bytes));
