#![no_main]
//! `beeline_api::fuzz::patches` says what must hold.

libfuzzer_sys::fuzz_target!(|data: &[u8]| beeline_api::fuzz::patches(data));
