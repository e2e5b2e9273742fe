//! Classic repositories: an `index.yaml`, the archives that it names, and the provenance files beside them.
//!
//! An index is fetched once in a run, however many charts and dependencies are looked for in it. An archive
//! must have the digest that the index states; one that states none is taken at its word, and said.

use std::path::PathBuf;
use std::rc::Rc;

use manifests::bundle::Content;
use manifests::text::printable;
use registry::Url;

use super::super::fetch::{FetchError, Fetcher, Wanted, at_once};
use super::super::logins::Logins;
use super::super::wheels::IndexUrl;
use super::error::ChartError;
use super::index::{INDEX_BYTES_MAX, Index, Lack};
use super::provenance::{PROVENANCE_BYTES_MAX, looks_like_one};
use super::{CHART_BYTES_MAX, Charts};
use crate::spec::ChartSpec;
use manifests::range::Range;

/// An archive in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Located {
    /// As the index spells it.
    pub(super) version: String,
    /// Its address, without a login.
    pub(super) url: Url,
    /// Its digest, if the index states one.
    pub(super) digest: Option<manifests::Digest>,
}

/// The repository of an entry, with its login.
///
/// # Errors
/// No address, or a password file that gives no password for it.
pub(super) fn root(
    spec: &ChartSpec,
    url: &str,
    base: impl Fn(&std::path::Path) -> PathBuf,
) -> Result<IndexUrl, ChartError> {
    let root: IndexUrl = url.parse()?;
    let Some(file) = &spec.password_file else { return Ok(root) };
    let password = super::super::logins::password_file(&base(file), file)?;
    root.with_password(&password).ok_or(ChartError::NoUser)
}

impl Charts<'_> {
    /// What is needed to fetch. A chart is not larger than Helm takes.
    pub(super) fn fetcher<'a>(&'a self, logins: &'a Logins) -> Fetcher<'a> {
        Fetcher { http: self.world.registries, cache: self.world.cache, logins, limit: CHART_BYTES_MAX }
    }

    /// Fetches the indexes that were not fetched yet, several at a time.
    ///
    /// # Errors
    /// The first that cannot be fetched, or is none, with its repository.
    pub(super) fn load(&self, roots: &[IndexUrl], logins: &Logins) -> Result<(), (IndexUrl, ChartError)> {
        let mut wanted: Vec<(&IndexUrl, Url)> = Vec::new();
        for root in roots {
            let url = index_address(root).and_then(|url| self.admit(&url).map(|()| url));
            let url = url.map_err(|error| (root.clone(), error))?;
            let known = self.indexes.borrow().contains_key(&url.to_wire());
            if !known && wanted.iter().all(|(_, other)| *other != url) {
                wanted.push((root, url));
            }
        }
        let fetcher = self.fetcher(logins);
        let came = at_once(&wanted, |(_, url)| fetched(&fetcher, url));
        for ((root, url), index) in wanted.into_iter().zip(came) {
            let index = index.map_err(|error| (root.clone(), error))?;
            self.indexes.borrow_mut().insert(url.to_wire(), Rc::new(index));
        }
        Ok(())
    }

    /// Where a repository says that a chart is.
    ///
    /// # Errors
    /// The repository cannot be asked, or has no such chart.
    pub(super) fn locate(
        &self,
        root: &IndexUrl,
        chart: &str,
        wanted: &Range,
        logins: &Logins,
    ) -> Result<Located, ChartError> {
        self.load(std::slice::from_ref(root), logins).map_err(|(_, error)| error)?;
        let address = index_address(root)?;
        let index = self.indexes.borrow().get(&address.to_wire()).cloned().unwrap_or_default();
        let repository = root.address().to_string();
        let entry = index.choose(chart, wanted).map_err(|lack| match lack {
            Lack::Chart(near) => {
                ChartError::NoSuchChart { repository: repository.clone(), chart: printable(chart), near }
            }
            Lack::Version(near) => ChartError::NoSuchVersion {
                chart: format!("chart {} in {repository}", printable(chart)),
                wanted: wanted.to_string(),
                near,
            },
        })?;
        let odd = |source| ChartError::Index { address: address.to_string(), source };
        let digest = entry.digest().map_err(odd)?;
        let url = root.join(&entry.url).map_err(|source| ChartError::Damaged {
            what: format!("`{}` in {repository}", printable(&entry.url)),
            reason: source.to_string(),
        })?;
        let url = url.without_userinfo();
        if url.to_wire().contains('?') {
            return Err(ChartError::Query { repository: repository.clone(), chart: printable(chart) });
        }
        self.admit(&url)?;
        Ok(Located { version: entry.version.clone(), url, digest })
    }

    /// The archives of several places, in the cache.
    ///
    /// # Errors
    /// One that cannot be fetched, or has another digest than its index states.
    pub(super) fn archives(&self, all: &[Located], logins: &Logins) -> Result<Vec<Content>, ChartError> {
        let wanted = |one: &Located| {
            let name = shown(one);
            one.digest.map(|digest| Wanted { name, url: one.url.clone(), digest, size: None })
        };
        let pinned: Vec<Wanted> = all.iter().filter_map(wanted).collect();
        let fetcher = self.fetcher(logins);
        let mut bar = self.world.shown.begin("fetching charts", 0);
        let mut found = fetcher.all(&pinned, &mut *bar)?.into_iter();
        drop(bar);
        let mut contents = Vec::new();
        for one in all {
            let content = match one.digest {
                Some(_) => found.next(),
                None => {
                    let content = fetcher.unpinned(&shown(one), &one.url)?;
                    let (name, digest) = (shown(one), content.digest);
                    (self.world.note)(&format!(
                        "note: the index states no digest for {name}; it came with {digest}, which is locked"
                    ));
                    Some(content)
                }
            };
            contents.extend(content);
        }
        Ok(contents)
    }

    /// The provenance file beside an archive, if there is one.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub(super) fn provenance_beside(
        &self,
        archive: &Url,
        logins: &Logins,
    ) -> Result<Option<(Url, Vec<u8>)>, ChartError> {
        let url = archive.at_path(&format!("{}.prov", archive.path()));
        // What a query is for is not ours to know: the file is asked for with the same one.
        let url = match archive.to_wire().split_once('?') {
            Some((_, query)) => format!("{}?{query}", url.to_wire()).parse().unwrap_or(url),
            None => url,
        };
        let name = printable(&url.file_name());
        let absent = |why: String| {
            (self.world.note)(&format!("note: there is no provenance file {name}: {why}"));
            Ok(None)
        };
        match self.fetcher(logins).document(&name, &url, PROVENANCE_BYTES_MAX) {
            Ok(bytes) if looks_like_one(&bytes) => Ok(Some((url, bytes))),
            Ok(_) => absent("the server gave something else".to_string()),
            Err(FetchError::Gone { .. }) => Ok(None),
            // Some stores say so of whatever they lack.
            Err(FetchError::Login { .. }) => {
                absent("the server does not let us see whether there is one".to_string())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn admit(&self, url: &Url) -> Result<(), ChartError> {
        if self.world.registries.admits(url) { Ok(()) } else { Err(ChartError::Unencrypted(url.to_string())) }
    }
}

fn shown(one: &Located) -> String {
    printable(&one.url.file_name())
}

fn index_address(root: &IndexUrl) -> Result<Url, ChartError> {
    root.join("index.yaml")
        .map_err(|source| ChartError::Damaged { what: root.to_string(), reason: source.to_string() })
}

fn fetched(fetcher: &Fetcher<'_>, url: &Url) -> Result<Index, ChartError> {
    let bytes = fetcher.document("the index of a chart repository", url, INDEX_BYTES_MAX)?;
    Index::parse(&url.to_string(), &bytes)
        .map_err(|source| ChartError::Index { address: url.to_string(), source })
}
