//! A medium that is no file, that changes while it is read, that fails, and a disk of the site that does.
//! Whatever happens, what was verified is what is kept, and what cannot be read is damage: exit code 4.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    missing_docs
)]

#[allow(dead_code, reason = "each test file uses some of it")]
mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};

use edge::progress::Progress;
use edge::{Exit, Failure};
use layout::reader::{BundleReader, Discard, Places, ReadError, Sink, Sinks};
use manifests::bundle::Content;
use manifests::{ArchivePath, BundleManifest, Digest};
use support::{Picture, Scene, blames_the_bundle, holds_exactly, message};
use testkit::real_part;
use testkit::sample::{Draft, SampleOptions, draft_of_files, sample_bundle};

const MIB: usize = 1 << 20;
/// Read ahead of what is being looked at: what the installer asks the medium for at a time.
const READ_AHEAD: usize = layout::writer::CHUNK_BYTES;

/// A bundle of four files of a mebibyte each, so that the medium is asked for it in many pieces.
fn large() -> &'static Vec<u8> {
    static LARGE: LazyLock<Vec<u8>> = LazyLock::new(|| large_draft().archive());
    &LARGE
}

fn large_draft() -> Draft {
    let noise = |seed: usize| (0..MIB).map(|at| ((at * 31 + (at >> 8) * seed) & 0xff) as u8).collect();
    let files = (1..=4).map(|seed| (format!("file{seed}"), noise(seed))).collect();
    draft_of_files(&SampleOptions::default(), &files)
}

/// Where the content of each entry starts, and how long it is.
fn contents(archive: &[u8]) -> Vec<(ArchivePath, usize, usize)> {
    let (mut found, mut offset) = (Vec::new(), 0);
    while let Ok((path, size)) = layout::header::decode(archive[offset..offset + 512].try_into().unwrap()) {
        found.push((path, offset + 512, usize::try_from(size).unwrap()));
        offset += usize::try_from(layout::header::entry_bytes(size)).unwrap();
    }
    found
}

/// The offset of a byte inside the last of the large files.
fn late(archive: &[u8]) -> u64 {
    let (_, start, _) = contents(archive).into_iter().rfind(|(_, _, size)| *size == MIB).unwrap();
    (start + MIB - 10) as u64
}

/// Does something the first time that so many bytes of content have passed.
struct Once<F> {
    after: u64,
    passed: u64,
    act: Option<F>,
}

impl<F: FnOnce() + Send> Progress for Once<F> {
    fn advance(&mut self, bytes: u64) {
        self.passed += bytes;
        if self.passed >= self.after
            && let Some(act) = self.act.take()
        {
            act();
        }
    }
}

/// Admits the large bundle while somebody does something to its file, once so many bytes have passed.
fn admit_while(
    scene: &Scene,
    after: usize,
    act: impl FnOnce() + Send,
) -> Result<manifests::VerifiedBundle, Failure> {
    let mut progress = Once { after: after as u64, passed: 0, act: Some(act) };
    let outcome = scene.admit_while(&mut progress);
    assert!(progress.act.is_none(), "it was over before anything was done to the file");
    outcome
}

/// The funnel: the medium is to blame, and the site is as it was.
fn refused(
    scene: &Scene,
    before: &Picture,
    what: &str,
    outcome: Result<manifests::VerifiedBundle, Failure>,
) -> String {
    let failure = outcome.err().unwrap_or_else(|| panic!("{what}: admitted"));
    assert_eq!(failure.exit(), Exit::Damaged, "{what}: {failure:?}");
    assert!(scene.picture() == *before, "{what}: the site has changed");
    message(&failure)
}

// ---- no file ------------------------------------------------------------------------------------------

/// Something at the bundle's path that is no bundle: refused at once, and the site is as it was.
fn refuses_at_the_path(what: &str, expected: &str, put: impl FnOnce(&Scene)) {
    let scene = Scene::new(&SampleOptions::default());
    put(&scene);
    let before = scene.picture();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| sender.send([scene.verify().err(), scene.admit().err()]));
        let limit = std::time::Duration::from_secs(30);
        let Ok(failures) = receiver.recv_timeout(limit) else {
            // The thread that hangs cannot be ended, so the test's process is.
            eprintln!("{what}: the site waits for it");
            std::process::abort();
        };
        for failure in failures {
            let failure = failure.unwrap_or_else(|| panic!("{what} is accepted"));
            assert_eq!(failure.exit(), Exit::Damaged, "{what}: {failure:?}");
            assert!(message(&failure).contains(expected), "{what}: {failure:?}");
        }
    });
    assert!(scene.picture() == before, "{what}: the site has changed");
}

#[test]
fn refuses_a_path_that_is_not_a_regular_file_without_waiting_for_it() {
    refuses_at_the_path("nothing", "cannot open", |_| {});
    refuses_at_the_path("a directory", "is not a regular file", |scene| {
        std::fs::create_dir(&scene.bundle).unwrap();
    });
    refuses_at_the_path("a pipe", "is not a regular file", |scene| {
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600));
        rustix::fs::mknodat(rustix::fs::CWD, &scene.bundle, kind, mode, 0).unwrap();
    });
    refuses_at_the_path("a link to a good bundle", "is not a regular file", |scene| {
        let good = scene.dir().join("good.tar");
        std::fs::write(&good, sample_bundle(&SampleOptions::default()).archive).unwrap();
        std::os::unix::fs::symlink(good, &scene.bundle).unwrap();
    });
    refuses_at_the_path("a link to itself", "is not a regular file", |scene| {
        std::os::unix::fs::symlink(&scene.bundle, &scene.bundle).unwrap();
    });
    refuses_at_the_path("a socket", "cannot open", |scene| {
        drop(std::os::unix::net::UnixListener::bind(&scene.bundle).unwrap());
    });
}

#[test]
fn refuses_a_device_as_a_bundle() {
    let mut scene = Scene::new(&SampleOptions::default());
    for device in ["/dev/zero", "/dev/null"] {
        scene.bundle = device.into();
        let failure = scene.admit().err().unwrap();
        assert_eq!(failure.exit(), Exit::Damaged);
        assert!(message(&failure).contains("is not a regular file"), "{failure:?}");
    }
}

#[test]
fn the_installer_itself_does_not_wait_for_a_pipe_and_says_what_is_wrong() {
    let scene = Scene::new(&SampleOptions::default());
    let pipe = scene.dir().join("medium/pipe");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
    // With a writer at its other end, too: bytes that come once only cannot be a bundle on a medium.
    for writer in [None, Some(File::options().read(true).write(true).open(&pipe).unwrap())] {
        for args in [&["verify"][..], &["inspect"], &["plan"], &["apply", "--yes"]] {
            let ran = installer(&scene, None, &[args, &["medium/pipe"]].concat());
            assert_eq!(ran.status.code(), Some(4), "{args:?}: {ran:?}");
            assert!(text(&ran.stderr).contains("is not a regular file"), "{ran:?}");
        }
        drop(writer);
    }
}

#[test]
fn devices_and_directories_end_with_the_code_of_the_contract() {
    let scene = Scene::new(&SampleOptions::default());
    std::fs::write(scene.dir().join("medium/empty"), "").unwrap();
    for (path, code, word) in [
        ("/dev/zero", 4, "is not a regular file"),
        ("/dev/full", 4, "is not a regular file"),
        ("/dev/null", 4, "is not a regular file"),
        ("medium/empty", 4, "ends after 0 bytes"),
        ("medium/nothing", 4, "cannot open"),
        // A directory is a disc of a set, and this is none.
        ("medium", 4, "no part of a bundle"),
    ] {
        let ran = installer(&scene, None, &["verify", path]);
        assert_eq!(ran.status.code(), Some(code), "{path}: {ran:?}");
        assert!(text(&ran.stderr).contains(word), "{path}: {ran:?}");
    }
}

#[test]
fn a_root_that_is_a_pipe_or_has_one_for_a_signature_is_not_waited_for() {
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600));
    let root = testkit::sample::sample_root(&SampleOptions::default());
    let claimed = root.signatures[0].claimed;
    for pipe in ["paper/root.json".to_string(), format!("paper/root.json.sigs/{claimed}.sig")] {
        let scene = Scene::untrusting();
        scene.bring_root(&root.bytes, root.signatures.iter().map(|found| (found.claimed, &found.bytes[..])));
        std::fs::remove_file(scene.dir().join(&pipe)).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, scene.dir().join(&pipe), kind, mode, 0).unwrap();
        let ran = scene.trust_init(&root.bytes);
        assert_eq!(ran.exit, Exit::Unreachable, "{pipe}: {ran:?}");
        assert!(ran.stderr.contains("not a regular file"), "{pipe}: {ran:?}");
        assert!(!scene.site.dir().exists(), "{pipe}: something was written");
    }
}

// ---- a file that changes ------------------------------------------------------------------------------

#[test]
fn what_was_read_stays_read_whatever_happens_to_the_file() {
    let archive = large();
    let other = sample_bundle(&SampleOptions { sequence: 41, ..SampleOptions::default() }).archive;
    type Act<'a> = &'a (dyn Fn(&Scene, &File) + Sync);
    let acts: [(&str, Act<'_>); 6] = [
        ("a byte that was read already is changed", &|_, file| file.write_all_at(b"?", 600).unwrap()),
        ("the whole head is changed", &|_, file| file.write_all_at(&other[..40_000], 0).unwrap()),
        ("a byte is changed and put back before it is read", &|_, file| {
            let (at, mut good) = (late(large()), [0]);
            file.read_exact_at(&mut good, at).unwrap();
            file.write_all_at(&[!good[0]], at).unwrap();
            file.write_all_at(&good, at).unwrap();
        }),
        ("another bundle takes its name", &|scene, _| {
            let new = scene.dir().join("medium/new");
            std::fs::write(&new, &other).unwrap();
            std::fs::rename(new, &scene.bundle).unwrap();
        }),
        ("its name is taken away", &|scene, _| std::fs::remove_file(&scene.bundle).unwrap()),
        ("a link takes its name", &|scene, _| {
            std::fs::remove_file(&scene.bundle).unwrap();
            std::os::unix::fs::symlink("/dev/zero", &scene.bundle).unwrap();
        }),
    ];
    for (what, act) in acts {
        let scene = Scene::new(&SampleOptions::default());
        let file = scene.carry(archive);
        let bundle = admit_while(&scene, MIB, || act(&scene, &file));
        let bundle = bundle.unwrap_or_else(|failure| panic!("{what}: {failure:?}"));
        holds_exactly(&scene, &bundle);
        let (manifest, inventory) = scene.site.evidence(bundle.digest()).unwrap();
        assert_eq!((&manifest, &inventory), (bundle.manifest(), bundle.inventory()), "{what}");
        assert_eq!(manifest, large_draft().manifest, "{what}");
    }
}

#[test]
fn bytes_that_change_before_they_are_read_are_damage() {
    let archive = large();
    let late = late(archive);
    let scene = Scene::new(&SampleOptions::default());
    let before = scene.picture();
    // Well behind what may have been read ahead.
    assert!(late as usize > 2 * MIB + READ_AHEAD);
    for after in [1, MIB, 2 * MIB] {
        let file = scene.carry(archive);
        let outcome =
            admit_while(&scene, after, || file.write_all_at(&[!archive[late as usize]], late).unwrap());
        let said = refused(&scene, &before, "a changed byte", outcome);
        assert!(said.contains("(files /data/, file"), "{said}");
    }
    // A header further on: another size, another name, the end of the archive.
    let header = (contents(archive).last().unwrap().1 - 512) as u64;
    for (at, bytes) in
        [(header + 130, &b"7"[..]), (header + 20, b"f"), (header, &[0; 512]), (header + 156, b"2")]
    {
        let file = scene.carry(archive);
        let outcome = admit_while(&scene, 1, || file.write_all_at(bytes, at).unwrap());
        refused(&scene, &before, "a changed header", outcome);
    }
}

#[test]
fn a_file_that_grows_while_it_is_read_is_damage_unless_it_grows_to_what_was_signed() {
    let archive = large();
    let scene = Scene::new(&SampleOptions::default());
    let before = scene.picture();
    for more in [1, 512, 4096, MIB] {
        let file = scene.carry(archive);
        let grow = || file.write_all_at(&vec![0; more], archive.len() as u64).unwrap();
        let said = refused(&scene, &before, "a grown file", admit_while(&scene, MIB, grow));
        assert!(said.contains("goes on after its end"), "{said}");
    }
    // Somebody is still copying it. What is not there yet when it is wanted is missing.
    let file = scene.carry(&archive[..2 * MIB]);
    let said = refused(&scene, &before, "half a file", scene.admit());
    assert!(said.contains("ends after"), "{said}");
    let finish = || file.write_all_at(&archive[2 * MIB..], 2 * MIB as u64).unwrap();
    let bundle = admit_while(&scene, MIB, finish).unwrap();
    holds_exactly(&scene, &bundle);
}

#[test]
fn a_file_that_grows_for_ever_is_read_to_where_its_end_should_be_and_no_further() {
    let archive = large();
    let scene = Scene::new(&SampleOptions::default());
    let before = scene.picture();
    let file = scene.carry(archive);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut length = archive.len() as u64;
            while !done.load(Ordering::Relaxed) && length < (256 * MIB) as u64 {
                file.write_all_at(&[0; 4096], length).unwrap();
                length += 4096;
            }
        });
        let outcome = admit_while(&scene, 1, || file.write_all_at(&[0; 4096], archive.len() as u64).unwrap());
        done.store(true, Ordering::Relaxed);
        refused(&scene, &before, "a file that grows for ever", outcome);
    });
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_damage() {
    let archive = large();
    let scene = Scene::new(&SampleOptions::default());
    let before = scene.picture();
    for length in [0, 512, MIB, archive.len() - MIB, archive.len() - 1] {
        let file = scene.carry(archive);
        let shrink = || file.set_len(length as u64).unwrap();
        let said = refused(&scene, &before, "a shrunk file", admit_while(&scene, MIB, shrink));
        assert!(said.contains("ends after"), "{length}: {said}");
    }
}

#[test]
fn whatever_somebody_writes_into_it_at_any_time_the_store_holds_what_was_signed_or_nothing() {
    const ROUNDS: u64 = 60;
    let archive = large();
    let mut seen = BTreeMap::new();
    for round in 0..ROUNDS {
        let scene = Scene::new(&SampleOptions::default());
        let file = scene.carry(archive);
        let before = scene.picture();
        let done = AtomicBool::new(false);
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| {
                // Each byte is wrong for a moment; which moment meets which read is left to chance.
                let mut at = round * 7919;
                while !done.load(Ordering::Relaxed) {
                    at = (at * 6_364_136_223 + 1_442_695_041) % archive.len() as u64;
                    let good = archive[at as usize];
                    file.write_all_at(&[good ^ 0x40], at).unwrap();
                    std::thread::yield_now();
                    file.write_all_at(&[good], at).unwrap();
                }
            });
            let outcome = scene.admit();
            done.store(true, Ordering::Relaxed);
            outcome
        });
        match outcome {
            Ok(bundle) => {
                holds_exactly(&scene, &bundle);
                assert_eq!(*bundle.manifest(), large_draft().manifest);
                *seen.entry("admitted").or_insert(0) += 1;
            }
            Err(failure) => {
                assert!(blames_the_bundle(failure.exit()), "{failure:?}");
                assert!(scene.picture() == before, "the site has changed: {failure:?}");
                *seen.entry("refused").or_insert(0) += 1;
            }
        }
    }
    eprintln!("{seen:?} of {ROUNDS}");
}

// ---- reads that are short, interrupted, or fail ---------------------------------------------------------

/// Gives an archive in pieces, with an error at one place.
struct Pieces<'a> {
    rest: &'a [u8],
    read: usize,
    piece: usize,
    fails: Option<(usize, io::ErrorKind)>,
}

impl<'a> Pieces<'a> {
    fn of(rest: &'a [u8], piece: usize) -> Self {
        Self { rest, read: 0, piece, fails: None }
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut count = self.piece.min(buffer.len()).min(self.rest.len());
        if let Some((at, kind)) = self.fails {
            count = count.min(at - self.read);
            if count == 0 && at == self.read {
                // An interrupted call goes on when it is made again; any other fails for good.
                self.fails = self.fails.filter(|_| kind != io::ErrorKind::Interrupted);
                return Err(kind.into());
            }
        }
        let (now, later) = self.rest.split_at(count);
        buffer[..count].copy_from_slice(now);
        self.rest = later;
        self.read += count;
        Ok(count)
    }
}

fn read_all(input: impl Read) -> Result<u64, ReadError> {
    let mut reader = BundleReader::open(input)?;
    let manifest = BundleManifest::from_bytes(&reader.head().manifest).unwrap();
    let (contents, _) = reader.contents(&manifest)?;
    let mut passed = 0;
    reader.stream(contents, &mut Discard, &mut |count| passed += count)?;
    Ok(passed)
}

#[test]
fn a_reader_that_gives_a_byte_at_a_time_changes_nothing() {
    let archive = sample_bundle(&SampleOptions::default()).archive;
    let whole = read_all(archive.as_slice()).unwrap();
    for piece in [1, 2, 3, 7, 511, 512, 513, 4096] {
        assert_eq!(read_all(Pieces::of(&archive, piece)).unwrap(), whole, "pieces of {piece}");
    }
}

#[test]
fn a_read_that_is_interrupted_is_made_again() {
    let archive = sample_bundle(&SampleOptions::default()).archive;
    // The last one is the read that finds the end.
    for at in (0..archive.len()).step_by(509).chain([archive.len()]) {
        let fails = Some((at, io::ErrorKind::Interrupted));
        read_all(Pieces { fails, ..Pieces::of(&archive, usize::MAX) }).unwrap();
    }
}

#[test]
fn a_read_that_fails_says_where() {
    let archive = sample_bundle(&SampleOptions::default()).archive;
    for at in 0..=archive.len() {
        let fails = Some((at, io::ErrorKind::Other));
        let error = read_all(Pieces { fails, ..Pieces::of(&archive, usize::MAX) }).unwrap_err();
        let found = match error {
            ReadError::Medium { offset, .. } => offset,
            other => panic!("{at}: {other}"),
        };
        assert_eq!(found, at as u64);
    }
}

// ---- system calls that fail -----------------------------------------------------------------------------

// ---- several places at the same time --------------------------------------------------------------------

/// An archive of which every place can be read, but for one.
struct Anywhere<'a> {
    bytes: &'a [u8],
    fails: Option<u64>,
}

impl Places for Anywhere<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let there = usize::try_from(offset).unwrap().min(self.bytes.len());
        let mut count = buffer.len().min(self.bytes.len() - there);
        if let Some(at) = self.fails.and_then(|at| at.checked_sub(offset)) {
            count = count.min(usize::try_from(at).unwrap());
            if count == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        buffer[..count].copy_from_slice(&self.bytes[there..there + count]);
        Ok(count)
    }
}

/// Keeps what it gets, and takes no entry of one name.
#[derive(Default)]
struct Shelf {
    kept: Mutex<BTreeMap<String, Vec<u8>>>,
    refuses: Option<String>,
}

struct Board<'a>(&'a Shelf, String, Vec<u8>);

impl Sinks for Shelf {
    type Sink<'a> = Board<'a>;
    fn sink(&self) -> Board<'_> {
        Board(self, String::new(), Vec::new())
    }
}

impl Sink for Board<'_> {
    fn begin(&mut self, path: &ArchivePath, _content: Content) -> io::Result<()> {
        (self.1, self.2) = (path.to_string(), Vec::new());
        if self.0.refuses.as_ref() == Some(&self.1) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.2.extend_from_slice(bytes);
        Ok(())
    }
    fn end(&mut self, found: Content) -> io::Result<()> {
        assert_eq!(found, Content::of(&self.2));
        self.0.kept.lock().unwrap().insert(self.1.clone(), std::mem::take(&mut self.2));
        Ok(())
    }
}

/// What comes of an archive, read forward or in several places.
fn outcome(anywhere: &Anywhere<'_>, shelf: &Shelf, abreast: bool) -> Result<u64, String> {
    let said = |error: ReadError| format!("{error} {error:?}");
    let fails = anywhere.fails.map(|at| (usize::try_from(at).unwrap(), io::ErrorKind::InvalidData));
    let input = Pieces { fails, ..Pieces::of(anywhere.bytes, usize::MAX) };
    let mut reader = BundleReader::open(input).map_err(said)?;
    let manifest = BundleManifest::from_bytes(&reader.head().manifest).unwrap();
    let (contents, _) = reader.contents(&manifest).map_err(said)?;
    let mut passed = 0;
    let places = abreast.then_some(anywhere as &dyn Places);
    reader.stream_abreast(contents, places, shelf, &mut |count| passed += count).map_err(said)?;
    Ok(passed)
}

/// The entries that are read in several places.
fn after_the_documents(archive: &[u8]) -> Vec<(ArchivePath, usize, usize)> {
    let all = contents(archive).into_iter();
    all.skip_while(|(path, ..)| *path != ArchivePath::Inventory).skip(1).collect()
}

#[test]
fn several_places_at_the_same_time_give_what_one_gives_or_the_same_refusal() {
    // Entries of every size around that of a turn, and many small ones.
    let sizes = [0, 1, 511, 512, 513, 70_000, 1_048_064, 1_048_576, 1_300_000];
    let sizes = sizes.into_iter().chain((0..200).map(|small| small * 7));
    let files = sizes.enumerate().map(|(seed, size)| {
        let bytes = (0..size).map(|at| u8::try_from((at * 31 + seed * 17) % 251).unwrap());
        (format!("f/{seed}"), bytes.collect::<Vec<u8>>())
    });
    let archive = draft_of_files(&SampleOptions::default(), &files.collect()).archive();
    let both = |bytes: &[u8], fails: Option<u64>, refuses: Option<&str>| {
        let [forward, abreast] = [false, true].map(|abreast| {
            let shelf = Shelf { refuses: refuses.map(ToString::to_string), ..Shelf::default() };
            let found = outcome(&Anywhere { bytes, fails }, &shelf, abreast);
            (found, shelf.kept.into_inner().unwrap())
        });
        assert_eq!(forward.0, abreast.0);
        if forward.0.is_ok() {
            assert!(forward.1 == abreast.1, "other bytes were handed on");
        }
        forward.0
    };
    assert!(both(&archive, None, None).is_ok());
    let entries = after_the_documents(&archive);
    // The large ones, and some of the small ones: the digests of the files have mixed them.
    let some = entries.iter().enumerate().filter(|(number, (.., size))| *size > 65_536 || number % 12 == 0);
    for (_, (path, from, size)) in some {
        assert!(both(&archive, None, Some(&path.to_string())).unwrap_err().contains("cannot be stored"));
        // The header, the first and the last byte, the padding.
        for at in [from - 512, from - 300, *from, from + size.saturating_sub(1), from + size] {
            let mut bytes = archive.clone();
            bytes[at] ^= 4;
            assert!(both(&bytes, None, None).is_err(), "byte {at} of {path}");
        }
    }
    let first = entries.first().unwrap().1 - 512;
    for at in (first..archive.len()).step_by(archive.len() / 37).chain([archive.len() - 1]) {
        assert!(both(&archive[..at], None, None).is_err());
        assert!(both(&archive, Some(at as u64), None).unwrap_err().contains("cannot be read"));
    }
    assert!(both(&[&archive[..], b"x"].concat(), None, None).unwrap_err().contains("goes on"));
}

#[test]
fn of_two_errors_the_first_one_in_the_archive_is_told() {
    let files = (0..40).map(|seed| (format!("f/{seed}"), vec![seed; 300_000])).collect();
    let archive = draft_of_files(&SampleOptions::default(), &files).archive();
    let mut bytes = archive.clone();
    for (_, from, _) in after_the_documents(&archive).iter().skip(20) {
        bytes[*from] ^= 1;
    }
    let expected = outcome(&Anywhere { bytes: &bytes, fails: None }, &Shelf::default(), false).unwrap_err();
    for _ in 0..50 {
        let found = outcome(&Anywhere { bytes: &bytes, fails: None }, &Shelf::default(), true);
        assert_eq!(found.unwrap_err(), expected);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The installer itself on a scene's site; under `strace` with these options if there are any. Then it is on one
/// processor, where it reads forward: `strace` counts the calls of each thread by itself.
fn installer(scene: &Scene, strace: Option<&[&str]>, args: &[&str]) -> Output {
    let processors = processors();
    let first = processors.split(['-', ',']).next().unwrap();
    started(scene, strace, first, args)
}

/// Those that this process may use, as `taskset` takes them.
fn processors() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_string()
}

fn started(scene: &Scene, strace: Option<&[&str]>, processors: &str, args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_e2e-installer");
    let mut command = match strace {
        Some(options) => {
            let mut command = Command::new("taskset");
            command.args(["-c", processors]).arg(real_part("strace").unwrap());
            command.args(["-f", "-y", "-qq", "-e", "signal=none"]).args(options).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.args(["--site", "site"]).args(args);
    command.current_dir(scene.dir()).env_clear().envs(&scene.world.vars).stdin(Stdio::null());
    command.output().unwrap()
}

const BUNDLE: &str = "medium/sample.bundle.tar";
const VERIFY: &[&str] = &["verify", BUNDLE];
const APPLY: &[&str] = &["apply", BUNDLE, "--yes"];

/// How often the installer makes this call on the medium while it does this.
fn calls_on_the_medium(scene: &Scene, call: &str, args: &[&str]) -> usize {
    let trace = scene.dir().join("trace");
    let medium = scene.bundle.canonicalize().unwrap();
    let only = format!("trace={call}");
    let options = ["-o", trace.to_str().unwrap(), "-P", medium.to_str().unwrap(), "-e", &only];
    assert_eq!(installer(scene, Some(&options), args).status.code(), Some(0));
    let calls = std::fs::read_to_string(&trace).unwrap();
    std::fs::remove_file(trace).unwrap();
    calls.lines().filter(|line| line.contains(&format!("{call}("))).count()
}

/// The installer with the given call on the medium failing the `when`th time.
fn with_fault(scene: &Scene, fault: &str, args: &[&str]) -> Output {
    let medium = scene.bundle.canonicalize().unwrap();
    let (call, _) = fault.split_once(':').unwrap();
    let (only, inject) = (format!("trace={call}"), format!("inject={fault}"));
    let options = ["-o", "/dev/null", "-P", medium.to_str().unwrap(), "-e", &only, "-e", &inject];
    installer(scene, Some(&options), args)
}

#[test]
fn a_medium_that_fails_at_any_read_is_damage() {
    if real_part("strace").is_none() {
        return;
    }
    let archive = large();
    let scene = Scene::new(&SampleOptions::default());
    scene.carry(archive);
    let reads = calls_on_the_medium(&scene, "read", VERIFY);
    assert!(reads >= archive.len() / READ_AHEAD, "{reads} reads of {} bytes", archive.len());
    let before = scene.picture_without_log();
    // In the head, in the inventory, in each blob, at the end.
    for when in 1..=reads {
        for (args, event) in [(VERIFY, "verify"), (APPLY, "admit")] {
            let known = scene.audit().len();
            let ran = with_fault(&scene, &format!("read:error=EIO:when={when}"), args);
            assert_eq!(ran.status.code(), Some(4), "read {when}: {ran:?}");
            let said = text(&ran.stderr);
            for word in ["the medium cannot be read at byte", "Input/output error", "hint: clean the medium"]
            {
                assert!(said.contains(word), "read {when}: {said}");
            }
            assert!(scene.picture_without_log() == before, "read {when}: the site has changed");
            let news = &scene.audit()[known..];
            let told = news.iter().any(|entry| {
                entry.event.event == event
                    && entry.event.about.get("class").is_some_and(|class| class == "damaged")
            });
            assert!(told, "read {when}: {news:#?}");
        }
    }
    assert_eq!(installer(&scene, None, APPLY).status.code(), Some(0));
}

#[test]
fn a_medium_that_fails_in_one_of_several_places_is_damage() {
    if real_part("strace").is_none() {
        return;
    }
    if std::thread::available_parallelism().unwrap().get() == 1 || !Path::new("/dev/shm").is_dir() {
        eprintln!("skipped: a medium is read forward on one processor, and here on every disk there is");
        return;
    }
    let scene = Scene::new(&SampleOptions::default());
    scene.carry(large());
    // Where it lies, several places are read.
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let medium = memory.path().join("b.tar");
    std::fs::copy(&scene.bundle, &medium).unwrap();
    let before = scene.picture_without_log();
    let all = processors();
    let mut damaged = 0;
    for when in 1..=4 {
        for command in [&["verify"][..], &["apply", "--yes"]] {
            let args = [command, &[medium.to_str().unwrap()]].concat();
            let inject = format!("inject=pread64:error=EIO:when={when}");
            let only =
                ["-o", "/dev/null", "-P", medium.to_str().unwrap(), "-e", "trace=pread64", "-e", &inject];
            let ran = started(&scene, Some(&only), &all, &args);
            assert_eq!(ran.status.code(), Some(4), "read {when}: {ran:?}");
            let said = text(&ran.stderr);
            assert!(said.contains("the medium cannot be read at byte"), "read {when}: {said}");
            assert!(scene.picture_without_log() == before, "read {when}: the site has changed");
            damaged += 1;
        }
    }
    assert_eq!(damaged, 8);
}

#[test]
fn a_medium_that_cannot_be_opened_or_looked_at_is_damage() {
    if real_part("strace").is_none() {
        return;
    }
    let scene = Scene::new(&SampleOptions::default());
    scene.carry(&sample_bundle(&SampleOptions::default()).archive);
    let before = scene.picture_without_log();
    for fault in [
        "open,openat:error=EIO",
        "open,openat:error=EACCES",
        "open,openat:error=ENOMEDIUM",
        "open,openat:error=ESTALE",
    ] {
        for args in [VERIFY, APPLY] {
            let ran = with_fault(&scene, fault, args);
            assert_eq!(ran.status.code(), Some(4), "{fault}: {ran:?}");
            assert!(text(&ran.stderr).contains("cannot open"), "{fault}: {ran:?}");
        }
    }
    assert!(scene.picture_without_log() == before, "the site has changed");
}

#[test]
fn reads_that_a_signal_interrupts_are_made_again() {
    if real_part("strace").is_none() {
        return;
    }
    let scene = Scene::new(&SampleOptions::default());
    scene.carry(large());
    // Every second one.
    let ran = with_fault(&scene, "read:error=EINTR:when=1+2", VERIFY);
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
}

// ---- a disk of the site that fails ----------------------------------------------------------------------

/// A site with one target, and the sample before it.
fn scene_with_files() -> Scene {
    let scene = Scene::new(&SampleOptions::default());
    let root = scene.dir().join("root");
    std::fs::create_dir(&root).unwrap();
    let yaml = format!(
        "apiVersion: airlock/v1\nkind: Site\nsite: lab\ntargets: {{files: {{root: {}}}}}\n",
        root.display()
    );
    scene.world.write("site/site.yaml", yaml);
    scene.carry(&sample_bundle(&SampleOptions::default()).archive);
    scene
}

/// What an apply changes for good, by path from the world's directory: the target, the list of what is
/// shown, and the ledger without its times.
fn applied(scene: &Scene) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = support::picture(scene.dir())
        .into_iter()
        .map(|(path, (mode, content))| {
            let path = path.strip_prefix(scene.dir()).unwrap().to_str().unwrap().to_string();
            (path, format!("{mode:o} {}", text(&content)))
        })
        .filter(|(path, _)| {
            ["root", "site/ledger", "site/store/published.json"].iter().any(|start| path.starts_with(start))
        })
        .collect();
    // A list of nothing says what no list says.
    found.retain(|_, text| !text.contains("\"bundles\":[]"));
    for ledger in found.values_mut().filter(|text| text.contains("airlock-ledger")) {
        let json = ledger.split_once(' ').unwrap().1;
        let mut document: serde_json::Value = serde_json::from_str(json).unwrap();
        document["applied"][0]["time"].take();
        *ledger = document.to_string();
    }
    found
}

/// The calls with which a disk takes something, and what it says when it cannot.
const DISK_CALLS: [(&str, &str); 9] = [
    ("write", "ENOSPC"),
    ("fsync", "EIO"),
    ("fdatasync", "EIO"),
    ("syncfs", "EIO"),
    ("rename", "ENOSPC"),
    ("mkdir", "ENOSPC"),
    ("openat", "ENOSPC"),
    ("ftruncate", "EIO"),
    ("fallocate", "ENOSPC"),
];

/// Which of the calls of one kind that an apply makes are about the site or its target, and can change it.
fn calls_on_the_disk(scene: &Scene, call: &str) -> Vec<usize> {
    let trace = scene.dir().join("trace");
    let only = format!("trace={call}");
    let ran = installer(scene, Some(&["-o", trace.to_str().unwrap(), "-e", &only]), APPLY);
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let calls = std::fs::read_to_string(&trace).unwrap();
    std::fs::remove_file(trace).unwrap();
    let mine = calls.lines().filter(|line| line.contains(&format!(" {call}(")));
    let places = ["site", "root"].map(|place| scene.dir().join(place).to_str().unwrap().to_string());
    let matters = |line: &str| {
        places.iter().any(|place| line.contains(place))
            && !line.contains(") = -1 ")
            && (call != "openat" || line.contains("O_WRONLY") || line.contains("O_RDWR"))
    };
    mine.enumerate().filter(|(_, line)| matters(line)).map(|(number, _)| number + 1).collect()
}

/// A peaceful apply: what is there before and after it.
fn before_and_after() -> [BTreeMap<String, String>; 2] {
    let peaceful = scene_with_files();
    let before = applied(&peaceful);
    assert_eq!(installer(&peaceful, None, APPLY).status.code(), Some(0));
    let after = applied(&peaceful);
    assert_ne!(before, after);
    [before, after]
}

/// How an apply ended.
struct Ended {
    code: i32,
    said: String,
    /// Whether `status` says then that an apply was cut off.
    is_cut_off: bool,
    /// What is there then.
    found: BTreeMap<String, String>,
}

/// An apply on a disk on which one call fails, or all from that one on. Whatever became of it, the store is right, and once somebody has made
/// room the same command goes to its end.
fn on_a_failing_disk(call: &str, fault: &str, after: &BTreeMap<String, String>) -> Ended {
    let scene = scene_with_files();
    let only = format!("trace={call}");
    let ran = installer(&scene, Some(&["-o", "/dev/null", "-e", &only, "-e", fault]), APPLY);
    let what = format!("{fault}: {ran:?}");
    let code = ran.status.code().unwrap_or_else(|| panic!("{what}"));
    let found = applied(&scene);
    let is_cut_off = text(&installer(&scene, None, &["status"]).stdout).contains("cut off");
    // What is in the store is what its name says, however far the copying came.
    let blobs = support::picture(&scene.site.dir().join("store/blobs/sha256"));
    for (path, (_, content)) in blobs {
        assert!(path.ends_with(Digest::of(&content).hex()), "{what}: {}", path.display());
    }
    // Whoever has made room says so, if there was anything to look at.
    let looked = installer(&scene, None, &["acknowledge", "--reason", "made room"]).status.code();
    assert!(matches!(looked, Some(0 | 2)), "{what}: {looked:?}");
    let again = installer(&scene, None, APPLY);
    assert_eq!(again.status.code(), Some(0), "{what}\nand then {again:?}");
    assert_eq!(applied(&scene), *after, "{what}");
    scene.audit();
    Ended { code, said: text(&ran.stderr), is_cut_off, found }
}

#[test]
fn a_disk_that_fails_at_any_call_leaves_the_site_as_it_was_or_as_it_should_be() {
    if real_part("strace").is_none() {
        return;
    }
    let [before, after] = before_and_after();
    let mut seen = BTreeMap::new();
    for (call, error) in DISK_CALLS {
        for when in calls_on_the_disk(&scene_with_files(), call) {
            let fault = format!("inject={call}:error={error}:when={when}");
            let Ended { code, said, is_cut_off, found } = on_a_failing_disk(call, &fault, &after);
            assert!(code == 0 || said.contains("error: "), "{fault}: {said}");
            match code {
                // Nothing was begun, or all of it was taken back.
                6 | 8 if found == before && !is_cut_off => {}
                // It was over already; only signing the log or telling so has failed.
                0 | 8 if found == after && !is_cut_off => {}
                _ => panic!("{fault}: {code}, cut off: {is_cut_off}\n{found:#?}"),
            }
            *seen.entry(format!("{call} {code}")).or_insert(0) += 1;
        }
    }
    eprintln!("{seen:?}");
    assert!(seen.values().sum::<i32>() > 60, "{seen:?}");
}

#[test]
fn a_disk_that_takes_nothing_any_more_from_any_call_on_leaves_nothing_half_done_unsaid() {
    if real_part("strace").is_none() {
        return;
    }
    let [before, after] = before_and_after();
    let mut seen = BTreeMap::new();
    for (call, error) in DISK_CALLS {
        for when in calls_on_the_disk(&scene_with_files(), call) {
            let fault = format!("inject={call}:error={error}:when={when}+");
            let Ended { code, said, is_cut_off, found } = on_a_failing_disk(call, &fault, &after);
            // Where nothing can be written, nothing can be said either.
            assert!(code == 0 || call == "write" || said.contains("error: "), "{fault}: {said}");
            match code {
                6 | 8 if found == before => {}
                0 | 8 if found == after => {}
                // The undo needs the disk too. It is listed, or the next run goes on with it.
                7 => {}
                6 | 8 if is_cut_off => {}
                _ => panic!("{fault}: {code}, cut off: {is_cut_off}\n{found:#?}"),
            }
            *seen.entry(format!("{call} {code}")).or_insert(0) += 1;
        }
    }
    eprintln!("{seen:?}");
    assert!(seen.values().sum::<i32>() > 60, "{seen:?}");
}
