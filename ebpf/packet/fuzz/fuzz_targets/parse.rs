#![no_main]
//! `beeline_packet::fuzz::parse` says what must hold.

libfuzzer_sys::fuzz_target!(|data: &[u8]| beeline_packet::fuzz::parse(data));
