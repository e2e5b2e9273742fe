//! `installer serve` as its clients see it: the bytes on the wire, and the real tools against it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

mod serve_support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use installer::serve::{Limits, ServeError, Stop, run};
use manifests::bundle::Content;
use manifests::oci::{MEDIA_INDEX, MEDIA_MANIFEST};
use manifests::{Descriptor, Digest};
use serve_support::client::{self, head, request, send};
use serve_support::content::{
    chart, file_set, image, multi_image, pinned_image, wheel, wheelhouse, with_signature,
};
use serve_support::server::Server;
use serve_support::store::TestShelf;
use serve_support::tools;

const SERVICE: &str = "/v2/registry.example.com/fraud/service";
const POSTGRES: &str = "/v2/127.0.0.1-5000/library/postgres";
/// What `Friendly_Bard` says of itself.
const BARD: &[u8] = b"Metadata-Version: 2.1\nName: Friendly_Bard\nVersion: 1.0\nRequires-Python: >=3.8,<4\nRequires-Dist: tiny-dep\n";
const SIMPLE_JSON: &str = "application/vnd.pypi.simple.v1+json";
/// Larger than what sockets and the server hold between them.
const LARGE_BYTES: usize = 32 * 1024 * 1024;

/// A store with one bundle, and what the tests know of it.
struct Sample {
    shelf: Arc<TestShelf>,
    service: Descriptor,
    layer: Content,
    index: Descriptor,
    children: [Descriptor; 3],
    chart: Vec<u8>,
    large: Content,
    file: Content,
    wheel: Content,
}

impl Sample {
    fn new() -> Self {
        let shelf = TestShelf::new();
        let service = image(&shelf, "registry.example.com/fraud/service:v2.1.0", "service");
        let (postgres, children) = multi_image(&shelf, "127.0.0.1:5000/library/postgres:15");
        let (chart_component, chart_bytes) = chart(&shelf, "fraud", "1.2.3+build.5", "one");
        let bard = wheel(&shelf, "Friendly_Bard", "1.0", Some(">=3.8,<4"), &["tiny-dep"]);
        let tiny = wheel(&shelf, "tiny_dep", "0.1+local.1", None, &[]);
        let [large, file] = [shelf.put_zeros(LARGE_BYTES), shelf.put(b"<script>alert(1)</script>")];
        let files = vec![("base.yaml", file), ("dir/a b%41<i>.html", file), ("large.bin", large)];
        let manifest = |component: &manifests::inventory::Component| component.manifests()[0].clone();
        let (service_manifest, index) = (manifest(&service), manifest(&postgres));
        let layer_digest = service.blobs()[3].0;
        let layer_size = std::fs::metadata(shelf.blob_path(&layer_digest)).unwrap().len();
        let wheel = Content { digest: bard.digest, size: bard.size };
        let components = vec![
            service,
            image(&shelf, "other.example.com/fraud/service:v9", "another service of that path"),
            pinned_image(&shelf, "registry.example.com/pinned", "pinned"),
            postgres,
            wheelhouse(&shelf, "scoring", vec![bard, tiny]),
            chart_component,
            file_set(&shelf, "etc-fraud", files),
        ];
        shelf.publish("2.1.0+r1", components);
        Self {
            service: service_manifest,
            layer: Content { digest: layer_digest, size: layer_size },
            index,
            children,
            chart: chart_bytes,
            large,
            file,
            wheel,
            shelf,
        }
    }

    fn serve() -> (Self, Server) {
        let sample = Self::new();
        let server = Server::start(&sample.shelf);
        (sample, server)
    }
}

mod registry {
    use super::*;

    #[test]
    fn says_which_protocol_it_speaks() {
        let (_sample, server) = Sample::serve();
        for target in ["/v2/", "/v2"] {
            let reply = server.get(target);
            assert_eq!((reply.status, reply.text()), (200, "{}"));
            assert_eq!(reply.header("docker-distribution-api-version"), Some("registry/2.0"));
            assert_eq!(reply.header("content-type"), Some("application/json"));
        }
    }

    #[test]
    fn a_manifest_is_the_same_by_tag_and_by_digest() {
        let (sample, server) = Sample::serve();
        let digest = sample.service.digest;
        for reference in ["v2.1.0".to_string(), digest.to_string()] {
            let reply = server.get(&format!("{SERVICE}/manifests/{reference}"));
            assert_eq!(reply.status, 200, "{reference}");
            assert_eq!(Digest::of(&reply.body), digest);
            assert_eq!(reply.header("content-type"), Some(MEDIA_MANIFEST));
            assert_eq!(reply.header("docker-content-digest"), Some(digest.to_string().as_str()));
            assert_eq!(reply.header("etag"), Some(format!("\"{digest}\"").as_str()));
            assert_eq!(reply.header("content-length"), Some(sample.service.size.to_string().as_str()));
        }
    }

    #[test]
    fn a_tag_may_change_and_a_digest_never_does() {
        let (sample, server) = Sample::serve();
        let by_tag = server.get(&format!("{SERVICE}/manifests/v2.1.0"));
        assert_eq!(by_tag.header("cache-control"), Some("no-cache"));
        let by_digest = server.get(&format!("{SERVICE}/manifests/{}", sample.service.digest));
        assert!(by_digest.header("cache-control").unwrap().contains("immutable"));
    }

    #[test]
    fn head_has_the_headers_of_get_and_no_body() {
        let (sample, server) = Sample::serve();
        let targets = [
            format!("{SERVICE}/manifests/v2.1.0"),
            format!("{SERVICE}/blobs/{}", sample.layer.digest),
            format!("/v2/files/etc-fraud/blobs/{}", sample.large.digest),
            format!("{SERVICE}/tags/list"),
            "/v2/".into(),
            "/v2/none/manifests/x".into(),
            "/".into(),
            "/simple/".into(),
            "/healthz".into(),
        ];
        for target in &targets {
            let with_body = server.get(target);
            let without = request(server.address, "HEAD", target, &[]);
            assert_eq!((without.status, without.body.len()), (with_body.status, 0), "{target}");
            let all_but_date = |reply: &client::Reply| {
                let kept = reply.headers.iter().filter(|(name, _)| name != "date");
                kept.cloned().collect::<Vec<_>>()
            };
            assert_eq!(all_but_date(&without), all_but_date(&with_body), "{target}");
            assert_eq!(with_body.header("content-length"), Some(with_body.body.len().to_string().as_str()));
        }
    }

    #[test]
    fn the_children_of_an_index_are_manifests_of_their_own() {
        let (sample, server) = Sample::serve();
        let reply = server.get(&format!("{POSTGRES}/manifests/15"));
        assert_eq!(reply.header("content-type"), Some(MEDIA_INDEX));
        assert_eq!(Digest::of(&reply.body), sample.index.digest);
        for child in &sample.children {
            let reply = server.get(&format!("{POSTGRES}/manifests/{}", child.digest));
            assert_eq!((reply.status, reply.header("content-type")), (200, Some(MEDIA_MANIFEST)));
            assert_eq!(Digest::of(&reply.body), child.digest);
        }
    }

    #[test]
    fn a_blob_that_is_no_manifest_is_not_served_as_one() {
        let (sample, server) = Sample::serve();
        let reply = server.get(&format!("{SERVICE}/manifests/{}", sample.layer.digest));
        assert_eq!((reply.status, reply.code().as_str()), (404, "MANIFEST_UNKNOWN"));
    }

    #[test]
    fn a_repository_serves_only_what_is_its_own() {
        let (sample, server) = Sample::serve();
        let foreign = format!("{POSTGRES}/blobs/{}", sample.layer.digest);
        let reply = server.get(&foreign);
        assert_eq!((reply.status, reply.code().as_str()), (404, "BLOB_UNKNOWN"));
        let foreign = format!("{POSTGRES}/manifests/{}", sample.service.digest);
        assert_eq!(server.get(&foreign).code(), "MANIFEST_UNKNOWN");
        let own = server.get(&format!("{SERVICE}/blobs/{}", sample.layer.digest));
        assert_eq!((own.status, Digest::of(&own.body)), (200, sample.layer.digest));
        assert_eq!(own.header("content-type"), Some("application/octet-stream"));
    }

    #[test]
    fn an_image_answers_to_its_path_where_only_one_has_it() {
        let (_sample, server) = Sample::serve();
        assert_eq!(server.get("/v2/library/postgres/manifests/15").status, 200);
        assert_eq!(server.get("/v2/postgres/manifests/15").code(), "NAME_UNKNOWN");
        let ambiguous = server.get("/v2/fraud/service/manifests/v2.1.0");
        assert_eq!((ambiguous.status, ambiguous.code().as_str()), (404, "NAME_UNKNOWN"));
        for name in ["registry.example.com/fraud/service", "other.example.com/fraud/service"] {
            assert!(ambiguous.text().contains(name), "{}", ambiguous.text());
        }
    }

    #[test]
    fn a_mirror_query_means_that_host_and_no_other() {
        let (sample, server) = Sample::serve();
        let found = server.get("/v2/fraud/service/manifests/v2.1.0?ns=registry.example.com");
        assert_eq!((found.status, Digest::of(&found.body)), (200, sample.service.digest));
        for spelled in ["127.0.0.1:5000", "127.0.0.1%3A5000"] {
            let target = format!("/v2/library/postgres/manifests/15?ns={spelled}");
            assert_eq!(server.get(&target).status, 200, "{target}");
            let target = format!("/v2/library/postgres/blobs/{}?ns={spelled}", sample.children[0].digest);
            assert_eq!(server.get(&target).status, 200, "{target}");
        }
        for target in [
            "/v2/fraud/service/manifests/v9?ns=registry.example.com",
            "/v2/library/postgres/manifests/15?ns=registry.example.com",
            "/v2/registry.example.com/fraud/service/manifests/v2.1.0?ns=elsewhere.example.com",
        ] {
            assert_eq!(server.get(target).status, 404, "{target}");
        }
    }

    #[test]
    fn an_image_without_a_tag_is_there_by_digest_only() {
        let (_sample, server) = Sample::serve();
        let tags = server.get("/v2/registry.example.com/pinned/tags/list").json();
        assert_eq!(tags, serde_json::json!({"name": "registry.example.com/pinned", "tags": []}));
        assert_eq!(server.get("/v2/registry.example.com/pinned/manifests/latest").code(), "MANIFEST_UNKNOWN");
    }

    #[test]
    fn charts_wheelhouses_and_file_sets_are_repositories() {
        let (_sample, server) = Sample::serve();
        for (name, tag) in [
            ("charts/fraud", "1.2.3_build.5"),
            ("wheelhouses/scoring", "2.1.0_r1"),
            ("files/etc-fraud", "2.1.0_r1"),
        ] {
            let tags = server.get(&format!("/v2/{name}/tags/list")).json();
            assert_eq!(tags, serde_json::json!({"name": name, "tags": [tag]}));
            let reply = server.get(&format!("/v2/{name}/manifests/{tag}"));
            assert_eq!((reply.status, reply.header("content-type")), (200, Some(MEDIA_MANIFEST)));
            for layer in reply.json()["layers"].as_array().unwrap() {
                let blob = format!("/v2/{name}/blobs/{}", layer["digest"].as_str().unwrap());
                assert_eq!(request(server.address, "HEAD", &blob, &[]).status, 200);
            }
        }
    }

    #[test]
    fn lists_come_in_pages_with_a_link_to_the_next() {
        let (_sample, server) = Sample::serve();
        let all = server.get("/v2/_catalog");
        assert_eq!(all.header("link"), None);
        let all = all.json()["repositories"].as_array().unwrap().clone();
        assert_eq!(all.len(), 7);
        let (mut target, mut found) = ("/v2/_catalog?n=3".to_string(), Vec::new());
        loop {
            let reply = server.get(&target);
            found.extend(reply.json()["repositories"].as_array().unwrap().clone());
            let Some(link) = reply.header("link") else { break };
            target = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_string();
        }
        assert_eq!(found, all);
        let tags = |query: &str| server.get(&format!("{SERVICE}/tags/list{query}"));
        assert_eq!(tags("?n=1").header("link"), None);
        assert_eq!(tags("?n=0").json()["tags"], serde_json::json!([]));
        assert_eq!(tags("?last=v2.1.0").json()["tags"], serde_json::json!([]));
        assert_eq!(tags("?last=a").json()["tags"], serde_json::json!(["v2.1.0"]));
        for bad in ["?n=x", "?n=-1", "?n="] {
            assert_eq!((tags(bad).status, tags(bad).code().as_str()), (400, "UNSUPPORTED"), "{bad}");
        }
    }

    #[test]
    fn a_companion_is_served_by_its_tag_in_the_repository_of_its_image_alone() {
        let shelf = TestShelf::new();
        let signed = image(&shelf, "r.example.com/team/app:v1", "app");
        let (signed, companion) = with_signature(&shelf, signed);
        let other = image(&shelf, "r.example.com/team/other:v1", "other");
        shelf.publish("1", vec![signed, other]);
        let server = Server::start(&shelf);
        let (app, tag, digest) =
            ("/v2/r.example.com/team/app", companion.tag().unwrap(), companion.manifest.digest);
        for name in [tag.clone(), digest.to_string()] {
            let found = server.get(&format!("{app}/manifests/{name}"));
            assert_eq!((found.status, found.header("content-type")), (200, Some(MEDIA_MANIFEST)));
            assert_eq!(found.header("docker-content-digest"), Some(digest.to_string().as_str()));
            assert_eq!(Digest::of(&found.body), digest);
            let asked = request(server.address, "HEAD", &format!("{app}/manifests/{name}"), &[]);
            assert_eq!(
                (asked.status, asked.header("docker-content-digest")),
                (200, Some(digest.to_string().as_str()))
            );
            let elsewhere = server.get(&format!("/v2/r.example.com/team/other/manifests/{name}"));
            assert_eq!((elsewhere.status, elsewhere.code().as_str()), (404, "MANIFEST_UNKNOWN"));
        }
        let tags = server.get(&format!("{app}/tags/list")).json()["tags"].clone();
        assert_eq!(tags, serde_json::json!([tag, "v1"]));
        let layer = Digest::of(b"r.example.com/team/app:v1");
        assert_eq!(server.get(&format!("{app}/blobs/{layer}")).status, 200);
    }

    #[test]
    fn referrers_are_an_index_even_when_there_are_none() {
        let (sample, server) = Sample::serve();
        let [amd64, arm64, signature] = &sample.children;
        let none = server.get(&format!("{POSTGRES}/referrers/{}", arm64.digest));
        assert_eq!((none.status, none.header("content-type")), (200, Some(MEDIA_INDEX)));
        assert_eq!(none.json()["manifests"], serde_json::json!([]));
        let target = format!("{POSTGRES}/referrers/{}", amd64.digest);
        let one = server.get(&target).json();
        assert_eq!(one["manifests"][0]["digest"], signature.digest.to_string());
        assert_eq!(one["manifests"][0]["artifactType"], "application/vnd.example.kind");
        let filtered = server.get(&format!("{target}?artifactType=application%2Fvnd.example.kind"));
        assert_eq!(filtered.header("oci-filters-applied"), Some("artifactType"));
        assert_eq!(filtered.json()["manifests"].as_array().unwrap().len(), 1);
        let other = server.get(&format!("{target}?artifactType=other")).json();
        assert_eq!(other["manifests"], serde_json::json!([]));
    }

    #[test]
    fn every_refusal_has_the_specs_code() {
        let (sample, server) = Sample::serve();
        let absent = Digest::of(b"absent");
        for (target, status, code) in [
            (format!("{SERVICE}/manifests/v3"), 404, "MANIFEST_UNKNOWN"),
            (format!("{SERVICE}/manifests/{absent}"), 404, "MANIFEST_UNKNOWN"),
            (format!("{SERVICE}/blobs/{absent}"), 404, "BLOB_UNKNOWN"),
            (format!("{SERVICE}/blobs/sha256:abc"), 400, "DIGEST_INVALID"),
            (format!("{SERVICE}/blobs/{}", sample.layer.digest.hex()), 400, "DIGEST_INVALID"),
            (format!("{SERVICE}/manifests/sha512:{}", absent.hex()), 400, "DIGEST_INVALID"),
            (format!("{SERVICE}/referrers/x"), 400, "DIGEST_INVALID"),
            (format!("/v2/none/manifests/{absent}"), 404, "NAME_UNKNOWN"),
            ("/v2/none/tags/list".into(), 404, "NAME_UNKNOWN"),
            (format!("{SERVICE}/tags/other"), 404, "NAME_UNKNOWN"),
            ("/v2/a".into(), 404, "NAME_UNKNOWN"),
            ("/v2/_catalog/".into(), 404, "NAME_UNKNOWN"),
        ] {
            let reply = server.get(&target);
            assert_eq!((reply.status, reply.code().as_str()), (status, code), "{target}");
            assert_eq!(reply.header("content-type"), Some("application/json"));
            assert!(reply.json()["errors"][0]["message"].as_str().is_some_and(|m| !m.is_empty()));
        }
    }

    #[test]
    fn refuses_to_be_written_to() {
        let (sample, server) = Sample::serve();
        for (method, target) in [
            ("POST", format!("{SERVICE}/blobs/uploads/")),
            ("PUT", format!("{SERVICE}/manifests/v2.1.0")),
            ("PATCH", format!("{SERVICE}/blobs/uploads/1")),
            ("DELETE", format!("{SERVICE}/blobs/{}", sample.layer.digest)),
        ] {
            let reply = request(server.address, method, &target, &[("Content-Length", "0")]);
            assert_eq!((reply.status, reply.code().as_str()), (405, "UNSUPPORTED"), "{method}");
            assert_eq!(reply.header("allow"), Some("GET, HEAD"));
        }
        let elsewhere = request(server.address, "POST", "/simple/", &[("Content-Length", "0")]);
        assert_eq!((elsewhere.status, elsewhere.header("allow")), (405, Some("GET, HEAD")));
    }
}

mod bytes_of_blobs {
    use super::*;

    #[test]
    fn one_range_is_partial_content() {
        let (sample, server) = Sample::serve();
        let target = format!("{SERVICE}/blobs/{}", sample.layer.digest);
        let (all, size) = (server.get(&target).body, sample.layer.size);
        assert_eq!(server.get(&target).header("accept-ranges"), Some("bytes"));
        for (range, first, last) in [
            ("bytes=0-9", 0, 9),
            ("bytes=5-", 5, size - 1),
            ("bytes=-4", size - 4, size - 1),
            ("bytes=3-99999999", 3, size - 1),
        ] {
            let part = server.get_with(&target, &[("Range", range)]);
            assert_eq!(part.status, 206, "{range}");
            assert_eq!(part.header("content-range"), Some(format!("bytes {first}-{last}/{size}").as_str()));
            assert_eq!(part.body, all[first as usize..=last as usize], "{range}");
            assert_eq!(part.header("docker-content-digest"), Some(sample.layer.digest.to_string().as_str()));
        }
    }

    #[test]
    fn a_range_of_a_large_blob_begins_where_it_should() {
        let shelf = TestShelf::new();
        let bytes: Vec<u8> = (0..600_000_u32).flat_map(u32::to_le_bytes).collect();
        let content = shelf.put(&bytes);
        shelf.publish("1", vec![file_set(&shelf, "set", vec![("numbers", content)])]);
        let server = Server::start(&shelf);
        assert!(server.get("/files/set/numbers").body == bytes);
        let part = server.get_with("/files/set/numbers", &[("Range", "bytes=300001-1900000")]);
        assert_eq!(part.status, 206);
        assert!(part.body == bytes[300_001..=1_900_000]);
    }

    #[test]
    fn a_range_outside_is_not_satisfiable() {
        let (sample, server) = Sample::serve();
        let target = format!("{SERVICE}/blobs/{}", sample.layer.digest);
        for range in [format!("bytes={}-", sample.layer.size), "bytes=-0".into()] {
            let reply = server.get_with(&target, &[("Range", &range)]);
            assert_eq!(reply.status, 416, "{range}");
            assert_eq!(
                reply.header("content-range"),
                Some(format!("bytes */{}", sample.layer.size).as_str())
            );
        }
    }

    #[test]
    fn ranges_that_are_several_stale_or_not_ranges_are_ignored() {
        let (sample, server) = Sample::serve();
        let target = format!("{SERVICE}/blobs/{}", sample.layer.digest);
        for range in ["bytes=0-1,3-4", "bytes=9-2", "lines=1-2", "bytes=x"] {
            let reply = server.get_with(&target, &[("Range", range)]);
            assert_eq!((reply.status, reply.body.len() as u64), (200, sample.layer.size), "{range}");
        }
        let tag = format!("\"{}\"", sample.layer.digest);
        let same = server.get_with(&target, &[("Range", "bytes=0-1"), ("If-Range", &tag)]);
        assert_eq!(same.status, 206);
        for other in ["\"other\"", "Fri, 20 Nov 2026 12:00:00 GMT"] {
            let changed = server.get_with(&target, &[("Range", "bytes=0-1"), ("If-Range", other)]);
            assert_eq!(changed.status, 200, "{other}");
        }
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        let (sample, server) = Sample::serve();
        let targets = [
            format!("{SERVICE}/manifests/v2.1.0"),
            format!("{SERVICE}/blobs/{}", sample.layer.digest),
            "/charts/index.yaml".into(),
            "/simple/friendly-bard/".into(),
            "/files/etc-fraud/base.yaml".into(),
        ];
        for target in &targets {
            let tag = server.get(target).header("etag").unwrap().to_string();
            for header in [tag.clone(), format!("\"x\", W/{tag}"), "*".into()] {
                let reply = server.get_with(target, &[("If-None-Match", &header)]);
                assert_eq!((reply.status, reply.body.len()), (304, 0), "{target} {header}");
                assert_eq!(reply.header("etag"), Some(tag.as_str()));
            }
            assert_eq!(server.get_with(target, &[("If-None-Match", "\"x\"")]).status, 200);
        }
    }

    #[test]
    fn a_blob_of_another_length_is_withdrawn_and_the_operator_hears_of_it() {
        let (sample, server) = Sample::serve();
        let path = sample.shelf.blob_path(&sample.layer.digest);
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"x").unwrap();
        let target = format!("{SERVICE}/blobs/{}", sample.layer.digest);
        for method in ["GET", "HEAD"] {
            assert_eq!(request(server.address, method, &target, &[]).status, 404);
        }
        assert_eq!(server.get(&target).code(), "BLOB_UNKNOWN");
        let told = server.troubles().join("\n");
        assert!(told.contains("bytes in the site store, expected"), "{told}");
        std::fs::remove_file(sample.shelf.blob_path(&sample.file.digest)).unwrap();
        let plain = server.get("/files/etc-fraud/base.yaml");
        assert_eq!((plain.status, plain.header("content-type")), (404, Some("text/plain; charset=utf-8")));
        assert!(server.troubles().iter().any(|t| t.contains("is missing from the site store")));
    }

    #[test]
    fn a_blob_that_ends_early_ends_the_connection_early() {
        let (sample, server) = Sample::serve();
        let (reply, mut body) = head(send(server.address, "GET", "/files/etc-fraud/large.bin", &[]));
        assert_eq!(reply.header("content-length"), Some(LARGE_BYTES.to_string().as_str()));
        let path = sample.shelf.blob_path(&sample.large.digest);
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
        let mut rest = Vec::new();
        let _ = body.read_to_end(&mut rest);
        assert!(rest.len() < LARGE_BYTES);
        // It is withdrawn by whoever sees its connection end, and by whoever asks next.
        assert_eq!(server.get("/files/etc-fraud/large.bin").status, 404);
        assert!(server.troubles().iter().any(|t| t.contains("withdrawn until")), "{:?}", server.troubles());
    }

    #[test]
    fn a_damaged_index_costs_its_children_and_nothing_else() {
        let sample = Sample::new();
        let path = sample.shelf.blob_path(&sample.index.digest);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let server = Server::start(&sample.shelf);
        assert_eq!(server.get(&format!("{POSTGRES}/manifests/{}", sample.children[0].digest)).status, 404);
        assert_eq!(server.get(&format!("{SERVICE}/manifests/v2.1.0")).status, 200);
        assert!(server.troubles().iter().any(|t| t.contains("does not have that digest any more")));
    }
}

mod rot {
    use super::*;
    use std::os::unix::fs::FileExt;

    /// Changes one byte in the middle of a blob.
    fn rot(sample: &Sample, digest: &Digest) {
        let file =
            std::fs::OpenOptions::new().read(true).write(true).open(sample.shelf.blob_path(digest)).unwrap();
        let middle = file.metadata().unwrap().len() / 2;
        let mut byte = [0];
        file.read_exact_at(&mut byte, middle).unwrap();
        file.write_all_at(&[byte[0] ^ 1], middle).unwrap();
    }

    #[test]
    fn a_large_blob_that_has_rotted_is_never_sent_to_its_end_and_gone_for_the_next_who_asks() {
        let (sample, server) = Sample::serve();
        rot(&sample, &sample.large.digest);
        let target = "/files/etc-fraud/large.bin";
        let (reply, mut body) = head(send(server.address, "GET", target, &[]));
        assert_eq!(reply.header("content-length"), Some(LARGE_BYTES.to_string().as_str()));
        let mut rest = Vec::new();
        let _ = body.read_to_end(&mut rest);
        assert!(rest.len() < LARGE_BYTES, "it was sent as if it were good");
        assert_eq!(server.get(target).status, 404);
        let in_registry = server.get(&format!("/v2/files/etc-fraud/blobs/{}", sample.large.digest));
        assert_eq!((in_registry.status, in_registry.code().as_str()), (404, "BLOB_UNKNOWN"));
        let told = server.troubles();
        assert_eq!(
            told.iter().filter(|t| t.contains("withdrawn until it is whole again")).count(),
            1,
            "{told:?}"
        );
    }

    #[test]
    fn no_byte_of_a_small_blob_that_has_rotted_is_sent_not_even_in_a_range() {
        let (sample, server) = Sample::serve();
        rot(&sample, &sample.wheel.digest);
        let wheel = format!("/wheels/{}/Friendly_Bard-1.0-py3-none-any.whl", sample.wheel.digest.hex());
        assert_eq!(server.get_with(&wheel, &[("Range", "bytes=0-3")]).status, 404);
        assert!(!server.get("/simple/friendly-bard/").text().contains(".whl"));
        let html = server.get("/");
        assert!(!html.text().contains("Friendly_Bard-1.0"), "the page offers it");
    }

    #[test]
    fn a_manifest_that_has_rotted_takes_its_tag_along_and_no_older_image_steps_into_its_place() {
        let sample = Sample::new();
        let older = image(&sample.shelf, "registry.example.com/fraud/service:v2.1.0", "older");
        let older_digest = older.manifests()[0].digest;
        // What was published first is the older one.
        let newer = image(&sample.shelf, "registry.example.com/fraud/service:v2.1.0", "newer");
        let newer_digest = newer.manifests()[0].digest;
        sample.shelf.publish("3.0", vec![older]);
        sample.shelf.publish("4.0", vec![newer]);
        let server = Server::start(&sample.shelf);
        let by_tag = format!("{SERVICE}/manifests/v2.1.0");
        assert_eq!(
            server.get(&by_tag).header("docker-content-digest"),
            Some(newer_digest.to_string().as_str())
        );
        rot(&sample, &newer_digest);
        let gone = server.get(&by_tag);
        assert_eq!((gone.status, gone.code().as_str()), (404, "MANIFEST_UNKNOWN"));
        let tags = server.get(&format!("{SERVICE}/tags/list")).json();
        assert_eq!(tags["tags"], serde_json::json!([]));
        assert_eq!(server.get(&format!("{SERVICE}/manifests/{older_digest}")).status, 200);
    }

    #[test]
    fn a_wheel_or_chart_of_an_older_bundle_does_not_step_into_the_place_of_a_withdrawn_one() {
        let shelf = TestShelf::new();
        let old = wheel(&shelf, "greet", "1.0", None, &["old-dep"]);
        let new = wheel(&shelf, "greet", "1.0", None, &["new-dep"]);
        let digest = new.digest;
        let (old_chart, _) = chart(&shelf, "fraud", "1.0.0", "old");
        let (new_chart, archive) = chart(&shelf, "fraud", "1.0.0", "new");
        shelf.publish("1.0", vec![wheelhouse(&shelf, "tools", vec![old]), old_chart]);
        shelf.publish("2.0", vec![wheelhouse(&shelf, "tools", vec![new]), new_chart]);
        let server = Server::start(&shelf);
        assert!(server.get("/simple/greet/").text().contains(&digest.hex()));
        for rotten in [digest, Digest::of(&archive)] {
            let path = shelf.blob_path(&rotten);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[10] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
        assert_eq!(server.get("/charts/fraud-1.0.0.tgz").status, 404);
        let wheel = format!("/wheels/{}/greet-1.0-py3-none-any.whl", digest.hex());
        assert_eq!(server.get(&wheel).status, 404);
        assert!(!server.get("/simple/greet/").text().contains(".whl"));
        assert!(!server.get("/charts/index.yaml").text().contains("fraud-1.0.0.tgz"));
    }

    #[test]
    fn a_blob_that_is_put_right_is_served_again() {
        let (sample, server) = Sample::serve();
        rot(&sample, &sample.file.digest);
        let target = "/files/etc-fraud/base.yaml";
        assert_eq!(server.get(target).status, 404);
        // A new file under the old name, as an apply makes it.
        let path = sample.shelf.blob_path(&sample.file.digest);
        std::fs::write(path.with_extension("new"), b"<script>alert(1)</script>").unwrap();
        std::fs::rename(path.with_extension("new"), &path).unwrap();
        while server.get(target).status != 200 {
            std::thread::yield_now();
        }
        assert!(server.troubles().iter().any(|t| t.contains("is whole again, and served")));
    }
}

mod python {
    use super::*;

    #[test]
    fn projects_are_listed_in_html_by_default() {
        let (_sample, server) = Sample::serve();
        let reply = server.get("/simple/");
        assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/html; charset=utf-8")));
        assert_eq!(reply.header("vary"), Some("Accept"));
        for name in ["friendly-bard", "tiny-dep"] {
            assert!(reply.text().contains(&format!(">{name}</a>")), "{}", reply.text());
        }
    }

    #[test]
    fn a_projects_page_has_hashes_and_escaped_requirements() {
        let (sample, server) = Sample::serve();
        let page = server.get("/simple/friendly-bard/");
        let page = page.text().replace("&#x2f;", "/");
        let hex = sample.wheel.digest.hex();
        let link = format!("href=\"../../wheels/{hex}/Friendly_Bard-1.0-py3-none-any.whl#sha256={hex}\"");
        assert!(page.contains(&link), "{page}");
        assert!(page.contains("data-requires-python=\"&gt;=3.8,&lt;4\""), "{page}");
        let metadata = Digest::of(BARD).hex();
        for name in ["data-core-metadata", "data-dist-info-metadata"] {
            assert!(page.contains(&format!(" {name}=\"sha256={metadata}\"")), "{page}");
        }
        assert!(!server.get("/simple/tiny-dep/").text().contains("requires-python"));
    }

    #[test]
    fn the_metadata_is_beside_the_wheel_with_the_digest_that_was_said() {
        let (sample, server) = Sample::serve();
        let wheel = format!("/wheels/{}/Friendly_Bard-1.0-py3-none-any.whl", sample.wheel.digest.hex());
        let reply = server.get(&format!("{wheel}.metadata"));
        assert_eq!((reply.status, reply.body.as_slice()), (200, BARD));
        assert_eq!(reply.header("content-type"), Some("application/octet-stream"));
        let other = wheel.replace("Friendly_Bard", "tiny_dep");
        for target in
            [format!("{wheel}.metadata.metadata"), format!("{other}.metadata"), format!("{wheel}.asc")]
        {
            assert_eq!(server.get(&target).status, 404, "{target}");
        }
    }

    #[test]
    fn a_wheel_that_tells_nothing_is_listed_without_metadata_and_the_operator_hears_of_it() {
        let shelf = TestShelf::new();
        let content = shelf.put(b"not a zip archive");
        let mut odd = wheel(&shelf, "odd", "1.0", None, &[]);
        (odd.digest, odd.size) = (content.digest, content.size);
        shelf.publish("1", vec![wheelhouse(&shelf, "odd", vec![odd])]);
        let server = Server::start(&shelf);
        let page = server.get_with("/simple/odd/", &[("Accept", SIMPLE_JSON)]).json();
        assert!(page["files"][0].get("core-metadata").is_none(), "{page}");
        assert!(!server.get("/simple/odd/").text().contains("metadata="));
        let address = format!("/wheels/{}/odd-1.0-py3-none-any.whl", content.digest.hex());
        assert_eq!(
            (server.get(&address).status, server.get(&format!("{address}.metadata")).status),
            (200, 404)
        );
        assert!(
            server.troubles().iter().any(|t| t.contains("the metadata of wheel")),
            "{:?}",
            server.troubles()
        );
    }

    #[test]
    fn json_has_hashes_sizes_and_versions() {
        let (sample, server) = Sample::serve();
        let reply = server.get_with("/simple/friendly-bard/", &[("Accept", SIMPLE_JSON)]);
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(SIMPLE_JSON)));
        let hex = sample.wheel.digest.hex();
        let expected = serde_json::json!({
            "meta": {"api-version": "1.1"},
            "name": "friendly-bard",
            "versions": ["1.0"],
            "files": [{
                "filename": "Friendly_Bard-1.0-py3-none-any.whl",
                "url": format!("../../wheels/{hex}/Friendly_Bard-1.0-py3-none-any.whl"),
                "hashes": {"sha256": hex},
                "requires-python": ">=3.8,<4",
                "size": sample.wheel.size,
                "core-metadata": {"sha256": Digest::of(BARD).hex()},
            }],
        });
        assert_eq!(reply.json(), expected);
        let tiny = server.get_with("/simple/tiny-dep/", &[("Accept", SIMPLE_JSON)]).json();
        assert!(tiny["files"][0].get("requires-python").is_none());
        assert!(
            tiny["files"][0]["url"].as_str().unwrap().ends_with("/tiny_dep-0.1%2Blocal.1-py3-none-any.whl")
        );
        let list = server.get_with("/simple/", &[("Accept", SIMPLE_JSON)]).json();
        assert_eq!(list["projects"], serde_json::json!([{"name": "friendly-bard"}, {"name": "tiny-dep"}]));
    }

    #[test]
    fn the_form_is_negotiated_by_weight() {
        let (_sample, server) = Sample::serve();
        for (accept, form) in [
            ("*/*", "text/html; charset=utf-8"),
            (&format!("{SIMPLE_JSON}, text/html; q=0.01"), SIMPLE_JSON),
            (&format!("{SIMPLE_JSON};q=0.1, text/html"), "text/html; charset=utf-8"),
            ("application/vnd.pypi.simple.v1+html", "application/vnd.pypi.simple.v1+html"),
            ("application/vnd.pypi.simple.latest+json", SIMPLE_JSON),
        ] {
            let reply = server.get_with("/simple/", &[("Accept", accept)]);
            assert_eq!(reply.header("content-type"), Some(form), "{accept}");
        }
        let none = server.get_with("/simple/", &[("Accept", "application/vnd.pypi.simple.v2+json")]);
        assert_eq!((none.status, none.header("vary")), (406, Some("Accept")));
    }

    #[test]
    fn every_spelling_of_a_project_leads_to_its_one_address() {
        let (_sample, server) = Sample::serve();
        for spelled in ["Friendly_Bard/", "friendly.bard/", "FRIENDLY--BARD", "friendly-bard"] {
            let reply = server.get(&format!("/simple/{spelled}"));
            assert_eq!(
                (reply.status, reply.header("location")),
                (301, Some("/simple/friendly-bard/")),
                "{spelled}"
            );
        }
        assert_eq!(server.get("/simple").header("location"), Some("/simple/"));
        for unknown in ["/simple/unknown/", "/simple/Unknown", "/simple/friendly-bard/x/"] {
            assert_eq!(server.get(unknown).status, 404, "{unknown}");
        }
    }

    #[test]
    fn a_wheel_is_there_by_its_digest_and_name_together() {
        let (sample, server) = Sample::serve();
        let hex = sample.wheel.digest.hex();
        let reply = server.get(&format!("/wheels/{hex}/Friendly_Bard-1.0-py3-none-any.whl"));
        assert_eq!((reply.status, Digest::of(&reply.body)), (200, sample.wheel.digest));
        let other = Digest::of(b"other").hex();
        for target in [
            format!("/wheels/{hex}/tiny_dep-0.1-py3-none-any.whl"),
            format!("/wheels/{other}/Friendly_Bard-1.0-py3-none-any.whl"),
            format!("/wheels/{}/Friendly_Bard-1.0-py3-none-any.whl", hex.to_uppercase()),
            format!("/wheels/{}/x", sample.layer.digest.hex()),
        ] {
            assert_eq!(server.get(&target).status, 404, "{target}");
        }
    }
}

mod charts_and_files {
    use super::*;

    #[test]
    fn the_chart_index_says_what_helm_asks_for() {
        let (sample, server) = Sample::serve();
        let index = server.get("/charts/index.yaml").json();
        assert_eq!(index["apiVersion"], "v1");
        let expected = serde_json::json!([{
            "apiVersion": "v2", "name": "fraud", "version": "1.2.3+build.5", "appVersion": "1.10",
            "description": "Finds <fraud> & more", "digest": Digest::of(&sample.chart).hex(),
            "urls": ["fraud-1.2.3%2Bbuild.5.tgz"], "created": "2026-11-21T08:30:00Z",
        }]);
        assert_eq!(index["entries"]["fraud"], expected);
    }

    #[test]
    fn a_chart_archive_is_beside_the_index_however_its_plus_is_spelled() {
        let (sample, server) = Sample::serve();
        for target in ["/charts/fraud-1.2.3+build.5.tgz", "/charts/fraud-1.2.3%2Bbuild.5.tgz"] {
            let reply = server.get(target);
            assert_eq!((reply.status, &reply.body), (200, &sample.chart), "{target}");
        }
        for target in ["/charts/fraud-1.2.3.tgz", "/charts/", "/charts/index.yaml/", "/charts/fraud"] {
            assert_eq!(server.get(target).status, 404, "{target}");
        }
    }

    #[test]
    fn files_are_bytes_that_no_browser_runs() {
        let (sample, server) = Sample::serve();
        for target in ["/files/etc-fraud/base.yaml", "/files/etc-fraud/dir/a%20b%2541%3Ci%3E.html"] {
            let reply = server.get(target);
            assert_eq!((reply.status, Digest::of(&reply.body)), (200, sample.file.digest), "{target}");
            assert_eq!(reply.header("content-type"), Some("application/octet-stream"));
            assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
            assert!(reply.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
        }
    }

    #[test]
    fn no_address_leads_out_of_the_catalogue() {
        let (_sample, server) = Sample::serve();
        for target in [
            "/files/etc-fraud/../etc-fraud/base.yaml",
            "/files/etc-fraud/%2e%2e/etc-fraud/base.yaml",
            "/files/etc-fraud/..%2fetc-fraud/base.yaml",
            "/files/etc-fraud/dir%2Fa%20b%2541%3Ci%3E.html",
            "/files/etc-fraud/dir/a%2520b%252541.html",
            "/files/etc-fraud//base.yaml",
            "/files/etc-fraud/base.yaml/",
            "/files/etc-fraud/",
            "/files/etc-fraud/dir",
            "/files/etc-fraud/base.yaml%00",
            "/files/other/base.yaml",
            "/../../../../etc/passwd",
            "/etc/passwd",
            "/nothing",
            "//",
        ] {
            assert_eq!(server.get(target).status, 404, "{target}");
        }
        assert_eq!(server.get("/files/%zz").status, 400);
        assert_eq!(server.get("/files/%ff").status, 400);
        assert_eq!(server.get(&format!("/{}", "a".repeat(9000))).status, 414);
        assert_eq!(server.get(&format!("/v2/{}", "a".repeat(9000))).status, 414);
    }
}

mod page {
    use super::*;

    /// The page with the engine's spelling of slashes undone.
    fn page(server: &Server, headers: &[(&str, &str)]) -> (String, String) {
        let reply = server.get_with("/", headers);
        assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/html; charset=utf-8")));
        let policy = reply.header("content-security-policy").unwrap().to_string();
        (reply.text().replace("&#x2f;", "/").replace("&#x27;", "'"), policy)
    }

    #[test]
    fn names_every_bundle_with_its_marking_and_signers_and_escapes_them() {
        let sample = Sample::new();
        let server = Server::start(&sample.shelf);
        let (page, _) = page(&server, &[]);
        for text in [
            "UNCLASSIFIED &lt;b&gt;// &quot;TEST&quot;",
            "Alice &lt;release&gt;, key <code>",
            "2 of Alice &lt;release&gt;, Bob, Carol",
            "✓ Verified.",
            "fraud-detection 2.1.0+r1",
            "current",
            "dir/a b%41&lt;i&gt;.html",
            "linux/amd64, linux/arm64",
        ] {
            assert!(page.contains(text), "no {text} in {page}");
        }
    }

    #[test]
    fn its_commands_use_the_host_that_the_client_used() {
        let (sample, server) = Sample::serve();
        let (page, _) = page(&server, &[("Host", "site.example:8443")]);
        for command in [
            "docker pull site.example:8443/registry.example.com/fraud/service:v2.1.0",
            "docker pull site.example:8443/127.0.0.1-5000/library/postgres:15",
            "docker pull site.example:8443/registry.example.com/pinned@sha256:",
            "pip install --index-url http://site.example:8443/simple/ --trusted-host 'site.example:8443' 'friendly-bard==1.0'",
            "helm pull oci://site.example:8443/charts/fraud --version '1.2.3+build.5' --plain-http",
            "curl -f -O 'http://site.example:8443/files/etc-fraud/dir/a%20b%2541%3Ci%3E.html'",
        ] {
            assert!(page.contains(command), "no {command} in {page}");
        }
        assert!(page.contains(&format!("/wheels/{}/", sample.wheel.digest.hex())));
    }

    #[test]
    fn a_host_that_is_none_is_not_repeated() {
        let (_sample, server) = Sample::serve();
        for host in ["x';reboot;'", "<script>", "a b", "$(reboot)", ""] {
            let (page, _) = page(&server, &[("Host", host)]);
            let command = format!("docker pull {}/registry.example.com/fraud/service:v2.1.0", server.address);
            assert!(page.contains(&command), "{host}");
            assert!(!page.contains("reboot") && !page.contains("<script>"), "{host}");
        }
    }

    #[test]
    fn every_link_on_it_leads_somewhere() {
        let (_sample, server) = Sample::serve();
        let (page, _) = page(&server, &[]);
        let links: Vec<&str> =
            page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        let (inside, outside): (Vec<&str>, Vec<&str>) = links.iter().partition(|link| link.starts_with('#'));
        assert_eq!((inside.len(), outside.len()), (1, 6));
        for link in inside {
            assert!(page.contains(&format!("id=\"{}\"", &link[1..])), "{link}");
        }
        for link in outside {
            assert_eq!(request(server.address, "HEAD", link, &[]).status, 200, "{link}");
        }
    }

    #[test]
    fn loads_nothing_runs_nothing_and_its_policy_says_so() {
        let (_sample, server) = Sample::serve();
        let (page, policy) = page(&server, &[("Host", "site.example")]);
        for banned in
            ["<script", "<img", "<link", "<iframe", "src=", "@import", "url(", "style=\"", "onclick"]
        {
            assert!(!page.contains(banned), "{banned} in {page}");
        }
        let own = |rest: &&str| rest.starts_with("://site.example/") || rest.starts_with("://site.example\"");
        let elsewhere = page.split("http").skip(1).filter(|rest| !own(rest));
        assert_eq!(elsewhere.filter(|rest| rest.starts_with("://") || rest.starts_with("s:")).count(), 0);
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert!(page.contains("prefers-color-scheme: dark") && page.contains("width=device-width"));
        if let Some(openssl) = tools::tool("openssl") {
            let home = tempfile::tempdir().unwrap();
            let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
            std::fs::write(home.path().join("style"), style).unwrap();
            tools::run(&openssl, home.path(), &["dgst", "-sha256", "-binary", "-out", "hash", "style"]);
            let hash = tools::run(&openssl, home.path(), &["base64", "-in", "hash"]);
            assert!(policy.contains(&format!("'sha256-{}'", hash.trim())), "{policy} {hash}");
        }
    }

    #[test]
    fn is_there_before_any_bundle_is() {
        let server = Server::start(&TestShelf::new());
        assert!(page(&server, &[]).0.contains("No bundle has been applied"));
        assert_eq!(server.get("/v2/_catalog").json()["repositories"], serde_json::json!([]));
        assert_eq!(server.get("/charts/index.yaml").json()["entries"], serde_json::json!({}));
        assert_eq!(server.get("/simple/").status, 200);
        let health = server.get("/healthz");
        assert_eq!((health.status, health.text()), (200, "ok"));
    }
}

mod bundles_come_and_go {
    use super::*;

    #[test]
    fn the_first_of_two_bundles_has_the_name_and_the_other_keeps_its_digests() {
        let (sample, server) = Sample::serve();
        let shelf = &sample.shelf;
        let newer = image(shelf, "registry.example.com/fraud/service:v2.1.0", "rebuilt");
        let digest = newer.manifests()[0].digest;
        let (newer_chart, newer_archive) = chart(shelf, "fraud", "1.2.3+build.5", "two");
        let other_file = shelf.put(b"two");
        let rebuilt = wheel(shelf, "Friendly_Bard", "1.0", None, &["tiny-dep"]);
        let rebuilt_digest = rebuilt.digest;
        let components = vec![
            newer,
            newer_chart,
            wheelhouse(shelf, "scoring", vec![rebuilt]),
            file_set(shelf, "etc-fraud", vec![("base.yaml", other_file)]),
        ];
        shelf.publish("2.2.0", components);

        let tagged = server.get(&format!("{SERVICE}/manifests/v2.1.0"));
        assert_eq!(Digest::of(&tagged.body), digest);
        assert_eq!(server.get(&format!("{SERVICE}/manifests/{}", sample.service.digest)).status, 200);
        assert_eq!(server.get("/charts/fraud-1.2.3+build.5.tgz").body, newer_archive);
        let index = server.get("/charts/index.yaml").json();
        assert_eq!(index["entries"]["fraud"].as_array().unwrap().len(), 1);
        let files =
            server.get_with("/simple/friendly-bard/", &[("Accept", SIMPLE_JSON)]).json()["files"].clone();
        assert_eq!(files.as_array().unwrap().len(), 1);
        assert_eq!(files[0]["hashes"]["sha256"], rebuilt_digest.hex());
        let old_wheel = format!("/wheels/{}/Friendly_Bard-1.0-py3-none-any.whl", sample.wheel.digest.hex());
        assert_eq!(server.get(&old_wheel).status, 200);
        assert_eq!(server.get("/files/etc-fraud/base.yaml").text(), "two");
        assert_eq!(server.get("/files/etc-fraud/large.bin").status, 404, "a set is served whole");
        let tags = server.get("/v2/files/etc-fraud/tags/list").json();
        assert_eq!(tags["tags"], serde_json::json!(["2.1.0_r1", "2.2.0"]));

        let page = server.get("/");
        let page = page.text().replace("&#x2f;", "/").replace("&#x27;", "'");
        let old = format!("service@{}", sample.service.digest);
        assert!(page.contains("former version") && page.contains(&old), "{page}");
        let old_archive = format!("/v2/charts/fraud/blobs/{}", Digest::of(&sample.chart));
        assert!(page.contains(&old_archive), "{page}");
        let links = page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        for link in links.filter(|link| !link.starts_with('#')) {
            assert_eq!(request(server.address, "HEAD", link, &[]).status, 200, "{link}");
        }
    }

    #[test]
    fn a_bundle_that_is_published_meanwhile_appears() {
        let shelf = TestShelf::new();
        let server = Server::start(&shelf);
        assert_eq!(server.get(&format!("{SERVICE}/tags/list")).status, 404);
        shelf.publish("1", vec![image(&shelf, "registry.example.com/fraud/service:v1", "one")]);
        assert_eq!(server.get(&format!("{SERVICE}/manifests/v1")).status, 200);
    }

    #[test]
    fn the_list_is_not_read_again_before_its_time() {
        let shelf = TestShelf::new();
        let limits = Limits { refresh: Duration::from_secs(3600), ..Limits::default() };
        let server = Server::within(&shelf, limits);
        shelf.publish("1", vec![image(&shelf, "registry.example.com/fraud/service:v1", "one")]);
        assert_eq!(server.get(&format!("{SERVICE}/manifests/v1")).status, 404);
    }

    #[test]
    fn a_list_that_cannot_be_read_again_leaves_the_former_one() {
        let (sample, server) = Sample::serve();
        sample.shelf.break_the_list();
        assert_eq!(server.get(&format!("{SERVICE}/manifests/v2.1.0")).status, 200);
        assert!(
            server.troubles().iter().any(|t| t.contains("cannot read the list of published bundles again"))
        );
    }

    #[test]
    fn a_list_that_cannot_be_read_at_first_is_an_error() {
        let shelf = TestShelf::new();
        shelf.break_the_list();
        let any = "127.0.0.1:0".parse().unwrap();
        let served = run(shelf, any, Limits::default(), |_| panic!("it is not ready"), &Stop::new(), |_| {});
        assert!(matches!(served, Err(ServeError::Bundles(_))), "{served:?}");
    }

    #[test]
    fn an_address_that_is_taken_is_an_error_that_names_it() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let never = |_| panic!("it is not ready");
        let error =
            run(TestShelf::new(), address, Limits::default(), never, &Stop::new(), |_| {}).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot listen on {address}"));
    }
}

mod limits {
    use super::*;

    fn large(sample: &Sample) -> String {
        format!("/v2/files/etc-fraud/blobs/{}", sample.large.digest)
    }

    #[test]
    fn a_connection_that_never_finishes_its_request_is_closed() {
        let sample = Sample::new();
        let limits = Limits { header_read_max: Duration::from_millis(100), ..Limits::default() };
        let server = Server::within(&sample.shelf, limits);
        for begun in ["", "GET /", "GET / HTTP/1.1\r\nHost: x\r\n"] {
            let mut stream = TcpStream::connect(server.address).unwrap();
            stream.write_all(begun.as_bytes()).unwrap();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            assert!(!rest.starts_with(b"HTTP/1.1 200"), "{begun:?}");
        }
    }

    #[test]
    fn a_request_of_endless_headers_is_not_answered_with_content() {
        let (_sample, server) = Sample::serve();
        for size in [70_000, 100_000, 1_000_000] {
            let mut stream = TcpStream::connect(server.address).unwrap();
            let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(size));
            // The server may hang up before all of it is sent, and its answer may be lost with that.
            let _ = stream.write_all(long.as_bytes());
            let mut reply = Vec::new();
            let _ = stream.read_to_end(&mut reply);
            assert!(reply.is_empty() || reply.starts_with(b"HTTP/1.1 431"), "{size}");
        }
    }

    #[test]
    fn a_connection_above_the_limit_waits_for_its_turn() {
        let sample = Sample::new();
        let server = Server::within(&sample.shelf, Limits { connections_max: 2, ..Limits::default() });
        let idle = [TcpStream::connect(server.address).unwrap(), TcpStream::connect(server.address).unwrap()];
        let third = send(server.address, "GET", "/healthz", &[]);
        third.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut byte = [0];
        assert!((&third).read(&mut byte).is_err(), "answered although the limit was reached");
        drop(idle);
        third.set_read_timeout(None).unwrap();
        assert_eq!(head(third).0.status, 200);
    }

    #[test]
    fn small_blobs_flow_while_every_download_slot_is_taken() {
        let sample = Sample::new();
        let wait = Duration::from_millis(50);
        let limits = Limits { downloads_max: 1, download_wait_max: wait, ..Limits::default() };
        let server = Server::within(&sample.shelf, limits);
        let (begun, _held) = head(send(server.address, "GET", &large(&sample), &[]));
        assert_eq!(begun.status, 200);
        let busy = server.get(&large(&sample));
        assert_eq!((busy.status, busy.code().as_str()), (503, "TOOMANYREQUESTS"));
        assert!(busy.header("retry-after").is_some());
        assert_eq!(server.get("/files/etc-fraud/large.bin").status, 503);
        assert_eq!(server.get(&format!("{SERVICE}/manifests/v2.1.0")).status, 200);
        assert_eq!(server.get("/files/etc-fraud/base.yaml").status, 200);
        assert_eq!(request(server.address, "HEAD", &large(&sample), &[]).status, 200);
    }

    #[test]
    fn a_client_that_stops_listening_loses_its_slot() {
        let sample = Sample::new();
        let stall = Duration::from_millis(100);
        let server =
            Server::within(&sample.shelf, Limits { downloads_max: 1, stall_max: stall, ..Limits::default() });
        let _deaf = head(send(server.address, "GET", &large(&sample), &[]));
        let next = server.get(&large(&sample));
        assert_eq!((next.status, next.body.len()), (200, LARGE_BYTES));
    }

    #[test]
    fn a_client_that_hangs_up_loses_its_slot() {
        let sample = Sample::new();
        let server = Server::within(&sample.shelf, Limits { downloads_max: 1, ..Limits::default() });
        drop(head(send(server.address, "GET", &large(&sample), &[])));
        assert_eq!(server.get(&large(&sample)).body.len(), LARGE_BYTES);
    }

    #[test]
    fn one_connection_carries_one_request_after_another() {
        let (_sample, server) = Sample::serve();
        let mut stream = TcpStream::connect(server.address).unwrap();
        for _ in 0..3 {
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let (reply, mut rest) = head(stream);
            let mut body = [0; 2];
            rest.read_exact(&mut body).unwrap();
            assert_eq!((reply.status, &body), (200, b"ok"));
            stream = rest.into_inner();
        }
    }
}

mod stopping {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, ChildStdout, Command, Stdio};

    const CHILD: &str = "AIRLOCK_TEST_SERVE_CHILD";

    /// A server in a process of its own, as signals and peak memory belong to a process.
    struct Process {
        child: Child,
        address: std::net::SocketAddr,
        large: String,
        _said: BufReader<ChildStdout>,
    }

    impl Process {
        fn start() -> Self {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "stopping::serves_in_a_process_of_its_own", "--nocapture"])
                .env(CHILD, "1")
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut said = BufReader::new(child.stdout.take().unwrap());
            let mut facts = None;
            let mut line = String::new();
            while facts.is_none() && said.read_line(&mut line).unwrap() > 0 {
                let found = line.trim_end().split_once("READY ").and_then(|(_, facts)| facts.split_once(' '));
                facts = found.map(|(address, large)| (address.parse().unwrap(), large.to_string()));
                line.clear();
            }
            let Some((address, large)) = facts else {
                panic!("the child ended early: {}", child.wait().unwrap());
            };
            Self { child, address, large, _said: said }
        }

        fn terminate(&self) {
            let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
            assert!(status.unwrap().success());
        }

        fn peak_memory_kib(&self) -> u64 {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        }
    }

    #[test]
    fn serves_in_a_process_of_its_own() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        let sample = Sample::new();
        let large = format!("/v2/files/etc-fraud/blobs/{}", sample.large.digest);
        let ready = move |address| println!("READY {address} {large}");
        let any = "127.0.0.1:0".parse().unwrap();
        run(sample.shelf, any, Limits::default(), ready, &Stop::new(), |_| {}).unwrap();
    }

    #[test]
    fn a_signal_ends_it_after_the_download_that_runs() {
        let mut process = Process::start();
        let (reply, mut body) = head(send(process.address, "GET", &process.large, &[]));
        assert_eq!(reply.status, 200);
        process.terminate();
        while TcpStream::connect(process.address).is_ok() {
            std::thread::yield_now();
        }
        let mut rest = Vec::new();
        body.read_to_end(&mut rest).unwrap();
        assert_eq!(rest.len(), LARGE_BYTES);
        assert!(process.child.wait().unwrap().success());
    }

    #[test]
    fn a_second_signal_ends_it_at_once() {
        let mut process = Process::start();
        let (_, _held) = head(send(process.address, "GET", &process.large, &[]));
        process.terminate();
        while TcpStream::connect(process.address).is_ok() {
            std::thread::yield_now();
        }
        let begun = std::time::Instant::now();
        process.terminate();
        assert!(process.child.wait().unwrap().success());
        assert!(begun.elapsed() < Limits::default().drain_max);
    }

    #[test]
    fn a_stop_by_hand_lets_the_download_that_runs_finish() {
        let (sample, server) = Sample::serve();
        let target = format!("/v2/files/etc-fraud/blobs/{}", sample.large.digest);
        let (_, mut body) = head(send(server.address, "GET", &target, &[]));
        let reader = std::thread::spawn(move || {
            let mut rest = Vec::new();
            body.read_to_end(&mut rest).map(|_| rest.len())
        });
        server.end().unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), LARGE_BYTES);
    }

    #[test]
    fn a_stop_does_not_wait_for_idle_connections_or_for_ever() {
        let sample = Sample::new();
        let drain = Duration::from_millis(100);
        let server = Server::within(&sample.shelf, Limits { drain_max: drain, ..Limits::default() });
        let target = format!("/v2/files/etc-fraud/blobs/{}", sample.large.digest);
        let _idle = TcpStream::connect(server.address).unwrap();
        let _deaf = head(send(server.address, "GET", &target, &[]));
        let begun = std::time::Instant::now();
        server.end().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn memory_stays_flat_with_many_downloads() {
        let mut process = Process::start();
        let before = process.peak_memory_kib();
        let downloads: Vec<_> = (0..100)
            .map(|_| {
                let (address, target) = (process.address, process.large.clone());
                std::thread::spawn(move || {
                    let (reply, mut body) = head(send(address, "GET", &target, &[]));
                    assert_eq!(reply.status, 200);
                    std::io::copy(&mut body, &mut std::io::sink()).unwrap()
                })
            })
            .collect();
        for download in downloads {
            assert_eq!(download.join().unwrap(), LARGE_BYTES as u64);
        }
        let grown = process.peak_memory_kib().saturating_sub(before);
        println!("100 downloads of 32 MiB: {grown} KiB more than the {before} KiB of the idle server");
        assert!(grown < 64 * 1024, "{grown} KiB for 3.1 GiB served");
        process.terminate();
        assert!(process.child.wait().unwrap().success());
    }
}

mod real_tools {
    use super::*;

    fn home() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn skopeo_copies_images_with_their_digests() {
        let Some(skopeo) = tools::tool("skopeo") else { return };
        let ((sample, server), home) = (Sample::serve(), home());
        let copy = |name: &str, arguments: &[&str]| {
            let source = format!("docker://{}/{name}", server.address);
            let base = &["--insecure-policy", "copy", "--src-tls-verify=false"][..];
            tools::run(&skopeo, home.path(), &[base, arguments, &[&source, "dir:out"]].concat());
            Digest::of(&std::fs::read(home.path().join("out/manifest.json")).unwrap())
        };
        assert_eq!(copy("registry.example.com/fraud/service:v2.1.0", &[]), sample.service.digest);
        let pinned = format!("registry.example.com/fraud/service@{}", sample.service.digest);
        assert_eq!(copy(&pinned, &[]), sample.service.digest);
        assert_eq!(copy("library/postgres:15", &["--all"]), sample.index.digest);
        let arm64 = &["--override-arch", "arm64"][..];
        let source = format!("docker://{}/127.0.0.1-5000/library/postgres:15", server.address);
        let arguments =
            [arm64, &["--insecure-policy", "copy", "--src-tls-verify=false", &source, "dir:one"]].concat();
        tools::run(&skopeo, home.path(), &arguments);
        let one = std::fs::read(home.path().join("one/manifest.json")).unwrap();
        assert_eq!(Digest::of(&one), sample.children[1].digest);
    }

    #[test]
    fn skopeo_lists_tags_and_copies_every_kind_of_artifact() {
        let Some(skopeo) = tools::tool("skopeo") else { return };
        let ((_sample, server), home) = (Sample::serve(), home());
        let name = format!("docker://{}/charts/fraud", server.address);
        let tags = tools::run(&skopeo, home.path(), &["list-tags", "--tls-verify=false", &name]);
        let tags: serde_json::Value = serde_json::from_str(&tags).unwrap();
        assert_eq!(tags["Tags"], serde_json::json!(["1.2.3_build.5"]));
    }

    #[test]
    fn pip_installs_from_the_index_and_python_imports() {
        let Some(python) = tools::tool("python3") else { return };
        let ((_sample, server), home) = (Sample::serve(), home());
        tools::run(&python, home.path(), &["-m", "venv", "venv"]);
        let python = home.path().join("venv/bin/python");
        let index = format!("http://{}/simple/", server.address);
        let pip = ["-m", "pip", "--isolated", "--disable-pip-version-check", "install", "--no-cache-dir"];
        let arguments = [&pip[..], &["--index-url", &index, "Friendly.Bard"]].concat();
        tools::run(&python, home.path(), &arguments);
        let program = "import friendly_bard, tiny_dep; print(friendly_bard.VERSION, tiny_dep.VERSION)";
        assert_eq!(tools::run(&python, home.path(), &["-c", program]).trim(), "1.0 0.1+local.1");
    }

    #[test]
    fn helm_pulls_the_same_bytes_from_the_repository_and_from_the_registry() {
        let Some(helm) = tools::tool("helm") else { return };
        let ((sample, server), home) = (Sample::serve(), home());
        let url = format!("http://{}/charts", server.address);
        let oci = format!("oci://{}/charts/fraud", server.address);
        let helm = |arguments: &[&str]| tools::run(&helm, home.path(), arguments);
        helm(&["repo", "add", "site", &url]);
        helm(&["repo", "update", "site"]);
        let found = helm(&["search", "repo", "site/fraud", "--output", "json"]);
        let found: serde_json::Value = serde_json::from_str(&found).unwrap();
        assert_eq!(found[0]["version"], "1.2.3+build.5");
        assert_eq!(found[0]["app_version"], "1.10");
        assert_eq!(found[0]["description"], "Finds <fraud> & more");
        std::fs::create_dir(home.path().join("classic")).unwrap();
        std::fs::create_dir(home.path().join("oci")).unwrap();
        helm(&["pull", "site/fraud", "--version", "1.2.3+build.5", "--destination", "classic"]);
        helm(&["pull", &oci, "--version", "1.2.3+build.5", "--plain-http", "--destination", "oci"]);
        helm(&["pull", &oci, "--plain-http", "--destination", "oci", "--untar"]);
        for dir in ["classic", "oci"] {
            let archive = home.path().join(dir).join("fraud-1.2.3+build.5.tgz");
            assert!(std::fs::read(&archive).unwrap() == sample.chart, "{}", archive.display());
        }
        assert!(helm(&["template", "site/fraud"]).contains("text: one"));
    }

    #[test]
    fn curl_resumes_a_download_that_was_cut() {
        let Some(curl) = tools::tool("curl") else { return };
        let ((sample, server), home) = (Sample::serve(), home());
        std::fs::write(home.path().join("large.bin"), vec![0; LARGE_BYTES / 3]).unwrap();
        let url = format!("http://{}/files/etc-fraud/large.bin", server.address);
        tools::run(&curl, home.path(), &["--silent", "--show-error", "--fail", "-C", "-", "-O", &url]);
        let bytes = std::fs::read(home.path().join("large.bin")).unwrap();
        assert_eq!(Digest::of(&bytes), sample.large.digest);
    }
}
