//! A site on the fastest disk there is, a medium beside it, and a picture of the site to compare with.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use edge::{Exit, Failure};
use installer::admit;
use installer::site::Site;
use installer::site::config::SiteConfig;
use manifests::VerifiedBundle;
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

/// A site that trusts a sample's root, and the path of the bundle that is carried to it.
pub(crate) struct Scene {
    pub(crate) site: Site,
    pub(crate) config: SiteConfig,
    pub(crate) bundle: PathBuf,
    dir: tempfile::TempDir,
}

impl Scene {
    /// A site that has just been initialised with the root of these options.
    pub(crate) fn new(options: &SampleOptions) -> Self {
        let dir = fast_dir();
        let root = sample_root(options);
        let site = Site::at(dir.path().join("site"));
        site.prepare(Path::new("root.json"), &root, manifests::Digest::of(&root.bytes)).unwrap();
        site.keep_root(1, &root).unwrap();
        let bundle = dir.path().join("medium.bundle.tar");
        Self { site, config: SiteConfig::default(), bundle, dir }
    }

    /// A place beside the site for more files.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Carries this archive to the site.
    pub(crate) fn carry(&self, archive: &[u8]) -> File {
        std::fs::write(&self.bundle, archive).unwrap();
        File::options().read(true).write(true).open(&self.bundle).unwrap()
    }

    pub(crate) fn picture(&self) -> Picture {
        picture(self.site.dir())
    }

    /// What `apply` does first: every check, and the content into the store.
    pub(crate) fn admit(&self) -> Result<VerifiedBundle, Failure> {
        admit::admit(&self.site, &self.config, &self.bundle, &mut edge::progress::Silent)
            .map_err(Failure::from)
    }

    /// What `verify` does: every check.
    pub(crate) fn verify(&self) -> Result<VerifiedBundle, Failure> {
        admit::verify(&self.site, &self.config, &self.bundle, &mut edge::progress::Silent)
            .map_err(Failure::from)
    }
}

/// The whole message as a person sees it.
pub(crate) fn message(failure: &Failure) -> String {
    failure.messages().join(": ")
}

/// Whether a failure says that the bundle is to blame.
pub(crate) fn blames_the_bundle(exit: Exit) -> bool {
    matches!(exit, Exit::Refused | Exit::Damaged)
}
