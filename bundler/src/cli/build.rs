//! `bundler build`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use edge::progress::Shown;
use edge::show::{bytes, delta_rows};
use edge::{Exit, Failure, Screen};
use layout::recovery::Percent;
use manifests::bundle::{BundleDigest, Content, Counts, Sequence};
use manifests::delta::{Base, Patch};
use manifests::{Digest, Inventory, KeyId, SecretKey};
use serde::Serialize;

use super::bases::BaseArgs;
use super::signers::PassphraseArgs;
use crate::cache::Cache;
use crate::ceremony;
use crate::countersign::{self, CountersignError, Countersigned, Signers};
use crate::delta;
use crate::discs::{self, Documents, Recovering, Staging, Wish};
use crate::export::{self, ExportError};
use crate::keys::{KeyFileError, Passphrases};
use crate::lock::{self, BundleLock, LockError};
use crate::media::Media;
use crate::pack::{self, Packed};
use crate::patches;
use crate::recovery;
use crate::sbom;
use crate::sign::SignError;
use crate::sources::World;
use crate::spec::{self, LoadedSpec};

/// The arguments of `build`.
#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// The spec
    #[arg(default_value = "bundle.yaml")]
    spec: PathBuf,
    /// The archive, or a directory for it; by default PRODUCT-VERSION.bundle.tar here
    #[arg(long)]
    out: Option<PathBuf>,
    /// A private key to sign with
    #[arg(long)]
    key: Vec<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// A private key to counter-sign each image with, as cosign does
    #[arg(long, value_name = "KEY")]
    countersign: Vec<PathBuf>,
    /// Write discs in place of one archive: dvd, dvd-dl, bd25, bd50, fat32, or a size such as 650MB; of several
    /// with commas between, the last repeats. --out is then a new directory
    #[arg(long, value_name = "MEDIA", requires = "key")]
    media: Option<String>,
    /// With --media: an ISO image of each disc in place of its directory, made by xorriso
    #[arg(long, requires = "media")]
    iso: bool,
    #[command(flatten)]
    bases: BaseArgs,
    /// Write recovery data beside the archive or onto each disc, from which so much damage can be repaired on site: 1% to 100%
    #[arg(long, value_name = "N%")]
    recovery: Option<String>,
}

#[derive(Serialize)]
struct Document {
    archive: PathBuf,
    bytes: u64,
    bundle: BundleDigest,
    product: String,
    version: String,
    order: Sequence,
    marking: String,
    counts: Counts,
    inventory: Digest,
    signed_by: Vec<KeyId>,
    /// What a delta builds on. How much it leaves out is in `counts`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bases: Vec<Base>,
    /// What is made on site of patches, and how much shorter these are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    patches: Vec<Patched>,
    #[serde(skip_serializing_if = "Option::is_none")]
    countersigned: Option<Countersigned>,
    /// With `--media`; `archive` is their directory then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    discs: Vec<discs::Written>,
    /// Beside an archive.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recovery: Vec<recovery::Written>,
    /// With `--media`.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_on_discs: Option<super::split::Recovery>,
}

/// A blob that travels as a patch.
#[derive(Serialize)]
struct Patched {
    blob: Digest,
    bytes: u64,
    patch: Digest,
    patch_bytes: u64,
    saved_bytes: u64,
}

impl Patched {
    fn all(inventory: &Inventory) -> Vec<Self> {
        let one = |(patch, blob): (&Patch, Content)| Self {
            blob: blob.digest,
            bytes: blob.size,
            patch: patch.patch.digest,
            patch_bytes: patch.patch.size,
            saved_bytes: blob.size.saturating_sub(patch.patch.size),
        };
        inventory.patches().iter().zip(inventory.patched()).map(one).collect()
    }
}

impl BuildArgs {
    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        // Keys first: nobody should wait for gigabytes to learn that a key is not readable.
        let mut passphrases =
            Passphrases { file: self.passphrase.file(screen.env), terminal: &mut *screen.env.terminal };
        let mut unlock = |paths: &[PathBuf]| -> Result<Vec<SecretKey>, KeyFileError> {
            paths.iter().map(|path| passphrases.unlock(&screen.env.cwd.join(path))).collect()
        };
        let (secrets, countersigners) = (unlock(&self.key)?, unlock(&self.countersign)?);
        let loaded = spec::load(&screen.env.path(&self.spec))?;
        let cache = Cache::of(screen.env);
        let held = self.bases.held(screen, &cache)?;
        let lock = current_lock(screen, &loaded)?;
        let media: Option<Media> = self.media.as_deref().map(str::parse).transpose()?;
        if self.iso {
            super::split::images_make_sense(media.as_ref())?;
        }
        let destination = self.destination(screen, &loaded, media.is_some());
        let percent = super::split::percent(self.recovery.as_deref())?;
        if media.is_none() {
            export::must_not_exist(&destination)?;
            if percent.is_some() {
                recovery::must_not_exist(&destination)?;
            }
        }
        let (http, registries) = super::lock::clients(screen, &loaded)?;
        let shown = screen.progress();
        let interrupted = super::interruption()?;
        let stderr = screen.env.stderr.clone();
        let world = World {
            base: loaded.base.clone(),
            cache: &cache,
            http: &http,
            registries: &registries,
            interrupted: &interrupted,
            env: screen.env,
            note: &|text| stderr.say(text),
            shown: shown.clone(),
            wheels: &loaded.spec.wheels,
            charts: &loaded.spec.charts,
        };
        let unwritten = |source| ExportError::Write { path: destination.clone(), source };
        let documents = export::documents(&lock, &world).map_err(unwritten)?;
        let (lock, countersigned) = countersign(lock, &documents, &countersigners)?;
        let (lock, sbom) = sbom::add(&loaded.spec, lock, &documents)?;
        let pack =
            |patches| pack::pack(&loaded.spec, &lock, sbom.clone(), &documents, (held.as_ref(), patches));
        let mut packed = pack(Vec::new())?;
        if let Some(held) = &held {
            let patches = patches::make(held, &packed, &lock, &documents, &world)?;
            packed = pack(patches)?;
        }
        let signed_by = sign(&mut packed, &secrets)?;
        let mut made = match &media {
            None => Made { bytes: export::export(&destination, &packed, &lock, &world)?, ..Made::default() },
            Some(media) => make_discs((media, self.iso, percent), &destination, (&packed, &lock), &world)?,
        };
        if let Some(percent) = percent.filter(|_| media.is_none()) {
            let mut bar = shown.begin("recovery", made.bytes);
            let bundle = BundleDigest(Digest::of(&packed.head.manifest));
            made.recovery = recovery::make(&destination, bundle, percent, 1, &mut *bar, &interrupted)?;
        }
        delta::remember(&cache, &packed).map_err(|source| {
            Failure::new(Exit::Unreachable, format!("the cache {}: {source}", cache.root().display()))
        })?;
        report(screen, destination, made, &packed, signed_by, countersigned)
    }

    fn destination(&self, screen: &Screen<'_>, loaded: &LoadedSpec, discs: bool) -> PathBuf {
        let end = if discs { "discs" } else { "bundle.tar" };
        let name = format!("{}-{}.{end}", loaded.spec.product, loaded.spec.version);
        match &self.out {
            None => screen.env.cwd.join(name),
            Some(out) => {
                let out = screen.env.path(out);
                if out.is_dir() && !discs { out.join(name) } else { out }
            }
        }
    }
}

/// What was written.
#[derive(Default)]
struct Made {
    /// The length of the archive.
    bytes: u64,
    discs: Vec<discs::Written>,
    recovery: Vec<recovery::Written>,
    recovery_on_discs: Option<super::split::Recovery>,
}

/// Writes the archive straight onto discs.
fn make_discs(
    (media, iso, percent): (&Media, bool, Option<Percent>),
    destination: &Path,
    (packed, lock): (&Packed, &BundleLock),
    world: &World<'_>,
) -> Result<Made, Failure> {
    let head = &packed.head;
    let documents = Documents {
        manifest: &head.manifest,
        signatures: &head.signatures,
        checksums: &head.checksums,
        inventory: &head.inventory,
    };
    let bytes = export::archive_bytes(packed);
    let small = documents.small_bytes();
    let cut = super::split::cut(media, bytes, small, percent)?;
    let recovery_on_discs = super::split::Recovery::of(media, &cut, (bytes, small));
    let wish = Wish { destination, cut: &cut, only: None, images: iso };
    let staging = Staging::begin(wish, &packed.manifest, world.env)?;
    let (mut parts, room) = (staging.writer(), staging.room());
    export::export_parts(destination, (&mut parts, &cut), packed, lock, world, &room)?;
    let shown = if percent.is_some() { &world.shown } else { &Shown::Not };
    let mut bar = shown.begin("recovery", bytes);
    let recovering = Recovering { again: None, progress: &mut *bar, interrupted: world.interrupted };
    let discs = staging.finish(parts, &documents, recovering)?;
    Ok(Made { bytes, discs, recovery: Vec::new(), recovery_on_discs })
}

/// The lock beside the spec; made if there is none, refused if it is for another text.
fn current_lock(screen: &mut Screen<'_>, loaded: &LoadedSpec) -> Result<BundleLock, Failure> {
    let path = lock::path_for(&loaded.path);
    if !path.exists() {
        screen.note(&format!("there is no {}: locking first", path.display()));
        return super::lock::make(screen, loaded);
    }
    let found = BundleLock::read(&path)?;
    if found.spec != loaded.digest {
        return Err(LockError::Stale { path, spec: loaded.path.clone() }.into());
    }
    Ok(found)
}

fn countersign(
    lock: BundleLock,
    documents: &BTreeMap<Digest, Vec<u8>>,
    secrets: &[SecretKey],
) -> Result<(BundleLock, Option<Countersigned>), CountersignError> {
    if secrets.is_empty() {
        return Ok((lock, None));
    }
    let (lock, done) = countersign::countersign(lock, documents, &Signers::of(secrets)?)?;
    Ok((lock, Some(done)))
}

/// Signs, and checks each signature before it goes anywhere.
fn sign(packed: &mut Packed, secrets: &[SecretKey]) -> Result<Vec<KeyId>, Failure> {
    for secret in secrets {
        let made = ceremony::sign(secret, &packed.head.manifest).map_err(SignError::Key)?;
        packed.head.signatures.push((made.key.id(), made.bytes));
    }
    packed.head.signatures.sort();
    packed.head.signatures.dedup();
    Ok(packed.head.signatures.iter().map(|(keyid, _)| *keyid).collect())
}

fn report(
    screen: &mut Screen<'_>,
    archive: PathBuf,
    made: Made,
    packed: &Packed,
    signed_by: Vec<KeyId>,
    countersigned: Option<Countersigned>,
) -> Result<(), Failure> {
    let manifest = &packed.manifest;
    let document = Document {
        archive,
        bytes: made.bytes,
        bundle: BundleDigest(Digest::of(&packed.head.manifest)),
        product: manifest.product.to_string(),
        version: manifest.version.to_string(),
        order: manifest.order,
        marking: manifest.marking.to_string(),
        counts: manifest.counts,
        inventory: manifest.inventory.digest,
        signed_by,
        bases: packed.inventory.delta.iter().flat_map(|delta| delta.bases.clone()).collect(),
        patches: Patched::all(&packed.inventory),
        countersigned,
        discs: made.discs,
        recovery: made.recovery,
        recovery_on_discs: made.recovery_on_discs,
    };
    let lines =
        |keyids: &[KeyId]| keyids.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n         ");
    let signed = if document.signed_by.is_empty() {
        "by nobody yet: no site will take it before `bundler sign`".to_string()
    } else {
        lines(&document.signed_by)
    };
    let countersigned = document.countersigned.as_ref().map_or(String::new(), |done| {
        let Countersigned { images, companions, by } = done;
        let (images, signatures) = (count(*images, "image"), count(*companions, "signature"));
        format!("images   {images} counter-signed ({signatures}) by\n         {}\n", lines(by))
    });
    let delta = delta_rows(&packed.inventory, 9);
    let what = if document.discs.is_empty() { "archive" } else { "discs  " };
    let mut rows = document.recovery_on_discs.as_ref().map_or(String::new(), super::split::Recovery::line);
    rows.push_str(&super::split::rows(&document.discs));
    rows.extend(document.recovery.iter().map(recovery::row));
    let human = format!(
        "{}\n{} {} (order {})\nbundle   {}\n{what}  {} ({})\nholds    {}\n{delta}{countersigned}signed   {}\n{rows}",
        document.marking,
        document.product,
        document.version,
        document.order,
        document.bundle,
        document.archive.display(),
        bytes(document.bytes),
        super::inspect::counts(&document.counts),
        signed,
    );
    screen.result(&human, &document)
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
