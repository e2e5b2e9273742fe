//! What others wrote and a bundle carries: OCI manifests that two readers would take for two things, or
//! that lead to what does not travel.

use manifests::oci::{MEDIA_CONFIG, MEDIA_INDEX, MEDIA_MANIFEST};
use manifests::{Descriptor, Digest};
use serde_json::{Value, json};
use testkit::sample::ImageParts;

use super::signed_image;
use crate::{Case, Generator};

/// A signed bundle whose image has another manifest.
fn document(change: impl FnOnce(&mut Value)) -> Case {
    signed_image(|image| {
        let mut document = image.document();
        change(&mut document);
        image.set_document(&document);
    })
}

/// A signed bundle whose image has a manifest of this text.
fn text(change: impl FnOnce(String) -> String) -> Case {
    signed_image(|image| {
        let text = String::from_utf8(image.manifest.clone()).unwrap();
        image.manifest = change(text).into_bytes();
    })
}

/// The honest manifest as a blob below something else.
fn child(image: &mut ImageParts) -> Descriptor {
    let manifest = image.manifest.clone();
    image.add(MEDIA_MANIFEST, &manifest)
}

fn index(children: &[Descriptor]) -> Value {
    json!({"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": children})
}

fn set_index(image: &mut ImageParts, document: &Value) {
    image.media_type = MEDIA_INDEX.to_string();
    image.set_document(document);
}

/// An image below so many indexes.
pub(crate) fn nested(depth: usize) -> Case {
    signed_image(|image| {
        let mut top = child(image);
        for _ in 1..depth {
            let bytes = manifests::canonical::to_canonical(&index(&[top])).unwrap();
            top = image.add(MEDIA_INDEX, &bytes);
        }
        set_index(image, &index(&[top]));
    })
}

/// An index that names one child very often.
pub(crate) fn crowded() -> Case {
    signed_image(|image| {
        let only = child(image);
        set_index(image, &index(&vec![only; 10_000]));
    })
}

/// The honest image, with a manifest that does not say what it is.
pub(crate) fn without_media_type() -> Case {
    document(|manifest| drop(manifest.as_object_mut().unwrap().remove("mediaType")))
}

/// The digest of the first layer, as another text.
fn layer_digest(change: impl FnOnce(&str) -> String) -> Case {
    document(|manifest| {
        let digest = change(&manifest["layers"][0]["digest"].as_str().unwrap()[7..]);
        manifest["layers"][0]["digest"] = digest.into();
    })
}

fn add_layer(change: impl FnOnce(&mut ImageParts) -> Value) -> Case {
    signed_image(|image| {
        let layer = change(image);
        let mut document = image.document();
        document["layers"].as_array_mut().unwrap().push(layer);
        image.set_document(&document);
    })
}

/// The directories of this part.
pub(super) const CASES: &[(&str, Generator)] = &[
    // One document, two readings.
    ("image-that-is-an-index-too", || document(|manifest| manifest["manifests"] = json!([]))),
    ("image-that-is-an-index-too-in-another-case", || {
        // Go, which most registries and runtimes are written in, does not mind the case of a key.
        document(|manifest| manifest["Manifests"] = json!([]))
    }),
    ("image-with-layers-in-another-case-as-well", || document(|manifest| manifest["LAYERS"] = json!([]))),
    ("image-with-a-digest-in-another-case-as-well", || {
        document(|manifest| manifest["layers"][0]["Digest"] = Digest::of(b"x").to_string().into())
    }),
    ("index-that-is-an-image-too", || {
        signed_image(|image| {
            let mut both = image.document();
            let child = child(image);
            both["mediaType"] = MEDIA_INDEX.into();
            both["manifests"] = json!([child]);
            set_index(image, &both);
        })
    }),
    ("image-that-says-it-is-an-index", || document(|manifest| manifest["mediaType"] = MEDIA_INDEX.into())),
    ("image-that-the-inventory-calls-an-index", || {
        signed_image(|image| image.media_type = MEDIA_INDEX.to_string())
    }),
    ("image-without-a-media-type-that-the-inventory-calls-an-index", || {
        signed_image(|image| {
            let mut document = image.document();
            document.as_object_mut().unwrap().remove("mediaType");
            image.set_document(&document);
            image.media_type = MEDIA_INDEX.to_string();
        })
    }),
    ("image-of-another-media-type", || signed_image(|image| image.media_type = "text/plain".to_string())),
    ("image-with-a-key-twice", || text(|text| text.replacen("\"layers\":", "\"layers\":[],\"layers\":", 1))),
    ("image-with-a-key-of-a-layer-twice", || {
        text(|text| text.replacen("\"size\":", "\"size\":1,\"size\":", 1))
    }),
    ("image-with-an-array-for-an-object", || {
        document(|manifest| {
            let config = manifest["config"].clone();
            manifest["config"] = json!([config["mediaType"], config["digest"], config["size"]]);
        })
    }),
    ("image-as-an-array", || {
        document(|manifest| {
            let [config, layers] = [&manifest["config"], &manifest["layers"]];
            *manifest = json!([2, MEDIA_MANIFEST, null, config, layers, null, {}]);
        })
    }),
    ("image-with-a-second-document", || text(|text| format!("{text}{{}}"))),
    ("image-with-a-space-before-it", || text(|text| format!(" {text}"))),
    ("image-nested-deeply", || {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        text(|text| text.replacen('{', &format!("{{\"a\":{deep},"), 1))
    }),
    ("image-that-is-not-json", || text(|_| "{hello}".to_string())),
    ("image-of-schema-1", || document(|manifest| manifest["schemaVersion"] = 1.into())),
    ("image-of-schema-3", || document(|manifest| manifest["schemaVersion"] = 3.into())),
    ("image-without-a-schema", || {
        document(|manifest| drop(manifest.as_object_mut().unwrap().remove("schemaVersion")))
    }),
    // What it names.
    ("image-with-an-md5-digest", || layer_digest(|hex| format!("md5:{}", &hex[..32]))),
    ("image-with-a-sha512-digest", || layer_digest(|hex| format!("sha512:{hex}{hex}"))),
    ("image-with-a-short-digest", || layer_digest(|hex| format!("sha256:{}", &hex[1..]))),
    ("image-with-an-upper-case-digest", || layer_digest(|hex| format!("sha256:{}", hex.to_uppercase()))),
    ("image-with-a-digest-that-is-a-path", || layer_digest(|_| "sha256:../../../canary/file".to_string())),
    ("image-with-another-size-of-a-layer", || {
        document(|manifest| {
            let size = manifest["layers"][0]["size"].as_u64().unwrap();
            manifest["layers"][0]["size"] = (size + 1).into();
        })
    }),
    ("image-with-a-negative-size", || document(|manifest| manifest["layers"][0]["size"] = (-1).into())),
    ("image-with-a-layer-that-does-not-travel", || {
        add_layer(|_| json!(Descriptor::of("application/vnd.oci.image.layer.v1.tar", b"elsewhere")))
    }),
    ("image-with-a-layer-of-somebody-else", || {
        // The blob is in the bundle, and the inventory does not list it for this image.
        add_layer(|_| json!(Descriptor::of("application/vnd.oci.image.layer.v1.tar", b"threshold: 0.5\n")))
    }),
    ("image-with-a-blob-that-it-does-not-name", || {
        signed_image(|image| drop(image.add("application/octet-stream", b"an idle passenger")))
    }),
    ("image-with-a-foreign-layer", || {
        add_layer(|image| {
            let mut layer = json!(image.add("application/vnd.oci.image.layer.v1.tar", b"foreign"));
            layer["urls"] = json!(["http://registry.example.com/layer"]);
            layer
        })
    }),
    ("image-with-a-foreign-layer-that-does-not-travel", || {
        add_layer(|_| {
            let kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
            json!(Descriptor::of(kind, b"elsewhere"))
        })
    }),
    ("image-with-a-nondistributable-layer", || {
        add_layer(|image| {
            json!(image.add("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", b"foreign"))
        })
    }),
    ("image-with-a-configuration-over-4-mib", || {
        signed_image(|image| {
            let config = image.add(MEDIA_CONFIG, &vec![b' '; (4 << 20) + 1]);
            let mut document = image.document();
            document["config"] = json!(config);
            image.set_document(&document);
            let before = image.listed.remove(0);
            image.blobs.remove(&before);
        })
    }),
    ("image-with-a-manifest-over-4-mib", || {
        document(|manifest| manifest["annotations"] = json!({"filler": "x".repeat(4 << 20)}))
    }),
    ("index-with-a-child-that-does-not-travel", || {
        signed_image(|image| {
            let elsewhere = Descriptor::of(MEDIA_MANIFEST, b"elsewhere");
            let children = [child(image), elsewhere];
            set_index(image, &index(&children));
        })
    }),
    ("index-with-a-child-that-is-no-manifest", || {
        signed_image(|image| {
            let children = [child(image), image.add(MEDIA_MANIFEST, b"{\"hello\":\"world\"}")];
            set_index(image, &index(&children));
        })
    }),
    ("index-with-a-child-of-another-size", || {
        signed_image(|image| {
            let mut only = child(image);
            only.size += 1;
            set_index(image, &index(&[only]));
        })
    }),
    ("index-with-a-child-at-an-address", || {
        signed_image(|image| {
            let mut only = child(image);
            only.urls.push("http://registry.example.com/manifest".to_string());
            set_index(image, &index(&[only]));
        })
    }),
    ("index-that-calls-an-image-an-index", || {
        signed_image(|image| {
            let mut only = child(image);
            only.media_type = MEDIA_INDEX.to_string();
            set_index(image, &index(&[only]));
        })
    }),
    ("index-nested-too-deeply", || nested(5)),
    ("index-nested-ten-thousand-deep", || nested(10_000)),
];
