//! Scripts and Kubernetes manifests: what would be run elsewhere, at another time, or could not be taken
//! back.

use manifests::bundle::Content;
use manifests::inventory::Component;
use manifests::kubernetes::KubernetesManifests;
use manifests::script::{Script, ScriptFile, Undo};
use testkit::sample::{Draft, SampleOptions};

use crate::{Case, Generator, drop_blob, some_blob};

/// A bundle with a script and Kubernetes manifests that its publisher has signed in this state. The change
/// need not care for what follows from the inventory.
fn scripted(change: impl FnOnce(&mut Draft)) -> Case {
    let options = SampleOptions { scripted: true, ..SampleOptions::default() };
    let mut draft = Draft::new(&options);
    change(&mut draft);
    draft.inventory.components.sort_by_key(Component::ref_name);
    draft.oci_index = draft.inventory.oci_index().unwrap();
    draft.inventory.files.oci_index = Content::of(&draft.oci_index);
    draft.redo_inventory();
    Case::new(options, draft.forge().bytes())
}

/// The same, with another text of the inventory.
fn text(from: &str, to: &str) -> Case {
    let options = SampleOptions { scripted: true, ..SampleOptions::default() };
    let mut draft = Draft::new(&options);
    let text = String::from_utf8(draft.inventory_bytes.clone()).unwrap();
    assert!(text.contains(from), "{from}");
    draft.inventory_bytes = text.replacen(from, to, 1).into_bytes();
    draft.redo_checksums();
    Case::new(options, draft.forge().bytes())
}

fn script(draft: &mut Draft) -> &mut Script {
    let mut components = draft.inventory.components.iter_mut();
    let found = components.find_map(|component| match component {
        Component::Script(script) => Some(script),
        _ => None,
    });
    found.unwrap()
}

fn undo_of(script: &mut Script) -> &mut ScriptFile {
    match &mut script.undo {
        Undo::Script(file) => file,
        Undo::Irreversible(reason) => panic!("{reason}"),
    }
}

fn kubernetes(draft: &mut Draft) -> &mut KubernetesManifests {
    let mut components = draft.inventory.components.iter_mut();
    let found = components.find_map(|component| match component {
        Component::KubernetesManifests(set) => Some(set),
        _ => None,
    });
    found.unwrap()
}

/// The directories of this part.
pub(super) const CASES: &[(&str, Generator)] = &[
    ("script-out-of-its-directory", || text("\"migrate.sh\",\"interp", "\"../migrate.sh\",\"interp")),
    ("script-that-is-an-option", || text("\"migrate.sh\",\"interp", "\"-c\",\"interp")),
    ("script-with-an-absolute-path", || text("\"migrate.sh\",\"interp", "\"/bin/sh\",\"interp")),
    ("script-with-a-line-feed-in-its-interpreter", || text("\"/bin/sh\"", "\"/bin/sh\\n\"")),
    ("script-at-an-unknown-time", || text("\"when\":\"before\"", "\"when\":\"during\"")),
    ("script-with-no-time-at-all", || text("\"within\":600", "\"within\":0")),
    ("script-with-time-for-ever", || text("\"within\":600", "\"within\":18446744073709551615")),
    ("script-with-undo-and-irreversible", || {
        text("\"undo\":{", "\"undo\":{\"irreversible\":\"it deletes\",")
    }),
    ("script-that-nothing-takes-back", || {
        let options = SampleOptions { scripted: true, ..SampleOptions::default() };
        let mut draft = Draft::new(&options);
        let text = String::from_utf8(draft.inventory_bytes.clone()).unwrap();
        let start = text.find("\"undo\":{").unwrap() + 8;
        let end = start + text[start..].find("}}").unwrap();
        draft.inventory_bytes = [&text[..start], &text[end + 1..]].concat().into_bytes();
        draft.redo_checksums();
        Case::new(options, draft.forge().bytes())
    }),
    ("script-that-is-irreversible-beside-an-artifact-with-an-undo", || {
        scripted(|draft| {
            let gone = undo_of(script(draft)).digest;
            script(draft).undo = Undo::Irreversible("it deletes".parse().unwrap());
            drop_blob(draft, gone);
        })
    }),
    ("script-without-its-file", || {
        scripted(|draft| {
            let gone = script(draft).file.digest;
            drop_blob(draft, gone);
        })
    }),
    ("script-without-its-undo", || {
        scripted(|draft| {
            let gone = undo_of(script(draft)).digest;
            drop_blob(draft, gone);
        })
    }),
    ("script-of-another-file-than-its-artifact", || {
        scripted(|draft| {
            let other = some_blob(draft);
            let size = draft.inventory.blob_size(&other).unwrap();
            let gone = script(draft).file.digest;
            (script(draft).file.digest, script(draft).file.size) = (other, size);
            drop_blob(draft, gone);
        })
    }),
    ("script-and-undo-of-one-name", || {
        scripted(|draft| {
            let name = script(draft).file.filename.clone();
            undo_of(script(draft)).filename = name;
        })
    }),
    ("scripts-at-one-position", || {
        scripted(|draft| {
            let mut twin = script(draft).clone();
            twin.name = "other".parse().unwrap();
            draft.inventory.components.push(Component::Script(twin));
        })
    }),
    ("kubernetes-out-of-its-directory", || text("\"sample.yaml\"", "\"../sample.yaml\"")),
    ("kubernetes-with-permission-bits", || {
        text("\"path\":\"sample.yaml\"", "\"mode\":\"0755\",\"path\":\"sample.yaml\"")
    }),
    ("kubernetes-with-two-files-for-one-place", || {
        scripted(|draft| {
            let set = kubernetes(draft);
            let twin = set.files[0].clone();
            set.files.push(twin);
        })
    }),
    ("kubernetes-with-a-file-where-another-needs-a-directory", || {
        scripted(|draft| {
            let set = kubernetes(draft);
            let mut child = set.files[0].clone();
            child.path = format!("{}/child", child.path).parse().unwrap();
            set.files.push(child);
        })
    }),
    ("kubernetes-without-its-file", || {
        scripted(|draft| {
            let gone = kubernetes(draft).files[0].digest;
            drop_blob(draft, gone);
        })
    }),
];
