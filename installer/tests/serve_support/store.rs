//! A site store in a temporary directory, and bundles published from it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use installer::serve::{Judgement, PublishedBundle, Shelf, SignedBy};
use manifests::bundle::{BundleDigest, BundleSchema, Content, Sequence};
use manifests::inventory::Component;
use manifests::text::Audience;
use manifests::{BundleManifest, Digest, Inventory};
use tempfile::TempDir;

/// One file per blob, named by its digest.
pub(crate) struct TestShelf {
    dir: TempDir,
    bundles: Mutex<Vec<Arc<PublishedBundle>>>,
    broken: Mutex<bool>,
}

impl TestShelf {
    pub(crate) fn new() -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        Arc::new(Self { dir, bundles: Mutex::default(), broken: Mutex::default() })
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.dir.path().join(digest.hex())
    }

    pub(crate) fn put(&self, bytes: &[u8]) -> Content {
        let content = Content::of(bytes);
        fs::write(self.blob_path(&content.digest), bytes).unwrap();
        content
    }

    /// A blob of so many zero bytes that takes no room.
    pub(crate) fn put_zeros(&self, size: usize) -> Content {
        let content = Content::of(&vec![0; size]);
        File::create(self.blob_path(&content.digest)).unwrap().set_len(content.size).unwrap();
        content
    }

    /// Makes a bundle of these components the current one.
    pub(crate) fn publish(&self, version: &str, components: Vec<Component>) -> Arc<PublishedBundle> {
        self.publish_judged(version, components, judgement())
    }

    /// The same, with another judgement.
    pub(crate) fn publish_judged(
        &self,
        version: &str,
        components: Vec<Component>,
        judgement: Judgement,
    ) -> Arc<PublishedBundle> {
        let bundle = Arc::new(PublishedBundle { judgement, ..self.bundle(version, components) });
        self.bundles.lock().unwrap().insert(0, Arc::clone(&bundle));
        bundle
    }

    /// From now on the list of bundles cannot be read.
    pub(crate) fn break_the_list(&self) {
        *self.broken.lock().unwrap() = true;
    }

    fn bundle(&self, version: &str, components: Vec<Component>) -> PublishedBundle {
        let size = |digest: &Digest| fs::metadata(self.blob_path(digest)).unwrap().len();
        let blobs: BTreeMap<Digest, u64> =
            components.iter().flat_map(Component::blobs).map(|(digest, _)| (digest, size(&digest))).collect();
        let inventory = Inventory::assemble(components, None, blobs, b"[]").unwrap();
        let bytes = inventory.to_bytes().unwrap();
        let checksums = inventory.checksums(Digest::of(&bytes));
        let manifest = BundleManifest {
            schema: BundleSchema::V1,
            publisher: "acme".parse().unwrap(),
            product: "fraud-detection".parse().unwrap(),
            version: version.parse().unwrap(),
            order: Sequence { epoch: 1, sequence: 1 },
            audience: vec![Audience::Anyone],
            marking: "UNCLASSIFIED <b>// \"TEST\"".parse().unwrap(),
            created: "2026-11-20T12:00:00Z".parse().unwrap(),
            expires: None,
            root_version: 1,
            features: Vec::new(),
            bases: Vec::new(),
            checksums: Content::of(checksums.as_bytes()),
            inventory: Content::of(&bytes),
            counts: inventory.counts(),
        };
        PublishedBundle {
            digest: BundleDigest(Digest::of(&manifest.to_bytes().unwrap())),
            manifest,
            inventory,
            applied: "2026-11-21T08:30:00Z".parse().unwrap(),
            judgement: judgement(),
        }
    }
}

/// Good signatures of people with odd names.
pub(crate) fn judgement() -> Judgement {
    let signer =
        |holder: &str, seed: &[u8]| SignedBy { holder: holder.into(), keyid: Digest::of(seed).hex() };
    Judgement {
        signers: vec![signer("Alice <release>", b"a"), signer("Bob", b"b")],
        needed: vec!["2 of Alice <release>, Bob, Carol".into()],
        root: "acme, root version 1, epoch 1".into(),
        fingerprint: Some(Digest::of(b"root")),
        revocations: "none known here".into(),
        refused: None,
    }
}

impl Shelf for TestShelf {
    fn bundles(&self) -> io::Result<Vec<Arc<PublishedBundle>>> {
        if *self.broken.lock().unwrap() {
            return Err(io::Error::other("the disk is gone"));
        }
        Ok(self.bundles.lock().unwrap().clone())
    }

    fn open_blob(&self, digest: &Digest) -> io::Result<Option<File>> {
        match File::open(self.blob_path(digest)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
