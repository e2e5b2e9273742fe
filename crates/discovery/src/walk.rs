//! The structural walk: every image in a Kubernetes document, whatever its kind.
//!
//! *Certain* is what Kubernetes or a convention that everybody keeps to makes an image: `image` of a container
//! in a list `containers`, `initContainers` or `ephemeralContainers` anywhere, `reference` of an image volume,
//! `RELATED_IMAGE_*`, `relatedImages`. *Probable* is everything that looks like one (`docs/adr/0010`). What lies
//! inside a text is probable at most, because nobody knows what reads the text.

use edge::yaml::YamlError;
use manifests::inventory::ImageClass;
use manifests::text::printable;

use crate::compose::{Pair, compose};
use crate::embedded::{self, Reader};
use crate::hit::{Hits, Wanted};
use crate::node::{self, Node};
use crate::reference::{self, Hint};

/// How many texts may lie inside each other.
const EMBEDDED_DEPTH_MAX: usize = 4;
/// The lists of a pod that hold containers.
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];
/// What operators call the images that they will use.
const RELATED: &str = "RELATED_IMAGE_";
/// Keys with prose, which likes to give examples.
const PROSE: [&str; 5] = ["description", "summary", "message", "example", "examples"];

/// Finds the images in a stream of Kubernetes documents. `name` is what the file is called where Helm does not
/// say from which template a document comes.
///
/// # Errors
/// A document that does not parse: it could hold anything.
pub fn stream(name: &str, text: &str, hits: &mut Hits) -> Result<(), YamlError> {
    for chunk in node::chunks(text) {
        let file = chunk.source.unwrap_or(name);
        let document = node::parse(file, chunk.text).map_err(|mut error| {
            // Whoever runs Helm finds the line there; the template has other ones.
            error.file = match chunk.source {
                Some(template) => format!("helm's output, from {}", printable(template)),
                None => name.to_string(),
            };
            error.line = error.line.saturating_add(chunk.line as u64).saturating_sub(1);
            error
        })?;
        document_at(file, &document, hits);
    }
    Ok(())
}

/// Finds the images in JSON: one document, or several one after the other.
///
/// # Errors
/// A document that does not parse.
pub fn json(name: &str, text: &str, hits: &mut Hits) -> Result<(), YamlError> {
    for document in serde_json::Deserializer::from_str(text).into_iter::<Node>() {
        let document = document.map_err(|error| YamlError {
            file: name.to_string(),
            line: error.line() as u64,
            column: error.column() as u64,
            message: printable(&error.to_string()),
        })?;
        document_at(name, &document, hits);
    }
    Ok(())
}

/// Finds the images in one document.
pub fn document_at(file: &str, document: &Node, hits: &mut Hits) {
    let of_a_list = listed(document);
    let object = object(document);
    let mut walk = Walk::new(file, object.as_deref(), hits);
    match &of_a_list {
        Some(_) => walk.rest(document, &["items"]),
        None => walk.value(document, Hint::None),
    }
    for item in of_a_list.iter().flatten() {
        document_at(file, item, hits);
    }
}

/// Finds the images in one document, each with its way from the top of that document, also through a list.
pub fn whole(file: &str, document: &Node, hits: &mut Hits) {
    let object = object(document);
    Walk::new(file, object.as_deref(), hits).value(document, Hint::None);
}

/// The objects of a list of Kubernetes, each with its kind. An object of another kind whose name ends like a
/// list's is one only if all that it has under `items` are maps.
fn listed(document: &Node) -> Option<Vec<Node>> {
    let kind = document.get("kind").and_then(Node::text)?.strip_suffix("List")?;
    let Some(Node::List(items)) = document.get("items") else { return None };
    let known = kind.is_empty() && document.get("apiVersion").and_then(Node::text) == Some("v1");
    if !known && !items.iter().all(|item| matches!(item, Node::Map(_))) {
        return None;
    }
    let with_kind = |item: &Node| match item {
        Node::Map(pairs) if !kind.is_empty() && item.get("kind").is_none() => {
            let mut pairs = pairs.clone();
            pairs.push(("kind".to_string(), Node::Text(kind.to_string())));
            Node::Map(pairs)
        }
        _ => item.clone(),
    };
    Some(items.iter().map(with_kind).collect())
}

/// Finds the images in a text that holds no Kubernetes documents, or perhaps does.
pub fn text_at(file: &str, object: Option<&str>, text: &str, hits: &mut Hits) {
    Walk::new(file, object, hits).text(text, Hint::None);
}

/// What a place is called one key further down.
#[must_use]
pub fn key_step(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match bare {
        true if path.is_empty() => key.to_string(),
        true if path.ends_with('>') => format!(" {key}"),
        true => format!(".{key}"),
        false => format!("[\"{key}\"]"),
    }
}

/// `KIND/NAMESPACE/NAME`.
fn object(document: &Node) -> Option<String> {
    let kind = document.get("kind")?.text()?;
    let metadata = document.get("metadata");
    let of = |key| metadata.and_then(|metadata| metadata.get(key)).and_then(Node::scalar);
    let name = of("name").or_else(|| of("generateName")).unwrap_or("-");
    Some(match of("namespace") {
        Some(namespace) => format!("{kind}/{namespace}/{name}"),
        None => format!("{kind}/{name}"),
    })
}

struct Walk<'a> {
    file: &'a str,
    object: Option<&'a str>,
    depth: usize,
    path: String,
    /// What finds an image in a text; below a Secret another one than elsewhere.
    reader: Reader,
    hits: &'a mut Hits,
}

impl<'a> Walk<'a> {
    fn new(file: &'a str, object: Option<&'a str>, hits: &'a mut Hits) -> Self {
        Self { file, object, depth: 0, path: String::new(), reader: reference::hinted, hits }
    }

    fn hit(&mut self, image: Wanted, class: ImageClass) {
        let class = if self.depth > 0 { ImageClass::Probable } else { class };
        let path = Some(self.path.as_str()).filter(|path| !path.is_empty());
        self.hits.add(image, class, self.file, self.object, path);
    }

    /// Does something one step further down.
    fn below<T>(&mut self, step: &str, act: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push_str(step);
        let done = act(self);
        self.path.truncate(length);
        done
    }

    fn at_key<T>(&mut self, key: &str, act: impl FnOnce(&mut Self) -> T) -> T {
        let step = key_step(&self.path, key);
        self.below(&step, act)
    }

    /// Anything that has a kind may be an object, also inside of another one.
    fn object(&mut self, document: &Node, pairs: &[(String, Node)], hint: Hint) {
        let kind = document.get("kind").and_then(Node::text).unwrap_or_default();
        match kind {
            "CustomResourceDefinition" if document.get("spec").is_some() => self.definition(document, ""),
            "ConfigMap" | "Secret" => self.holder(pairs, kind == "Secret", hint),
            "OCIRepository" => {
                self.oci_repository(document);
                self.map(pairs, hint);
            }
            _ => match listed(document) {
                Some(items) => {
                    self.rest(document, &["items"]);
                    self.at_key("items", |walk| {
                        walk.each(&items, |walk, item| walk.value(item, Hint::None));
                    });
                }
                None => self.map(pairs, hint),
            },
        }
    }

    fn value(&mut self, node: &Node, hint: Hint) {
        match node {
            Node::Null | Node::Plain(_) => {}
            Node::Text(text) => self.text(text, hint),
            Node::List(items) => self.list(items, hint),
            Node::Map(pairs) => self.object(node, pairs, hint),
        }
    }

    fn list(&mut self, items: &[Node], hint: Hint) {
        let done = self.variables(items);
        let mut before = Hint::None;
        for (position, item) in items.iter().enumerate() {
            if done.contains(&position) {
                continue;
            }
            // `["--image", "redis:7"]`
            let hint = if hint == Hint::None { before } else { hint };
            before = match item {
                Node::Text(text) if text.starts_with('-') && !text.contains('=') => Hint::of(text),
                _ => Hint::None,
            };
            self.below(&format!("[{position}]"), |walk| walk.value(item, hint));
        }
    }

    /// Names in pieces among environment variables; tells which variables went into them.
    fn variables(&mut self, items: &[Node]) -> Vec<usize> {
        let pair = |item: &Node| -> Option<(String, Option<String>)> {
            let name = item.get("name").and_then(Node::text)?.to_string();
            Some((name, Some(item.get("value").and_then(Node::scalar)?.to_string())))
        };
        let pairs: Vec<(String, Option<String>)> =
            items.iter().map(|item| pair(item).unwrap_or_default()).collect();
        let pairs: Vec<Pair<'_>> =
            pairs.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let mut done = Vec::new();
        for composed in compose(&pairs, Hint::None) {
            self.below(&format!("[{}].value", composed.key), |walk| {
                walk.hit(Wanted::Image(composed.image), ImageClass::Probable);
            });
            done.extend(composed.used);
        }
        done
    }

    fn map(&mut self, pairs: &[(String, Node)], hint: Hint) {
        self.entries(pairs, hint, &PROSE);
    }

    /// Keys and values. A text of one line is passed over under the keys of `prose`.
    fn entries(&mut self, pairs: &[(String, Node)], hint: Hint, prose: &[&str]) {
        let scalars: Vec<Pair<'_>> =
            pairs.iter().map(|(key, value)| (key.as_str(), value.scalar())).collect();
        let mut done = Vec::new();
        for composed in compose(&scalars, hint) {
            let key = pairs.get(composed.key).map_or("", |(key, _)| key);
            self.at_key(key, |walk| walk.hit(Wanted::Image(composed.image), ImageClass::Probable));
            done.extend(composed.used);
        }
        // `{name: IMAGE_PROXY, value: …}`: the name says what the value is.
        let named = pairs.iter().find(|(key, _)| key == "name").and_then(|(_, name)| name.text());
        for (position, (key, value)) in pairs.iter().enumerate() {
            let line = value.text().is_some_and(|text| !text.contains('\n'));
            if done.contains(&position) || (line && prose.contains(&key.as_str())) {
                continue;
            }
            if (self.reader)(key, Hint::None).is_some() {
                self.at_key(key, |walk| walk.hit(Wanted::of(key), ImageClass::Probable));
            }
            let name = named.filter(|_| matches!(key.as_str(), "value" | "default")).unwrap_or(key);
            self.at_key(key, |walk| walk.entry(name, value, hint));
        }
    }

    fn entry(&mut self, key: &str, value: &Node, above: Hint) {
        match value {
            Node::List(items) if CONTAINERS.contains(&key) => self.each(items, Self::container),
            Node::List(items) if key == "volumes" => self.each(items, Self::volume),
            Node::List(items) if key == "relatedImages" => self.each(items, Self::related),
            Node::Text(text) if key.starts_with(RELATED) && reference::parse(text).is_some() => {
                self.hit(Wanted::of(text), ImageClass::Certain);
            }
            // `images: {proxy: …}`; of `image: {…}` only the pieces are known.
            _ if Hint::of(key) == Hint::None && above == Hint::Several => self.value(value, above),
            _ => self.value(value, Hint::of(key)),
        }
    }

    fn each(&mut self, items: &[Node], act: impl Fn(&mut Self, &Node)) {
        for (position, item) in items.iter().enumerate() {
            self.below(&format!("[{position}]"), |walk| act(walk, item));
        }
    }

    /// Everything of a map but the keys that are known.
    fn rest(&mut self, item: &Node, known: &[&str]) {
        let Node::Map(pairs) = item else { return self.value(item, Hint::None) };
        let rest = pairs.iter().filter(|(key, _)| !known.contains(&key.as_str())).cloned();
        self.map(&rest.collect::<Vec<_>>(), Hint::None);
    }

    fn container(&mut self, item: &Node) {
        let Node::Map(pairs) = item else { return self.value(item, Hint::None) };
        for (_, image) in pairs.iter().filter(|(key, _)| key == "image") {
            match image.text() {
                // Istio's gateways: the injector puts its own image there.
                Some("auto") => self.image("auto", ImageClass::Probable),
                Some(text) => self.image(text, ImageClass::Certain),
                None => self.at_key("image", |walk| walk.value(image, Hint::Exactly)),
            }
        }
        self.rest(item, &["image"]);
    }

    fn volume(&mut self, item: &Node) {
        let image = item.get("image").and_then(|image| image.get("reference")).and_then(Node::text);
        let Some(text) = image else { return self.value(item, Hint::None) };
        self.at_key("image", |walk| {
            walk.at_key("reference", |walk| walk.named(text, ImageClass::Certain));
        });
        self.rest(item, &["image"]);
    }

    fn related(&mut self, item: &Node) {
        match (item.text(), item.get("image").and_then(Node::text)) {
            (Some(text), _) => self.named(text, ImageClass::Certain),
            (None, Some(text)) => {
                self.image(text, ImageClass::Certain);
                self.rest(item, &["image"]);
            }
            (None, None) => self.value(item, Hint::Image),
        }
    }

    fn image(&mut self, text: &str, class: ImageClass) {
        self.at_key("image", |walk| walk.named(text, class));
    }

    /// An image, or where it is none, something that has to become one on site.
    fn named(&mut self, text: &str, class: ImageClass) {
        let wanted = Wanted::of(text);
        let class = if matches!(wanted, Wanted::Text(_)) { ImageClass::Probable } else { class };
        self.hit(wanted, class);
    }

    fn text(&mut self, text: &str, hint: Hint) {
        if let Some(image) = (self.reader)(text, hint) {
            return self.hit(Wanted::Image(image), ImageClass::Probable);
        }
        if hint == Hint::Exactly && templated(text) {
            return self.hit(Wanted::of(text), ImageClass::Probable);
        }
        let inside = if self.depth < EMBEDDED_DEPTH_MAX { embedded::documents(text) } else { None };
        match inside {
            Some(documents) => {
                self.depth = self.depth.saturating_add(1);
                for document in &documents {
                    self.below(" >", |walk| walk.inside(document, hint));
                }
                self.depth = self.depth.saturating_sub(1);
            }
            None => self.words(text, hint),
        }
    }

    fn words(&mut self, text: &str, hint: Hint) {
        for image in embedded::words(text, hint, self.reader) {
            self.hit(Wanted::Image(image), ImageClass::Probable);
        }
    }

    fn inside(&mut self, document: &embedded::Inside, hint: Hint) {
        match document {
            embedded::Inside::Document(node) => self.value(node, hint),
            embedded::Inside::Text(text) => self.words(text, hint),
        }
    }

    /// A definition of a kind shows what its objects look like. Only its default values become real. `name` is
    /// the property that the schema is of.
    fn definition(&mut self, node: &Node, name: &str) {
        match node {
            Node::List(items) => self.each(items, |walk, item| walk.definition(item, "")),
            Node::Map(pairs) => {
                for (key, value) in pairs {
                    self.at_key(key, |walk| match (key.as_str(), value) {
                        ("properties", Node::Map(properties)) => {
                            for (name, schema) in properties {
                                walk.at_key(name, |walk| walk.schema(schema, name));
                            }
                        }
                        ("items" | "additionalProperties", Node::Map(_)) => walk.schema(value, name),
                        ("default", _) => {}
                        _ => walk.definition(value, ""),
                    });
                }
            }
            _ => {}
        }
    }

    fn schema(&mut self, schema: &Node, name: &str) {
        if let Some(default) = schema.get("default") {
            self.at_key("default", |walk| walk.entry(name, default, Hint::None));
        }
        self.definition(schema, name);
    }

    /// A ConfigMap or a Secret. Their keys are file names, none of which is prose. Nothing of a Secret is ever
    /// shown but what is an image.
    fn holder(&mut self, pairs: &[(String, Node)], secret: bool, hint: Hint) {
        const HELD: [&str; 3] = ["data", "stringData", "binaryData"];
        let outside = self.reader;
        for (key, value) in pairs.iter().filter(|(key, _)| HELD.contains(&key.as_str())) {
            let packed = if secret { key == "data" } else { key == "binaryData" };
            if secret {
                self.reader = reference::hinted_in_a_secret;
            }
            self.at_key(key, |walk| match value {
                Node::Map(held) if packed => {
                    let held: Vec<(String, Node)> =
                        held.iter().map(|(key, value)| (key.clone(), unpacked(value))).collect();
                    walk.entries(&held, Hint::None, &[]);
                }
                Node::Map(held) => walk.entries(held, Hint::None, &[]),
                _ => walk.value(value, Hint::None),
            });
            self.reader = outside;
        }
        let rest = pairs.iter().filter(|(key, _)| !HELD.contains(&key.as_str())).cloned();
        self.map(&rest.collect::<Vec<_>>(), hint);
    }

    /// Flux: `url` and `ref` together are an artifact.
    fn oci_repository(&mut self, document: &Node) {
        let spec = document.get("spec");
        let Some(url) = spec.and_then(|spec| spec.get("url")).and_then(Node::text) else { return };
        let Some(name) = url.strip_prefix("oci://") else { return };
        let of =
            |key| spec.and_then(|spec| spec.get("ref")).and_then(|at| at.get(key)).and_then(Node::scalar);
        let text = match (of("digest"), of("tag")) {
            (Some(digest), _) => format!("{name}@{digest}"),
            (None, Some(tag)) => format!("{name}:{tag}"),
            (None, None) => name.to_string(),
        };
        if let Some(image) = reference::parse(&text) {
            self.below("spec.url", |walk| walk.hit(Wanted::Image(image), ImageClass::Probable));
        }
    }
}

/// What a text in base64 holds; what is none stays as it is.
fn unpacked(value: &Node) -> Node {
    match value.text().and_then(embedded::base64_text) {
        Some(text) => Node::Text(text),
        None => value.clone(),
    }
}

/// Whether a text is one word that something on site fills in: spaces inside the braces do not count.
fn templated(text: &str) -> bool {
    let mut rest = text.trim();
    let mut filled = false;
    while let Some(first) = rest.chars().next() {
        let braces = [("{{", "}}"), ("$(", ")"), ("${", "}")];
        let opened = braces.iter().find(|(opening, _)| rest.starts_with(opening));
        let end = match opened {
            Some((_, closing)) => {
                filled = true;
                rest.find(closing).map(|at| at.saturating_add(closing.len()))
            }
            None if first.is_whitespace() => return false,
            None => Some(first.len_utf8()),
        };
        rest = end.and_then(|end| rest.get(end..)).unwrap_or_default();
    }
    filled
}
