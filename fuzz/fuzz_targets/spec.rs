#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = edge::yaml::parse::<bundler::spec::BundleSpec>("bundle.yaml", text);
});
