#![no_main]
//! `beeline_api::fuzz::cel` says what must hold.

libfuzzer_sys::fuzz_target!(|data: &[u8]| beeline_api::fuzz::cel(data));
