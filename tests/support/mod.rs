//! A site on the fastest disk there is, a medium beside it, and a picture of the site to compare with.

pub(crate) mod discs;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use e2e::{Ran, World};
use edge::progress::Progress;
use edge::{Exit, Failure};
use installer::admit::{self, AdmitError};
use installer::site::Site;
use installer::site::config::SiteConfig;
use layout::medium::{self, Input};
use manifests::audit::Entry;
use manifests::{Digest, KeyId, VerifiedBundle};
use testkit::sample::{SampleOptions, sample_root};

/// A directory in memory where there is one: these tests make and remove very many small files.
pub(crate) fn fast_dir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Everything below a directory: kind and mode, and content or link.
pub(crate) type Picture = BTreeMap<PathBuf, (u32, Vec<u8>)>;

pub(crate) fn picture(root: &Path) -> Picture {
    let mut found = Picture::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_dir() {
                directories.push(path.clone());
                Vec::new()
            } else if metadata.is_symlink() {
                std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else {
                std::fs::read(&path).unwrap()
            };
            found.insert(path, (metadata.permissions().mode(), content));
        }
    }
    found
}

/// A site that trusts a sample's root, a medium beside it, and what nobody may touch around them.
///
/// Everything lies below one directory: what is written anywhere else than where it belongs, up to a
/// level above where the programs run, is in [`Scene::surroundings`].
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) site: Site,
    pub(crate) config: SiteConfig,
    pub(crate) bundle: PathBuf,
    around: tempfile::TempDir,
}

impl Scene {
    /// A site that has just been initialised with the root of these options.
    pub(crate) fn new(options: &SampleOptions) -> Self {
        let scene = Self::untrusting();
        let root = sample_root(options);
        let signatures = root.signatures.iter().map(|found| (found.claimed, found.bytes.as_slice()));
        scene.bring_root(&root.bytes, signatures);
        scene.trust_init(&root.bytes).ok();
        scene
    }

    /// A place where no site is yet.
    pub(crate) fn untrusting() -> Self {
        let around = fast_dir();
        let world = World::in_directory(tempfile::tempdir_in(around.path()).unwrap());
        // Where `../canary` leads from where the programs run, and from inside the site.
        for canary in [around.path().join("canary"), world.path("canary")] {
            std::fs::create_dir_all(canary.join("directory")).unwrap();
            std::fs::write(canary.join("file"), "untouched\n").unwrap();
            std::fs::set_permissions(canary.join("file"), PermissionsExt::from_mode(0o640)).unwrap();
        }
        std::fs::create_dir(world.path("medium")).unwrap();
        let bundle = world.path("medium/sample.bundle.tar");
        let site = Site::at(world.path("site"));
        Self { world, site, config: SiteConfig::default(), bundle, around }
    }

    /// Lays a root on the paper's way to the site: not on the medium.
    pub(crate) fn bring_root<'a>(&self, bytes: &[u8], signatures: impl Iterator<Item = (KeyId, &'a [u8])>) {
        self.world.write("paper/root.json", bytes);
        for (keyid, raw) in signatures {
            self.world.write(&format!("paper/root.json.sigs/{keyid}.sig"), raw);
        }
    }

    /// Starts the site's trust with the root that was brought, whose fingerprint somebody has typed.
    pub(crate) fn trust_init(&self, root: &[u8]) -> Ran {
        let fingerprint = Digest::of(root).hex();
        self.world.installer(&["trust", "init", "paper/root.json", "--expect-sha256", &fingerprint])
    }

    /// A place beside the site for more files.
    pub(crate) fn dir(&self) -> &Path {
        self.world.dir()
    }

    /// Carries this archive to the site.
    pub(crate) fn carry(&self, archive: &[u8]) -> File {
        std::fs::write(&self.bundle, archive).unwrap();
        File::options().read(true).write(true).open(&self.bundle).unwrap()
    }

    pub(crate) fn picture(&self) -> Picture {
        picture(self.site.dir())
    }

    /// The site without what every command writes about itself.
    pub(crate) fn picture_without_log(&self) -> Picture {
        let mut picture = self.picture();
        self.without_log(&mut picture);
        picture
    }

    /// Everything there is, medium and canaries included, but the audit log with what belongs to it, and the lock.
    pub(crate) fn surroundings(&self) -> Picture {
        let mut picture = picture(self.around.path());
        self.without_log(&mut picture);
        picture
    }

    fn without_log(&self, picture: &mut Picture) {
        // The lock says who holds it, with what command: one that is refused has held it as well.
        let (log, lock) = (self.site.dir().join("audit"), self.site.dir().join("lock"));
        picture.retain(|path, _| !path.starts_with(&log) && *path != lock);
    }

    /// Every entry of the audit log, which must hold together.
    pub(crate) fn audit(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        installer::audit::read(&self.site.audit_path(), &mut |entry| entries.push(entry)).unwrap();
        entries
    }

    /// What `apply` does first: every check, and the content into the store.
    pub(crate) fn admit(&self) -> Result<VerifiedBundle, Failure> {
        admit::admit(&self.site, &self.config, &self.bundle, &mut edge::progress::Silent)
            .map_err(Failure::from)
    }

    /// The same from a medium that is read forward, with somebody who is told how far it is.
    pub(crate) fn admit_while(&self, progress: &mut dyn Progress) -> Result<VerifiedBundle, Failure> {
        let (file, _) = medium::open(&self.bundle).map_err(AdmitError::from)?;
        let (input, gate) = (Input::Forward(Box::new(file)), &|_, _: &_| Ok(()));
        admit::admit_input(&self.site, &self.config, &self.bundle, input, gate, progress)
            .map_err(Failure::from)
    }

    /// What `verify` does: every check.
    pub(crate) fn verify(&self) -> Result<VerifiedBundle, Failure> {
        admit::verify(&self.site, &self.config, &self.bundle, &mut edge::progress::Silent)
            .map_err(Failure::from)
    }
}

/// The funnel: everything that the inventory names is in the store with the bytes that were signed, and
/// nothing else is.
pub(crate) fn holds_exactly(scene: &Scene, bundle: &VerifiedBundle) {
    let mut expected: Vec<String> = bundle.inventory().blobs.iter().map(|blob| blob.digest.hex()).collect();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(scene.site.dir().join("store/blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        assert_eq!(Digest::of(&std::fs::read(&path).unwrap()).hex(), name, "the store holds other bytes");
        found.push(name);
    }
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "the store holds other blobs");
}

/// The whole message as a person sees it.
pub(crate) fn message(failure: &Failure) -> String {
    failure.messages().join(": ")
}

/// Whether a failure says that the bundle is to blame.
pub(crate) fn blames_the_bundle(exit: Exit) -> bool {
    matches!(exit, Exit::Refused | Exit::Damaged)
}
