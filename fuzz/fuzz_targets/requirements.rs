#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = bundler::sources::wheels::Requirements::parse("requirements.txt", bytes);
});
