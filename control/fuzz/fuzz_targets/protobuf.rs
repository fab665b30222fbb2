#![no_main]
//! `beeline_apiserver::fuzz::protobuf` says what must hold.

libfuzzer_sys::fuzz_target!(|data: &[u8]| beeline_apiserver::fuzz::protobuf(data));
