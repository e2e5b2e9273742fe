//! Referrers: the manifests whose `subject` is a given one, by the distribution spec 1.1.
//!
//! A registry lists them under `/referrers/<digest>`; where it does not have that API, whoever pushes a referrer
//! keeps the list as an index under the tag `sha256-<hex>`.
//!
//! What this module may never do: write that list where the registry has the API, or leave entries of others
//! out of it.

use manifests::oci::{ImageIndex, ImageManifest, MEDIA_INDEX, ManifestDocument};
use manifests::{Descriptor, Digest, canonical};

use crate::error::RegistryError;
use crate::http::{Method, Request};
use crate::repository::{Deleted, Repository, TagOrDigest, next_page, too_large};

/// A page of the list.
const PAGE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// An endless list ends here.
const PAGES_MAX: usize = 100;
/// More than anybody attaches to one image.
const REFERRERS_MAX: usize = 10_000;

/// What speaks about a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrers {
    /// Their descriptors.
    pub manifests: Vec<Descriptor>,
    /// Whether the registry has the API; if not, they were found under the fallback tag.
    pub api: bool,
}

/// The tag under which the list is kept where there is no API.
#[must_use]
pub fn fallback_tag(of: &Digest) -> String {
    format!("sha256-{}", of.hex())
}

/// The entry of a referrer in the list of its subject.
///
/// # Errors
/// The bytes are no manifest.
pub fn entry(descriptor: &Descriptor, bytes: &[u8]) -> Result<Descriptor, RegistryError> {
    let wrong =
        |problem: String| RegistryError::Answer { what: format!("manifest {}", descriptor.digest), problem };
    let ManifestDocument::Image(ImageManifest { artifact_type, config, annotations, .. }) =
        ManifestDocument::parse(bytes, &descriptor.media_type).map_err(|error| wrong(error.to_string()))?
    else {
        return Err(wrong("is an index".to_string()));
    };
    let mut entry = Descriptor::new(&descriptor.media_type, descriptor.digest, descriptor.size);
    entry.artifact_type = Some(artifact_type.unwrap_or(config.media_type));
    entry.annotations = annotations;
    Ok(entry)
}

impl Repository {
    /// Every manifest that speaks about this one.
    ///
    /// # Errors
    /// An answer that is no list, or a list without end.
    pub fn referrers(&self, of: &Digest) -> Result<Referrers, RegistryError> {
        match self.listed_referrers(of)? {
            Some(manifests) => Ok(Referrers { manifests, api: true }),
            None => {
                let index = self.fallback_index(of)?;
                Ok(Referrers {
                    manifests: index.map(|index| index.manifests).unwrap_or_default(),
                    api: false,
                })
            }
        }
    }

    /// Adds a referrer to the list under the fallback tag. Nothing is done where the registry has the API.
    ///
    /// # Errors
    /// As [`Self::referrers`] and [`Self::put_manifest`].
    pub fn add_referrer(&self, of: &Digest, entry: Descriptor) -> Result<(), RegistryError> {
        if self.listed_referrers(of)?.is_some() {
            return Ok(());
        }
        let mut index = self.fallback_index(of)?.unwrap_or_else(empty);
        if !index.manifests.iter().any(|found| found.digest == entry.digest) {
            index.manifests.push(entry);
            self.put_fallback(of, &index)?;
        }
        Ok(())
    }

    /// Takes a referrer out of the list under the fallback tag; the last one takes the tag along, where the
    /// registry deletes.
    ///
    /// # Errors
    /// As [`Self::add_referrer`].
    pub fn remove_referrer(&self, of: &Digest, referrer: &Digest) -> Result<(), RegistryError> {
        if self.listed_referrers(of)?.is_some() {
            return Ok(());
        }
        let Some(mut index) = self.fallback_index(of)? else { return Ok(()) };
        let before = index.manifests.len();
        index.manifests.retain(|found| found.digest != *referrer);
        if index.manifests.len() == before {
            return Ok(());
        }
        if index.manifests.is_empty() && self.delete_manifest(&fallback(of)?)? != Deleted::Unsupported {
            return Ok(());
        }
        self.put_fallback(of, &index)
    }

    /// What the API lists; nothing where there is none.
    fn listed_referrers(&self, of: &Digest) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let what = format!("list of referrers of {of}");
        let mut url = self.url(&format!("referrers/{of}"));
        let mut found = Vec::new();
        for _ in 0..PAGES_MAX {
            let response = self.send(Request::new(Method::Get, url).header("accept", MEDIA_INDEX))?;
            let index = response.headers.media_type().is_some_and(|media_type| media_type == MEDIA_INDEX);
            match response.status {
                200 if index => {}
                // Older registries say that there is no such page, each in its own way.
                200 | 400 | 404 | 405 | 406 | 501 if found.is_empty() => return Ok(None),
                _ => return Err(RegistryError::of(what, response)),
            }
            let next = next_page(&what, &response)?;
            let bytes = response.bytes(PAGE_BYTES_MAX).map_err(|error| too_large(&what, error))?;
            let page: ImageIndex = serde_json::from_slice(&bytes).map_err(|error| RegistryError::Answer {
                what: what.clone(),
                problem: format!("is not the spec's: {error}"),
            })?;
            found.extend(page.manifests);
            match next {
                Some(next) if found.len() <= REFERRERS_MAX => url = next,
                None if found.len() <= REFERRERS_MAX => return Ok(Some(found)),
                _ => break,
            }
        }
        Err(RegistryError::Answer { what, problem: format!("has over {REFERRERS_MAX} entries, or no end") })
    }

    fn fallback_index(&self, of: &Digest) -> Result<Option<ImageIndex>, RegistryError> {
        let raw = match self.get_manifest(&fallback(of)?) {
            Ok(raw) => raw,
            Err(RegistryError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        match raw.document() {
            Ok(ManifestDocument::Index(index)) => Ok(Some(index)),
            _ => Err(RegistryError::Answer {
                what: format!("manifest {}", fallback_tag(of)),
                problem: "is no list of referrers".to_string(),
            }),
        }
    }

    fn put_fallback(&self, of: &Digest, index: &ImageIndex) -> Result<(), RegistryError> {
        let bytes = canonical::to_canonical(index).map_err(|error| RegistryError::Answer {
            what: format!("manifest {}", fallback_tag(of)),
            problem: error.to_string(),
        })?;
        self.put_manifest(&fallback(of)?, MEDIA_INDEX, &bytes).map(|_| ())
    }
}

fn fallback(of: &Digest) -> Result<TagOrDigest, RegistryError> {
    fallback_tag(of).parse()
}

fn empty() -> ImageIndex {
    ImageIndex::of(Vec::new())
}
