//! The OCI distribution specification 1.1 as `installer serve` keeps it: what its pull and content-discovery
//! sections, and those that they lean on, say that a registry MUST or SHOULD do. Each module is a section and
//! has its name; what is said to clients or about pushing is not here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    missing_docs
)]

#[path = "../../installer/tests/serve_support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the server's own tests use all of it")]
mod serve_support;

use std::sync::Arc;

use manifests::Digest;
use manifests::oci::{MEDIA_CONFIG, MEDIA_INDEX, MEDIA_LAYER_GZIP, MEDIA_MANIFEST};
use serde_json::{Value, json};
use serve_support::client::{Reply, request};
use serve_support::content::{image, image_of, pinned_image, with_referrers};
use serve_support::server::Server;
use serve_support::store::TestShelf;

const NAME: &str = "registry.example.com/team/app";
const APP: &str = "/v2/registry.example.com/team/app";
const CONFIG: &[u8] = br#"{"architecture":"amd64","os":"linux"}"#;
const LAYER: &[u8] = b"a layer of no particular content";
const SBOM: &str = "application/vnd.example.sbom.v1";
/// Codes that the spec lists.
const CODES: [&str; 14] = [
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
];

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()})
}

/// A manifest with more in it.
fn manifest(more: Value) -> Vec<u8> {
    let mut manifest = json!({
        "schemaVersion": 2, "mediaType": MEDIA_MANIFEST,
        "config": descriptor(MEDIA_CONFIG, CONFIG), "layers": [descriptor(MEDIA_LAYER_GZIP, LAYER)],
    });
    manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    bytes(&manifest)
}

/// The image `v1`.
fn app() -> Vec<u8> {
    manifest(json!({"annotations": {"org.example": "the app"}}))
}

fn about(subject: &[u8], mut more: Value) -> Vec<u8> {
    more["subject"] = descriptor(MEDIA_MANIFEST, subject);
    manifest(more)
}

fn index(more: Value) -> Vec<u8> {
    let mut index = json!({"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": []});
    index.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    bytes(&index)
}

/// What refers to `v1`, and its entry in the list.
fn referrers() -> Vec<(Vec<u8>, Value)> {
    let subject = descriptor(MEDIA_MANIFEST, &app());
    let entry = |media_type: &str, bytes: &[u8], more: Value| {
        let mut entry = descriptor(media_type, bytes);
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    };
    let notes = json!({"org.example.format": "json", "org.example.made": "2026"});
    let sbom = about(&app(), json!({"artifactType": SBOM, "annotations": notes}));
    let signature = about(&app(), json!({"config": descriptor("application/vnd.example.signature", CONFIG)}));
    let empty = about(&app(), json!({"artifactType": "", "annotations": {"empty": "artifactType"}}));
    let plain_index = index(json!({"subject": subject, "annotations": {"an": "index"}}));
    let kind_index = index(json!({"subject": subject, "artifactType": SBOM}));
    let kind = |kind: &str| json!({"artifactType": kind});
    let sbom_entry = entry(MEDIA_MANIFEST, &sbom, json!({"artifactType": SBOM, "annotations": notes}));
    let signature_entry = entry(MEDIA_MANIFEST, &signature, kind("application/vnd.example.signature"));
    let empty_entry = entry(
        MEDIA_MANIFEST,
        &empty,
        json!({"artifactType": MEDIA_CONFIG, "annotations": {"empty": "artifactType"}}),
    );
    let plain_entry = entry(MEDIA_INDEX, &plain_index, json!({"annotations": {"an": "index"}}));
    let kind_entry = entry(MEDIA_INDEX, &kind_index, kind(SBOM));
    vec![
        (sbom, sbom_entry),
        (signature, signature_entry),
        (empty, empty_entry),
        (plain_index, plain_entry),
        (kind_index, kind_entry),
    ]
}

/// A registry whose repository [`NAME`] has `v1` with its referrers, and other tags.
fn registry() -> (Arc<TestShelf>, Server) {
    let shelf = TestShelf::new();
    let v1 = app();
    let parts: &[(&str, &[u8])] = &[(MEDIA_MANIFEST, &v1), (MEDIA_CONFIG, CONFIG), (MEDIA_LAYER_GZIP, LAYER)];
    let app = image_of(&shelf, &format!("{NAME}:v1"), parts);
    let all = referrers();
    let (manifests, indexes): (Vec<_>, Vec<_>) =
        all.iter().partition(|(_, entry)| entry["mediaType"] == MEDIA_MANIFEST);
    let beside: Vec<&[u8]> = manifests.iter().map(|(bytes, _)| bytes.as_slice()).collect();
    let mut components = vec![with_referrers(&shelf, app, &beside, &[])];
    for (number, (bytes, _)) in indexes.iter().enumerate() {
        let name = format!("{NAME}:index-{number}");
        components.push(image_of(&shelf, &name, &[(MEDIA_INDEX, bytes)]));
    }
    for tag in ["V2", "a10", "B1", "latest"] {
        components.push(image(&shelf, &format!("{NAME}:{tag}"), tag));
    }
    components.push(pinned_image(&shelf, "registry.example.com/team/untagged", "untagged"));
    shelf.publish("1.0", components);
    let server = Server::start(&shelf);
    (shelf, server)
}

fn head(server: &Server, target: &str) -> Reply {
    request(server.address, "HEAD", target, &[])
}

fn of_app() -> Digest {
    Digest::of(&app())
}

mod determining_support {
    use super::*;

    #[test]
    fn the_base_endpoint_answers_200() {
        assert_eq!(registry().1.get("/v2/").status, 200);
    }
}

mod pulling_manifests {
    use super::*;

    #[test]
    fn an_existing_manifest_comes_with_200_by_tag_and_by_digest() {
        let (_shelf, server) = registry();
        for reference in ["v1".to_string(), of_app().to_string()] {
            let reply = server.get(&format!("{APP}/manifests/{reference}"));
            assert_eq!((reply.status, reply.body.clone()), (200, app()), "{reference}");
        }
    }

    #[test]
    fn the_content_type_is_the_manifests_own_and_has_no_parameters() {
        let (_shelf, server) = registry();
        for (tag, media_type) in [("v1", MEDIA_MANIFEST), ("index-0", MEDIA_INDEX)] {
            for accept in ["*/*", MEDIA_MANIFEST, "application/json", "text/html"] {
                let reply = server.get_with(&format!("{APP}/manifests/{tag}"), &[("Accept", accept)]);
                assert_eq!(reply.header("content-type"), Some(media_type), "{tag} {accept}");
            }
        }
    }

    #[test]
    fn the_digest_is_in_the_answer_and_is_that_of_the_body() {
        let (_shelf, server) = registry();
        let reply = server.get(&format!("{APP}/manifests/v1"));
        assert_eq!(reply.header("docker-content-digest"), Some(Digest::of(&reply.body).to_string().as_str()));
    }

    #[test]
    fn a_manifest_that_is_not_there_is_404() {
        let (_shelf, server) = registry();
        let absent = Digest::of(b"absent");
        let sha512 = format!("sha512:{}", "0a".repeat(64));
        for reference in ["none".to_string(), absent.to_string(), sha512] {
            let reply = server.get(&format!("{APP}/manifests/{reference}"));
            assert_eq!((reply.status, reply.code().as_str()), (404, "MANIFEST_UNKNOWN"), "{reference}");
        }
    }

    #[test]
    fn a_reference_that_is_neither_tag_nor_digest_names_nothing() {
        let (_shelf, server) = registry();
        let long = "a".repeat(129);
        for reference in ["-v1", ".v1", "v1%20", "v%C3%A9", &long] {
            assert_eq!(server.get(&format!("{APP}/manifests/{reference}")).status, 404, "{reference}");
        }
        for bad in ["sha256:baddigeststring", "sha256:", "sha256:../../etc"] {
            let status = server.get(&format!("{APP}/manifests/{bad}")).status;
            assert!(matches!(status, 400 | 404), "{bad}: {status}");
        }
    }

    #[test]
    fn a_name_outside_of_the_grammar_is_no_repository() {
        let (_shelf, server) = registry();
        for name in ["Team/app", "team/-app", "team/app-", "a..b", "a___b", "team/%C3%A4pp"] {
            let reply = server.get(&format!("/v2/{name}/manifests/v1"));
            assert_eq!((reply.status, reply.code().as_str()), (404, "NAME_INVALID"), "{name}");
        }
    }

    #[test]
    fn a_repository_that_is_not_there_is_404() {
        let (_shelf, server) = registry();
        for rest in ["manifests/v1", "tags/list", &format!("blobs/{}", Digest::of(LAYER))] {
            let reply = server.get(&format!("/v2/team/other/{rest}"));
            assert_eq!((reply.status, reply.code().as_str()), (404, "NAME_UNKNOWN"), "{rest}");
        }
    }

    #[test]
    fn a_manifest_of_four_megabytes_is_pulled_whole() {
        let shelf = TestShelf::new();
        let large = manifest(json!({"annotations": {"large": "x".repeat(4_000_000)}}));
        let parts: &[(&str, &[u8])] =
            &[(MEDIA_MANIFEST, &large), (MEDIA_CONFIG, CONFIG), (MEDIA_LAYER_GZIP, LAYER)];
        shelf.publish("1.0", vec![image_of(&shelf, &format!("{NAME}:large"), parts)]);
        let reply = Server::start(&shelf).get(&format!("{APP}/manifests/large"));
        assert!(reply.status == 200 && reply.body == large);
    }
}

mod pulling_blobs {
    use super::*;

    fn layer() -> String {
        format!("{APP}/blobs/{}", Digest::of(LAYER))
    }

    #[test]
    fn an_existing_blob_comes_with_200_and_its_digest() {
        let (_shelf, server) = registry();
        let reply = server.get(&layer());
        assert_eq!((reply.status, reply.body.as_slice()), (200, LAYER));
        assert_eq!(reply.header("docker-content-digest"), Some(Digest::of(LAYER).to_string().as_str()));
    }

    #[test]
    fn a_blob_that_is_not_there_is_404() {
        let (_shelf, server) = registry();
        let sha512 = format!("sha512:{}", "0a".repeat(64));
        for digest in [Digest::of(b"absent").to_string(), sha512, "blake3:abcd".to_string()] {
            let reply = server.get(&format!("{APP}/blobs/{digest}"));
            assert_eq!((reply.status, reply.code().as_str()), (404, "BLOB_UNKNOWN"), "{digest}");
        }
        let reply = server.get(&format!("{APP}/blobs/sha256:abcd"));
        assert_eq!((reply.status, reply.code().as_str()), (400, "DIGEST_INVALID"));
    }

    #[test]
    fn a_range_is_answered_by_rfc_9110() {
        let (_shelf, server) = registry();
        let size = LAYER.len();
        let last = size - 1;
        for (range, first, last) in [
            ("bytes=0-", 0, last),
            ("bytes=3-9", 3, 9),
            ("bytes=-4", size - 4, last),
            ("bytes=5-999", 5, last),
        ] {
            let reply = server.get_with(&layer(), &[("Range", range)]);
            assert_eq!((reply.status, &reply.body[..]), (206, &LAYER[first..=last]), "{range}");
            assert_eq!(reply.header("content-range"), Some(format!("bytes {first}-{last}/{size}").as_str()));
            assert_eq!(reply.header("accept-ranges"), Some("bytes"));
        }
        let outside = server.get_with(&layer(), &[("Range", &format!("bytes={size}-"))]);
        assert_eq!(outside.status, 416);
        assert_eq!(outside.header("content-range"), Some(format!("bytes */{size}").as_str()));
        let tag = server.get(&layer()).header("etag").unwrap().to_string();
        for (condition, status) in [(tag.as_str(), 206), ("\"another\"", 200)] {
            let reply = server.get_with(&layer(), &[("Range", "bytes=1-2"), ("If-Range", condition)]);
            assert_eq!(reply.status, status, "{condition}");
        }
    }
}

mod checking_if_content_exists_in_the_registry {
    use super::*;

    #[test]
    fn head_of_what_is_there_is_200_with_digest_and_length() {
        let (_shelf, server) = registry();
        for (target, content) in [
            (format!("{APP}/manifests/v1"), app()),
            (format!("{APP}/manifests/{}", of_app()), app()),
            (format!("{APP}/blobs/{}", Digest::of(LAYER)), LAYER.to_vec()),
            (format!("{APP}/blobs/{}", Digest::of(CONFIG)), CONFIG.to_vec()),
        ] {
            let reply = head(&server, &target);
            assert_eq!((reply.status, reply.body.len()), (200, 0), "{target}");
            let digest = Digest::of(&content).to_string();
            assert_eq!(reply.header("docker-content-digest"), Some(digest.as_str()), "{target}");
            assert_eq!(reply.header("content-length"), Some(content.len().to_string().as_str()), "{target}");
        }
    }

    #[test]
    fn head_of_what_is_not_there_is_404() {
        let (_shelf, server) = registry();
        let absent = Digest::of(b"absent");
        for target in [
            format!("{APP}/manifests/none"),
            format!("{APP}/manifests/{absent}"),
            format!("{APP}/blobs/{absent}"),
            "/v2/team/other/manifests/v1".to_string(),
        ] {
            assert_eq!(head(&server, &target).status, 404, "{target}");
        }
    }
}

mod listing_tags {
    use super::*;

    /// In the spec's order, where case does not count.
    const TAGS: [&str; 7] = ["a10", "B1", "index-0", "index-1", "latest", "v1", "V2"];

    fn tags(server: &Server, query: &str) -> (Reply, Value) {
        let reply = server.get(&format!("{APP}/tags/list{query}"));
        assert_eq!(reply.status, 200, "{query}: {}", reply.text());
        let list = reply.json();
        assert_eq!((&list["name"], list.as_object().unwrap().len()), (&json!(NAME), 2));
        let tags = list["tags"].clone();
        (reply, tags)
    }

    #[test]
    fn the_whole_list_is_in_lexical_order_whatever_the_case() {
        assert_eq!(tags(&registry().1, "").1, json!(TAGS));
    }

    #[test]
    fn a_repository_without_tags_has_an_empty_list() {
        let (_shelf, server) = registry();
        let name = "registry.example.com/team/untagged";
        let reply = server.get(&format!("/v2/{name}/tags/list"));
        assert_eq!((reply.status, reply.json()), (200, json!({"name": name, "tags": []})));
    }

    #[test]
    fn n_gives_so_many_from_the_start_and_a_link_to_the_next() {
        let (_shelf, server) = registry();
        for most in 1..=TAGS.len() + 1 {
            let (reply, found) = tags(&server, &format!("?n={most}"));
            assert_eq!(found, json!(TAGS[..most.min(TAGS.len())]), "{most}");
            assert_eq!(reply.header("link").is_some(), most < TAGS.len(), "{most}");
        }
    }

    #[test]
    fn following_the_links_gives_every_tag_once() {
        let (_shelf, server) = registry();
        for most in 1..=3 {
            let (mut query, mut found) = (format!("?n={most}"), Vec::new());
            loop {
                let (reply, page) = tags(&server, &query);
                found.extend(page.as_array().unwrap().clone());
                let Some(link) = reply.header("link") else { break };
                let target = link.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
                query = target.unwrap().strip_prefix(&format!("{APP}/tags/list")).unwrap().to_string();
            }
            assert_eq!(json!(found), json!(TAGS), "{most}");
        }
    }

    #[test]
    fn n_of_zero_gives_an_empty_list_and_no_link() {
        let (reply, found) = tags(&registry().1, "?n=0");
        assert_eq!((found, reply.header("link")), (json!([]), None));
    }

    #[test]
    fn last_is_a_tag_and_what_comes_after_it_is_listed() {
        let (_shelf, server) = registry();
        for (number, tag) in TAGS.iter().enumerate() {
            assert_eq!(tags(&server, &format!("?last={tag}")).1, json!(TAGS[number + 1..]), "{tag}");
            let two = &TAGS[number + 1..(number + 3).min(TAGS.len())];
            assert_eq!(tags(&server, &format!("?n=2&last={tag}")).1, json!(two), "{tag}");
        }
        // One that was taken away meanwhile still has its place in the order.
        assert_eq!(tags(&server, "?last=C").1, json!(TAGS[2..]));
        assert_eq!(tags(&server, "?last=zzz").1, json!([]));
    }

    #[test]
    fn an_n_that_is_no_number_is_refused_with_a_code_of_the_spec() {
        let (_shelf, server) = registry();
        let reply = server.get(&format!("{APP}/tags/list?n=many"));
        assert_eq!((reply.status, reply.code().as_str()), (400, "UNSUPPORTED"));
    }
}

mod listing_referrers {
    use super::*;

    fn list(server: &Server, query: &str) -> Reply {
        let reply = server.get(&format!("{APP}/referrers/{}{query}", of_app()));
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(MEDIA_INDEX)), "{query}");
        let index = reply.json();
        assert_eq!((&index["schemaVersion"], &index["mediaType"]), (&json!(2), &json!(MEDIA_INDEX)));
        reply
    }

    fn sorted(mut entries: Vec<Value>) -> Vec<Value> {
        entries.sort_by_key(|entry| entry["digest"].to_string());
        entries
    }

    #[test]
    fn every_manifest_and_index_about_a_digest_is_listed_with_its_type_and_annotations() {
        let (_shelf, server) = registry();
        let found = list(&server, "").json()["manifests"].as_array().unwrap().clone();
        let expected = referrers().into_iter().map(|(_, entry)| entry).collect();
        assert_eq!(sorted(found), sorted(expected));
    }

    #[test]
    fn an_index_without_a_type_has_none_in_the_list() {
        let (_shelf, server) = registry();
        let found = list(&server, "").json();
        let is_plain = |entry: &&Value| entry["annotations"]["an"] == "index";
        let entry = found["manifests"].as_array().unwrap().iter().find(is_plain).unwrap().clone();
        assert!(entry.get("artifactType").is_none(), "{entry}");
    }

    #[test]
    fn what_is_listed_can_be_pulled() {
        let (_shelf, server) = registry();
        for (bytes, entry) in referrers() {
            let reply = server.get(&format!("{APP}/manifests/{}", entry["digest"].as_str().unwrap()));
            assert_eq!((reply.status, &reply.body), (200, &bytes));
            assert_eq!(reply.header("content-type"), entry["mediaType"].as_str());
        }
    }

    #[test]
    fn a_digest_that_nothing_is_about_has_an_empty_list_and_never_404() {
        let (_shelf, server) = registry();
        let sha512 = format!("sha512:{}", "0a".repeat(64));
        for digest in [Digest::of(b"absent").to_string(), Digest::of(LAYER).to_string(), sha512] {
            let reply = server.get(&format!("{APP}/referrers/{digest}"));
            assert_eq!((reply.status, reply.header("content-type")), (200, Some(MEDIA_INDEX)), "{digest}");
            assert_eq!(reply.json()["manifests"], json!([]), "{digest}");
        }
    }

    #[test]
    fn a_digest_of_invalid_syntax_is_400() {
        let (_shelf, server) = registry();
        for bad in ["sha256:abcd", "sha256", "v1", "sha512:zz", "SHA256:aa", ":", "sha256:"] {
            let reply = server.get(&format!("{APP}/referrers/{bad}"));
            assert_eq!((reply.status, reply.code().as_str()), (400, "DIGEST_INVALID"), "{bad}");
        }
    }

    #[test]
    fn a_filter_on_the_type_is_applied_and_said_to_be() {
        let (_shelf, server) = registry();
        let filter = format!("?artifactType={}", SBOM.replace('/', "%2F"));
        for filter in [filter, format!("?artifactType={SBOM}")] {
            let reply = list(&server, &filter);
            assert_eq!(reply.header("oci-filters-applied"), Some("artifactType"));
            let found = reply.json()["manifests"].as_array().unwrap().clone();
            let of_kind = |(_, entry): (_, Value)| (entry["artifactType"] == SBOM).then_some(entry);
            assert_eq!(sorted(found), sorted(referrers().into_iter().filter_map(of_kind).collect()));
        }
        let none = list(&server, "?artifactType=application%2Fnone");
        assert_eq!(none.header("oci-filters-applied"), Some("artifactType"));
        assert_eq!(none.json()["manifests"], json!([]));
        assert_eq!(list(&server, "").header("oci-filters-applied"), None);
    }

    #[test]
    fn a_list_that_no_manifest_can_hold_comes_in_pages_with_links() {
        let shelf = TestShelf::new();
        let v1 = app();
        let parts: &[(&str, &[u8])] =
            &[(MEDIA_MANIFEST, &v1), (MEDIA_CONFIG, CONFIG), (MEDIA_LAYER_GZIP, LAYER)];
        let component = image_of(&shelf, &format!("{NAME}:v1"), parts);
        let large = |number: usize| {
            about(
                &v1,
                json!({"artifactType": SBOM, "annotations": {"n": number.to_string(), "large": "x".repeat(1_500_000)}}),
            )
        };
        let all: Vec<Vec<u8>> = (0..5).map(large).collect();
        let beside: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
        shelf.publish("1.0", vec![with_referrers(&shelf, component, &beside, &[])]);
        let server = Server::start(&shelf);
        let mut target = format!("{APP}/referrers/{}?artifactType={SBOM}", of_app());
        let (mut found, mut pages) = (Vec::new(), 0);
        loop {
            let reply = server.get(&target);
            assert_eq!((reply.status, reply.header("content-type")), (200, Some(MEDIA_INDEX)));
            assert!(reply.body.len() <= 4 * 1024 * 1024, "{}", reply.body.len());
            assert_eq!(reply.header("oci-filters-applied"), Some("artifactType"));
            let entries = reply.json()["manifests"].as_array().unwrap().clone();
            found.extend(entries.iter().map(|entry| entry["digest"].as_str().unwrap().to_string()));
            pages += 1;
            let Some(link) = reply.header("link") else { break };
            target = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_string();
        }
        let mut expected: Vec<String> = all.iter().map(|bytes| Digest::of(bytes).to_string()).collect();
        expected.sort();
        assert_eq!((found, pages), (expected, 3));
    }
}

mod referrers_tag_schema {
    use super::*;

    fn tag(of: &Digest) -> String {
        of.to_string().replace(':', "-")
    }

    #[test]
    fn the_tag_is_an_index_with_what_the_referrers_api_answers() {
        let (_shelf, server) = registry();
        let by_api = server.get(&format!("{APP}/referrers/{}", of_app()));
        let by_tag = server.get(&format!("{APP}/manifests/{}", tag(&of_app())));
        assert_eq!((by_tag.status, by_tag.header("content-type")), (200, Some(MEDIA_INDEX)));
        assert_eq!(by_tag.json(), by_api.json());
        let digest = Digest::of(&by_tag.body).to_string();
        assert_eq!(by_tag.header("docker-content-digest"), Some(digest.as_str()));
        for reference in [&digest, &tag(&of_app())] {
            let target = format!("{APP}/manifests/{reference}");
            assert_eq!(server.get(&target).body, by_tag.body, "{reference}");
            assert_eq!(head(&server, &target).header("content-length"), by_tag.header("content-length"));
        }
    }

    #[test]
    fn a_manifest_without_referrers_has_no_such_tag_and_no_list_has_one() {
        let (_shelf, server) = registry();
        let other = Digest::of(&referrers()[0].0);
        assert_eq!(server.get(&format!("{APP}/manifests/{}", tag(&other))).status, 404);
        let tags = server.get(&format!("{APP}/tags/list"));
        assert!(!tags.text().contains("sha256-"), "{}", tags.text());
    }
}

mod enabling_the_referrers_api {
    use super::*;

    #[test]
    fn what_a_bundle_lists_under_the_referrers_tag_is_in_the_api_and_its_tag_stays_as_it_is() {
        let shelf = TestShelf::new();
        let v1 = app();
        let sbom = about(&v1, json!({"artifactType": SBOM}));
        let listed =
            index(json!({"manifests": [descriptor(MEDIA_MANIFEST, &sbom)], "annotations": {"of": "old"}}));
        let parts: &[(&str, &[u8])] =
            &[(MEDIA_MANIFEST, &v1), (MEDIA_CONFIG, CONFIG), (MEDIA_LAYER_GZIP, LAYER)];
        let tag = of_app().to_string().replace(':', "-");
        let old: &[(&str, &[u8])] = &[
            (MEDIA_INDEX, &listed),
            (MEDIA_MANIFEST, &sbom),
            (MEDIA_CONFIG, CONFIG),
            (MEDIA_LAYER_GZIP, LAYER),
        ];
        let components = vec![
            image_of(&shelf, &format!("{NAME}:v1"), parts),
            image_of(&shelf, &format!("{NAME}:{tag}"), old),
        ];
        shelf.publish("1.0", components);
        let server = Server::start(&shelf);
        let found = server.get(&format!("{APP}/referrers/{}", of_app())).json();
        assert_eq!(found["manifests"][0]["digest"], json!(Digest::of(&sbom)));
        assert_eq!(server.get(&format!("{APP}/manifests/{tag}")).body, listed);
    }
}

mod content_management {
    use super::*;

    #[test]
    fn what_would_write_or_delete_is_405_and_says_what_is_allowed() {
        let (_shelf, server) = registry();
        let (blob, manifest) = (Digest::of(LAYER), of_app());
        for (method, target) in [
            ("DELETE", format!("{APP}/manifests/v1")),
            ("DELETE", format!("{APP}/manifests/{manifest}")),
            ("DELETE", format!("{APP}/blobs/{blob}")),
            ("POST", format!("{APP}/blobs/uploads/")),
            ("POST", format!("{APP}/blobs/uploads/?mount={blob}&from=team/other")),
            ("PATCH", format!("{APP}/blobs/uploads/1")),
            ("PUT", format!("{APP}/blobs/uploads/1?digest={blob}")),
            ("PUT", format!("{APP}/manifests/v1")),
        ] {
            let reply = request(server.address, method, &target, &[("Content-Length", "0")]);
            assert_eq!((reply.status, reply.code().as_str()), (405, "UNSUPPORTED"), "{method} {target}");
            assert_eq!(reply.header("allow"), Some("GET, HEAD"));
        }
        assert_eq!(server.get(&format!("{APP}/manifests/v1")).status, 200);
    }
}

mod error_codes {
    use super::*;

    #[test]
    fn every_refusal_in_json_has_a_code_of_the_spec_and_a_message() {
        let (_shelf, server) = registry();
        let (absent, long) = (Digest::of(b"absent"), "a".repeat(9000));
        for (method, target, status, code) in [
            ("GET", format!("{APP}/blobs/{absent}"), 404, "BLOB_UNKNOWN"),
            ("GET", format!("{APP}/blobs/uploads/1"), 404, "BLOB_UPLOAD_UNKNOWN"),
            ("GET", format!("{APP}/blobs/sha256:1"), 400, "DIGEST_INVALID"),
            ("GET", format!("{APP}/referrers/x"), 400, "DIGEST_INVALID"),
            ("GET", format!("{APP}/referrers/{absent}?last=x"), 400, "DIGEST_INVALID"),
            ("GET", format!("{APP}/manifests/none"), 404, "MANIFEST_UNKNOWN"),
            ("GET", "/v2/A/manifests/v1".to_string(), 404, "NAME_INVALID"),
            ("GET", format!("/v2/{long}/manifests/v1"), 414, "NAME_INVALID"),
            ("GET", "/v2/%zz/manifests/v1".to_string(), 400, "NAME_INVALID"),
            ("GET", "/v2/team/other/manifests/v1".to_string(), 404, "NAME_UNKNOWN"),
            ("GET", format!("{APP}/nothing/of-this-kind"), 404, "NAME_UNKNOWN"),
            ("GET", format!("{APP}/manifests/v1/"), 404, "NAME_UNKNOWN"),
            ("GET", "/v2/app".to_string(), 404, "NAME_UNKNOWN"),
            ("GET", format!("{APP}/tags/list?n=x"), 400, "UNSUPPORTED"),
            ("PUT", format!("{APP}/manifests/v1"), 405, "UNSUPPORTED"),
        ] {
            let reply = request(server.address, method, &target, &[]);
            assert_eq!((reply.status, reply.code().as_str()), (status, code), "{method} {target}");
            assert_eq!(reply.header("content-type"), Some("application/json"), "{target}");
            let body = reply.json();
            assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["errors"]);
            let error = &body["errors"][0];
            assert!(CODES.contains(&code) && !error["message"].as_str().unwrap().is_empty(), "{error}");
        }
    }
}

mod warnings {
    use super::*;

    #[test]
    fn none_is_ever_sent() {
        let (_shelf, server) = registry();
        for target in [format!("{APP}/manifests/v1"), format!("{APP}/tags/list"), "/v2/".to_string()] {
            assert_eq!(server.get(&target).header("warning"), None, "{target}");
        }
    }
}
