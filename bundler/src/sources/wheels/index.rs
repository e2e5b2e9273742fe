//! A project's page on a package index: PEP 691 (JSON), or PEP 503 (HTML) from an index that has no
//! JSON. What a page says is a claim: only the pinned digests decide what is taken.
//!
//! Nothing here opens a connection; the [`IndexTransport`] does.

use std::error::Error;

use manifests::text::printable;
use manifests::{Digest, Name};
use registry::Url;
use serde::Deserialize;

use super::index_url::IndexUrl;
use super::{Class, html};

/// Bounds one page. The largest projects' pages have about 40 MiB of JSON.
pub const PAGE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What is asked for, the best first.
pub const ACCEPT: &str =
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01";

const JSON: &str = "application/vnd.pypi.simple.v1+json";
const HTML: [&str; 2] = ["application/vnd.pypi.simple.v1+html", "text/html"];

/// The way to a package index. The addresses it is given hold no login; it is made with the one that the
/// index needs, and sends it to the index's own origin only.
pub trait IndexTransport: Sync {
    /// A small document, after redirects. Reads no more than [`PAGE_BYTES_MAX`].
    ///
    /// # Errors
    /// [`TransportError::NotFound`] if the server says that there is no such page.
    fn page(&self, url: &Url, accept: &str) -> Result<Page, TransportError>;

    /// How long a file is, from the head of an answer; `None` if the server does not say or does not
    /// answer such a question.
    ///
    /// # Errors
    /// The server could not be reached.
    fn size(&self, url: &Url) -> Result<Option<u64>, TransportError>;
}

/// A document as a server gave it.
#[derive(Debug, Clone)]
pub struct Page {
    /// `Content-Type`, with its parameters; empty if there was none.
    pub content_type: String,
    /// Where the document was in the end: its links are relative to this.
    pub final_url: Url,
    /// Not more than [`PAGE_BYTES_MAX`].
    pub bytes: Vec<u8>,
}

/// Why a server gave no document.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// 404 or 410.
    #[error("there is no such page")]
    NotFound,
    /// More than [`PAGE_BYTES_MAX`].
    #[error("the answer is longer than {PAGE_BYTES_MAX} bytes")]
    TooLarge,
    /// Everything else.
    #[error("the server could not be asked")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

/// Why an index tells nothing about a project.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The index knows no such project.
    #[error("the index has no project {project}: {url} is not there")]
    ProjectNotFound {
        /// The project.
        project: Name,
        /// Its page.
        url: String,
    },
    /// The index did not answer.
    #[error("cannot read {url}")]
    Transport {
        /// The page or the file.
        url: String,
        /// Why.
        #[source]
        source: TransportError,
    },
    /// Neither JSON nor HTML of an index: often the log-in page of a proxy.
    #[error("{url} is not a page of a package index: its content type is `{content_type}`")]
    ContentType {
        /// The page.
        url: String,
        /// Made printable.
        content_type: String,
    },
    /// JSON that does not say what PEP 691 says.
    #[error("{url} is not a page of a package index")]
    Json {
        /// The page.
        url: String,
        /// Where it differs.
        #[source]
        source: serde_json::Error,
    },
    /// A later version of the protocol (PEP 629).
    #[error("{url} has version {version} of the index protocol, expected 1")]
    ProtocolVersion {
        /// The page.
        url: String,
        /// Made printable.
        version: String,
    },
}

impl IndexError {
    /// Which kind of failure it is.
    #[must_use]
    pub fn class(&self) -> Class {
        Class::Unreachable
    }
}

/// What an index says of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProjectPage {
    /// Wheels and others, in the order of the page.
    pub files: Vec<IndexFile>,
}

/// One file on a project's page. All of it is the index's claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFile {
    /// As the index spells it; not yet known to be a file name.
    pub filename: String,
    /// Where it is; without user information, whatever the page says.
    pub url: Url,
    /// Its digest, if the index states it.
    pub sha256: Option<Digest>,
    /// `Requires-Python` of its metadata.
    pub requires_python: Option<String>,
    /// Why it was withdrawn (PEP 592), possibly empty; `None` if it was not.
    pub yanked: Option<String>,
    /// Bytes, if the index states them (PEP 700).
    pub size: Option<u64>,
}

/// Asks an index for a project's page.
///
/// # Errors
/// No such project, no answer, or an answer that is not a project's page.
pub fn project_page(
    transport: &dyn IndexTransport,
    index: &IndexUrl,
    project: &Name,
) -> Result<ProjectPage, IndexError> {
    let page = index.project_page(project);
    let url = page.to_string();
    match transport.page(&page, ACCEPT) {
        Ok(page) if page.bytes.len() as u64 > PAGE_BYTES_MAX => {
            Err(IndexError::Transport { url, source: TransportError::TooLarge })
        }
        Ok(page) => ProjectPage::read(&page, &url),
        Err(TransportError::NotFound) => Err(IndexError::ProjectNotFound { project: project.clone(), url }),
        Err(source) => Err(IndexError::Transport { url, source }),
    }
}

impl ProjectPage {
    /// Reads a page; `asked` is the address for messages.
    fn read(page: &Page, asked: &str) -> Result<Self, IndexError> {
        let media_type = page.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match media_type.as_str() {
            JSON => from_json(&page.bytes, &page.final_url, asked),
            html if HTML.contains(&html) => from_html(&page.bytes, page.final_url.clone(), asked),
            _ => Err(IndexError::ContentType {
                url: asked.to_owned(),
                content_type: printable(&page.content_type),
            }),
        }
    }
}

#[derive(Deserialize)]
struct JsonPage {
    meta: JsonMeta,
    files: Vec<JsonFile>,
}

#[derive(Deserialize)]
struct JsonMeta {
    #[serde(rename = "api-version")]
    api_version: String,
}

#[derive(Deserialize)]
struct JsonFile {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: JsonHashes,
    #[serde(default, rename = "requires-python")]
    requires_python: Option<String>,
    #[serde(default)]
    yanked: serde_json::Value,
    #[serde(default)]
    size: Option<u64>,
}

#[derive(Deserialize, Default)]
struct JsonHashes {
    #[serde(default)]
    sha256: Option<String>,
}

fn from_json(bytes: &[u8], base: &Url, asked: &str) -> Result<ProjectPage, IndexError> {
    let page: JsonPage =
        serde_json::from_slice(bytes).map_err(|source| IndexError::Json { url: asked.to_owned(), source })?;
    check_version(&page.meta.api_version, asked)?;
    // A file at an address that cannot be followed is not there for us; others may be.
    let files = page.files.into_iter().filter_map(|file| {
        Some(IndexFile {
            filename: file.filename,
            url: follow(base, &file.url)?,
            sha256: file.hashes.sha256.as_deref().and_then(stated_digest),
            requires_python: file.requires_python.filter(|text| !text.trim().is_empty()),
            yanked: match file.yanked {
                serde_json::Value::Bool(true) => Some(String::new()),
                serde_json::Value::String(reason) => Some(printable(&reason)),
                _ => None,
            },
            size: file.size,
        })
    });
    Ok(ProjectPage { files: files.collect() })
}

fn from_html(bytes: &[u8], mut base: Url, asked: &str) -> Result<ProjectPage, IndexError> {
    let text = String::from_utf8_lossy(bytes);
    let mut files = Vec::new();
    let mut base_is_final = false;
    for tag in html::tags(&text) {
        match tag.name.as_str() {
            "meta" if tag.attribute("name") == Some("pypi:repository-version") => {
                check_version(tag.attribute("content").unwrap_or_default(), asked)?;
            }
            "base" if !base_is_final => {
                if let Some(url) = tag.attribute("href").and_then(|href| follow(&base, href)) {
                    base = url;
                    base_is_final = true;
                }
            }
            "a" => files.extend(anchor(&tag, &base)),
            _ => {}
        }
    }
    Ok(ProjectPage { files })
}

fn anchor(tag: &html::Tag, base: &Url) -> Option<IndexFile> {
    let href = tag.attribute("href")?;
    let url = follow(base, href)?;
    let filename = Some(url.file_name()).filter(|name| !name.is_empty())?;
    let fragment = href.split_once('#').map_or("", |(_, fragment)| fragment).trim_end();
    let sha256 = fragment.split('&').find_map(|part| stated_digest(part.strip_prefix("sha256=")?));
    let requires_python = tag.attribute("data-requires-python").filter(|text| !text.trim().is_empty());
    Some(IndexFile {
        filename,
        url,
        sha256,
        requires_python: requires_python.map(str::to_owned),
        yanked: tag.attribute("data-yanked").map(printable),
        size: None,
    })
}

/// Where a link of a page leads, without user information. Blanks around it and line breaks in it count for
/// nothing, as in a browser.
pub(super) fn follow(base: &Url, link: &str) -> Option<Url> {
    let link = link.trim_matches(|c: char| c <= ' ').replace(['\t', '\n', '\r'], "");
    base.join(&link).ok().map(Url::without_userinfo)
}

/// What is no digest is as good as none: the file is then not one of the pinned ones.
fn stated_digest(hex: &str) -> Option<Digest> {
    Digest::from_hex(&hex.to_ascii_lowercase()).ok()
}

/// PEP 629: a minor version is no hindrance, a major version is.
fn check_version(version: &str, asked: &str) -> Result<(), IndexError> {
    let major = version.split('.').next().unwrap_or_default().trim();
    if major == "1" {
        return Ok(());
    }
    Err(IndexError::ProtocolVersion { url: asked.to_owned(), version: printable(version) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";

    fn url(text: &str) -> Url {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn read(content_type: &str, text: &str) -> Result<ProjectPage, IndexError> {
        let page = Page {
            content_type: content_type.to_owned(),
            final_url: url("https://ci:hunter2@mirror.example/root/simple/x/"),
            bytes: text.as_bytes().to_vec(),
        };
        ProjectPage::read(&page, "https://index.example/simple/x/")
    }

    fn json(files: &str) -> String {
        format!(
            "{{\"meta\":{{\"api-version\":\"1.1\",\"_last\":3}},\"name\":\"x\",\"versions\":[],\"files\":[{files}]}}"
        )
    }

    #[test]
    fn reads_json() {
        let text = json(&format!(
            "{{\"filename\":\"x-1-py3-none-any.whl\",\"url\":\"../../files/x-1-py3-none-any.whl\",\
             \"hashes\":{{\"sha256\":\"{HEX}\",\"blake2b\":\"00\"}},\"requires-python\":\">=3.8\",\"size\":12,\
             \"yanked\":\"broken\",\"core-metadata\":{{\"sha256\":\"1\"}},\"provenance\":null}},\
             {{\"filename\":\"x-1.tar.gz\",\"url\":\"https://files.example/x-1.tar.gz#frag\",\"hashes\":{{}},\
             \"requires-python\":null,\"yanked\":false}},\
             {{\"filename\":\"y\",\"url\":\"file:///etc/passwd\",\"hashes\":{{}},\"yanked\":true}}"
        ));
        let page = read("application/vnd.pypi.simple.v1+json", &text).unwrap();
        let [wheel, sdist] = page.files.as_slice() else { panic!("{page:?}") };
        assert_eq!(wheel.url.to_wire(), "https://mirror.example/root/files/x-1-py3-none-any.whl");
        assert_eq!(wheel.sha256, Some(Digest::of(b"a")));
        assert_eq!(wheel.requires_python.as_deref(), Some(">=3.8"));
        assert_eq!((wheel.yanked.as_deref(), wheel.size), (Some("broken"), Some(12)));
        assert_eq!(sdist.url.to_wire(), "https://files.example/x-1.tar.gz");
        assert_eq!((sdist.sha256, &sdist.yanked, sdist.size), (None, &None, None));
    }

    #[test]
    fn reads_html() {
        let text = format!(
            "<html><head><meta name=\"pypi:repository-version\" content=\"1.3\"><base href=\"/files/\"></head><body>\
             <a href=\"x-1+cpu-py3-none-any.whl#sha256={HEX}\" data-requires-python=\"&gt;=3.8\">a</a>\
             <a href=\"https://u:p@files.example/x-2%2Bcpu-py3-none-any.whl#sha256={}\" data-yanked>b</a>\
             <a href=\"x-3-py3-none-any.whl#md5=00\">c</a><a href=\"../\">up</a><a name=\"d\">d</a></body>",
            HEX.to_uppercase()
        );
        let page = read("text/html; charset=utf-8", &text).unwrap();
        let [one, two, three] = page.files.as_slice() else { panic!("{page:?}") };
        assert_eq!(one.filename, "x-1+cpu-py3-none-any.whl");
        assert_eq!(one.url.to_wire(), "https://mirror.example/files/x-1+cpu-py3-none-any.whl");
        assert_eq!(one.sha256, Some(Digest::of(b"a")));
        assert_eq!(one.requires_python.as_deref(), Some(">=3.8"));
        assert_eq!(two.filename, "x-2+cpu-py3-none-any.whl");
        assert_eq!(two.url.to_wire(), "https://files.example/x-2%2Bcpu-py3-none-any.whl");
        assert_eq!((two.sha256, two.yanked.as_deref()), (Some(Digest::of(b"a")), Some("")));
        assert_eq!((three.sha256, &three.yanked), (None, &None));
    }

    #[test]
    fn both_forms_of_one_page_say_the_same() {
        let file = format!(
            "{{\"filename\":\"x-1-py3-none-any.whl\",\"url\":\"x-1-py3-none-any.whl\",\"hashes\":{{\"sha256\":\"{HEX}\"}}}}"
        );
        let anchor = format!("<a href='x-1-py3-none-any.whl#sha256={HEX}'>x</a>");
        let from_json = read("application/vnd.pypi.simple.v1+json", &json(&file)).unwrap();
        assert_eq!(from_json, read("application/vnd.pypi.simple.v1+html", &anchor).unwrap());
    }

    #[test]
    fn the_address_of_a_file_never_holds_a_login() {
        let base = url("https://ci:hunter2@host/simple/x/?token=1");
        for link in ["a.whl", "/a.whl", "//host/a.whl", "https://u:hunter2@host/a.whl", "", "?x"] {
            let found = follow(&base, link).unwrap().to_wire();
            assert!(!found.contains(['@']) && !found.contains("hunter2"), "{link}: {found}");
        }
    }

    #[test]
    fn follows_what_browsers_follow_and_only_to_servers() {
        let base = url("https://host/simple/x/");
        let found = follow(&base, " //files\r\n/a b\t/\u{e9}.whl\n").unwrap();
        assert_eq!(found.to_wire(), "https://files/a%20b/%C3%A9.whl");
        for link in ["mailto:x@y", "file:///etc/passwd", "https:///x", "https://a b/", "//a:x/", "a\u{1}b"] {
            assert_eq!(follow(&base, link), None, "{link:?}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_page_of_an_index() {
        assert!(matches!(read("application/json", "{}"), Err(IndexError::ContentType { .. })));
        assert!(matches!(read("", ""), Err(IndexError::ContentType { .. })));
        assert!(matches!(
            read("application/vnd.pypi.simple.v1+json", "<html>"),
            Err(IndexError::Json { .. })
        ));
        let two = json("").replace("1.1", "2.0");
        let error = read("application/vnd.pypi.simple.v1+json", &two).unwrap_err();
        assert!(matches!(error, IndexError::ProtocolVersion { .. }));
        assert_eq!(error.class(), Class::Unreachable);
        let meta = "<meta name='pypi:repository-version' content='2.0'>";
        assert!(matches!(read("text/html", meta), Err(IndexError::ProtocolVersion { .. })));
    }

    proptest::proptest! {
        #[test]
        fn any_link_gives_a_clean_address_or_none(link in ".{0,60}") {
            if let Some(found) = follow(&url("https://ci:hunter2@host/simple/x/"), &link) {
                let text = found.to_wire();
                proptest::prop_assert!(text.bytes().all(|byte| matches!(byte, b'!'..=b'~')));
                proptest::prop_assert_eq!(&found.clone().without_userinfo(), &found);
                proptest::prop_assert_eq!(url(&text), found);
            }
        }

        #[test]
        fn any_page_is_read_or_refused(text in ".{0,200}") {
            let _ = read("text/html", &text);
            let _ = read("application/vnd.pypi.simple.v1+json", &text);
        }
    }
}
