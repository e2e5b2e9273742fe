//! `bundler write`

use std::path::{Path, PathBuf};

use clap::Args;
use edge::show::{bytes, table};
use edge::{Failure, Screen};
use manifests::bundle::BundleDigest;
use serde::Serialize;

use crate::write::{self, Became, File, FileSystem, ReadBack};

/// The arguments of `write`.
#[derive(Debug, Args)]
pub(super) struct WriteArgs {
    /// The archive, which brings its recovery files along; or the directory of a disc, or of several
    bundle: PathBuf,
    /// The directory where the medium is mounted
    #[arg(value_name = "DIR")]
    destination: PathBuf,
}

#[derive(Serialize)]
struct Document {
    destination: PathBuf,
    file_system: FileSystem,
    bundle: BundleDigest,
    product: String,
    version: String,
    marking: String,
    bytes: u64,
    written: u64,
    files: Vec<File>,
}

impl WriteArgs {
    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let (bundle, destination) = (screen.env.path(&self.bundle), screen.env.path(&self.destination));
        let prepared = write::prepare(&bundle, &destination)?;
        if prepared.is_same_disk() {
            screen.note(&same_disk(&destination));
        }
        if !prepared.is_signed() {
            screen.note("note: nobody has signed this bundle: no site will take it");
        }
        let manifest = prepared.manifest().clone();
        let (bundle, file_system) = (prepared.bundle(), prepared.file_system());
        let interrupted = super::interruption()?;
        let mut bar = screen.progress().begin("writing", prepared.bytes());
        let files = prepared.write(&mut *bar, &interrupted)?;
        drop(bar);
        let sum = |of: fn(&File) -> u64| files.iter().map(of).fold(0, u64::saturating_add);
        let document = Document {
            destination,
            file_system,
            bundle,
            product: manifest.product.to_string(),
            version: manifest.version.to_string(),
            marking: manifest.marking.to_string(),
            bytes: sum(|file| file.bytes),
            written: sum(|file| file.written),
            files,
        };
        let human = format!(
            "{}\n{} {} (order {})\nbundle   {bundle}\nmedium   {} ({})\n{}written  {} of {}; everything was read back{} and is the same\nUnmount the medium before you take it out.\n",
            document.marking,
            document.product,
            document.version,
            manifest.order,
            document.destination.display(),
            file_system.name(),
            rows(&document.files),
            bytes(document.written),
            bytes(document.bytes),
            how(&document.files),
        );
        screen.result(&human, &document)
    }
}

fn same_disk(destination: &Path) -> String {
    format!("note: {} is on the same disk as the bundle: is the medium mounted there?", destination.display())
}

/// One line for each file.
fn rows(files: &[File]) -> String {
    let row = |file: &File| {
        let became = match file.became {
            Became::Written => "written".to_string(),
            Became::Continued => format!("continued, {} written", bytes(file.written)),
            Became::WasThere => "was there".to_string(),
        };
        vec![file.path.display().to_string(), bytes(file.bytes), file.digest.short(), became]
    };
    table(&files.iter().map(row).collect::<Vec<_>>())
}

/// How far that can be believed.
fn how(files: &[File]) -> &'static str {
    let direct = files.iter().all(|file| file.read_back == ReadBack::Direct);
    if direct { " from the medium" } else { " after the cache was dropped" }
}
