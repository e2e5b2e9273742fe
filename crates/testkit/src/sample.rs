//! A small, complete, signed bundle and the trust root that judges it, made through the public functions
//! that the bundler uses, from fixed seeds and times: the same options give the same bytes.
//!
//! [`sample_bundle`] is the honest one. A [`Draft`] is the same bundle before it is written: a test changes
//! one of its documents, redoes what hangs from it, and has a bundle that is wrong in just that place and
//! signed all the same. What no signer would write at all is made with a [`Forge`].

mod content;
mod forge;
pub mod roots;
mod shapes;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use layout::signed_file::SignedFile;
use layout::writer::{ArchiveWriter, Head};
use manifests::bundle::{BundleSchema, Content, Sequence};
use manifests::root::{Clause, FoundSignature, Role, Roles, RootDocument, RootKey, RootSchema};
use manifests::{BundleManifest, Digest, Inventory, KeyId, SecretKey, Timestamp, canonical};

pub use content::{IMAGE_NAME, Parts};
pub use forge::{Entry, Field, Forge};
pub use shapes::{ImageParts, draft_of_files, put_image};

/// The seed of the root role's only key.
pub const ROOT_SEED: u8 = 200;
/// The seed of a key that no root lists.
pub const UNKNOWN_SEED: u8 = 66;

/// The key that grows from a seed of 32 equal bytes.
#[must_use]
pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// The identity of [`key`].
#[must_use]
pub fn keyid(seed: u8) -> KeyId {
    key(seed).public().unwrap().id()
}

/// The raw signature of a seed's key over these bytes, with the key's identity.
#[must_use]
pub fn signature(seed: u8, bytes: &[u8]) -> (KeyId, Vec<u8>) {
    (keyid(seed), key(seed).sign(bytes).unwrap())
}

/// What varies between samples.
#[derive(Debug, Clone)]
pub struct SampleOptions {
    /// Who publishes the bundle.
    pub publisher: String,
    /// What the sequence counts.
    pub product: String,
    /// The label.
    pub version: String,
    /// The second half of the bundle's order.
    pub sequence: u64,
    /// The first half.
    pub epoch: u64,
    /// For whom; `*` is anybody.
    pub audience: Vec<String>,
    /// The root version that the bundle asks for.
    pub root_version: u64,
    /// Makes the bundle a delta.
    pub bases: Vec<Digest>,
    /// Who signs, by seed, in this order; empty for an unsigned bundle, twice the same for two entries.
    pub signers: Vec<u8>,
    /// Who counter-signs the image, by seed; its signatures are a companion then.
    pub countersigners: Vec<u8>,
    /// Whether Kubernetes manifests and a script with its undo are in it as well.
    pub scripted: bool,
    /// The root's publisher.
    pub root_publisher: String,
    /// The root's epoch.
    pub root_epoch: u64,
    /// The release role: each key's seed and its holder.
    pub release: Vec<(u8, String)>,
    /// How many holders of the release role must sign.
    pub threshold: u32,
}

impl Default for SampleOptions {
    /// A bundle of `acme` for anybody, order 1.42, signed by the one key of the release role.
    fn default() -> Self {
        Self {
            publisher: "acme".to_string(),
            product: "sample".to_string(),
            version: "2.1.0".to_string(),
            sequence: 42,
            epoch: 1,
            audience: vec!["*".to_string()],
            root_version: 1,
            bases: Vec::new(),
            signers: vec![1],
            countersigners: Vec::new(),
            scripted: false,
            root_publisher: "acme".to_string(),
            root_epoch: 1,
            release: vec![(1, "alice".to_string())],
            threshold: 1,
        }
    }
}

impl SampleOptions {
    /// A release role with these holders' keys, of whom `threshold` must sign, and who does sign.
    #[must_use]
    pub fn release(mut self, role: &[(u8, &str)], threshold: u32, signers: &[u8]) -> Self {
        self.release = role.iter().map(|(seed, holder)| (*seed, (*holder).to_string())).collect();
        self.threshold = threshold;
        self.signers = signers.to_vec();
        self
    }
}

/// A bundle, and whom it must be judged by.
#[derive(Debug, Clone)]
pub struct SampleBundle {
    /// The archive.
    pub archive: Vec<u8>,
    /// The trust root and its signatures.
    pub root: SignedFile,
    /// The parsed `bundle.json`.
    pub manifest: BundleManifest,
    /// The parsed `inventory.json`.
    pub inventory: Inventory,
    /// Every blob.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
}

impl SampleBundle {
    /// What a person would read from paper.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.root.bytes)
    }
}

/// A whole bundle with one image, one wheelhouse and one file set.
#[must_use]
pub fn sample_bundle(options: &SampleOptions) -> SampleBundle {
    let draft = Draft::new(options);
    SampleBundle {
        archive: draft.archive(),
        root: sample_root(options),
        manifest: draft.manifest.clone(),
        inventory: draft.inventory.clone(),
        blobs: draft.blobs.clone(),
    }
}

/// The trust root of these options, signed by its root role.
#[must_use]
pub fn sample_root(options: &SampleOptions) -> SignedFile {
    let mut keys = BTreeMap::new();
    let root_key = [(ROOT_SEED, "root-holder".to_string())];
    for (seed, holder) in options.release.iter().chain(&root_key) {
        let public = key(*seed).public().unwrap();
        let (scheme, pem) = (public.scheme(), public.pem().to_string());
        keys.insert(public.id(), RootKey { scheme, pem, holder: holder.parse().unwrap() });
    }
    let role = |seeds: Vec<u8>, threshold: u32| {
        let mut keyids: Vec<KeyId> = seeds.into_iter().map(keyid).collect();
        keyids.sort();
        Role { clauses: vec![Clause { keyids, threshold: NonZeroU32::new(threshold).unwrap() }] }
    };
    let document = RootDocument {
        schema: RootSchema::V1,
        version: 1,
        epoch: options.root_epoch,
        publisher: options.root_publisher.parse().unwrap(),
        created: created(),
        expires: None,
        keys,
        roles: Roles {
            root: role(vec![ROOT_SEED], 1),
            release: role(options.release.iter().map(|(seed, _)| *seed).collect(), options.threshold),
            revocation: None,
        },
        previous: None,
    };
    let bytes = document.to_bytes().unwrap();
    let (claimed, raw) = signature(ROOT_SEED, &bytes);
    SignedFile { bytes, signatures: vec![FoundSignature { claimed, bytes: raw }] }
}

fn created() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

/// A bundle that was not written yet. Each document follows from those before it, so after a change call
/// the `redo_…` of the document that comes next, or none to leave a contradiction.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Who it is from, and who signs.
    pub options: SampleOptions,
    /// Every blob.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    /// `inventory.json`, parsed.
    pub inventory: Inventory,
    /// `inventory.json`
    pub inventory_bytes: Vec<u8>,
    /// `index.json`
    pub oci_index: Vec<u8>,
    /// `oci-layout`
    pub oci_layout: Vec<u8>,
    /// `manifest.json`
    pub docker_manifest: Vec<u8>,
    /// `SHA256SUMS`
    pub checksums: Vec<u8>,
    /// `bundle.json`, parsed.
    pub manifest: BundleManifest,
    /// `bundle.json`
    pub manifest_bytes: Vec<u8>,
    /// Raw signatures over it.
    pub signatures: Vec<(KeyId, Vec<u8>)>,
}

impl Draft {
    /// The draft of an honest bundle.
    #[must_use]
    pub fn new(options: &SampleOptions) -> Self {
        let Parts { components, sbom, blobs, docker_manifest } =
            content::parts(&options.countersigners, options.scripted);
        let sizes = blobs.iter().map(|(digest, bytes)| (*digest, bytes.len() as u64)).collect();
        let inventory = Inventory::assemble(components, Some(sbom), sizes, &docker_manifest).unwrap();
        let manifest = BundleManifest {
            schema: BundleSchema::V1,
            publisher: options.publisher.parse().unwrap(),
            product: options.product.parse().unwrap(),
            version: options.version.parse().unwrap(),
            order: Sequence { epoch: options.epoch, sequence: options.sequence },
            audience: options.audience.iter().map(|name| name.parse().unwrap()).collect(),
            marking: "UNCLASSIFIED".parse().unwrap(),
            created: created(),
            expires: None,
            root_version: options.root_version,
            features: Vec::new(),
            bases: options.bases.clone(),
            checksums: Content::of(b""),
            inventory: Content::of(b""),
            counts: inventory.counts(),
        };
        let mut draft = Self {
            options: options.clone(),
            blobs,
            oci_index: inventory.oci_index().unwrap(),
            oci_layout: manifests::oci::OCI_LAYOUT.to_vec(),
            docker_manifest,
            inventory,
            inventory_bytes: Vec::new(),
            checksums: Vec::new(),
            manifest,
            manifest_bytes: Vec::new(),
            signatures: Vec::new(),
        };
        draft.redo_inventory();
        draft
    }

    /// After a change to `inventory`: its bytes, and what follows.
    pub fn redo_inventory(&mut self) {
        self.inventory_bytes = canonical::to_canonical(&self.inventory).unwrap();
        self.manifest.counts = self.inventory.counts();
        if self.inventory.delta.is_some() {
            self.manifest.features = self.inventory.features();
            self.manifest.bases = self.inventory.bases();
        }
        self.redo_checksums();
    }

    /// After a change to `inventory_bytes`: the checksums, and what follows.
    pub fn redo_checksums(&mut self) {
        self.checksums = self.inventory.checksums(Digest::of(&self.inventory_bytes)).into_bytes();
        self.redo_manifest();
    }

    /// After a change to `checksums` or `manifest`: the manifest's bytes, and the signatures.
    pub fn redo_manifest(&mut self) {
        self.manifest.checksums = Content::of(&self.checksums);
        self.manifest.inventory = Content::of(&self.inventory_bytes);
        self.manifest_bytes = self.manifest.to_bytes().unwrap();
        self.redo_signatures();
    }

    /// After a change to `manifest_bytes`: the signatures of all signers.
    pub fn redo_signatures(&mut self) {
        let signers = self.options.signers.iter();
        self.signatures = signers.map(|seed| signature(*seed, &self.manifest_bytes)).collect();
    }

    /// The archive, through the writer that the bundler uses. It cannot hold another `oci-layout`, other
    /// blobs than the inventory's, or a signature area of another size: use [`Draft::forge`] for those.
    #[must_use]
    pub fn archive(&self) -> Vec<u8> {
        let head = Head {
            manifest: self.manifest_bytes.clone(),
            signatures: self.signatures.clone(),
            checksums: self.checksums.clone(),
            inventory: self.inventory_bytes.clone(),
            oci_index: self.oci_index.clone(),
            docker_manifest: self.docker_manifest.clone(),
        };
        let mut writer = ArchiveWriter::begin(Vec::new(), &head).unwrap();
        for blob in &self.inventory.carried() {
            let mut source = self.blobs[&blob.digest].as_slice();
            writer.blob(*blob, &mut source, &mut |_| {}).unwrap();
        }
        writer.finish().unwrap()
    }

    /// The same archive as loose entries.
    #[must_use]
    pub fn forge(&self) -> Forge {
        let mut forge = Forge::empty();
        forge.push("bundle.json", &self.manifest_bytes);
        for (keyid, raw) in &self.signatures {
            forge.push(&format!("signatures/{keyid}.sig"), raw);
            if let Some(form) = manifests::sigstore::derive(*keyid, raw, &self.manifest_bytes) {
                forge.push(&format!("signatures/{keyid}.sigstore.json"), &form);
            }
        }
        forge.reserve();
        forge.push("SHA256SUMS", &self.checksums);
        forge.push("inventory.json", &self.inventory_bytes);
        forge.push("oci-layout", &self.oci_layout);
        forge.push("index.json", &self.oci_index);
        forge.push("manifest.json", &self.docker_manifest);
        let mut elsewhere = self.inventory.left_out();
        elsewhere.extend(self.inventory.patched());
        let travels = |digest: &Digest| elsewhere.iter().all(|blob| blob.digest != *digest);
        for (digest, bytes) in self.blobs.iter().filter(|(digest, _)| travels(digest)) {
            forge.push(&format!("blobs/sha256/{}", digest.hex()), bytes);
        }
        forge
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forge_writes_the_very_archive_of_the_writer() {
        let options = SampleOptions::default().release(&[(1, "alice"), (2, "bob")], 2, &[1, 2]);
        let draft = Draft::new(&options);
        assert_eq!(draft.forge().bytes(), draft.archive());
        assert_eq!(sample_bundle(&options).archive, sample_bundle(&options).archive);
    }

    #[test]
    fn a_field_that_is_set_leaves_a_header_with_the_right_checksum() {
        let mut entry = Entry::new("SHA256SUMS", b"x");
        let honest = entry.header;
        entry.set(Field::Type, b"2");
        assert_ne!(entry.header, honest);
        entry.set(Field::Type, b"0");
        assert_eq!(entry.header, honest);
    }
}
