//! Which texts are the names of images. Three questions, from the easiest to the hardest: what a text names
//! that stands where only an image can ([`parse`]), beside a key that speaks of images ([`hinted`]), and
//! anywhere at all ([`anywhere`]).
//!
//! The last one is what keeps addresses, labels, module paths and versions out of the list, so it asks for
//! a registry's host and a tag or digest; `a.example.com/b` alone could be anything.

use manifests::Reference;

/// No reference is longer: 255 of a name, 128 of a tag, and a digest.
const REFERENCE_BYTES_MAX: usize = 512;

/// Other names of Docker's registry.
const DOCKER_HUB: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

/// Hosts that hold nothing but artifacts, so that a name there needs no tag to be told.
const REGISTRIES: [&str; 24] = [
    "docker.io",
    "index.docker.io",
    "registry-1.docker.io",
    "quay.io",
    "ghcr.io",
    "gcr.io",
    "k8s.gcr.io",
    "registry.k8s.io",
    "public.ecr.aws",
    "mcr.microsoft.com",
    "nvcr.io",
    "cgr.dev",
    "icr.io",
    "registry.redhat.io",
    "registry.access.redhat.com",
    "registry.connect.redhat.com",
    "registry.gitlab.com",
    "registry.suse.com",
    "registry.opensuse.org",
    "docker.elastic.co",
    "container-registry.oracle.com",
    "xpkg.upbound.io",
    "lscr.io",
    "rg.fr-par.scw.cloud",
];

/// The same, for whole domains.
const REGISTRY_DOMAINS: [&str; 6] =
    [".gcr.io", ".pkg.dev", ".azurecr.io", ".amazonaws.com", ".icr.io", ".jfrog.io"];

/// Hosts with paths that look like repositories and are none.
const NOT_REGISTRIES: [&str; 8] = [
    "github.com",
    "gitlab.com",
    "bitbucket.org",
    "golang.org",
    "gopkg.in",
    "sigs.k8s.io",
    "k8s.io",
    "kubernetes.io",
];

/// Endings of files that keys with `image` in them like to name.
const PICTURES: [&str; 16] = [
    ".png", ".jpg", ".jpeg", ".svg", ".gif", ".webp", ".ico", ".bmp", ".iso", ".img", ".qcow2", ".vmdk",
    ".ova", ".vhd", ".raw", ".xz",
];

/// What stands behind the colon of a taint.
const TAINT_EFFECTS: [&str; 3] = ["NoSchedule", "NoExecute", "PreferNoSchedule"];

/// A reference with Docker's defaults written out: `redis:7` and `index.docker.io/library/redis:7` are
/// both `docker.io/library/redis:7`.
#[must_use]
pub fn parse(text: &str) -> Option<Reference> {
    let text = text.trim();
    let text = text.strip_prefix("docker://").unwrap_or(text);
    if text.len() > REFERENCE_BYTES_MAX {
        return None;
    }
    text.parse().ok().map(normal)
}

/// Docker's registry by its one name, and its official images with their `library/`.
#[must_use]
pub fn normal(reference: Reference) -> Reference {
    let hub = reference.host() == "docker.io" || DOCKER_HUB.contains(&reference.host());
    if !hub || (reference.host() == "docker.io" && reference.path().contains('/')) {
        return reference;
    }
    let library = if reference.path().contains('/') { "" } else { "library/" };
    let mut text = format!("docker.io/{library}{}", reference.path());
    if let Some(tag) = reference.tag() {
        text.push_str(&format!(":{tag}"));
    }
    if let Some(digest) = reference.digest() {
        text.push_str(&format!("@{digest}"));
    }
    text.parse().unwrap_or(reference)
}

/// What a key says about the value beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Nothing.
    None,
    /// It speaks of images: `sidecarImage`, `IMAGE_PROXY`, `--proxy-image`.
    Image,
    /// Below it are several: `images`, `sidecarImages`.
    Several,
    /// Its last word is `image`: `HELPER_IMAGE`, `sidecarImage`. A bare name is enough.
    Named,
    /// It is `image` itself.
    Exactly,
}

impl Hint {
    /// What a key says. Its words are told apart by case, `_`, `-`, `.` and `/`.
    #[must_use]
    pub fn of(key: &str) -> Self {
        if key == "image" {
            return Self::Exactly;
        }
        let words = words(key);
        let speaks = words.iter().any(|word| matches!(word.as_str(), "image" | "images"));
        match words.last().map(String::as_str) {
            Some("images") => Self::Several,
            Some("image") => Self::Named,
            Some(last) if speaks && !NOT_THE_IMAGE.contains(&last) => Self::Image,
            _ => Self::None,
        }
    }
}

/// The last words of keys that speak of images and hold something else of them.
const NOT_THE_IMAGE: [&str; 35] = [
    "pull",
    "policy",
    "policies",
    "secret",
    "secrets",
    "credentials",
    "tag",
    "tags",
    "version",
    "digest",
    "sha",
    "sha256",
    "registry",
    "registries",
    "repository",
    "prefix",
    "suffix",
    "type",
    "size",
    "format",
    "platform",
    "platforms",
    "os",
    "arch",
    "mode",
    "count",
    "gc",
    "limit",
    "interval",
    "timeout",
    "family",
    "port",
    "host",
    "enabled",
    "description",
];

/// What stands beside keys that end in `image` and is a choice, not a name.
const CHOICES: [&str; 20] = [
    "always",
    "ifnotpresent",
    "never",
    "true",
    "false",
    "null",
    "nil",
    "auto",
    "none",
    "default",
    "yes",
    "no",
    "on",
    "off",
    "enabled",
    "disabled",
    "any",
    "all",
    "custom",
    "latest",
];

fn words(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower = false;
    for character in key.chars() {
        let starts = !character.is_ascii_alphanumeric() || (character.is_ascii_uppercase() && lower);
        lower = character.is_ascii_lowercase() || character.is_ascii_digit();
        if starts {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| character.is_ascii_alphanumeric()) {
            word.push(character.to_ascii_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A text in its parts, before Docker's defaults.
struct Parts<'a> {
    host: Option<&'a str>,
    name: &'a str,
    tag: Option<&'a str>,
    digest: bool,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, digest.starts_with("sha256:")),
            None => (text, false),
        };
        let last_slash = rest.rfind('/').map_or(0, |at| at.saturating_add(1));
        let colon = rest.get(last_slash..).and_then(|last| last.find(':'));
        let (path, tag) = match colon.map(|at| at.saturating_add(last_slash)) {
            Some(at) => (rest.get(..at).unwrap_or(rest), rest.get(at.saturating_add(1)..)),
            None => (rest, None),
        };
        let (host, name) = match path.split_once('/') {
            Some((first, name)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), name),
            _ => (None, path),
        };
        Self { host, name, tag, digest }
    }

    fn known_registry(&self) -> bool {
        self.host.is_some_and(|host| {
            REGISTRIES.contains(&host) || REGISTRY_DOMAINS.iter().any(|domain| host.ends_with(domain))
        })
    }

    /// A host that could be a registry's: with a port, an address, or with the last part of a domain.
    fn possible_registry(&self) -> bool {
        let Some(host) = self.host else { return false };
        if NOT_REGISTRIES.contains(&host) {
            return false;
        }
        let (name, port) = host.split_once(':').map_or((host, false), |(name, _)| (name, true));
        let last = name.rsplit('.').next().unwrap_or_default();
        let domain = last.len() >= 2 && last.bytes().all(|byte| byte.is_ascii_alphabetic());
        let address = name.split('.').count() == 4 && name.split('.').all(|part| part.parse::<u8>().is_ok());
        port || domain || address || host.starts_with('[')
    }

    fn written(&self) -> bool {
        self.tag.is_some() || self.digest
    }
}

/// The image in a text that stands beside a key which speaks of images.
#[must_use]
pub fn hinted(text: &str, hint: Hint) -> Option<Reference> {
    let text = text.trim();
    let found = anywhere(text);
    if found.is_some() || hint == Hint::None {
        return found;
    }
    let text = text.strip_prefix("docker://").unwrap_or(text);
    let parts = Parts::of(text);
    let picture = !parts.written() && PICTURES.iter().any(|ending| text.ends_with(ending));
    if picture || text.parse::<f64>().is_ok() || matches!(text, "true" | "false" | "null") {
        return None;
    }
    // `cache:6379` and `registry.local:5000` are services, `alpine:20240329` is none.
    let service = parts.host.is_none()
        && !parts.digest
        && !parts.name.contains('/')
        && parts.tag.is_some_and(|port| port.len() > 3 && port.parse::<u16>().is_ok_and(|port| port > 0));
    let plain = parts.written() || parts.name.contains('/') || parts.possible_registry();
    let enough = match hint {
        Hint::Exactly => !service || parts.name != "localhost" && !parts.name.contains('.'),
        Hint::Named => !service && (plain || bare_name(parts.name)),
        _ => !service && plain,
    };
    // Where only an image can stand, a host is a registry whatever it is called.
    let refused = hint != Hint::Exactly && parts.host.is_some() && !parts.possible_registry();
    if enough && !refused { parse(text) } else { None }
}

/// `busybox`, and not `Always` or `index.html`.
fn bare_name(name: &str) -> bool {
    name.len() > 1 && !name.contains('.') && name != "localhost" && !CHOICES.contains(&name)
}

/// The image in a text of a Secret. `cache.example.com:6379/0:password` looks like an image and must not be
/// shown, so that a key has to speak of images, or the text be of a kind that nothing else is.
#[must_use]
pub fn hinted_in_a_secret(text: &str, hint: Hint) -> Option<Reference> {
    let bare = text.trim();
    let says = |found: &Reference| {
        let known = || Parts::of(bare.strip_prefix("oci://").unwrap_or(bare)).known_registry();
        hint != Hint::None || found.digest().is_some() || bare.starts_with("docker://") || known()
    };
    hinted(text, hint).filter(says)
}

/// Whether a name has a host that could be a registry's.
#[must_use]
pub fn has_registry(text: &str) -> bool {
    Parts::of(text).possible_registry()
}

/// The image in a text that stands anywhere.
#[must_use]
pub fn anywhere(text: &str) -> Option<Reference> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix("docker://") {
        return parse(rest);
    }
    // An artifact of an OCI registry; without a version it is a place to look for several.
    let (text, artifact) = text.strip_prefix("oci://").map_or((text, false), |rest| (rest, true));
    let parts = Parts::of(text);
    if artifact && !parts.written() || parts.tag.is_some_and(|tag| TAINT_EFFECTS.contains(&tag)) {
        return None;
    }
    let several = parts.name.contains('/');
    let enough = parts.digest
        || (parts.possible_registry() && parts.tag.is_some())
        || (parts.known_registry() && several)
        || (parts.host.is_none() && several && parts.tag.is_some_and(version_like));
    if enough { parse(text) } else { None }
}

/// `v1.2`, `11.4.0-alpine`, `latest`: a name without a host needs that much to be believed.
fn version_like(tag: &str) -> bool {
    let number = tag.strip_prefix('v').unwrap_or(tag);
    let mut parts = number.split('.');
    let digits = |part: Option<&str>, whole: bool| {
        part.is_some_and(|part| {
            let count = part.bytes().take_while(u8::is_ascii_digit).count();
            count > 0 && (!whole || count == part.len())
        })
    };
    tag == "latest" || (digits(parts.next(), true) && digits(parts.next(), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn shown(found: Option<Reference>) -> String {
        found.map_or_else(|| "-".to_string(), |reference| reference.to_string())
    }

    #[test]
    fn what_other_tools_miss_is_an_image_wherever_it_stands() {
        for (text, expected) in [
            ("quay.io/a/b:7", "quay.io/a/b:7"),
            ("quay.io/a/b/c:v1", "quay.io/a/b/c:v1"),
            ("quay.io/a/b", "quay.io/a/b:latest"),
            ("host:5000/a:1", "host:5000/a:1"),
            ("registry.example.com:5000/team/app:2024", "registry.example.com:5000/team/app:2024"),
            ("127.0.0.1:5000/a:v1", "127.0.0.1:5000/a:v1"),
            ("10.1.2.3/a:v1", "10.1.2.3/a:v1"),
            ("[::1]:5000/a:v1", "[::1]:5000/a:v1"),
            ("registry.example.com/app:debian-slim", "registry.example.com/app:debian-slim"),
            ("grafana/grafana:11.2.0", "docker.io/grafana/grafana:11.2.0"),
            ("grafana/grafana:latest", "docker.io/grafana/grafana:latest"),
            ("docker://redis", "docker.io/library/redis:latest"),
            ("oci://ghcr.io/org/chart:1.0.0", "ghcr.io/org/chart:1.0.0"),
            ("registry.k8s.io/sig/ns/pause:3.9", "registry.k8s.io/sig/ns/pause:3.9"),
            (
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com/a/b",
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com/a/b:latest",
            ),
        ] {
            assert_eq!(shown(anywhere(text)), expected, "{text}");
        }
        for name in ["a", "a/b", "registry.example.com/a", "host:5000/a:1"] {
            let text = format!("{name}@{DIGEST}");
            assert!(anywhere(&text).is_some_and(|found| found.digest().is_some()), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_an_image_is_none() {
        for text in [
            "",
            " ",
            "redis",
            "https://quay.io/a/b:7",
            "http://registry.example.com:5000/v2/",
            "s3://bucket/a:b",
            "tcp://10.0.0.1:2375",
            "oci://ghcr.io/org/charts",
            "git@github.com:org/repo.git",
            "/etc/app/config.yaml",
            "./a/b:1.2",
            "../a:1",
            "/var/run/docker.sock:/var/run/docker.sock",
            "key:value",
            "12:30",
            "12:30:15",
            "2024-01-01T10:00:00Z",
            "10.0.0.1:8080",
            "10.0.0.0/8",
            "fd00::/8",
            "example.com:443",
            "db.svc.cluster.local:5432",
            "db.svc:5432/app",
            "1.2.3",
            "v1.31.2",
            "1.2.3/4",
            "github.com/org/repo",
            "github.com/org/repo:v1.2.3",
            "github.com/org/repo@v1.2.3",
            "k8s.io/api/core/v1",
            "sigs.k8s.io/yaml@v1.4.0",
            "app.kubernetes.io/name",
            "node.kubernetes.io/not-ready:NoExecute",
            "dedicated.example.com/gpu:NoSchedule",
            "apps/v1",
            "monitoring.coreos.com/v1/ServiceMonitor",
            "text/plain",
            "application/vnd.oci.image.manifest.v1+json",
            "100m",
            "1.5Gi",
            "500m/1",
            "default/service:8080",
            "default/service:https",
            "kube-system/coredns",
            "arn:aws:iam::123456789012:role/eks",
            "sha256:abc",
            DIGEST,
            "com.example:artifact:1.2.3",
            "conf.d/site:1",
            "v1.2/app:3",
            "system:serviceaccount:kube-system:default",
            "user:password",
            "a b:1.2",
            "{{ .Values.image }}",
            "$(IMAGE)",
            "*.example.com/app:1",
            "Quay.io/A/b:7",
        ] {
            assert_eq!(shown(anywhere(text)), "-", "{text}");
        }
    }

    #[test]
    fn a_key_that_speaks_of_images_says_more() {
        for (key, hint) in [
            ("image", Hint::Exactly),
            ("images", Hint::Several),
            ("sidecarImage", Hint::Named),
            ("baseImage", Hint::Named),
            ("imageName", Hint::Image),
            ("init_image", Hint::Named),
            ("IMAGE_PROXY", Hint::Image),
            ("KUBE_RBAC_PROXY_IMAGE", Hint::Named),
            ("--prometheus-config-reloader-image", Hint::Named),
            ("sidecar.istio.io/proxyImage", Hint::Named),
            ("containerImage", Hint::Named),
            ("imagePullPolicy", Hint::None),
            ("imagePullSecrets", Hint::None),
            ("IMAGE_PULL_POLICY", Hint::None),
            ("imageTag", Hint::None),
            ("imageRegistry", Hint::None),
            ("imagine", Hint::None),
            ("name", Hint::None),
        ] {
            assert_eq!(Hint::of(key), hint, "{key}");
        }
    }

    #[test]
    fn beside_such_a_key_less_is_enough() {
        for (hint, text, expected) in [
            (Hint::Exactly, "nginx", "docker.io/library/nginx:latest"),
            (Hint::Exactly, "redis:7", "docker.io/library/redis:7"),
            (Hint::Exactly, "registry.example.com/a/b", "registry.example.com/a/b:latest"),
            (Hint::Exactly, "logo.png", "-"),
            (Hint::Exactly, "/static/logo", "-"),
            (Hint::Exactly, "https://example.com/logo:1", "-"),
            (Hint::Exactly, "1.5", "-"),
            (Hint::Exactly, "registry.local:5000", "-"),
            (Hint::Exactly, "alpine:20240329", "docker.io/library/alpine:20240329"),
            (Hint::Exactly, "github.com/org/app:3", "github.com/org/app:3"),
            (Hint::Exactly, "harbor.dc1/app:1", "harbor.dc1/app:1"),
            (Hint::Named, "busybox", "docker.io/library/busybox:latest"),
            (Hint::Named, "alpine:20240329", "docker.io/library/alpine:20240329"),
            (Hint::Named, "Always", "-"),
            (Hint::Named, "IfNotPresent", "-"),
            (Hint::Named, "none", "-"),
            (Hint::Named, "auto", "-"),
            (Hint::Named, "false", "-"),
            (Hint::Named, "cache:6379", "-"),
            (Hint::Named, "index.html", "-"),
            (Hint::Named, "github.com/org/repo", "-"),
            (Hint::Image, "alpine:20240329", "docker.io/library/alpine:20240329"),
            (Hint::Image, "redis:7", "docker.io/library/redis:7"),
            (Hint::Image, "grafana/grafana", "docker.io/grafana/grafana:latest"),
            (Hint::Image, "registry.example.com/a", "registry.example.com/a:latest"),
            (Hint::Image, "cache:6379", "-"),
            (Hint::Image, "nginx", "-"),
            (Hint::Image, "Always", "-"),
            (Hint::Image, "github.com/org/repo", "-"),
            (Hint::None, "redis:7", "-"),
        ] {
            assert_eq!(shown(hinted(text, hint)), expected, "{hint:?} {text}");
        }
    }

    #[test]
    fn in_a_secret_what_could_be_a_password_is_none() {
        for (hint, text, expected) in [
            (Hint::None, "redis.example.com:6379/prod:hunter2", "-"),
            (Hint::None, "team/prod:1.2", "-"),
            (Hint::None, "quay.io/a/b:7", "quay.io/a/b:7"),
            (Hint::None, "oci://ghcr.io/a/b:7", "ghcr.io/a/b:7"),
            (Hint::Named, "registry.example.com/a:1", "registry.example.com/a:1"),
        ] {
            assert_eq!(shown(hinted_in_a_secret(text, hint)), expected, "{text}");
        }
        let digest = format!("registry.example.com/a@{DIGEST}");
        assert_eq!(shown(hinted_in_a_secret(&digest, Hint::None)), digest);
    }

    #[test]
    fn docker_hub_has_one_name() {
        for text in [
            "redis:7",
            "library/redis:7",
            "docker.io/redis:7",
            "docker.io/library/redis:7",
            "index.docker.io/redis:7",
            "registry-1.docker.io/library/redis:7",
        ] {
            assert_eq!(shown(parse(text)), "docker.io/library/redis:7", "{text}");
        }
        assert_eq!(shown(parse("redis")), "docker.io/library/redis:latest");
        assert_eq!(shown(parse(&format!("redis@{DIGEST}"))), format!("docker.io/library/redis@{DIGEST}"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_an_image_or_not_and_what_is_one_stays_one(text in "\\PC{0,60}") {
            let found = [parse(&text), anywhere(&text), hinted(&text, Hint::Exactly), hinted(&text, Hint::Image)];
            for reference in found.into_iter().flatten() {
                proptest::prop_assert_eq!(parse(&reference.to_string()), Some(reference));
            }
        }

        #[test]
        fn words_without_a_host_and_a_tag_are_no_images(text in "[a-z][a-z0-9.]{0,10}(/[a-z]{1,5})?") {
            proptest::prop_assert_eq!(anywhere(&text), None);
        }
    }
}
