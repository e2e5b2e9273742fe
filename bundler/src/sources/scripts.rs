//! Scripts, each with the one that takes it back. They are looked at as far as a site has to be told
//! beforehand what runs them, and never run here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use edge::{Classified, Exit};
use manifests::Digest;
use manifests::canonical::CanonicalError;
use manifests::inventory::Component;
use manifests::oci::{ANNOTATION_TITLE, Descriptor, MEDIA_FILE};
use manifests::script::{ARTIFACT_SCRIPT, Script, ScriptFile, Undo};
use manifests::text::{Marking, TextError};

use super::files::{self, FilesError};
use super::{Resolved, World, author_artifact};
use crate::lock::{LockedBlob, Origin};
use crate::spec::{ScriptSpec, UndoSpec};

/// Linux looks at no more of a first line.
const FIRST_LINE_BYTES_MAX: u64 = 256;

/// Why a script cannot be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// A file that cannot be taken.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Nothing that a system would run.
    #[error("{} cannot be run: {reason}", path.display())]
    NotAScript {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// A script and its undo that lie in two directories under one name.
    #[error("{} and {} have the same file name", path.display(), undo.display())]
    SameName {
        /// The script.
        path: PathBuf,
        /// Its undo.
        undo: PathBuf,
    },
    /// A name or a first line that cannot travel.
    #[error("{}", path.display())]
    Name {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: TextError,
    },
    /// A document of ours that is not one.
    #[error(transparent)]
    Document(#[from] CanonicalError),
}

impl Classified for ScriptError {
    fn exit(&self) -> Exit {
        match self {
            Self::Files(error) => error.exit(),
            Self::Document(_) => Exit::Unexpected,
            _ => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Files(error) => error.hint(),
            Self::NotAScript { .. } => Some("let it start with a line such as #!/bin/sh".to_string()),
            Self::SameName { .. } => Some("rename one of the two".to_string()),
            _ => None,
        }
    }
}

/// Resolves a script to digests. `position` is its place among the scripts of the spec, from 0.
///
/// # Errors
/// See [`ScriptError`].
pub fn resolve(spec: &ScriptSpec, position: u64, world: &World<'_>) -> Result<Resolved, ScriptError> {
    let shown = &spec.source;
    let mut blobs = BTreeMap::new();
    let file = take(shown, world, &mut blobs)?;
    let undo = match &spec.undo {
        UndoSpec::Script(path) => {
            let undo = take(path, world, &mut blobs)?;
            if undo.filename == file.filename && undo.digest != file.digest {
                return Err(ScriptError::SameName { path: shown.clone(), undo: path.clone() });
            }
            Undo::Script(undo)
        }
        UndoSpec::Irreversible(reason) => Undo::Irreversible(reason.clone()),
    };
    let text = |source| ScriptError::Name { path: shown.clone(), source };
    let stem = shown.file_stem().unwrap_or_default().to_string_lossy();
    let name = spec.name.clone().map_or_else(|| files::set_name(&stem, &[]), Ok).map_err(text)?;
    let layer = |file: &ScriptFile| {
        Descriptor::new(MEDIA_FILE, file.digest, file.size)
            .annotated(ANNOTATION_TITLE, file.filename.as_str())
    };
    let layers = std::iter::once(&file).chain(undo.file().filter(|undo| **undo != file)).map(layer).collect();
    let manifest = author_artifact(ARTIFACT_SCRIPT, layers, &mut blobs)?;
    let source = shown.display().to_string().parse().map_err(text)?;
    let component = Component::Script(Script {
        name,
        source,
        position,
        when: spec.when,
        within: spec.within,
        file,
        undo,
        manifest,
    });
    Ok(Resolved { component, blobs })
}

fn take(
    shown: &Path,
    world: &World<'_>,
    blobs: &mut BTreeMap<Digest, LockedBlob>,
) -> Result<ScriptFile, ScriptError> {
    files::regular(world, shown)?;
    let interpreter = interpreter(shown, world)?;
    let content = files::hash(world, shown)?;
    let name = shown.file_name().unwrap_or_default().to_string_lossy();
    let filename = name.parse().map_err(|source| ScriptError::Name { path: shown.to_path_buf(), source })?;
    let from = Origin::File(shown.to_path_buf());
    blobs.insert(content.digest, LockedBlob { size: content.size, from });
    Ok(ScriptFile { filename, digest: content.digest, size: content.size, interpreter })
}

/// What runs the file: the rest of a first line `#!…`, or nothing for machine code.
fn interpreter(shown: &Path, world: &World<'_>) -> Result<Option<Marking>, ScriptError> {
    let read = |source| FilesError::Read { path: shown.to_path_buf(), source };
    let mut head = Vec::new();
    let file = File::open(world.path(shown)).map_err(read)?;
    file.take(FIRST_LINE_BYTES_MAX).read_to_end(&mut head).map_err(read)?;
    let broken = |reason| ScriptError::NotAScript { path: shown.to_path_buf(), reason };
    if head.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    let line = head.strip_prefix(b"#!").ok_or_else(|| {
        broken("it starts neither with `#!` and the program that runs it, nor as a program for Linux")
    })?;
    let end = line.iter().position(|byte| *byte == b'\n');
    let line = end.and_then(|end| line.get(..end)).ok_or_else(|| broken("its first line is too long"))?;
    if line.ends_with(b"\r") {
        return Err(broken("its first line ends with a carriage return"));
    }
    let line = String::from_utf8_lossy(line).trim().to_string();
    if !line.starts_with('/') {
        return Err(broken("its first line names no absolute path"));
    }
    let parsed = line.parse().map_err(|source| ScriptError::Name { path: shown.to_path_buf(), source })?;
    Ok(Some(parsed))
}
