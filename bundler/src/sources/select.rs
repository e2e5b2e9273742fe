//! Which files a `source` of `bundle.yaml` means: one file, all files below a directory, or those that a
//! glob matches; less what `exclude` matches.
//!
//! The rules are a shell's: `*` and `?` stay within one name, `**` stands for any number of directories,
//! `[a-z]` and `{a,b}` choose, and a name that starts with a dot has to be asked for with a dot. A part of
//! the path that is there as it is written is taken as it is written, whatever characters are in it.
//!
//! *Invariant:* what matches nothing is an error, and a link is never followed: whoever asked for a file
//! gets it or is told.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use edge::{Classified, Exit};
use globset::{GlobBuilder, GlobMatcher};
use manifests::text::printable;

/// Why there is nothing to take.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// Not there, or not readable.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A directory with nothing in it, or everything in it was excluded.
    #[error("{} holds no files", path.display())]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// A glob that nothing fits.
    #[error("{} matches no files", path.display())]
    NoMatch {
        /// The glob.
        path: PathBuf,
    },
    /// An exception that is none.
    #[error("`exclude: {exclude}` matches nothing of {}", path.display())]
    IdleExclude {
        /// The source.
        path: PathBuf,
        /// The glob.
        exclude: String,
    },
    /// Not a glob.
    #[error("`{glob}` cannot be understood: {reason}")]
    Glob {
        /// What was written.
        glob: String,
        /// What is wrong.
        reason: String,
    },
}

impl Classified for SelectError {
    fn exit(&self) -> Exit {
        match self {
            Self::Glob { .. } => Exit::Usage,
            _ => Exit::Unreachable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoMatch { .. } => Some(
                "`*` takes no name that starts with a dot and no directory; `**` goes into directories"
                    .to_string(),
            ),
            Self::IdleExclude { .. } => Some(
                "globs in `exclude` are matched with the path below the source: **/*.bak at any depth"
                    .to_string(),
            ),
            _ => None,
        }
    }
}

/// What a source means.
#[derive(Debug)]
pub struct Selection {
    /// The files, and links and devices in their places, by their path below the source.
    pub found: BTreeMap<PathBuf, PathBuf>,
    /// Whether the source is one file, asked for by its name.
    pub is_one_file: bool,
}

/// The files that a source means. `base` is what relative paths start from.
///
/// # Errors
/// See [`SelectError`].
pub fn select(source: &Path, exclude: &[String], base: &Path) -> Result<Selection, SelectError> {
    let (directory, parts) = split(source, base)?;
    let mut found = BTreeMap::new();
    let mut is_one_file = false;
    let walk = Walk { base, directory: &directory };
    if !parts.is_empty() {
        walk.matching(Path::new(""), &parts, &mut found)?;
        if found.is_empty() {
            return Err(SelectError::NoMatch { path: source.to_path_buf() });
        }
    } else if metadata(base, source)?.is_dir() {
        walk.below(Path::new(""), &mut found)?;
    } else {
        let name = source.file_name().map(PathBuf::from).unwrap_or_default();
        found.insert(name, source.to_path_buf());
        is_one_file = true;
    }
    leave_out(source, exclude, &mut found)?;
    if found.is_empty() {
        return Err(SelectError::Empty { path: source.to_path_buf() });
    }
    Ok(Selection { found, is_one_file })
}

fn metadata(base: &Path, shown: &Path) -> Result<std::fs::Metadata, SelectError> {
    std::fs::symlink_metadata(base.join(shown))
        .map_err(|source| SelectError::Read { path: shown.to_path_buf(), source })
}

/// One name of a path below the directory where a glob begins.
enum Part {
    /// `**`
    AnyDirectories,
    /// A name.
    Name { glob: Box<GlobMatcher>, takes_dots: bool },
}

impl Part {
    fn parse(text: &str, whole: &Path) -> Result<Self, SelectError> {
        if text == "**" {
            return Ok(Self::AnyDirectories);
        }
        let glob = compile(text, &whole.display().to_string())?;
        Ok(Self::Name { glob: Box::new(glob), takes_dots: text.starts_with('.') })
    }

    /// Whether it stands for a directory of this name on the way to others.
    fn fits(&self, name: &str) -> bool {
        match self {
            Self::AnyDirectories => !name.starts_with('.'),
            Self::Name { glob, takes_dots } => (*takes_dots || !name.starts_with('.')) && glob.is_match(name),
        }
    }
}

fn compile(glob: &str, whole: &str) -> Result<GlobMatcher, SelectError> {
    let built = GlobBuilder::new(glob).literal_separator(true).backslash_escape(false).build();
    built.map(|glob| glob.compile_matcher()).map_err(|error| SelectError::Glob {
        glob: printable(whole),
        reason: printable(&error.kind().to_string()),
    })
}

/// The directory where a glob begins, and the glob's names below it; none for a source that is there as it
/// is written, or that has nothing of a glob.
fn split(source: &Path, base: &Path) -> Result<(PathBuf, Vec<Part>), SelectError> {
    let mut directory = PathBuf::new();
    let mut parts = Vec::new();
    for component in source.components() {
        let text = component.as_os_str().to_string_lossy();
        let is_plain = !matches!(component, Component::Normal(_)) || !text.contains(['*', '?', '[', '{']);
        let next = directory.join(component);
        let as_written = parts.is_empty() && (is_plain || metadata(base, &next).is_ok());
        if as_written {
            directory = next;
        } else {
            parts.push(Part::parse(&text, source)?);
        }
    }
    // What `**` ends with is everything below.
    if matches!(parts.last(), Some(Part::AnyDirectories)) {
        parts.push(Part::parse("*", source)?);
    }
    parts.dedup_by(|next, before| matches!((next, before), (Part::AnyDirectories, Part::AnyDirectories)));
    Ok((directory, parts))
}

/// Looks at the directories below one.
struct Walk<'a> {
    base: &'a Path,
    directory: &'a Path,
}

/// A file or a directory that a walk has come to.
struct Met {
    name: PathBuf,
    is_directory: bool,
    is_link: bool,
}

impl Walk<'_> {
    fn list(&self, below: &Path) -> Result<Vec<Met>, SelectError> {
        let directory = self.directory.join(below);
        let failed = |source| SelectError::Read { path: directory.clone(), source };
        let mut met = Vec::new();
        for entry in std::fs::read_dir(self.base.join(&directory)).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            met.push(Met {
                name: below.join(entry.file_name()),
                is_directory: kind.is_dir(),
                is_link: kind.is_symlink(),
            });
        }
        Ok(met)
    }

    /// Everything below a directory.
    fn below(&self, below: &Path, found: &mut BTreeMap<PathBuf, PathBuf>) -> Result<(), SelectError> {
        for met in self.list(below)? {
            if met.is_directory {
                self.below(&met.name, found)?;
            } else {
                found.insert(met.name.clone(), self.directory.join(&met.name));
            }
        }
        Ok(())
    }

    /// What a glob matches below a directory.
    fn matching(
        &self,
        below: &Path,
        parts: &[Part],
        found: &mut BTreeMap<PathBuf, PathBuf>,
    ) -> Result<(), SelectError> {
        let Some((part, rest)) = parts.split_first() else { return Ok(()) };
        let goes_deeper = matches!(part, Part::AnyDirectories);
        if goes_deeper {
            self.matching(below, rest, found)?;
        }
        for met in self.list(below)? {
            let name = met.name.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !part.fits(&name) {
                continue;
            }
            let is_last = rest.is_empty();
            // A link in the place of a directory is found, and refused with the other links, so that
            // nobody misses what is behind it.
            let stands_for_one =
                met.is_link && !is_last && self.base.join(self.directory).join(&met.name).is_dir();
            if met.is_directory && goes_deeper {
                self.matching(&met.name, parts, found)?;
            } else if met.is_directory && !is_last {
                self.matching(&met.name, rest, found)?;
            } else if (is_last && !met.is_directory) || stands_for_one {
                found.insert(met.name.clone(), self.directory.join(&met.name));
            }
        }
        Ok(())
    }
}

/// Takes out what is excluded: by itself, or with the directory that it is in.
fn leave_out(
    source: &Path,
    exclude: &[String],
    found: &mut BTreeMap<PathBuf, PathBuf>,
) -> Result<(), SelectError> {
    let mut globs = Vec::new();
    for text in exclude {
        globs.push((compile(text.trim_end_matches('/'), text)?, text, false));
    }
    found.retain(|name, _| {
        let mut stays = true;
        for (glob, _, was_needed) in &mut globs {
            let ancestors = name.ancestors().filter(|part| !part.as_os_str().is_empty());
            if ancestors.into_iter().any(|part| glob.is_match(part)) {
                (stays, *was_needed) = (false, true);
            }
        }
        stays
    });
    match globs.iter().find(|(_, _, was_needed)| !was_needed) {
        Some((_, idle, _)) => {
            Err(SelectError::IdleExclude { path: source.to_path_buf(), exclude: printable(idle) })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        dir
    }

    fn taken(dir: &tempfile::TempDir, source: &str, exclude: &[&str]) -> Result<Vec<String>, String> {
        let exclude: Vec<String> = exclude.iter().map(ToString::to_string).collect();
        let selection = select(Path::new(source), &exclude, dir.path()).map_err(|error| error.to_string())?;
        for (below, path) in &selection.found {
            assert!(path.ends_with(below), "{path:?} {below:?}");
        }
        Ok(selection.found.keys().map(|path| path.display().to_string()).collect())
    }

    fn sample() -> tempfile::TempDir {
        tree(&[
            "c/a.yaml",
            "c/b.conf",
            "c/.h.yaml",
            "c/d/e.yaml",
            "c/d/f/g.conf",
            "c/.git/x.yaml",
            "top.yaml",
        ])
    }

    #[test]
    fn a_file_and_a_directory_are_what_they_are() {
        let dir = sample();
        assert_eq!(taken(&dir, "c/a.yaml", &[]).unwrap(), ["a.yaml"]);
        let all = [".git/x.yaml", ".h.yaml", "a.yaml", "b.conf", "d/e.yaml", "d/f/g.conf"];
        assert_eq!(taken(&dir, "c/", &[]).unwrap(), all);
    }

    #[test]
    fn a_star_stays_within_a_name_and_two_go_into_directories() {
        let dir = sample();
        for (glob, expected) in [
            ("c/*.yaml", &["a.yaml"][..]),
            ("c/*", &["a.yaml", "b.conf"]),
            ("c/*/*", &["d/e.yaml"]),
            ("c/**/*.conf", &["b.conf", "d/f/g.conf"]),
            ("c/**/**/*.conf", &["b.conf", "d/f/g.conf"]),
            ("c/**", &["a.yaml", "b.conf", "d/e.yaml", "d/f/g.conf"]),
            ("c/**/f/*", &["d/f/g.conf"]),
            ("*/a.yaml", &["c/a.yaml"]),
            ("*.yaml", &["top.yaml"]),
            ("c/?.yaml", &["a.yaml"]),
            ("c/[ab].*", &["a.yaml", "b.conf"]),
            ("c/[!a].*", &["b.conf"]),
            ("c/{a.yaml,b.*}", &["a.yaml", "b.conf"]),
            ("./c/*.conf", &["b.conf"]),
        ] {
            assert_eq!(taken(&dir, glob, &[]).unwrap(), expected, "{glob}");
        }
    }

    #[test]
    fn a_name_that_starts_with_a_dot_is_asked_for_with_a_dot() {
        let dir = sample();
        assert_eq!(taken(&dir, "c/.*.yaml", &[]).unwrap(), [".h.yaml"]);
        assert_eq!(taken(&dir, "c/.*/*.yaml", &[]).unwrap(), [".git/x.yaml"]);
        assert_eq!(taken(&dir, "c/.git/*", &[]).unwrap(), ["x.yaml"]);
        assert_eq!(taken(&dir, "c/**/x.yaml", &[]).unwrap_err(), "c/**/x.yaml matches no files");
    }

    #[test]
    fn a_part_that_is_there_as_it_is_written_is_taken_as_it_is_written() {
        let dir = tree(&["[a]/x*.yaml", "[a]/xy.yaml", "a/z.yaml", "{x}"]);
        assert_eq!(taken(&dir, "[a]/x*.yaml", &[]).unwrap(), ["x*.yaml"]);
        assert_eq!(taken(&dir, "[a]/*.yaml", &[]).unwrap(), ["x*.yaml", "xy.yaml"]);
        assert_eq!(taken(&dir, "[a]", &[]).unwrap(), ["x*.yaml", "xy.yaml"]);
        assert_eq!(taken(&dir, "{x}", &[]).unwrap(), ["{x}"]);
    }

    #[test]
    fn what_is_excluded_goes_with_everything_in_it() {
        let dir = sample();
        let kept = ["a.yaml", "b.conf", "d/e.yaml", "d/f/g.conf"];
        assert_eq!(taken(&dir, "c", &[".git", "**/.h.*"]).unwrap(), kept);
        assert_eq!(taken(&dir, "c", &[".*", "d/"]).unwrap(), ["a.yaml", "b.conf"]);
        assert_eq!(taken(&dir, "c/**", &["**/*.yaml"]).unwrap(), ["b.conf", "d/f/g.conf"]);
        assert_eq!(taken(&dir, "c", &["*.bak"]).unwrap_err(), "`exclude: *.bak` matches nothing of c");
        // At the top only: deeper it has to say so.
        assert_eq!(taken(&dir, "c/**", &["*.yaml"]).unwrap(), ["b.conf", "d/e.yaml", "d/f/g.conf"]);
        assert_eq!(taken(&dir, "c/*.yaml", &["a*"]).unwrap_err(), "c/*.yaml holds no files");
    }

    #[test]
    fn what_matches_nothing_or_is_no_glob_is_an_error() {
        let dir = sample();
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        assert_eq!(taken(&dir, "empty", &[]).unwrap_err(), "empty holds no files");
        assert_eq!(taken(&dir, "c/*.json", &[]).unwrap_err(), "c/*.json matches no files");
        assert!(taken(&dir, "c/[", &[]).unwrap_err().contains("`c/[` cannot be understood"));
        assert!(taken(&dir, "c/{a/b,c}", &[]).unwrap_err().contains("cannot be understood"));
        let error = select(Path::new("c/["), &[], dir.path()).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        let error = select(Path::new("c/*.json"), &[], dir.path()).unwrap_err();
        assert_eq!(error.exit(), Exit::Unreachable);
    }

    #[test]
    fn a_link_where_a_directory_is_looked_for_is_found_and_never_followed() {
        let dir = sample();
        std::os::unix::fs::symlink("d", dir.path().join("c/link")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("c/broken")).unwrap();
        assert_eq!(taken(&dir, "c/*/*.yaml", &[]).unwrap(), ["d/e.yaml", "link"]);
        assert_eq!(taken(&dir, "c/**/*.conf", &[]).unwrap(), ["b.conf", "d/f/g.conf", "link"]);
        assert_eq!(taken(&dir, "c/*.yaml", &[]).unwrap(), ["a.yaml"]);
        assert_eq!(taken(&dir, "c/**/*.conf", &["link"]).unwrap(), ["b.conf", "d/f/g.conf"]);
    }
}
