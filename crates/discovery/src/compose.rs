//! Images whose name is in pieces: `{registry, repository, tag}` and its relatives, as values of a map or as
//! environment variables.
//!
//! *Invariant:* a key whose value went into an image is named, so that nobody takes it for another one.

use manifests::Reference;

use crate::reference::{self, Hint};

/// An image that was put together.
#[derive(Debug, PartialEq, Eq)]
pub struct Composed {
    /// The image.
    pub image: Reference,
    /// The key that holds the name.
    pub key: usize,
    /// Every key that went into it.
    pub used: Vec<usize>,
}

/// A key and its value, if that is a scalar that is not empty.
pub type Pair<'a> = (&'a str, Option<&'a str>);

/// The images in some keys and values. `hint` is what the key above says.
#[must_use]
pub fn compose(pairs: &[Pair<'_>], hint: Hint) -> Vec<Composed> {
    let keys: Vec<String> = pairs.iter().map(|(key, _)| plain(key)).collect();
    let mut found: Vec<Composed> = Vec::new();
    for ending in ["repository", "repo", "image", "newname", "name"] {
        for (position, key) in keys.iter().enumerate() {
            let Some(stem) = key.strip_suffix(ending) else { continue };
            let used = |at: &usize| found.iter().any(|composed| composed.used.contains(at));
            if let Some(composed) = (Pieces { pairs, keys: &keys }).at(position, stem, ending, hint)
                && !composed.used.iter().any(used)
            {
                found.push(composed);
            }
        }
    }
    found
}

/// Without what tells one spelling from another: `imageRepository` and `IMAGE_REPOSITORY` are one.
fn plain(key: &str) -> String {
    key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

struct Pieces<'a> {
    pairs: &'a [Pair<'a>],
    keys: &'a [String],
}

impl<'a> Pieces<'a> {
    /// The first of some keys that is there.
    fn find(&self, names: &[String]) -> Option<usize> {
        names.iter().find_map(|name| self.keys.iter().position(|key| key == name))
    }

    fn value(&self, position: Option<usize>) -> Option<&'a str> {
        position.and_then(|at| self.pairs.get(at)).and_then(|(_, value)| *value)
    }

    fn at(&self, position: usize, stem: &str, ending: &str, hint: Hint) -> Option<Composed> {
        let name = self.value(Some(position)).filter(|name| !name.contains("://"))?;
        let repository = matches!(ending, "repository" | "repo");
        let beside = |ends: &[&str]| -> Option<usize> {
            let names: Vec<String> = ends.iter().map(|end| format!("{stem}{end}")).collect();
            self.find(&names).filter(|at| *at != position)
        };
        // `{repository: nvcr.io/nvidia, image: driver, version: 1}`: the name is below the repository.
        // What has a path of its own is another image.
        let below = |at: &usize| self.value(Some(*at)).is_none_or(|last| !last.contains('/'));
        let last = if repository { beside(&["image"]).filter(below) } else { None };
        let versioned = last.is_some() || stem == "base";
        let tag = beside(&["tag", "imagetag", "newtag"]).or_else(|| {
            if versioned { self.find(&["tag".to_string(), "version".to_string()]) } else { None }
        });
        let digest = beside(&["digest", "imagedigest", "sha256", "sha"]);
        let registry = beside(&["registry", "imageregistry"]);
        // A version beside a name alone could be that of anything.
        let hosted = repository && (registry.is_some() || reference::has_registry(name));
        let tag = tag.or_else(|| if hosted && digest.is_none() { beside(&["version"]) } else { None });
        if !shaped(ending, hint, tag.is_some() || digest.is_some(), registry.is_some()) {
            return None;
        }
        let mut text = name.trim_matches('/').to_string();
        if let Some(registry) = self.value(registry).map(|registry| registry.trim_matches('/'))
            && !text.starts_with(&format!("{registry}/"))
        {
            text = format!("{registry}/{text}");
        }
        if let Some(last) = self.value(last) {
            text = format!("{text}/{last}");
        }
        if text.rsplit('/').next().is_some_and(|last| last.contains([':', '@'])) {
            return None;
        }
        text.extend(self.value(tag).map(|tag| format!(":{tag}")));
        text.extend(self.value(digest).map(|digest| match digest.strip_prefix("sha256:") {
            Some(_) => format!("@{digest}"),
            None => format!("@sha256:{digest}"),
        }));
        let image = reference::parse(&text)?;
        let used = [Some(position), last, tag, digest, registry].into_iter().flatten().collect();
        Some(Composed { image, key: position, used })
    }
}

/// Whether the keys that are there make an image.
fn shaped(ending: &str, hint: Hint, version: bool, registry: bool) -> bool {
    let of_images = hint != Hint::None;
    match ending {
        "repository" => version || registry || of_images,
        "repo" | "image" => version,
        _ => version && of_images,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn composed(pairs: &[Pair<'_>], hint: Hint) -> Vec<String> {
        compose(pairs, hint).iter().map(|found| found.image.to_string()).collect()
    }

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_name_in_pieces_is_put_together() {
        let digest = format!("sha256:{HEX}");
        for (pairs, hint, expected) in [
            (
                vec![("registry", Some("quay.io")), ("repository", Some("a/b")), ("tag", Some("7"))],
                Hint::None,
                "quay.io/a/b:7".to_string(),
            ),
            (
                vec![("repository", Some("redis")), ("tag", Some("7"))],
                Hint::None,
                "docker.io/library/redis:7".to_string(),
            ),
            (
                vec![("repository", Some("quay.io/a/b")), ("digest", Some(&digest))],
                Hint::None,
                format!("quay.io/a/b@{digest}"),
            ),
            (
                vec![("repository", Some("quay.io/a/b")), ("sha", Some(HEX))],
                Hint::None,
                format!("quay.io/a/b@{digest}"),
            ),
            (
                vec![("imageRepository", Some("quay.io/a/b")), ("imageTag", Some("7"))],
                Hint::None,
                "quay.io/a/b:7".to_string(),
            ),
            (
                vec![("PROXY_IMAGE_REPOSITORY", Some("a/b")), ("PROXY_IMAGE_TAG", Some("7"))],
                Hint::None,
                "docker.io/a/b:7".to_string(),
            ),
            (
                vec![
                    ("repository", Some("nvcr.io/nvidia")),
                    ("image", Some("driver")),
                    ("version", Some("550.1")),
                ],
                Hint::None,
                "nvcr.io/nvidia/driver:550.1".to_string(),
            ),
            (
                vec![("image", Some("quay.io/a/b")), ("tag", Some("7"))],
                Hint::None,
                "quay.io/a/b:7".to_string(),
            ),
            (
                vec![("baseImage", Some("quay.io/a/b")), ("version", Some("v7"))],
                Hint::None,
                "quay.io/a/b:v7".to_string(),
            ),
            (
                vec![("name", Some("a")), ("newName", Some("quay.io/a/b")), ("newTag", Some("7"))],
                Hint::Image,
                "quay.io/a/b:7".to_string(),
            ),
            (vec![("name", Some("a/b")), ("tag", Some("7"))], Hint::Exactly, "docker.io/a/b:7".to_string()),
            (
                vec![("repository", Some("quay.io/a/b")), ("tag", None)],
                Hint::Exactly,
                "quay.io/a/b:latest".to_string(),
            ),
            (
                vec![("registry", Some("reg")), ("repository", Some("regional/app")), ("tag", Some("2"))],
                Hint::None,
                "docker.io/reg/regional/app:2".to_string(),
            ),
            (
                vec![("registry", Some("quay.io")), ("repository", Some("quay.io/a/b")), ("tag", Some("2"))],
                Hint::None,
                "quay.io/a/b:2".to_string(),
            ),
            (
                vec![("repository", Some("registry.example.com/p/v")), ("version", Some("1.2"))],
                Hint::None,
                "registry.example.com/p/v:1.2".to_string(),
            ),
            (
                vec![
                    ("repository", Some("quay.io/a/proxy")),
                    ("tag", Some("1")),
                    ("image", Some("quay.io/b/init")),
                ],
                Hint::None,
                "quay.io/a/proxy:1".to_string(),
            ),
            (
                vec![("registry", Some("quay.io")), ("repository", Some("a/b"))],
                Hint::None,
                "quay.io/a/b:latest".to_string(),
            ),
        ] {
            assert_eq!(composed(&pairs, hint), [expected], "{pairs:?}");
        }
    }

    #[test]
    fn other_repositories_and_names_are_none() {
        for pairs in [
            vec![("repository", Some("https://github.com/a/b")), ("tag", Some("v1"))],
            vec![("repository", Some("a/b"))],
            vec![("repository", Some("a/b")), ("version", Some("1"))],
            vec![("repository", Some("github.com/a/b")), ("version", Some("1"))],
            vec![("name", Some("a")), ("tag", Some("7"))],
            vec![("image", Some("quay.io/a/b:7")), ("tag", Some("7"))],
            vec![("image", Some("quay.io/a/b")), ("version", Some("7"))],
            vec![("name", Some("a")), ("version", Some("7"))],
            vec![("repository", Some("A B")), ("tag", Some("7"))],
            vec![("repository", None), ("tag", Some("7"))],
        ] {
            assert!(composed(&pairs, Hint::None).is_empty(), "{pairs:?}");
        }
    }
}
