//! `bundler verify`: the checks of a site, with the very code that sites run, apart from what only the
//! site knows (its name and what was applied there).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use edge::show::{bytes, delta_rows};
use edge::{Classified, Exit, Failure, Screen};
use layout::disc::{self, Disc, DiscError};
use layout::map::Ranges;
use layout::medium::MediumError;
use layout::parts::{Assembly, Expected};
use layout::reader::{BundleReader, Discard, Places, ReadError};
use layout::recovery::Source as Bytes;
use layout::signed_file::{self, SignedFileError};
use manifests::bundle::{BundleDigest, Content, Counts};
use manifests::canonical::CanonicalError;
use manifests::revocation::REVOCATIONS_BYTES_MAX;
use manifests::root::{ROOT_BYTES_MAX, SignatureVerdict};
use manifests::verify::{Contents, Damage, Refusal, SignedManifest};
use manifests::{BundleManifest, Digest, Inventory, PartsList, Trust};
use serde::Serialize;

use super::inspect::Opened;
use crate::parted::{self, PartedError, Source};
use crate::patches::{Archive, Checking};

/// The arguments of `verify`.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The archive, or all its discs
    #[arg(required = true)]
    bundle: Vec<PathBuf>,
    /// The trust root
    #[arg(long, value_name = "ROOT.JSON")]
    trust: PathBuf,
    /// A bundle on which a delta builds: an archive, or a directory of its discs. With all of them it is said
    /// whether they hold what the delta leaves out; their own signatures and blobs are not looked at
    #[arg(long, value_name = "BUNDLE")]
    base: Vec<PathBuf>,
    /// What the publisher has revoked
    #[arg(long, value_name = "REVOCATIONS.JSON")]
    revocations: Option<PathBuf>,
}

/// Why a bundle does not verify.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum BundleError {
    /// It cannot be opened.
    #[error(transparent)]
    Medium(MediumError),
    /// It is damaged, or no bundle.
    #[error("{}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: ReadError,
    },
    /// Its `bundle.json` is not one.
    #[error("{}: bundle.json is not one", path.display())]
    Manifest {
        /// Which archive.
        path: PathBuf,
        /// What is wrong.
        source: CanonicalError,
    },
    /// The small files of a disc.
    #[error(transparent)]
    Disc(DiscError),
    /// They contradict each other.
    #[error("{}: {damage}", path.display())]
    Lists {
        /// Which disc.
        path: PathBuf,
        /// What is wrong.
        damage: Damage,
    },
    /// The list of parts is of another bundle or another split.
    #[error("{}: parts.json is not of this bundle, or not that of the other discs", path.display())]
    List {
        /// Which disc.
        path: PathBuf,
    },
    /// Parts are damaged.
    #[error("{}: {}", path.display(), lines.join("\n"))]
    Parts {
        /// Where they are.
        path: PathBuf,
        /// Every place of damage.
        lines: Vec<String>,
    },
    /// A delta, and bases that do not hold what it leaves out.
    #[error("{} is a delta, and the bases that were named do not hold all that it leaves out:\n{}", path.display(), lines.join("\n"))]
    LeftOut {
        /// Which.
        path: PathBuf,
        /// Every blob that is missing.
        lines: Vec<String>,
    },
    /// Patches that were signed, and do not make their blobs.
    #[error("{}: {}", path.display(), lines.join("\n"))]
    Patches {
        /// Where they are.
        path: PathBuf,
        /// Every one.
        lines: Vec<String>,
    },
    /// The trust root or the revocations.
    #[error(transparent)]
    Trust(SignedFileError),
    /// It must not be used.
    #[error("{} is refused", path.display())]
    Refused {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Refusal,
    },
}

impl Classified for BundleError {
    fn exit(&self) -> Exit {
        match self {
            Self::Medium(_) | Self::Read { .. } | Self::Manifest { .. } => Exit::Damaged,
            Self::Disc(_) | Self::Lists { .. } | Self::List { .. } | Self::Parts { .. } => Exit::Damaged,
            Self::Patches { .. } => Exit::Damaged,
            Self::Trust(SignedFileError::Read { .. }) => Exit::Unreachable,
            Self::Trust(_) | Self::Refused { .. } => Exit::Refused,
            Self::LeftOut { .. } => Exit::NotReady,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { source: ReadError::NotZero { place, .. }, .. } if place.contains("signatures") => {
                Some("a signature was cut off while it was written: run `bundler sign` again".to_string())
            }
            Self::Parts { .. } => {
                Some("write the part again: bundler split BUNDLE --media … --only PART".to_string())
            }
            Self::Patches { .. } => Some(
                "build the bundle again; if a base was named, see whether its archive is whole: bundler verify"
                    .to_string(),
            ),
            Self::Read { .. } => {
                Some("build the archive again, or copy it again from where it was whole".to_string())
            }
            Self::Refused { source: Refusal::Signatures(_), .. } => Some(
                "sign it with a key of the root's release role: `bundler sign BUNDLE --key KEY`".to_string(),
            ),
            _ => None,
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    archive: PathBuf,
    bundle: BundleDigest,
    verified: bool,
    root: Digest,
    root_version: u64,
    signatures: &'a [SignatureVerdict],
    manifest: &'a BundleManifest,
    counts: Counts,
    /// With `--base`: whether these bundles hold all that the delta leaves out.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out_is_held: Option<bool>,
    /// With `--base`: how many patches were made into their blobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    patches_made: Option<usize>,
}

/// Where a blob of a base can be read, if one that was named carries it.
type Lookup<'a> = dyn Fn(&Content) -> Option<Box<dyn Bytes>> + 'a;

/// How many patches were made into their blobs; every byte that was read is the one that was signed.
fn made(source: &Source, checking: Checking<'_>) -> Result<usize, BundleError> {
    checking.finish().map_err(|lines| BundleError::Patches { path: source.path.clone(), lines })
}

fn verify_archive(
    source: &Source,
    trust: &Trust,
    base: &Lookup<'_>,
    passed: &mut dyn FnMut(u64),
) -> Result<(SignedManifest, Inventory, usize), Failure> {
    let damaged = |error| BundleError::Read { path: source.path.clone(), source: error };
    let (input, places) = source.input()?.into_parts();
    let mut reader = BundleReader::open(input).map_err(damaged)?;
    let head = reader.head().clone();
    let signed = SignedManifest::authenticate(trust, &head.manifest, &head.signatures);
    let signed = signed.map_err(|error| BundleError::Refused { path: source.path.clone(), source: error })?;
    let (contents, _) = reader.contents(signed.manifest()).map_err(damaged)?;
    let mut checking = Checking::of(contents.inventory(), base);
    let checked = if contents.inventory().patches().is_empty() {
        let places = places.as_deref().map(|file| file as &dyn Places);
        reader.stream_abreast(contents, places, &Discard, passed)
    } else {
        reader.stream(contents, &mut checking, passed)
    };
    let checked = checked.map_err(damaged)?;
    let made = made(source, checking)?;
    Ok((signed, checked.inventory().clone(), made))
}

/// One disc by its own documents, as a site does it.
fn open_disc(disc: &Disc, trust: &Trust) -> Result<(SignedManifest, Assembly, PartsList), BundleError> {
    let path = || disc.dir().to_path_buf();
    let lists = |damage| BundleError::Lists { path: path(), damage };
    let found = disc.signed().map_err(BundleError::Disc)?;
    let signed = SignedManifest::authenticate(trust, &found.manifest, &found.signatures);
    let signed = signed.map_err(|source| BundleError::Refused { path: path(), source })?;
    let checksums = disc.checksums().map_err(BundleError::Disc)?;
    let inventory = disc.inventory().map_err(BundleError::Disc)?;
    let manifest = signed.manifest();
    let contents = Contents::agree(manifest, signed.digest(), &checksums, &inventory).map_err(lists)?;
    let (bytes, signatures) = (&found.manifest, &found.signatures);
    let expected = Expected::new(bytes, manifest, signatures, &checksums, &inventory, &contents);
    let expected = expected.map_err(lists)?;
    let list = disc.parts_list().map_err(BundleError::Disc)?;
    if !expected.fits(&list) {
        return Err(BundleError::List { path: path() });
    }
    Ok((signed, Assembly::new(expected, contents), list))
}

/// Every disc, and then all parts in order.
fn verify_discs(
    source: &Source,
    trust: &Trust,
    base: &Lookup<'_>,
    passed: &mut dyn FnMut(u64),
) -> Result<(SignedManifest, Inventory, usize), Failure> {
    let mut whole: Option<(SignedManifest, Assembly, PartsList)> = None;
    let mut files = Vec::new();
    for disc in &source.discs {
        let opened = open_disc(disc, trust)?;
        files.extend(disc.parts(&opened.2).map_err(BundleError::Disc)?);
        let known = whole.as_ref();
        if known.is_some_and(|known| known.0.digest() != opened.0.digest() || known.2 != opened.2) {
            return Err(BundleError::List { path: disc.dir().to_path_buf() }.into());
        }
        whole.get_or_insert(opened);
    }
    let Some((signed, mut assembly, list)) = whole else { return Err(PartedError::Several.into()) };
    files.sort_by_key(|part| part.number);
    files.dedup_by_key(|part| part.number);
    let (path, nothing) = (|| source.path.clone(), Ranges::default());
    let mut checking = Checking::of(assembly.tally().inventory(), base);
    let mut lines = Vec::new();
    for part in &files {
        let opened = disc::open_part(part).map_err(BundleError::Medium)?;
        let verdict = assembly.read_part(opened, &list, part.number, &nothing, &mut checking, passed);
        let verdict = verdict.map_err(|error| Failure::new(Exit::Unexpected, error.to_string()))?;
        lines.extend(verdict.lines(part.number));
    }
    if !lines.is_empty() {
        return Err(BundleError::Parts { path: path(), lines }.into());
    }
    let checked = assembly.finish().map_err(|damage| BundleError::Lists { path: path(), damage })?;
    let made = made(source, checking)?;
    Ok((signed, checked.inventory().clone(), made))
}

fn missing_line(inventory: &Inventory, blob: &Content) -> String {
    let bases: Vec<String> = inventory.bases_of(&blob.digest).iter().map(ToString::to_string).collect();
    format!("{} ({}), which is in {}", blob.digest, bytes(blob.size), bases.join(" or in "))
}

impl VerifyArgs {
    fn read_trust(&self, screen: &Screen<'_>) -> Result<Trust, SignedFileError> {
        let path = screen.env.path(&self.trust);
        let root = signed_file::read(&path, ROOT_BYTES_MAX)?.trusted_root(&path)?;
        let mut trust = Trust::starting_with(root);
        if let Some(path) = self.revocations.as_ref().map(|path| screen.env.path(path)) {
            let file = signed_file::read(&path, REVOCATIONS_BYTES_MAX)?;
            trust
                .revoke(&file.bytes, &file.signatures)
                .map_err(|source| SignedFileError::Revocations { path, source })?;
        }
        Ok(trust)
    }

    /// Whether the bases that were named hold what the bundle leaves out; `None` if none was named.
    fn look_at_bases(
        bases: &[Opened],
        archive: &Path,
        inventory: &Inventory,
    ) -> Result<Option<bool>, Failure> {
        if bases.is_empty() {
            return Ok(None);
        }
        let blobs = bases.iter().flat_map(|base| &base.inventory.blobs);
        let held: BTreeSet<Digest> = blobs.map(|blob| blob.digest).collect();
        let missing = inventory.held().into_iter().filter(|blob| !held.contains(&blob.digest));
        let lines: Vec<String> = missing.map(|blob| missing_line(inventory, &blob)).collect();
        if lines.is_empty() {
            return Ok(Some(true));
        }
        Err(BundleError::LeftOut { path: archive.to_path_buf(), lines }.into())
    }

    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let trust = self.read_trust(screen).map_err(BundleError::Trust)?;
        let root = trust.root();
        let paths: Vec<PathBuf> = self.bundle.iter().map(|path| screen.env.path(path)).collect();
        let source = parted::open(&paths)?;
        let archive = source.path.clone();
        let bases = self.base.iter().map(|path| Opened::read(&[screen.env.path(path)]));
        let bases: Vec<Opened> = bases.collect::<Result<_, _>>()?;
        let archives: Vec<Archive> = bases.iter().map(Opened::archive_at_any_place).collect();
        let base = |blob: &Content| {
            let found = archives.iter().find_map(|archive| archive.blob(blob));
            found.map(|found| Box::new(found) as Box<dyn Bytes>)
        };
        let mut bar = screen.progress().begin("verifying", source.bytes);
        let (signed, inventory, made) = if source.is_parted() {
            verify_discs(&source, &trust, &base, &mut |count| bar.advance(count))?
        } else {
            verify_archive(&source, &trust, &base, &mut |count| bar.advance(count))?
        };
        drop(bar);
        let left_out_is_held = Self::look_at_bases(&bases, &archive, &inventory)?;
        let unmade = inventory.patches().len().saturating_sub(made);
        let manifest = signed.manifest();
        let counts = manifest.counts;
        let line = |verdict: &SignatureVerdict| format!("signature  {}\n", verdict.line());
        let human = format!(
            "{}\nverified: {} {} (order {})\nbundle     {}\ntrust root {} ({})\n{}holds      {}\n{}{}{}not checked here: audience and order, which only a site can judge\n",
            manifest.marking,
            manifest.product,
            manifest.version,
            manifest.order,
            signed.digest(),
            root.fingerprint().short(),
            root.title(),
            signed.signatures().iter().map(line).collect::<String>(),
            super::inspect::counts(&counts),
            delta_rows(&inventory, 11),
            match (&inventory.delta, left_out_is_held) {
                (None, _) => "",
                (Some(_), None) =>
                    "not checked here: what is left out; --base looks for it, and a site does before it writes anything\n",
                (Some(_), Some(_)) => "the bases that were named hold all of it\n",
            },
            if unmade == 0 {
                String::new()
            } else {
                format!(
                    "not checked here: what {unmade} of the patches make; with the bundles that they are made for as --base it is, and a site does\n"
                )
            },
        );
        let document = Document {
            archive,
            bundle: signed.digest(),
            verified: true,
            root: root.fingerprint(),
            root_version: root.document().version,
            signatures: signed.signatures(),
            manifest,
            counts,
            left_out_is_held,
            patches_made: (!inventory.patches().is_empty()).then_some(made),
        };
        screen.result(&human, &document)
    }
}
