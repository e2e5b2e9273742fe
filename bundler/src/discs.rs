//! A set of discs: directories ready to be burnt, each with its part, the small signed documents, the list of
//! parts and a label for people; on request with recovery data, and as a file system image.
//!
//! *Invariant:* the set has its name only when it is whole, and nothing is left of one that is not. The same
//! archive and the same cut give the same bytes, images included, also of a single part.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use edge::process::{ProcessError, Program};
use edge::progress::Progress;
use edge::show::bytes;
use edge::{Classified, Env, Exit};
use layout::disc::LABEL;
use layout::disk;
use layout::durable;
use layout::hashing;
use layout::recovery::{self, Pieces};
use layout::split::{PartsWriter, Planned};
use manifests::bundle::{BundleDigest, Content};
use manifests::parts::{self, PartsError, PartsList};
use manifests::text::{FileName, TextError};
use manifests::{BundleManifest, Digest, KeyId};

use crate::download::Room;
use crate::media::{self, Along, Cut};
use crate::recovery::{RecoveryError, make_files};

/// A BD-R DL takes minutes to write as an image, on a slow disk an hour.
const IMAGE_TIME_LIMIT: Duration = Duration::from_secs(6 * 3600);

/// Why a set of discs could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscsError {
    /// There is something already.
    #[error("{} is there already", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// It would not fit.
    #[error("{} has {} free, the discs need {}", path.display(), bytes(*free), bytes(*needed))]
    Space {
        /// The directory.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that are needed.
        needed: u64,
    },
    /// The destination cannot be written to.
    #[error("cannot write {}", path.display())]
    Write {
        /// What.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No such part.
    #[error("there is no part {wanted}: the bundle has {count} on these media")]
    NoSuchPart {
        /// What was asked for.
        wanted: usize,
        /// How many there are.
        count: usize,
    },
    /// The recovery data.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// Somebody pressed Ctrl-C.
    #[error("interrupted; nothing was left behind")]
    Interrupted,
    /// The name of the archive is none for a file.
    #[error(transparent)]
    Name(#[from] TextError),
    /// A list of parts that cannot be: a defect of ours.
    #[error(transparent)]
    List(#[from] PartsError),
    /// A document of ours that cannot be written.
    #[error(transparent)]
    Document(#[from] manifests::canonical::CanonicalError),
    /// The program that makes images does not run.
    #[error("xorriso, which makes the images, does not run")]
    Xorriso {
        /// Why not.
        source: ProcessError,
    },
    /// It failed.
    #[error("xorriso could not make {}: {reason}", path.display())]
    Image {
        /// Which image.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
}

impl Classified for DiscsError {
    fn exit(&self) -> Exit {
        match self {
            Self::Exists { .. } | Self::NoSuchPart { .. } | Self::Name(_) => Exit::Usage,
            Self::List(_) | Self::Document(_) | Self::Interrupted => Exit::Unexpected,
            Self::Recovery(error) => error.exit(),
            _ => Exit::Unreachable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { .. } => Some("move it away or choose another --out".to_string()),
            Self::Recovery(error) => error.hint(),
            Self::Space { .. } => Some("free some space or choose another --out".to_string()),
            Self::Xorriso { .. } => {
                Some("install xorriso, or leave out --iso and burn the directories".to_string())
            }
            _ => None,
        }
    }
}

/// The small signed documents, as they go on every disc.
#[derive(Debug, Clone, Copy)]
pub struct Documents<'a> {
    /// `bundle.json`
    pub manifest: &'a [u8],
    /// The raw signatures.
    pub signatures: &'a [(KeyId, Vec<u8>)],
    /// `SHA256SUMS`
    pub checksums: &'a [u8],
    /// `inventory.json`
    pub inventory: &'a [u8],
}

impl Documents<'_> {
    /// What lies beside each part, at most.
    #[must_use]
    pub fn small_bytes(&self) -> u64 {
        let lengths = [self.manifest, self.checksums, self.inventory].map(|document| document.len() as u64);
        media::small_bytes(&lengths)
    }
}

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Where the set goes: a directory that is not there yet.
    pub destination: &'a Path,
    /// How the archive is cut.
    pub cut: &'a Cut,
    /// This part and no other.
    pub only: Option<usize>,
    /// Images in place of directories.
    pub images: bool,
}

/// A set that is being written.
pub struct Staging<'a> {
    wish: Wish<'a>,
    archive: FileName,
    manifest: &'a BundleManifest,
    images: Option<Images<'a>>,
    dir: tempfile::TempDir,
}

/// One disc of a set that was written.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Written {
    /// The directory, or the image.
    pub path: PathBuf,
    /// What its file system is called.
    pub volume: String,
    /// Its parts.
    pub parts: Vec<WrittenPart>,
    /// Its recovery files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recovery: Vec<WrittenRecovery>,
}

/// One recovery file that was written.
#[derive(Debug, Clone, serde::Serialize)]
pub struct WrittenRecovery {
    /// The name of its file.
    pub file: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
}

/// What making recovery data needs.
pub struct Recovering<'a> {
    /// The archive, where it can be read again if not all of its parts are written.
    pub again: Option<Pieces<File>>,
    /// Told how much of it has passed.
    pub progress: &'a mut dyn Progress,
    /// Whether somebody wants to stop.
    pub interrupted: &'a dyn Fn() -> bool,
}

/// One part that was written.
#[derive(Debug, Clone, serde::Serialize)]
pub struct WrittenPart {
    /// Its number, from 1.
    pub number: usize,
    /// The name of its file.
    pub file: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
}

/// The name of the archive that a bundle's parts make together.
///
/// # Errors
/// Product and version are too long for the name of a file.
pub fn archive_name(manifest: &BundleManifest) -> Result<FileName, TextError> {
    format!("{}-{}.bundle.tar", manifest.product, manifest.version).parse()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl<'a> Staging<'a> {
    /// Looks whether the set can be written at all, and makes its directories under a name of their own.
    ///
    /// # Errors
    /// See [`DiscsError`]; nothing is left then.
    pub fn begin(wish: Wish<'a>, manifest: &'a BundleManifest, env: &'a Env) -> Result<Self, DiscsError> {
        let path = wish.destination.to_path_buf();
        if path.symlink_metadata().is_ok() {
            return Err(DiscsError::Exists { path });
        }
        let count = wish.cut.parts();
        if let Some(wanted) = wish.only.filter(|wanted| *wanted == 0 || *wanted > count) {
            return Err(DiscsError::NoSuchPart { wanted, count });
        }
        let images = wish.images.then(|| Images::new(env, manifest)).transpose()?;
        check_space(&wish)?;
        let archive = archive_name(manifest)?;
        let beside = parent(&path);
        let dir = tempfile::Builder::new().prefix(".discs-").tempdir_in(beside);
        let failed = |source| DiscsError::Write { path: beside.to_path_buf(), source };
        let staging = Self { wish, archive, manifest, images, dir: dir.map_err(failed)? };
        for disc in staging.discs() {
            std::fs::create_dir(staging.disc_dir(disc)).map_err(failed)?;
        }
        Ok(staging)
    }

    /// Where it is written, and how many bytes that takes.
    #[must_use]
    pub fn room(&self) -> Room<'_> {
        Room { directory: parent(self.wish.destination), bytes: needed(&self.wish) }
    }

    /// The positions of the discs that are written.
    fn discs(&self) -> Vec<usize> {
        match self.wish.only {
            Some(part) => vec![self.wish.cut.disc_of(part)],
            None => (0..self.wish.cut.discs.len()).collect(),
        }
    }

    fn disc_dir(&self, disc: usize) -> PathBuf {
        self.dir.path().join(disc_name(disc))
    }

    /// The parts of a disc that are written, by number.
    fn parts_of(&self, disc: usize) -> Vec<usize> {
        let all = 1..=self.wish.cut.parts();
        let wanted = |part: &usize| self.wish.only.is_none_or(|only| only == *part);
        all.filter(wanted).filter(|part| self.wish.cut.disc_of(*part) == disc).collect()
    }

    /// What takes the archive.
    #[must_use]
    pub fn writer(&self) -> PartsWriter {
        let sizes = self.wish.cut.discs.iter().flatten();
        let planned = sizes.enumerate().map(|(position, size)| {
            let number = position.saturating_add(1);
            let wanted = self.wish.only.is_none_or(|only| only == number);
            Planned { path: wanted.then(|| self.part_path(number)), size: *size }
        });
        PartsWriter::new(planned.collect())
    }

    /// The archive was written: its parts become discs, and the set gets its name.
    ///
    /// # Errors
    /// See [`DiscsError`]; nothing is left then.
    pub fn finish(
        self,
        written: PartsWriter,
        documents: &Documents<'_>,
        recovering: Recovering<'_>,
    ) -> Result<Vec<Written>, DiscsError> {
        let destination = self.wish.destination.to_path_buf();
        let failed = |source| DiscsError::Write { path: destination.clone(), source };
        let contents = written.finish().map_err(failed)?;
        let bundle = BundleDigest(Digest::of(documents.manifest));
        let list = PartsList::new(self.archive.clone(), bundle, contents)?;
        let list_bytes = list.to_bytes()?;
        if let Some(along) = &self.wish.cut.recovery {
            self.recover(along, &list, recovering)?;
        }
        let mut discs = Vec::new();
        for disc in self.discs() {
            discs.push(self.disc(disc, &list, &list_bytes, documents)?);
        }
        // Unlike the file system's root, a directory in a private place is closed to others.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(self.dir.path(), open).map_err(failed)?;
        durable::flush_directory(self.dir.path()).map_err(failed)?;
        let staged = self.dir.keep();
        if let Err(source) = std::fs::rename(&staged, &destination) {
            let _ = std::fs::remove_dir_all(staged);
            return Err(failed(source));
        }
        durable::flush_directory(parent(&destination)).map_err(failed)?;
        Ok(discs)
    }

    fn part_path(&self, number: usize) -> PathBuf {
        let disc = self.wish.cut.disc_of(number);
        self.disc_dir(disc).join(parts::file_name(&self.archive, number))
    }

    /// The names of the recovery files of a disc.
    fn recovery_of(&self, disc: usize) -> Vec<String> {
        let files = self.wish.cut.recovery.as_ref().map_or(0..0, |along| along.of_disc(disc));
        files.map(|file| recovery::file_name(self.archive.as_str(), file.saturating_add(1))).collect()
    }

    /// Makes the recovery files of the discs that are written, of the parts as they were written.
    fn recover(&self, along: &Along, list: &PartsList, recovering: Recovering<'_>) -> Result<(), DiscsError> {
        let Recovering { again, progress, interrupted } = recovering;
        let destination = self.wish.destination;
        let failed = |source| DiscsError::Write { path: destination.to_path_buf(), source };
        let source = match again.filter(|_| self.wish.only.is_some()) {
            Some(again) => again,
            None => {
                let mut pieces = Pieces::new();
                for (number, range) in list.ranges() {
                    pieces.add(range, File::open(self.part_path(number)).map_err(failed)?);
                }
                pieces
            }
        };
        let mut names = Vec::new();
        for disc in 0..self.wish.cut.discs.len() {
            let wanted = self.discs().contains(&disc);
            let path = |name: String| wanted.then(|| self.disc_dir(disc).join(name));
            names.extend(self.recovery_of(disc).into_iter().map(path));
        }
        let made =
            make_files(&source, destination, &along.geometry, list.bundle(), &names, progress, interrupted);
        match made {
            Err(_) if interrupted() => Err(DiscsError::Interrupted),
            other => Ok(other?),
        }
    }

    /// What was written of the recovery files of a disc.
    fn recovered(&self, disc: usize) -> io::Result<Vec<WrittenRecovery>> {
        let written = |file: String| {
            let Content { size, digest } = hashing::hash(&mut File::open(self.disc_dir(disc).join(&file))?)?;
            Ok(WrittenRecovery { file, size, digest })
        };
        self.recovery_of(disc).into_iter().map(written).collect()
    }

    fn disc(
        &self,
        disc: usize,
        list: &PartsList,
        list_bytes: &[u8],
        documents: &Documents<'_>,
    ) -> Result<Written, DiscsError> {
        let dir = self.disc_dir(disc);
        let numbers = self.parts_of(disc);
        let part = |number: usize| {
            let content = list.part(number)?;
            let file = list.file_name(number);
            Some(WrittenPart { number, file, size: content.size, digest: content.digest })
        };
        let parts: Vec<WrittenPart> = numbers.iter().filter_map(|number| part(*number)).collect();
        // A disc of several parts is named by the first that belongs on it.
        let first = (1..=list.count()).find(|part| self.wish.cut.disc_of(*part) == disc).unwrap_or(1);
        let volume = parts::volume_id(self.manifest, first, list.count());
        let failed = |path: &Path, source| DiscsError::Write { path: path.to_path_buf(), source };
        let recovery = self.recovered(disc).map_err(|source| failed(&dir, source))?;
        let label = label(self.manifest, list, &volume, &parts, &recovery);
        let write = |name: &str, content: &[u8]| {
            let path = dir.join(name);
            new_file(&path, content).map_err(|source| failed(&path, source))
        };
        write("bundle.json", documents.manifest)?;
        write("SHA256SUMS", documents.checksums)?;
        write("inventory.json", documents.inventory)?;
        write(layout::disc::PARTS_LIST, list_bytes)?;
        write(LABEL, label.as_bytes())?;
        let signatures = dir.join("signatures");
        std::fs::create_dir(&signatures).map_err(|source| failed(&signatures, source))?;
        for (keyid, raw) in documents.signatures {
            write(&format!("signatures/{keyid}.sig"), raw)?;
        }
        for path in [&signatures, &dir] {
            durable::flush_directory(path).map_err(|source| failed(path, source))?;
        }
        let mut name = disc_name(disc);
        if let Some(images) = &self.images {
            name.push_str(".iso");
            images.make(&dir, &self.dir.path().join(&name), &volume)?;
            let path = self.dir.path().join(format!("{}.{LABEL}", disc_name(disc)));
            new_file(&path, label.as_bytes()).map_err(|source| failed(&path, source))?;
            // So that no more than one disc is there twice.
            std::fs::remove_dir_all(&dir).map_err(|source| failed(&dir, source))?;
        }
        Ok(Written { path: self.wish.destination.join(name), volume, parts, recovery })
    }
}

/// `disc-001`
fn disc_name(disc: usize) -> String {
    format!("disc-{:03}", disc.saturating_add(1))
}

fn new_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = std::fs::File::create_new(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// The discs that are written, and with images the largest of them once more.
fn needed(wish: &Wish<'_>) -> u64 {
    let mut number = 0_usize;
    let mut sizes = Vec::new();
    for (disc, parts) in wish.cut.discs.iter().enumerate() {
        let mut size = 0_u64;
        let mut wanted = false;
        for part in parts {
            number = number.saturating_add(1);
            if wish.only.is_none_or(|only| only == number) {
                wanted = true;
                size = size.saturating_add(*part);
            }
        }
        let along = wish.cut.recovery.as_ref().map_or(0, |along| along.bytes_of_disc(disc));
        sizes.push(if wanted { size.saturating_add(along) } else { 0 });
    }
    let again = if wish.images { sizes.iter().copied().max().unwrap_or(0) } else { 0 };
    sizes.iter().fold(again, |sum, size| sum.saturating_add(*size))
}

fn check_space(wish: &Wish<'_>) -> Result<(), DiscsError> {
    let needed = needed(wish);
    let path = parent(wish.destination).to_path_buf();
    let free = disk::free_bytes(&path).map_err(|source| DiscsError::Write { path: path.clone(), source })?;
    if free < needed { Err(DiscsError::Space { path, free, needed }) } else { Ok(()) }
}

/// What is printed on a disc, or on paper beside it.
fn label(
    manifest: &BundleManifest,
    list: &PartsList,
    volume: &str,
    parts: &[WrittenPart],
    recovery: &[WrittenRecovery],
) -> String {
    let count = list.count();
    let part = |part: &WrittenPart| {
        format!(
            "\npart      {} of {count}\nfile      {}\nbytes     {}\nsha-256   {}\n",
            part.number,
            part.file,
            part.size,
            part.digest.hex()
        )
    };
    let along = |file: &WrittenRecovery| {
        format!("\nrecovery  {}\nbytes     {}\nsha-256   {}\n", file.file, file.size, file.digest.hex())
    };
    let repair = match recovery {
        [] => "",
        _ => "with recovery data, all discs:      installer verify --repair DIRECTORY…\n",
    };
    format!(
        "{marking}\n{product} {version}\npublisher {publisher}\norder     {order}\ncreated   {created}\nbundle    {bundle}\nvolume    {volume}\n{parts}\nThis disc alone, with the program:  installer verify DIRECTORY\nand by hand:                        sha256sum FILE\n{repair}{marking}\n",
        marking = manifest.marking,
        product = manifest.product,
        version = manifest.version,
        publisher = manifest.publisher,
        order = manifest.order,
        created = manifest.created,
        bundle = list.bundle().0.short(),
        parts = parts.iter().map(part).chain(recovery.iter().map(along)).collect::<String>(),
    )
}

/// Makes images with `xorriso`: ISO 9660 with Rock Ridge and Joliet, every time stamp that of the bundle.
struct Images<'a> {
    path: OsString,
    /// As xorriso writes a time.
    created: String,
    epoch: i64,
    env: &'a Env,
}

impl<'a> Images<'a> {
    /// Looks whether the program is there.
    fn new(env: &'a Env, manifest: &BundleManifest) -> Result<Self, DiscsError> {
        let path = env.var("PATH").unwrap_or("/usr/bin:/bin").into();
        let digits: String = manifest.created.to_string().chars().filter(char::is_ascii_digit).collect();
        let images = Self { path, created: digits + "00", epoch: manifest.created.unix_seconds(), env };
        let version = images.program(&env.cwd).arg("-version").run(&*env.clock);
        version.map_err(|source| DiscsError::Xorriso { source })?;
        Ok(images)
    }

    fn program(&self, cwd: &Path) -> Program {
        let mut program = Program::new("xorriso", cwd)
            .var("PATH", &self.path)
            .var("SOURCE_DATE_EPOCH", self.epoch.to_string())
            .var("TZ", "UTC")
            .var("LC_ALL", "C");
        program.time_limit = IMAGE_TIME_LIMIT;
        program
    }

    fn make(&self, dir: &Path, image: &Path, volume: &str) -> Result<(), DiscsError> {
        // -no_rc: what stands in somebody's configuration must not change the bytes.
        let options = ["-no_rc", "-as", "mkisofs", "-quiet", "-iso-level", "3", "-r", "-J", "-joliet-long"];
        let program = self
            .program(dir)
            .args(options)
            .args(["--set_all_file_dates", &self.created])
            .args(["-V", volume, "-o"])
            .arg(image)
            .arg(".");
        let finished = program.run(&*self.env.clock).map_err(|source| DiscsError::Xorriso { source })?;
        if finished.succeeded() {
            return Ok(());
        }
        Err(DiscsError::Image { path: image.to_path_buf(), reason: finished.last_words() })
    }
}
