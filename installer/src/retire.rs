//! What the version that is left had put in place and the next one does not have: the steps that take it away.
//!
//! *Invariant:* a step is made only for what the journals say was put there, what is still as it was put there,
//! and what no other product of the site holds. Everything else is left alone; and said, where it is not so
//! because somebody has changed it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use manifests::inventory::Inventory;

use crate::holdings::Holdings;
use crate::origins::{FileOrigin, Origins, Product};
use crate::plan::{FileTarget, OldDirectory, Step, Unlink, Unwrite};
use crate::site::SiteError;
use crate::site::config::SiteConfig;
use crate::targets::{Context, TargetError, files, python};

/// What is taken away.
#[derive(Debug, Default)]
pub struct Retired {
    /// The steps, in their order.
    pub steps: Vec<Step>,
    /// What was left alone, in words.
    pub notes: Vec<String>,
    /// Places that are not ours any more, whatever is there.
    pub released: Vec<PathBuf>,
}

/// What one product leaves behind when it goes on to a version that holds `wanted`.
#[derive(Debug)]
pub struct Leaving<'a> {
    product: Product,
    config: &'a SiteConfig,
    origins: Origins,
    /// What the version that is left holds, as far as it is known.
    left: Holdings,
    wanted: Holdings,
    others: Holdings,
}

impl<'a> Leaving<'a> {
    /// Finds out what was put where, and by whom else it is held. `left` is what the version that is left has
    /// brought, and `new` what the next one brings; nothing comes next where the product goes.
    ///
    /// # Errors
    /// A journal, or what another product holds, cannot be read.
    pub fn of(
        product: Product,
        left: Option<&Inventory>,
        new: Option<&Inventory>,
        config: &'a SiteConfig,
        context: &Context<'_>,
    ) -> Result<Self, SiteError> {
        let held = |inventory: Option<&Inventory>| {
            inventory.map(|inventory| Holdings::of(inventory, config)).unwrap_or_default()
        };
        Ok(Self {
            left: held(left),
            wanted: held(new),
            others: Holdings::of_others(&product, context.site, config)?,
            origins: Origins::of(context.site)?,
            product,
            config,
        })
    }

    /// Files and the directories that are empty without them, files of mirrors, and links to environments.
    ///
    /// # Errors
    /// A place could not be looked at.
    pub fn retire(&self) -> Result<Retired, TargetError> {
        let mut retired = Retired::default();
        for (link, origin) in &self.origins.links {
            if self.is_left(link, &origin.by, &self.left.links, &self.wanted.links, &self.others.links)
                && self.is_place_of_links(link)
            {
                self.link(link, &mut retired)?;
            }
        }
        let mut unwrites = Vec::new();
        for (path, origin) in &self.origins.files {
            if self.is_left(path, &origin.by, &self.left.files, &self.wanted.files, &self.others.files)
                && let Some(root) = self.root_of(origin.of).filter(|root| path.starts_with(root))
            {
                unwrites.extend(file(root, path, origin, &mut retired)?);
            }
        }
        self.add_directories(&mut unwrites)?;
        retired.steps.extend(unwrites.into_iter().map(Step::Unwrite));
        Ok(retired)
    }

    fn is_left(
        &self,
        place: &Path,
        by: &BTreeSet<Product>,
        left: &BTreeSet<PathBuf>,
        wanted: &BTreeSet<PathBuf>,
        others: &BTreeSet<PathBuf>,
    ) -> bool {
        let was_ours = by.contains(&self.product) || left.contains(place);
        was_ours && !wanted.contains(place) && !others.contains(place)
    }

    /// Only what `site.yaml` names is touched, also by what it named once.
    fn root_of(&self, of: FileTarget) -> Option<&Path> {
        let targets = &self.config.targets;
        match of {
            FileTarget::Files => targets.files.as_ref().map(|files| files.root.as_path()),
            FileTarget::Mirror => {
                let mirror = targets.containerd.as_ref()?.mirror.as_ref()?;
                Some(mirror.directory.as_path())
            }
        }
    }

    fn is_place_of_links(&self, link: &Path) -> bool {
        let python = self.config.targets.python.as_ref();
        python.is_some_and(|python| link.parent() == Some(python.venvs.as_path()))
    }

    fn link(&self, link: &Path, retired: &mut Retired) -> Result<(), TargetError> {
        let Some(origin) = self.origins.links.get(link) else { return Ok(()) };
        match python::points_to(link) {
            Ok(Some((old, venv))) if venv == origin.put => {
                let before = origin.before.clone();
                retired.steps.push(Step::Unlink(Unlink { link: link.to_path_buf(), old, before }));
                return Ok(());
            }
            Ok(Some(_)) | Err(TargetError::InTheWay { .. }) => retired.notes.push(left_alone(link)),
            Ok(None) => {}
            Err(error) => return Err(error),
        }
        retired.released.push(link.to_path_buf());
        Ok(())
    }

    /// Gives to the last step in each directory that was made for such files, and that will be empty then, the
    /// directory as well.
    fn add_directories(&self, unwrites: &mut [Unwrite]) -> Result<(), TargetError> {
        let mut going: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for (number, unwrite) in unwrites.iter().enumerate() {
            if unwrite.before.is_none() {
                going.insert(unwrite.path.clone(), number);
            }
        }
        // The innermost first: an outer one may be empty only without it.
        let mut directories: Vec<&PathBuf> = self.origins.directories.iter().collect();
        directories.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
        for directory in directories {
            let Some(last) = last_to_go(directory, &going)? else { continue };
            let metadata = std::fs::symlink_metadata(directory).map_err(failed(directory))?;
            let old = OldDirectory {
                path: directory.clone(),
                mode: metadata.mode() & 0o7777,
                uid: metadata.uid(),
                gid: metadata.gid(),
            };
            if let Some(unwrite) = unwrites.get_mut(last) {
                unwrite.directories.push(old);
                going.insert(directory.clone(), last);
            }
        }
        Ok(())
    }
}

/// The step for one file, if it is still what was put there and what was before it is still kept.
fn file(
    root: &Path,
    path: &Path,
    origin: &FileOrigin,
    retired: &mut Retired,
) -> Result<Option<Unwrite>, TargetError> {
    let now = match files::state_below(root, path) {
        Err(TargetError::InTheWay { .. }) => {
            retired.notes.push(left_alone(path));
            retired.released.push(path.to_path_buf());
            return Ok(None);
        }
        now => now?,
    };
    let Some(old) = now.filter(|now| now.is(origin.put)) else {
        retired.notes.extend(now.map(|_| left_alone(path)));
        retired.released.push(path.to_path_buf());
        return Ok(None);
    };
    let before = origin.before.clone();
    let lost = before.as_ref().is_some_and(|before| {
        !files::state(&before.kept)
            .is_ok_and(|kept| kept.is_some_and(|kept| kept.digest == before.file.digest))
    });
    if lost {
        retired
            .notes
            .push(format!("{} is left alone: what was there before is not kept any more", path.display()));
        return Ok(None);
    }
    Ok(Some(Unwrite { path: path.to_path_buf(), of: origin.of, old, before, directories: Vec::new() }))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> TargetError {
    let path = path.to_path_buf();
    move |source| TargetError::Io { doing: "cannot look at", path, source }
}

/// The last of the steps that take away what is in a directory, if they take away everything.
fn last_to_go(directory: &Path, going: &BTreeMap<PathBuf, usize>) -> Result<Option<usize>, TargetError> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        entries => entries.map_err(failed(directory))?,
    };
    let mut last = None;
    for entry in entries {
        let path = entry.map_err(failed(directory))?.path();
        match going.get(&path) {
            Some(number) => last = last.max(Some(*number)),
            None => return Ok(None),
        }
    }
    Ok(last)
}

fn left_alone(path: &Path) -> String {
    format!("{} is left alone: somebody has changed it since it was put there", path.display())
}
