#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| testkit::exercise::texts(text));
