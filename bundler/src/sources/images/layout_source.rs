//! `oci:` and `oci-archive:`: an OCI image layout as a directory or inside a tar file.

use std::io::{self, Read};
use std::path::PathBuf;

use manifests::Digest;
use manifests::companion::{Companion, CompanionKind};
use manifests::oci::{ANNOTATION_REF_NAME, Descriptor, ImageIndex, MANIFEST_BYTES_MAX};
use manifests::text::printable;

use super::super::World;
use super::tar_index::{TarIndex, open_slice};
use super::{ImageContent, ImageError, companions};
use crate::lock::{Origin, Slice};

enum Files {
    Directory,
    Archive(TarIndex),
}

/// A layout.
pub struct LayoutSource<'a> {
    world: &'a World<'a>,
    path: PathBuf,
    name: Option<String>,
    files: Files,
}

impl<'a> LayoutSource<'a> {
    /// A layout as a directory.
    #[must_use]
    pub fn directory(path: PathBuf, name: Option<String>, world: &'a World<'a>) -> Self {
        Self { world, path, name, files: Files::Directory }
    }

    /// A layout in a tar file.
    ///
    /// # Errors
    /// Not readable, or no tar file.
    pub fn archive(path: PathBuf, name: Option<String>, world: &'a World<'a>) -> Result<Self, ImageError> {
        let index = TarIndex::open(&world.path(&path), path.clone());
        let files = Files::Archive(index.map_err(|error| read_or_format(&path, "oci-archive", error))?);
        Ok(Self { world, path, name, files })
    }

    fn kind(&self) -> &'static str {
        match self.files {
            Files::Directory => "OCI layout",
            Files::Archive(_) => "oci-archive",
        }
    }

    /// Where a file of the layout is, and how long it is.
    fn find(&self, name: &str) -> Result<Slice, ImageError> {
        let missing = || ImageError::Format {
            path: self.path.clone(),
            kind: self.kind(),
            reason: format!("it has no {name}"),
        };
        match &self.files {
            Files::Archive(index) => index.find(name).ok_or_else(missing),
            Files::Directory => {
                let file = self.path.join(name);
                match std::fs::metadata(self.world.path(&file)) {
                    Ok(metadata) if metadata.is_file() => Ok(Slice { file, offset: 0, size: metadata.len() }),
                    Err(source) if !self.world.path(&self.path).is_dir() => {
                        Err(ImageError::Read { path: self.path.clone(), source })
                    }
                    _ => Err(missing()),
                }
            }
        }
    }

    fn read(&self, slice: &Slice) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        let read = open_slice(&self.world.path(&slice.file), slice)
            .and_then(|file| file.take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut bytes));
        read.map_err(|source| ImageError::Read { path: slice.file.clone(), source })?;
        Ok(bytes)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Slice, ImageError> {
        let slice = self.find(&format!("blobs/sha256/{}", descriptor.digest.hex()))?;
        if slice.size != descriptor.size {
            let reason = format!("it is {} bytes long, expected {}", slice.size, descriptor.size);
            return Err(ImageError::Blob {
                place: self.path.display().to_string(),
                digest: descriptor.digest,
                reason,
            });
        }
        Ok(slice)
    }
}

impl LayoutSource<'_> {
    fn index(&self) -> Result<ImageIndex, ImageError> {
        let bytes = self.read(&self.find("index.json")?)?;
        serde_json::from_slice(&bytes).map_err(|error| ImageError::Format {
            path: self.path.clone(),
            kind: self.kind(),
            reason: format!("index.json: {error}"),
        })
    }
}

impl ImageContent for LayoutSource<'_> {
    fn root(&mut self) -> Result<Descriptor, ImageError> {
        let index = self.index()?;
        let names = |entry: &Descriptor| entry.annotations.get(ANNOTATION_REF_NAME).cloned();
        let found = index.manifests.iter().filter(|entry| self.name.is_none() || names(entry) == self.name);
        let found: Vec<&Descriptor> = found.collect();
        match found.as_slice() {
            [only] => Ok((*only).clone()),
            _ => Err(ImageError::NoSuchImage {
                path: self.path.clone(),
                wanted: self
                    .name
                    .as_deref()
                    .map_or("without a name (several are there)".to_string(), printable),
                found: index.manifests.iter().filter_map(names).map(|name| printable(&name)).collect(),
            }),
        }
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        let bytes = self.read(&self.blob(descriptor)?)?;
        let found = Digest::of(&bytes);
        if found != descriptor.digest {
            let reason = format!("its content has digest {found}");
            return Err(ImageError::Blob {
                place: self.path.display().to_string(),
                digest: descriptor.digest,
                reason,
            });
        }
        Ok(bytes)
    }

    fn origin(&mut self, descriptor: &Descriptor) -> Result<Origin, ImageError> {
        let slice = self.blob(descriptor)?;
        Ok(match self.files {
            Files::Directory => Origin::File(slice.file),
            Files::Archive(_) => Origin::Slice(slice),
        })
    }

    /// Those that the layout has under cosign's tags, alone or behind a repository's name.
    fn beside(&mut self, of: &Digest) -> Result<Vec<Companion>, ImageError> {
        let index = self.index()?;
        let mut found = Vec::new();
        for kind in CompanionKind::TAGGED {
            let Some(tag) = kind.tag(of) else { continue };
            let named = |entry: &&Descriptor| {
                let name = entry.annotations.get(ANNOTATION_REF_NAME);
                name.is_some_and(|name| *name == tag || name.ends_with(&format!(":{tag}")))
            };
            let entry = index.manifests.iter().find(named);
            found.extend(entry.map(|entry| companions::companion(kind, of, entry)));
        }
        Ok(found)
    }
}

/// A file that is there and is no archive is another mistake than one that is not there.
pub(super) fn read_or_format(path: &std::path::Path, kind: &'static str, error: io::Error) -> ImageError {
    let path = path.to_path_buf();
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::Other => {
            ImageError::Format { path, kind, reason: error.to_string() }
        }
        _ => ImageError::Read { path, source: error },
    }
}
