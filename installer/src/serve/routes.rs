//! Which endpoint answers which address. A request becomes an answer here without any I/O.

use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderValue};
use minijinja::Environment;

use super::answer::Answer;
use super::catalogue::Catalogue;
use super::request::{Asked, Refusal};
use super::{page, python, registry};

/// The templates, parsed once.
pub(super) struct Templates {
    pub(super) environment: Environment<'static>,
    /// What commands on the page have to speak.
    pub(super) transport: page::Transport,
    pub(super) page_policy: HeaderValue,
}

impl Templates {
    /// # Errors
    /// A template of ours does not parse: a defect that every test would find.
    pub(super) fn new(transport: page::Transport) -> Result<Self, minijinja::Error> {
        let mut environment = Environment::new();
        for (name, source) in [page::TEMPLATE, python::TEMPLATE] {
            environment.add_template(name, source)?;
        }
        Ok(Self { environment, transport, page_policy: page::policy() })
    }
}

/// Whether the registry's protocol governs this path, errors included.
pub(super) fn is_registry(path: &str) -> bool {
    path == "/v2" || path.starts_with("/v2/")
}

/// `local` is the server's address, for commands on the page when the client names no host.
pub(super) fn answer(catalogue: &Catalogue, asked: &Asked, local: &str, templates: &Templates) -> Answer {
    let path = asked.path();
    let found = match path.as_slice() {
        [] => Some(page::answer(catalogue, asked.host().unwrap_or(local), templates)),
        ["v2", rest @ ..] => Some(registry::answer(&catalogue.repositories, rest, asked)),
        ["simple", rest @ ..] => Some(catalogue.python.answer(rest, asked, &templates.environment)),
        _ if asked.slash => None,
        ["wheels", hex, filename] => catalogue.python.wheel(hex, filename),
        ["charts", "index.yaml"] => Some(catalogue.charts.index()),
        ["charts", file] => catalogue.charts.file(file),
        [kind @ ("files" | "kubernetes" | "scripts"), set, path @ ..] => {
            catalogue.files.file(kind, set, path)
        }
        _ => None,
    };
    found.unwrap_or_else(|| refuse(Refusal::Nowhere))
}

/// A request that is not answered with content.
pub(super) fn refuse(refusal: Refusal) -> Answer {
    let status = match refusal {
        Refusal::Write => StatusCode::METHOD_NOT_ALLOWED,
        Refusal::TooLong => StatusCode::URI_TOO_LONG,
        Refusal::Encoding => StatusCode::BAD_REQUEST,
        Refusal::Nowhere => StatusCode::NOT_FOUND,
    };
    let answer = Answer::problem(status, &refusal.to_string());
    if refusal == Refusal::Write { answer.with(ALLOW, HeaderValue::from_static("GET, HEAD")) } else { answer }
}
