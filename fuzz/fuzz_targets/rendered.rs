#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| e2e::parsers::rendered(text));
