//! What a chart says of its images: annotations in `Chart.yaml` (`images`, `helm.sh/images`,
//! `artifacthub.io/images`) and a file `Images.lock`.
//!
//! Annotations are written by hand and often wrong, so what they name is probable. `Images.lock` is made by a
//! tool from what the chart was tested with: the chart's own is certain, that of a chart inside it is probable,
//! since it may be switched off.

use edge::yaml::YamlError;
use manifests::inventory::ImageClass;

use super::archive::{ChartFile, FileKind};
use discovery::embedded::words;
use discovery::hit::{Hits, Wanted};
use discovery::node::{self, Node};
use discovery::reference::{self, Hint};

/// The annotations that list images.
const ANNOTATIONS: [&str; 3] = ["images", "helm.sh/images", "artifacthub.io/images"];

/// Finds the images that a file of a chart names.
///
/// # Errors
/// It does not parse: it could name any.
pub fn find(file: &ChartFile, hits: &mut Hits) -> Result<(), YamlError> {
    let document = node::parse(&file.path, &file.text)?;
    match file.kind {
        FileKind::Chart => {
            let Some(Node::Map(pairs)) = document.get("annotations") else { return Ok(()) };
            for (key, value) in pairs.iter().filter(|(key, _)| ANNOTATIONS.contains(&key.as_str())) {
                let path = format!("annotations[\"{key}\"]");
                let Some(text) = value.text() else { continue };
                match node::parse_perhaps(text) {
                    Some(list @ Node::List(_)) => {
                        listed(&file.path, &path, &list, ImageClass::Probable, hits)
                    }
                    _ => {
                        for image in words(text, Hint::None, reference::hinted) {
                            let image = Wanted::Image(image);
                            hits.add(image, ImageClass::Probable, &file.path, None, Some(&path));
                        }
                    }
                }
            }
        }
        FileKind::List => {
            let class = if file.own { ImageClass::Certain } else { ImageClass::Probable };
            let list = document.get("images").unwrap_or(&document);
            listed(&file.path, "images", list, class, hits);
        }
    }
    Ok(())
}

/// `[{name: …, image: …}]`, or a list of references.
fn listed(file: &str, path: &str, list: &Node, class: ImageClass, hits: &mut Hits) {
    let Node::List(items) = list else { return };
    for (position, item) in items.iter().enumerate() {
        let (text, place) = match item.get("image") {
            Some(image) => (image.text(), format!("{path}[{position}].image")),
            None => (item.text(), format!("{path}[{position}]")),
        };
        let image = text.and_then(|text| match class {
            ImageClass::Certain => Some(Wanted::of(text)),
            ImageClass::Probable => reference::hinted(text, Hint::Exactly).map(Wanted::Image),
        });
        if let Some(image) = image {
            let class = if matches!(image, Wanted::Text(_)) { ImageClass::Probable } else { class };
            hits.add(image, class, file, None, Some(&place));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use discovery::hit::place_line;

    fn found(kind: FileKind, own: bool, text: &str) -> Vec<String> {
        let mut hits = Hits::default();
        let file = ChartFile { path: "c/File".to_string(), text: text.to_string(), kind, own };
        find(&file, &mut hits).unwrap();
        let line = |hit: &discovery::hit::Hit| {
            format!("{} {} {}", hit.image, hit.class, place_line(&hit.places()[0]))
        };
        hits.finish().unwrap().iter().map(line).collect()
    }

    #[test]
    fn annotations_in_all_three_spellings_are_read() {
        for key in ANNOTATIONS {
            let text = format!(
                "name: c\nannotations:\n  {key}: |\n    - name: a\n      image: quay.io/a/b:7\n    - redis:7\n  other: quay.io/x/y:1\n"
            );
            assert_eq!(
                found(FileKind::Chart, true, &text),
                [
                    format!("docker.io/library/redis:7 probable annotations[\"{key}\"][1] (c/File)"),
                    format!("quay.io/a/b:7 probable annotations[\"{key}\"][0].image (c/File)"),
                ]
            );
        }
        let line = "annotations: {images: 'quay.io/a/b:7, redis:7'}\n";
        assert_eq!(
            found(FileKind::Chart, true, line),
            ["quay.io/a/b:7 probable annotations[\"images\"] (c/File)"]
        );
    }

    #[test]
    fn a_list_of_images_is_certain_for_the_chart_itself() {
        let text = "apiVersion: v0\nkind: ImagesLock\nimages:\n  - name: a\n    image: quay.io/a/b:7\n    chart: c\n    digests: []\n";
        assert_eq!(found(FileKind::List, true, text), ["quay.io/a/b:7 certain images[0].image (c/File)"]);
        assert_eq!(found(FileKind::List, false, text), ["quay.io/a/b:7 probable images[0].image (c/File)"]);
    }

    #[test]
    fn what_does_not_parse_is_an_error() {
        let file = ChartFile {
            path: "c/Images.lock".to_string(),
            text: "images: [".to_string(),
            kind: FileKind::List,
            own: true,
        };
        assert!(find(&file, &mut Hits::default()).unwrap_err().to_string().starts_with("c/Images.lock:"));
    }
}
