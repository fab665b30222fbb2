#![no_main]
//! `beeline_packet::fuzz::icmp_error` says what must hold.

libfuzzer_sys::fuzz_target!(|data: &[u8]| beeline_packet::fuzz::icmp_error(data));
