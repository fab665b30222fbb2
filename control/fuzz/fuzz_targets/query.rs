#![no_main]
//! `beeline_apiserver::fuzz::query` says what must hold.

libfuzzer_sys::fuzz_target!(|data: &[u8]| beeline_apiserver::fuzz::query(data));
