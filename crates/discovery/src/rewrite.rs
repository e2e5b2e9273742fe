//! Puts other references in the place of those that the walk finds. Only the bytes of a reference change:
//! comments, quotes, order and the spelling of numbers stay as they are (`docs/adr/0020-image-references.md`).
//!
//! *Invariant:* what comes out reads as the same documents, with nothing else changed: each is read again and
//! compared with the tree of the original in which the same texts were replaced.
//!
//! **What this may never do:** guess. An image that nobody has decided about is an error where it is certain, and
//! one whose name does not stand whole in one place is told to the caller.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use edge::places::{self, Part};
use edge::yaml::YamlError;
use manifests::Reference;
use manifests::inventory::{ImageClass, ImagePlace};

use crate::hit::{Hits, TooMany, Wanted, place_line};
use crate::node::{self, Node};
use crate::{reference, walk};

/// What becomes of the images that are known.
#[derive(Debug, Clone, Default)]
pub struct Decisions {
    /// What stands there afterwards.
    pub replaced: BTreeMap<Reference, String>,
    /// What stays, by its name or text.
    pub left: BTreeSet<String>,
}

/// A stream of documents with other references in it.
#[derive(Debug)]
pub struct Rewritten {
    /// The documents.
    pub text: String,
    /// Each image that was replaced, with every place.
    pub done: Vec<Placed>,
    /// Images that had to be replaced and do not stand whole in one place.
    pub hidden: Vec<Placed>,
    /// What looks like an image and nobody has decided about.
    pub unknown: Vec<Placed>,
}

/// An image and a place where it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Which.
    pub image: String,
    /// Where.
    pub place: ImagePlace,
}

impl core::fmt::Display for Placed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} at {}", self.image, place_line(&self.place))
    }
}

/// Why a stream cannot be rewritten.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// A document does not parse.
    #[error(transparent)]
    Document(#[from] YamlError),
    /// More places than anybody can read.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// An image nobody has decided about.
    #[error("nobody has decided what becomes of the image {0}")]
    Unknown(Placed),
    /// An image whose name is not written where it has to be replaced.
    #[error("the image {0} cannot be replaced there")]
    Hidden(Placed),
    /// More would change than the references.
    #[error("{file}: putting other images in place would change more than their names")]
    Otherwise {
        /// Which document.
        file: String,
    },
}

/// Rewrites a stream of Kubernetes documents. `name` is what it is called where Helm does not say from which
/// template a document comes.
///
/// # Errors
/// See [`RewriteError`].
pub fn stream(name: &str, text: &str, decisions: &Decisions) -> Result<Rewritten, RewriteError> {
    let mut result =
        Rewritten { text: String::new(), done: Vec::new(), hidden: Vec::new(), unknown: Vec::new() };
    let mut copied = 0_usize;
    for chunk in node::chunks(text) {
        let start = offset(text, chunk.text);
        result.text.push_str(text.get(copied..start).unwrap_or_default());
        copied = start.saturating_add(chunk.text.len());
        let file = chunk.source.unwrap_or(name);
        let new = document(file, chunk.text, decisions, &mut result)?;
        result.text.push_str(&new);
    }
    result.text.push_str(text.get(copied..).unwrap_or_default());
    Ok(result)
}

/// Where a piece of a text starts in it.
fn offset(text: &str, piece: &str) -> usize {
    (piece.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

/// What is to be put in place of what, at one place.
type Edits = BTreeMap<String, Vec<(Reference, String)>>;

fn document(
    file: &str,
    text: &str,
    decisions: &Decisions,
    result: &mut Rewritten,
) -> Result<String, RewriteError> {
    let tree = node::parse(file, text)?;
    let mut hits = Hits::default();
    walk::whole(file, &tree, &mut hits);
    let written = written(file, text)?;
    let mut edits = Edits::new();
    for hit in hits.finish()? {
        let to = match &hit.image {
            Wanted::Image(image) => decisions.replaced.get(image).map(|to| (image, to)),
            Wanted::Text(_) => continue,
        };
        for place in hit.places() {
            let placed = Placed { image: hit.image.to_string(), place };
            let Some((image, to)) = to else {
                if decisions.left.contains(&placed.image) {
                    continue;
                }
                match hit.class {
                    ImageClass::Certain => return Err(RewriteError::Unknown(placed)),
                    ImageClass::Probable => result.unknown.push(placed),
                }
                continue;
            };
            let path = placed.place.path.as_ref().map_or("", |path| path.as_str());
            let outer = path.split(" >").next().unwrap_or(path).to_string();
            let stands = |place: &Written| !words(place.text(text), image).is_empty();
            match (written.get(&outer).is_some_and(|places| places.iter().any(stands)), hit.class) {
                (true, _) => {
                    edits.entry(outer).or_default().push((image.clone(), to.clone()));
                    result.done.push(placed);
                }
                (false, ImageClass::Certain) => return Err(RewriteError::Hidden(placed)),
                (false, ImageClass::Probable) => result.hidden.push(placed),
            }
        }
    }
    if edits.is_empty() {
        return Ok(text.to_string());
    }
    let new = edited(text, &written, &edits);
    let mut expected = tree;
    replace_in_tree(&mut expected, &mut String::new(), &edits);
    if node::parse(file, &new)? != expected {
        return Err(RewriteError::Otherwise { file: file.to_string() });
    }
    Ok(new)
}

/// A text as it is written.
struct Written {
    place: Range<usize>,
    plain: bool,
}

impl Written {
    fn text<'a>(&self, document: &'a str) -> &'a str {
        document.get(self.place.clone()).unwrap_or_default()
    }
}

/// Where each text is written, by the name that the walk has for its place.
fn written(file: &str, text: &str) -> Result<BTreeMap<String, Vec<Written>>, YamlError> {
    let mut found: BTreeMap<String, Vec<Written>> = BTreeMap::new();
    for scalar in places::scalars(file, text)? {
        let path = scalar.path.iter().fold(String::new(), |mut path, part| {
            let step = match part {
                Part::Key(key) => walk::key_step(&path, key),
                Part::Item(position) => format!("[{position}]"),
            };
            path.push_str(&step);
            path
        });
        // As places are shown.
        let path = manifests::text::LongLine::printable(&path).as_str().to_string();
        found.entry(path).or_default().push(Written { place: scalar.place, plain: scalar.plain });
    }
    Ok(found)
}

/// The document with its edits, the last first, so that places stay what they are.
fn edited(text: &str, written: &BTreeMap<String, Vec<Written>>, edits: &Edits) -> String {
    let mut pieces: BTreeMap<usize, (usize, String)> = BTreeMap::new();
    for (path, replacements) in edits {
        for place in written.get(path).into_iter().flatten() {
            let mut new = place.text(text).to_string();
            for (image, to) in replacements {
                new = replaced(&new, image, to);
            }
            if place.plain && !new.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '-') {
                new = format!("\"{new}\"");
            }
            pieces.insert(place.place.start, (place.place.end, new));
        }
    }
    let mut out = text.to_string();
    for (start, (end, new)) in pieces.into_iter().rev() {
        out.replace_range(start..end, &new);
    }
    out
}

fn replace_in_tree(node: &mut Node, path: &mut String, edits: &Edits) {
    let length = path.len();
    match node {
        Node::Text(text) => {
            for (image, to) in edits.get(path.as_str()).into_iter().flatten() {
                *text = replaced(text, image, to);
            }
        }
        Node::List(items) => {
            for (position, item) in items.iter_mut().enumerate() {
                path.push_str(&format!("[{position}]"));
                replace_in_tree(item, path, edits);
                path.truncate(length);
            }
        }
        Node::Map(pairs) => {
            for (key, value) in pairs {
                path.push_str(&walk::key_step(path, key));
                replace_in_tree(value, path, edits);
                path.truncate(length);
            }
        }
        Node::Null | Node::Plain(_) => {}
    }
}

fn replaced(text: &str, image: &Reference, to: &str) -> String {
    let mut out = text.to_string();
    for place in words(text, image).into_iter().rev() {
        out.replace_range(place, to);
    }
    out
}

/// Where a text names an image, in whatever spelling.
fn words(text: &str, image: &Reference) -> Vec<Range<usize>> {
    let whole = text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '\'' | '"'));
    let alone = !whole.is_empty() && whole.bytes().all(|byte| may_be_inside(char::from(byte)));
    let mut found = Vec::new();
    for run in text.split(|c: char| !may_be_inside(c)).filter(|run| !run.is_empty()) {
        let start = offset(text, run);
        for piece in pieces(run) {
            let bare = piece.trim_end_matches(['.', ':']);
            // In a longer text a name without tag or path is a word like any other.
            let says = alone || bare.contains([':', '/', '@']);
            if says && reference::parse(bare).as_ref() == Some(image) {
                let at = start.saturating_add(offset(run, bare));
                found.push(at..at.saturating_add(bare.len()));
            }
        }
    }
    found
}

/// Whether a reference may hold it, IPv6 addresses apart.
fn may_be_inside(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '@')
}

/// What may be a reference in a run of such characters: behind `docker://`, and behind a shell's `:-`.
fn pieces(run: &str) -> impl Iterator<Item = &str> {
    let behind = ["docker://", "oci://"].into_iter().find_map(|scheme| run.strip_prefix(scheme));
    behind.unwrap_or(run).split(":-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "site:5000/mirror/quay.io/a/b@sha256:";

    fn decisions(pairs: &[(&str, &str)]) -> Decisions {
        let pair = |(from, to): &(&str, &str)| (reference::parse(from).unwrap(), to.to_string());
        Decisions { replaced: pairs.iter().map(pair).collect(), left: BTreeSet::new() }
    }

    fn site(name: &str) -> String {
        format!("site:5000/m/{name}@{}", manifests::Digest::of(name.as_bytes()))
    }

    #[test]
    fn only_the_references_change() {
        let redis = site("docker.io/library/redis");
        let text = "---\n# Source: c/templates/a.yaml\napiVersion: apps/v1 # keep me\nkind: Deployment\nmetadata: {name: x, annotations: {v: \"1.10\", e: =, o: 0o17}}\nspec:\n  template:\n    spec:\n      initContainers:\n      - {name: i, image: 'redis:7'}\n      containers:\n      - name: a\n        image: \"docker.io/redis:7\"   # why\n        args: [--sidecar-image=redis:7, --port=6379]\n---\n# Source: c/templates/b.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: redis}\ndata:\n  x: |\n    image: redis:7\n    # redis:7 is fine\n    note: |\n      1.10\n...\n";
        let rewritten = stream("x", text, &decisions(&[("redis:7", &redis)])).unwrap();
        let expected = text
            .replace("'redis:7'", &format!("'{redis}'"))
            .replace("docker.io/redis:7", &redis)
            .replace("image=redis:7", &format!("image={redis}"))
            .replace("image: redis:7", &format!("image: {redis}"))
            .replace("# redis:7", &format!("# {redis}"));
        assert_eq!(rewritten.text, expected);
        assert_eq!(rewritten.done.len(), 4);
        assert!(rewritten.hidden.is_empty() && rewritten.unknown.is_empty());
    }

    #[test]
    fn custom_resources_environments_and_lists_are_covered() {
        let to = site("quay.io/a/b");
        let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: db.example.com/v1\n  kind: Database\n  metadata: {name: main}\n  spec:\n    image: quay.io/a/b:1\n    env: [{name: AGENT_IMAGE, value: quay.io/a/b:1}]\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: p}\n  spec: {containers: [{name: a, image: quay.io/a/b:1}], volumes: [{name: v, image: {reference: quay.io/a/b:1}}]}\n";
        let rewritten = stream("x", text, &decisions(&[("quay.io/a/b:1", &to)])).unwrap();
        assert_eq!(rewritten.text, text.replace("quay.io/a/b:1", &to));
    }

    #[test]
    fn a_certain_image_that_nobody_decided_about_is_an_error_and_one_that_stays_is_not() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: a, image: quay.io/a/b:1}]}\n";
        let error = stream("x", text, &Decisions::default()).unwrap_err().to_string();
        assert!(error.contains("quay.io/a/b:1 at Pod/p spec.containers[0].image"), "{error}");
        let left = Decisions { left: ["quay.io/a/b:1".to_string()].into(), ..Decisions::default() };
        assert_eq!(stream("x", text, &left).unwrap().text, text);
    }

    #[test]
    fn what_is_written_in_pieces_or_packed_is_told() {
        let text = "apiVersion: x.example.com/v1\nkind: App\nmetadata: {name: p}\nspec: {image: {repository: quay.io/a/b, tag: v1}}\n";
        let rewritten = stream("x", text, &decisions(&[("quay.io/a/b:v1", SITE)])).unwrap();
        assert_eq!((rewritten.text.as_str(), rewritten.hidden.len()), (text, 1));
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: a, image: \"quay.io/a\\x2fb:1\"}]}\n";
        let error = stream("x", text, &decisions(&[("quay.io/a/b:1", SITE)])).unwrap_err();
        assert!(matches!(error, RewriteError::Hidden(_)), "{error}");
    }

    #[test]
    fn a_name_that_is_a_word_like_any_other_stays_in_a_longer_text() {
        let image = reference::parse("redis").unwrap();
        assert_eq!(words("redis", &image), vec![0..5]);
        assert_eq!(words("'redis'", &image), vec![1..6]);
        assert_eq!(words("the redis and redis:latest", &image), vec![14..26]);
        assert!(words("https://quay.io/a/b:1", &reference::parse("quay.io/a/b:1").unwrap()).is_empty());
        assert_eq!(words("docker://redis:latest.", &image), vec![9..21]);
    }

    #[test]
    fn an_anchor_is_rewritten_once_for_all_that_refer_to_it() {
        let to = site("quay.io/a/b");
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: a, image: &i quay.io/a/b:1}, {name: b, image: *i}]}\n";
        let rewritten = stream("x", text, &decisions(&[("quay.io/a/b:1", &to)])).unwrap();
        assert_eq!(rewritten.text, text.replace("quay.io/a/b:1", &to));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_rewritten_or_refused(text in "(\\PC|\\n){0,200}") {
            if let Ok(rewritten) = stream("x", &text, &Decisions::default()) {
                proptest::prop_assert_eq!(rewritten.text, text);
            }
        }
    }
}
