//! The documents: what hangs from the signature, and is still not what we would have written.

use manifests::canonical;
use serde_json::Value;

use super::signed_inventory;
use crate::{Case, Generator, signed, signed_text};

fn sequence(text: &str, number: &str) -> String {
    text.replacen("\"sequence\":42", &format!("\"sequence\":{number}"), 1)
}

fn marking(text: &str, marking: &str) -> String {
    text.replacen("UNCLASSIFIED", marking, 1)
}

/// The inventory with another number for the size of its first blob.
fn first_size(text: &str, number: &str) -> String {
    let start = text.find("\"size\":").unwrap() + 7;
    let end = start + text[start..].find('}').unwrap();
    format!("{}{number}{}", &text[..start], &text[end..])
}

/// The inventory with another text for the digest of its first blob.
fn other_digest(text: &str, digest: impl FnOnce(&str) -> String) -> String {
    let start = text.find("sha256:").unwrap();
    let hex = &text[start + 7..start + 71];
    format!("{}{}{}", &text[..start], digest(hex), &text[start + 71..])
}

/// A bundle whose `SHA256SUMS` hangs from the signature and has this text.
fn checksums(change: impl FnOnce(String) -> String) -> Case {
    signed(|draft| {
        draft.checksums = change(String::from_utf8(draft.checksums.clone()).unwrap()).into_bytes();
        draft.redo_manifest();
    })
}

fn file_path(path: &str) -> Case {
    signed_inventory(|text| text.replacen("\"path\":\"scoring.yaml\"", &format!("\"path\":\"{path}\""), 1))
}

impl Case {
    /// With another size in the header of an entry.
    fn with_size(mut self, entry: &str, size: u64) -> Self {
        let places = (0..self.archive.len()).step_by(512);
        let name = [entry.as_bytes(), &[0]].concat();
        let place = places.into_iter().find(|place| self.archive[*place..].starts_with(&name)).unwrap();
        let path = entry.parse().unwrap();
        self.archive[place..place + 512].copy_from_slice(&layout::header::encode(&path, size));
        self
    }
}

/// The directories of this part.
pub(super) const CASES: &[(&str, Generator)] = &[
    // Signed, and yet not a document of ours.
    ("manifest-with-an-unknown-field-twice", || {
        signed_text(|text| text.replacen("{\"audience\"", "{\"allow\":false,\"allow\":true,\"audience\"", 1))
    }),
    ("manifest-with-an-unknown-field-inside", || {
        signed_text(|text| text.replacen("\"order\":{\"epoch\"", "\"order\":{\"any\":1,\"epoch\"", 1))
    }),
    ("manifest-with-a-key-twice-inside", || {
        signed_text(|text| text.replacen("\"sequence\":42", "\"sequence\":42,\"sequence\":43", 1))
    }),
    ("manifest-with-a-key-in-another-case", || {
        signed_text(|text| text.replacen("\"order\"", "\"Order\"", 1))
    }),
    ("manifest-as-an-array-of-its-values", || {
        // What derives its parser from a structure takes a list of its fields for it.
        signed(|draft| {
            let object: Value = serde_json::from_slice(&draft.manifest_bytes).unwrap();
            let fields = [
                "schema",
                "publisher",
                "product",
                "version",
                "order",
                "audience",
                "marking",
                "created",
                "expires",
                "root_version",
                "features",
                "bases",
                "checksums",
                "inventory",
                "counts",
            ];
            let values: Vec<&Value> = fields.iter().map(|field| &object[*field]).collect();
            draft.manifest_bytes = format!("{}\n", serde_json::to_string(&values).unwrap()).into_bytes();
            draft.redo_signatures();
        })
    }),
    ("manifest-with-an-array-for-an-object", || {
        signed_text(|text| text.replacen("{\"epoch\":1,\"sequence\":42}", "[1,42]", 1))
    }),
    ("manifest-with-a-negative-number", || signed_text(|text| sequence(&text, "-1"))),
    ("manifest-with-a-negative-zero", || signed_text(|text| sequence(&text, "-0"))),
    ("manifest-with-an-exponent", || signed_text(|text| sequence(&text, "42e0"))),
    ("manifest-with-not-a-number", || signed_text(|text| sequence(&text, "NaN"))),
    ("manifest-with-a-leading-zero", || signed_text(|text| sequence(&text, "042"))),
    ("manifest-with-a-text-for-a-number", || signed_text(|text| sequence(&text, "\"42\""))),
    ("manifest-with-null-for-a-field", || {
        signed_text(|text| text.replacen(",\"features\"", ",\"expires\":null,\"features\"", 1))
    }),
    ("manifest-with-a-lone-surrogate", || signed_text(|text| marking(&text, "\\ud800"))),
    ("manifest-with-a-nul", || signed_text(|text| marking(&text, "SECRET\\u0000UNCLASSIFIED"))),
    ("manifest-with-a-line-feed-in-a-text", || signed_text(|text| marking(&text, "SECRET\\nUNCLASSIFIED"))),
    ("manifest-with-a-direction-mark", || signed_text(|text| marking(&text, "\u{202e}DEIFISSALCNU"))),
    ("manifest-with-a-bare-control-character", || signed_text(|text| marking(&text, "a\tb"))),
    ("manifest-with-a-comment", || signed_text(|text| text.replacen('{', "{/* hello */", 1))),
    ("manifest-with-a-trailing-comma", || signed_text(|text| text.replacen("}\n", ",}\n", 1))),
    ("manifest-with-a-carriage-return", || signed_text(|text| text.replace('\n', "\r\n"))),
    ("manifest-not-utf8", || {
        signed(|draft| {
            let place = draft.manifest_bytes.windows(12).position(|part| part == b"UNCLASSIFIED").unwrap();
            draft.manifest_bytes[place] = 0xff;
            draft.redo_signatures();
        })
    }),
    ("manifest-in-utf16", || {
        signed(|draft| {
            let text = String::from_utf8(draft.manifest_bytes.clone()).unwrap();
            draft.manifest_bytes = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            draft.redo_signatures();
        })
    }),
    ("manifest-with-an-md5-digest", || {
        signed_text(|text| {
            let place = text.find("\"sha256:").unwrap();
            format!("{}\"md5:{}{}", &text[..place], &text[place + 8..place + 40], &text[place + 72..])
        })
    }),
    ("manifest-over-its-limit-by-one-byte", || {
        signed(|draft| {
            draft.manifest_bytes.resize(64 * 1024 + 1, b' ');
            draft.redo_signatures();
        })
    }),
    // `SHA256SUMS`, signed as it is: what sha256sum takes, and what it reads in more than one way.
    ("sha256sums-signed-with-carriage-returns", || checksums(|text| text.replace('\n', "\r\n"))),
    ("sha256sums-signed-without-its-last-line-feed", || checksums(|text| text.trim_end().to_string())),
    ("sha256sums-signed-with-a-line-twice", || {
        checksums(|text| format!("{}{text}", text.split_inclusive('\n').next().unwrap()))
    }),
    ("sha256sums-signed-with-lines-in-another-order", || {
        checksums(|text| text.split_inclusive('\n').rev().collect())
    }),
    ("sha256sums-signed-in-binary-mode", || checksums(|text| text.replace("  ", " *"))),
    ("sha256sums-signed-with-an-escaped-name", || {
        checksums(|text| format!("\\{}", text.replacen("inventory.json", "inventory\\n.json", 1)))
    }),
    ("sha256sums-signed-with-upper-case-digests", || {
        checksums(|text| {
            text.split_inclusive('\n').map(|line| line[..64].to_uppercase() + &line[64..]).collect()
        })
    }),
    ("sha256sums-signed-with-an-empty-line", || checksums(|text| format!("{text}\n"))),
    ("sha256sums-signed-empty", || checksums(|_| String::new())),
    // Whatever the inventory says, it hangs from a good signature here.
    ("inventory-with-a-key-twice", || {
        signed_inventory(|text| text.replacen("{\"blobs\":", "{\"blobs\":[],\"blobs\":", 1))
    }),
    ("inventory-with-a-key-of-a-component-twice", || {
        signed_inventory(|text| {
            text.replacen("\"kind\":\"image\"", "\"kind\":\"image\",\"kind\":\"image\"", 1)
        })
    }),
    ("inventory-with-an-unknown-field", || {
        signed_inventory(|text| text.replacen("{\"blobs\"", "{\"a\":1,\"blobs\"", 1))
    }),
    ("inventory-with-an-unknown-field-of-a-component", || {
        signed_inventory(|text| text.replacen("\"kind\":\"image\"", "\"hook\":\"x\",\"kind\":\"image\"", 1))
    }),
    ("inventory-with-an-unknown-field-of-a-component-twice", || {
        signed_inventory(|text| {
            text.replacen("\"kind\":\"image\"", "\"hook\":\"x\",\"hook\":\"y\",\"kind\":\"image\"", 1)
        })
    }),
    ("inventory-with-an-unknown-field-of-a-descriptor", || {
        // Another's manifest may say more than we know. What is in our own inventory may not.
        signed_inventory(|text| text.replacen("\"manifest\":{", "\"manifest\":{\"data\":\"e30=\",", 1))
    }),
    ("inventory-without-a-field", || {
        signed_inventory(|text| text.replacen(",\"schema\":\"airlock-inventory/v1\"", "", 1))
    }),
    ("inventory-with-a-component-of-another-kind", || {
        signed_inventory(|text| text.replacen("\"kind\":\"image\"", "\"kind\":\"hook\"", 1))
    }),
    ("inventory-with-a-component-without-a-kind", || {
        signed_inventory(|text| text.replacen("\"kind\":\"image\",", "", 1))
    }),
    ("inventory-of-another-schema", || {
        signed_inventory(|text| text.replacen("airlock-inventory/v1", "airlock-inventory/v2", 1))
    }),
    ("inventory-that-is-the-manifest", || {
        signed(|draft| {
            draft.inventory_bytes.clone_from(&draft.manifest_bytes);
            draft.redo_checksums();
        })
    }),
    ("inventory-as-an-array", || signed_inventory(|_| "[]\n".to_string())),
    ("inventory-as-an-array-of-its-values", || {
        signed_inventory(|text| {
            let mut object: Value = serde_json::from_str(&text).unwrap();
            // What is left out of an object has its place in an array.
            object["requires"] = serde_json::json!({});
            object["health"] = serde_json::json!([]);
            let fields = ["schema", "files", "components", "sbom", "requires", "health", "delta", "blobs"];
            let values: Vec<&Value> = fields.iter().map(|field| &object[*field]).collect();
            format!("{}\n", serde_json::to_string(&values).unwrap())
        })
    }),
    ("inventory-with-a-component-as-an-array", || {
        signed(|draft| {
            let mut object: Value = serde_json::from_slice(&draft.inventory_bytes).unwrap();
            let set = object["components"][0].clone();
            assert_eq!(set["kind"], "file-set");
            let fields = ["kind", "name", "source", "dest", "files", "manifest"];
            object["components"][0] = fields.iter().map(|field| set[*field].clone()).collect();
            draft.inventory_bytes = canonical::to_canonical(&object).unwrap();
            draft.redo_checksums();
        })
    }),
    ("inventory-with-an-array-for-an-object", || {
        signed_inventory(|text| {
            let object: Value = serde_json::from_str(&text).unwrap();
            let (digest, size) = (&object["blobs"][0]["digest"], &object["blobs"][0]["size"]);
            text.replacen(
                &format!("{{\"digest\":{digest},\"size\":{size}}}"),
                &format!("[{digest},{size}]"),
                1,
            )
        })
    }),
    ("inventory-with-a-number-too-large", || {
        signed_inventory(|text| first_size(&text, "18446744073709551616"))
    }),
    ("inventory-with-a-negative-number", || signed_inventory(|text| first_size(&text, "-1"))),
    ("inventory-with-a-fractional-number", || signed_inventory(|text| first_size(&text, "2.0"))),
    ("inventory-with-an-exponent", || signed_inventory(|text| first_size(&text, "2e0"))),
    ("inventory-with-not-a-number", || signed_inventory(|text| first_size(&text, "NaN"))),
    ("inventory-with-a-byte-order-mark", || signed_inventory(|text| format!("\u{feff}{text}"))),
    ("inventory-with-a-lone-surrogate", || signed_inventory(|text| text.replacen("configs/", "\\udc00", 1))),
    ("inventory-with-a-nul", || signed_inventory(|text| text.replacen("configs/", "a\\u0000b", 1))),
    ("inventory-with-an-escape-sequence", || {
        signed_inventory(|text| text.replacen("configs/", "\\u001b[2J", 1))
    }),
    ("inventory-with-a-needless-escape", || {
        signed_inventory(|text| text.replacen("configs/", "configs\\/", 1))
    }),
    ("inventory-with-a-second-document", || signed_inventory(|text| format!("{text}{{}}\n"))),
    ("inventory-without-its-line-feed", || signed_inventory(|text| text.trim_end().to_string())),
    ("inventory-nested-deeply", || signed_inventory(|_| "[".repeat(100_000))),
    ("inventory-nested-deeply-in-a-component", || {
        signed_inventory(|text| {
            let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
            text.replacen("\"kind\":\"image\"", &format!("\"hook\":{deep},\"kind\":\"image\""), 1)
        })
    }),
    ("inventory-empty", || signed_inventory(|_| String::new())),
    ("inventory-not-utf8", || {
        signed(|draft| {
            let place = draft.inventory_bytes.windows(8).position(|part| part == b"configs/").unwrap();
            draft.inventory_bytes[place] = 0xff;
            draft.redo_checksums();
        })
    }),
    ("inventory-over-its-limit", || {
        // Only its header says so: nobody reads that far.
        signed(|draft| {
            draft.manifest.inventory.size = 64 * 1024 * 1024 + 1;
            draft.manifest_bytes = draft.manifest.to_bytes().unwrap();
            draft.redo_signatures();
        })
        .with_size("inventory.json", 64 * 1024 * 1024 + 1)
    }),
    ("inventory-with-an-md5-digest", || {
        signed_inventory(|text| other_digest(&text, |hex| format!("md5:{}", &hex[..32])))
    }),
    ("inventory-with-a-sha512-digest", || {
        signed_inventory(|text| other_digest(&text, |hex| format!("sha512:{hex}{hex}")))
    }),
    ("inventory-with-a-short-digest", || {
        signed_inventory(|text| other_digest(&text, |hex| format!("sha256:{}", &hex[..63])))
    }),
    ("inventory-with-an-upper-case-digest", || {
        signed_inventory(|text| other_digest(&text, |hex| format!("sha256:{}", hex.to_uppercase())))
    }),
    ("inventory-with-a-digest-that-is-a-path", || {
        signed_inventory(|text| other_digest(&text, |_| "sha256:../../../canary/file".to_string()))
    }),
    // Names that would leave their place on the site.
    ("inventory-with-a-file-out-of-its-directory", || file_path("../scoring.yaml")),
    ("inventory-with-a-file-out-through-a-directory", || file_path("a/../../scoring.yaml")),
    ("inventory-with-an-absolute-file", || file_path("/etc/cron.d/x")),
    ("inventory-with-a-backslash-in-a-file", || file_path("..\\\\scoring.yaml")),
    ("inventory-with-a-file-that-is-not-ascii", || file_path("caf\u{e9}.yaml")),
    ("inventory-with-a-file-without-a-name", || file_path("")),
    ("inventory-with-a-line-feed-in-a-file", || file_path("a\\nb")),
    ("inventory-with-a-destination-out-of-the-root", || {
        signed_inventory(|text| text.replacen("\"/etc/sample/\"", "\"/etc/../../sample/\"", 1))
    }),
    ("inventory-with-a-relative-destination", || {
        signed_inventory(|text| text.replacen("\"/etc/sample/\"", "\"etc/sample/\"", 1))
    }),
    ("inventory-with-a-set-uid-file", || signed_inventory(|text| text.replacen("\"0640\"", "\"4755\"", 1))),
    ("inventory-with-a-wheel-out-of-its-directory", || {
        signed_inventory(|text| text.replace("tiny-1.0-py3-none-any.whl", "../tiny-1.0-py3-none-any.whl"))
    }),
    ("inventory-with-a-wheel-that-is-an-option", || {
        signed_inventory(|text| text.replace("tiny-1.0-py3-none-any.whl", "--index-url=x"))
    }),
    ("inventory-with-a-wheelhouse-out-of-its-directory", || {
        signed_inventory(|text| text.replacen("\"name\":\"scoring\"", "\"name\":\"../scoring\"", 1))
    }),
    ("inventory-with-an-image-name-that-climbs", || {
        signed_inventory(|text| text.replace("example.com/sample/hello:v1", "example.com/../hello:v1"))
    }),
];
