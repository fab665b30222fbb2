#![no_main]
//! `beeline_packet::fuzz::nat_both_ways` says what must hold.

libfuzzer_sys::fuzz_target!(|data: &[u8]| beeline_packet::fuzz::nat_both_ways(data));
