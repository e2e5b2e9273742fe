//! `bundler split`: a bundle that is there already, as discs. Each blob is checked on its way, so that nobody
//! burns what has rotted on a disk.

use std::cell::Cell;
use std::io::{BufReader, Read};
use std::path::PathBuf;

use clap::Args;
use edge::progress::Shown;
use edge::show::bytes;
use edge::{Exit, Failure, Screen};
use layout::reader::{BundleReader, Discard, ReadError};
use layout::recovery::Percent;
use layout::split::Tee;
use layout::writer::CHUNK_BYTES;
use manifests::bundle::BundleDigest;
use manifests::{BundleManifest, KeyId};
use serde::Serialize;

use super::verify::BundleError;
use crate::discs::{DiscsError, Documents, Recovering, Staging, Wish, Written};
use crate::media::{Cut, Media, MediaError};
use crate::parted;
use crate::recovery::RecoveryError;

/// The arguments of `split`.
#[derive(Debug, Args)]
pub(super) struct SplitArgs {
    /// The archive, or the discs of another split
    #[arg(required = true)]
    bundle: Vec<PathBuf>,
    /// For which media: dvd, dvd-dl, bd25, bd50, fat32, or a size such as 650MB; of several with commas between,
    /// the last repeats
    #[arg(long, value_name = "MEDIA")]
    media: String,
    /// A new directory; by default PRODUCT-VERSION.discs here
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Recovery data on each disc, from which so much damage can be repaired on site: 1% to 100%
    #[arg(long, value_name = "N%")]
    recovery: Option<String>,
    /// Only this part again, bit for bit as before
    #[arg(long, value_name = "PART")]
    only: Option<usize>,
    /// An ISO image of each disc in place of its directory, made by xorriso
    #[arg(long)]
    iso: bool,
}

#[derive(Serialize)]
struct Document {
    directory: PathBuf,
    bundle: BundleDigest,
    product: String,
    version: String,
    marking: String,
    media: String,
    /// How many parts the bundle has on these media; with `--only` not all of them were written.
    parts: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery: Option<Recovery>,
    discs: Vec<Written>,
}

/// What recovery data on discs is good for.
#[derive(Serialize)]
pub(super) struct Recovery {
    percent: u32,
    /// Whether any one disc may be lost, with everything on it.
    withstands_a_lost_disc: bool,
    /// The least percentage with which that is so on these media.
    #[serde(skip_serializing_if = "Option::is_none")]
    percent_for_a_lost_disc: Option<u32>,
}

impl Recovery {
    /// Of a cut of so many bytes, with so many beside each part.
    pub(super) fn of(media: &Media, cut: &Cut, (total, small): (u64, u64)) -> Option<Self> {
        let percent = cut.recovery.as_ref()?.geometry.percent().number();
        let withstands_a_lost_disc = cut.withstands_a_lost_disc();
        let needed = if withstands_a_lost_disc { None } else { media.percent_for_a_lost_disc(total, small) };
        Some(Self { percent, withstands_a_lost_disc, percent_for_a_lost_disc: needed.map(Percent::number) })
    }

    /// A line for people.
    pub(super) fn line(&self) -> String {
        let lost = match (self.withstands_a_lost_disc, self.percent_for_a_lost_disc) {
            (true, _) => "any one disc may be lost".to_string(),
            (false, Some(percent)) => {
                format!("a whole disc may not be lost; that takes --recovery {percent}%")
            }
            (false, None) => "the disc itself may not be lost".to_string(),
        };
        format!("recovery {}% on the discs: {lost}\n", self.percent)
    }
}

/// The percentage that somebody has typed.
pub(super) fn percent(text: Option<&str>) -> Result<Option<Percent>, RecoveryError> {
    text.map(str::parse).transpose().map_err(RecoveryError::Geometry)
}

/// How an archive is cut, with recovery data or without.
pub(super) fn cut(
    media: &Media,
    total: u64,
    small: u64,
    percent: Option<Percent>,
) -> Result<Cut, MediaError> {
    match percent {
        Some(percent) => media.cut_with_recovery(total, small, percent),
        None => media.cut(total, small),
    }
}

/// What a stick is formatted as is nothing for an image.
pub(super) fn images_make_sense(media: Option<&Media>) -> Result<(), Failure> {
    if media.is_some_and(Media::are_discs) {
        return Ok(());
    }
    Err(Failure::usage("--iso makes images of discs, and a stick is none")
        .hint("leave out --iso: copy the files to the stick"))
}

impl SplitArgs {
    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let media: Media = self.media.parse()?;
        let percent = percent(self.recovery.as_deref())?;
        if self.iso {
            images_make_sense(Some(&media))?;
        }
        let paths: Vec<PathBuf> = self.bundle.iter().map(|path| screen.env.path(path)).collect();
        let source = parted::open(&paths)?;
        let path = source.path.clone();
        let damaged = |source| BundleError::Read { path: path.clone(), source };
        // Twice the beginning: what the discs are cut by is known before the first byte of a part is written.
        let mut first = BundleReader::open(source.stream()?).map_err(damaged)?;
        let head = first.head().clone();
        let manifest = BundleManifest::from_bytes(&head.manifest)
            .map_err(|source| BundleError::Manifest { path: path.clone(), source })?;
        let (_, small) = first.contents(&manifest).map_err(damaged)?;
        let signatures: Vec<(KeyId, Vec<u8>)> =
            head.signatures.iter().map(|found| (found.claimed, found.bytes.clone())).collect();
        if signatures.is_empty() {
            return Err(Failure::usage("the bundle is not signed, and discs cannot be signed afterwards")
                .hint("sign it first: bundler sign BUNDLE --key KEY"));
        }
        let documents = Documents {
            manifest: &head.manifest,
            signatures: &signatures,
            checksums: &small.checksums,
            inventory: &small.inventory,
        };
        let small = documents.small_bytes();
        let cut = cut(&media, source.bytes, small, percent)?;
        let recovery = Recovery::of(&media, &cut, (source.bytes, small));
        let destination = match &self.out {
            Some(out) => screen.env.path(out),
            None => screen.env.cwd.join(format!("{}-{}.discs", manifest.product, manifest.version)),
        };
        let wish = Wish { destination: &destination, cut: &cut, only: self.only, images: self.iso };
        let interrupted = super::interruption()?;
        let mut bar = cut.progress(screen.progress().begin("splitting", source.bytes));
        let staging = Staging::begin(wish, &manifest, screen.env)?;
        let mut parts = staging.writer();
        let unwritten = Cell::new(None);
        let tee = Tee::new(BufReader::with_capacity(CHUNK_BYTES, source.stream()?), &mut parts, &unwritten);
        let stoppable = super::Stoppable::new(tee, &interrupted);
        let copied = copy(stoppable, &manifest, &mut |count| bar.advance(count));
        drop(bar);
        if let Err(error) = copied {
            return Err(match unwritten.take() {
                Some(source) => DiscsError::Write { path: destination, source }.into(),
                None if interrupted() => {
                    Failure::new(Exit::Unexpected, "interrupted; nothing was left behind")
                }
                None => damaged(error).into(),
            });
        }
        let again = percent.map(|_| source.pieces()).transpose()?;
        let shown = if percent.is_some() { screen.progress() } else { Shown::Not };
        let mut bar = shown.begin("recovery", source.bytes);
        let recovering = Recovering { again, progress: &mut *bar, interrupted: &interrupted };
        let discs = staging.finish(parts, &documents, recovering)?;
        drop(bar);
        report(screen, destination, &manifest, head.bundle_digest(), (&media, cut.parts(), recovery), discs)
    }
}

/// Reads an archive once and checks every byte of it, while somebody else takes them.
fn copy(input: impl Read, manifest: &BundleManifest, passed: &mut dyn FnMut(u64)) -> Result<(), ReadError> {
    let mut reader = BundleReader::open(input)?;
    let (contents, _) = reader.contents(manifest)?;
    reader.stream(contents, &mut Discard, passed).map(|_| ())
}

fn report(
    screen: &mut Screen<'_>,
    directory: PathBuf,
    manifest: &BundleManifest,
    bundle: BundleDigest,
    (media, parts, recovery): (&Media, usize, Option<Recovery>),
    discs: Vec<Written>,
) -> Result<(), Failure> {
    let document = Document {
        directory,
        bundle,
        product: manifest.product.to_string(),
        version: manifest.version.to_string(),
        marking: manifest.marking.to_string(),
        media: media.to_string(),
        parts,
        recovery,
        discs,
    };
    let human = format!(
        "{}\n{} {} (order {})\nbundle   {bundle}\ndiscs    {}\n{}{}",
        manifest.marking,
        manifest.product,
        manifest.version,
        manifest.order,
        document.directory.display(),
        document.recovery.as_ref().map_or(String::new(), Recovery::line),
        rows(&document.discs),
    );
    screen.result(&human, &document)
}

/// One line for each part.
pub(super) fn rows(discs: &[Written]) -> String {
    let mut text = String::new();
    for disc in discs {
        let name = disc.path.file_name().unwrap_or_default().to_string_lossy();
        for part in &disc.parts {
            text.push_str(&format!(
                "  {name}  {}  {}  {}  {}\n",
                disc.volume,
                part.file,
                bytes(part.size),
                part.digest.short()
            ));
        }
        for file in &disc.recovery {
            let (size, digest) = (bytes(file.size), file.digest.short());
            text.push_str(&format!("  {name}  {}  {}  {size}  {digest}\n", disc.volume, file.file));
        }
    }
    text
}
