//! What the tests of this crate share: a client that never sleeps, and a small image.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use manifests::oci::{MEDIA_CONFIG, MEDIA_LAYER_GZIP, MEDIA_MANIFEST};
use manifests::{Descriptor, Digest};
use registry::{Http, HttpSettings, Registry, Repository, TagOrDigest};

/// The waits that a client asked for.
pub type Pauses = Arc<Mutex<Vec<Duration>>>;

/// Settings under which nothing sleeps and no proxy interferes, and the record of waits.
pub fn settings() -> (HttpSettings, Pauses) {
    let pauses: Pauses = Arc::default();
    let sink = Arc::clone(&pauses);
    let settings = HttpSettings {
        pause: Arc::new(move |pause| sink.lock().unwrap().push(pause)),
        environment_proxy: false,
        ..HttpSettings::default()
    };
    (settings, pauses)
}

pub fn client() -> Http {
    Http::new(&settings().0).unwrap()
}

pub fn repository(url: &str, path: &str) -> Repository {
    Registry::new(client(), url).unwrap().repository(path).unwrap()
}

pub fn by(text: &str) -> TagOrDigest {
    text.parse().unwrap()
}

/// Bytes that no two offsets share by accident.
pub fn noise(size: usize) -> Vec<u8> {
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    let step = |_| {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        (word >> 32) as u8
    };
    (0..size).map(step).collect()
}

/// A manifest over these two blobs, with white space of its own that must survive.
pub fn image_manifest(config: &[u8], layer: &[u8]) -> (Vec<u8>, Digest) {
    let config = serde_json::to_string(&Descriptor::of(MEDIA_CONFIG, config)).unwrap();
    let layer = serde_json::to_string(&Descriptor::of(MEDIA_LAYER_GZIP, layer)).unwrap();
    let text = format!(
        "{{ \"schemaVersion\": 2,\n\t\"mediaType\": \"{MEDIA_MANIFEST}\",\n  \"config\": {config},\n  \"layers\": [ {layer} ],\n  \"vendor.extra\": [1, 2] }}\n"
    );
    let digest = Digest::of(text.as_bytes());
    (text.into_bytes(), digest)
}

/// The chain of causes, as a program would print it.
pub fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}
