//! The list as it is written: CSV for a spreadsheet, JSON for a program, a page for paper. Rows go to a file as they
//! come, so a list of a million of them needs no memory; what is counted goes before them at the end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use manifests::bundle::BundleDigest;
use manifests::{BundleManifest, Digest};
use minijinja::HtmlEscape;
use serde::Serialize;

use crate::audit::export;

/// In which form, by the end of the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// RFC 4180.
    Csv,
    /// `docs/schema/review.schema.json`.
    Document,
    /// For people.
    Page,
}

impl Form {
    /// The form that a name asks for.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        match path.extension().and_then(|end| end.to_str()) {
            Some("csv") => Some(Self::Csv),
            Some("json") => Some(Self::Document),
            Some("html" | "htm") => Some(Self::Page),
            _ => None,
        }
    }
}

/// One file.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// In the archive of the bundle.
    pub(crate) path: String,
    /// Inside of that file, if it is an archive itself.
    pub(crate) member: Option<String>,
    /// The components that need it.
    pub(crate) belongs_to: Vec<String>,
    /// What they call it.
    pub(crate) names: Vec<String>,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) bytes: u64,
    #[serde(rename = "sha256")]
    pub(crate) digest: Option<Digest>,
    /// Permission bits, where the archive that it is in has some.
    #[serde(serialize_with = "octal")]
    pub(crate) mode: Option<u32>,
    /// Why it is active content; nothing if it is none.
    pub(crate) active: Vec<&'static str>,
    pub(crate) note: String,
}

fn octal<S: serde::Serializer>(mode: &Option<u32>, serializer: S) -> Result<S::Ok, S::Error> {
    mode.map(|mode| format!("{mode:04o}")).serialize(serializer)
}

const COLUMNS: [&str; 10] =
    ["path", "member", "belongs_to", "names", "type", "bytes", "sha256", "mode", "active", "note"];

/// What is counted on the way.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Counts {
    /// Files of the archive.
    pub(crate) files: u64,
    /// Members of archives inside it.
    pub(crate) members: u64,
    /// Archives that could not be looked into to their end.
    pub(crate) not_looked_into: u64,
    /// Of each kind of active content, how many.
    pub(crate) active: BTreeMap<&'static str, u64>,
}

/// Rows on their way.
#[derive(Debug)]
pub(crate) struct List {
    form: Form,
    rows: BufWriter<File>,
    pub(crate) counts: Counts,
}

impl List {
    /// An empty one, whose rows go into this directory.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(crate) fn begin(form: Form, directory: &Path) -> io::Result<Self> {
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(true).open(directory.join("rows"))?;
        Ok(Self { form, rows: BufWriter::new(file), counts: Counts::default() })
    }

    pub(super) fn add(&mut self, row: &Row) -> io::Result<()> {
        let row = row.shown();
        if row.kind == "not looked into" {
            self.counts.not_looked_into += 1;
        } else if row.member.is_some() {
            self.counts.members += 1;
        } else {
            self.counts.files += 1;
        }
        row.active.iter().for_each(|active| *self.counts.active.entry(active).or_default() += 1);
        let first = self.counts.files + self.counts.members + self.counts.not_looked_into == 1;
        match self.form {
            Form::Csv => self.rows.write_all(&export::row(&row.cells())),
            Form::Document => {
                self.rows.write_all(if first { b"\n" } else { b",\n" })?;
                serde_json::to_writer(&mut self.rows, &row).map_err(io::Error::other)
            }
            Form::Page => self.rows.write_all(row.line().as_bytes()),
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write(
        self,
        manifest: &BundleManifest,
        bundle: BundleDigest,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let Self { form, rows, counts } = self;
        let mut rows = rows.into_inner().map_err(io::IntoInnerError::into_error)?;
        rows.seek(SeekFrom::Start(0))?;
        let (head, tail) = match form {
            Form::Csv => (export::row(&COLUMNS.map(str::to_string)), Vec::new()),
            Form::Document => document(manifest, bundle, &counts)?,
            Form::Page => page(manifest, bundle, &counts),
        };
        out.write_all(&head)?;
        io::copy(&mut rows, out)?;
        out.write_all(&tail)
    }
}

impl Row {
    /// With texts that move no cursor and turn no direction of writing. Names inside of archives may be anything.
    fn shown(&self) -> Self {
        let safe = |text: &str| manifests::text::printable_up_to(&edge::show::safe(text), 1024);
        Self {
            path: safe(&self.path),
            member: self.member.as_deref().map(safe),
            belongs_to: self.belongs_to.iter().map(|text| safe(text)).collect(),
            names: self.names.iter().map(|text| safe(text)).collect(),
            kind: self.kind,
            bytes: self.bytes,
            digest: self.digest,
            mode: self.mode,
            active: self.active.clone(),
            note: safe(&self.note),
        }
    }

    fn cells(&self) -> [String; 10] {
        [
            self.path.clone(),
            self.member.clone().unwrap_or_default(),
            self.belongs_to.join("; "),
            self.names.join("; "),
            self.kind.to_string(),
            self.bytes.to_string(),
            self.digest.map(|digest| digest.hex()).unwrap_or_default(),
            self.mode.map(|mode| format!("{mode:04o}")).unwrap_or_default(),
            self.active.join("; "),
            self.note.clone(),
        ]
    }

    fn line(&self) -> String {
        let [path, member, belongs_to, names, kind, bytes, digest, mode, active, note] = self.cells();
        let place = if member.is_empty() { path } else { format!("{path} › {member}") };
        let named: Vec<String> =
            [names, belongs_to, note].into_iter().filter(|text| !text.is_empty()).collect();
        let (class, active) = if active.is_empty() { ("", "–".to_string()) } else { ("active", active) };
        format!(
            "<tr class=\"{class}\"><td>{}<br><small>{}</small></td><td>{}</td><td data-label=\"Bytes\">{bytes}</td><td class=\"digest\">{digest}</td><td data-label=\"Mode\">{mode}</td><td data-label=\"Active\"><strong>{}</strong></td></tr>\n",
            HtmlEscape(&place),
            HtmlEscape(&named.join("; ")),
            HtmlEscape(&kind),
            HtmlEscape(&active),
        )
    }
}

fn document(
    manifest: &BundleManifest,
    bundle: BundleDigest,
    counts: &Counts,
) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let head = serde_json::json!({
        "schema": "airlock-review/v1",
        "bundle": bundle,
        "publisher": manifest.publisher,
        "product": manifest.product,
        "version": manifest.version,
        "marking": manifest.marking,
        "counts": counts,
        "not_listed": NOT_LISTED,
    });
    let text = serde_json::to_string(&head).map_err(io::Error::other)?;
    let open = text.strip_suffix('}').unwrap_or(&text);
    Ok((format!("{open},\"files\":[").into_bytes(), b"\n]}\n".to_vec()))
}

/// What is in the archive and not in the list, and why nobody has to look at it.
const NOT_LISTED: &str = "signatures/*.sigstore.json, if they are there: each follows from the signature of its name and was compared whole; signatures/.reserved: zeros; directories inside of archives. Archives inside of archives inside of the bundle are named and not looked into";

fn page(manifest: &BundleManifest, bundle: BundleDigest, counts: &Counts) -> (Vec<u8>, Vec<u8>) {
    let marking = manifest.marking.to_string();
    let marking = HtmlEscape(&marking);
    let title = format!("{} {} {}", manifest.publisher, manifest.product, manifest.version);
    let active: String =
        counts.active.iter().map(|(word, count)| format!("<li>{}: {count}</li>", HtmlEscape(word))).collect();
    let active = if active.is_empty() { "<li>none was found</li>".to_string() } else { active };
    let head = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<title>Files of {title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<div class=\"sheet\">\n<p class=\"marking top\">{marking}</p>\n<main>\n<h1>Every file of {title}</h1>\n<p>Bundle <code>{bundle}</code>. Its signatures were checked, and every byte has the digest that was signed.</p>\n<p>{} files; {} members of archives among them; {} archives that could not be looked into to their end.</p>\n<h2>Active content</h2>\n<ul>{active}</ul>\n<p><small>By first bytes and, beside that, by names. No program has searched any of it for malware. Not in the list: {}.</small></p>\n<h2>Files</h2>\n<table>\n<thead><tr><th>File</th><th>Type</th><th>Bytes</th><th>SHA-256</th><th>Mode</th><th>Active content</th></tr></thead>\n<tbody>\n",
        counts.files,
        counts.members,
        counts.not_looked_into,
        HtmlEscape(NOT_LISTED),
    );
    let tail = format!(
        "</tbody>\n</table>\n</main>\n<p class=\"marking bottom\">{marking}</p>\n</div>\n</body>\n</html>\n"
    );
    (head.into_bytes(), tail.into_bytes())
}

const STYLE: &str = "
:root { color-scheme: light dark; --ground: #fff; --ink: #1b1f24; --quiet: #57606a; --line: #d0d7de; --mark: #7a4b00; --mark-ground: #fff3d6; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171a; --ink: #e6e9ec; --quiet: #9aa4ad; --line: #363c42; --mark: #ffd58a; --mark-ground: #3a2c0c; } }
html { background: var(--ground); }
body { margin: 0 auto; max-width: 80rem; padding: 0 1rem 2rem; color: var(--ink); font: .9375rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.125rem; }
small { color: var(--quiet); }
code, .digest { font: .8125rem/1.45 ui-monospace, monospace; }
.marking { margin: 0 -1rem; padding: .25rem 1rem; background: var(--mark-ground); color: var(--mark); font-weight: 600; text-align: center; }
table { width: 100%; border-collapse: collapse; font-size: .875rem; }
th { text-align: left; color: var(--quiet); white-space: nowrap; }
td[data-label] { white-space: nowrap; }
td.digest { min-width: 17rem; }
td:nth-child(2) { overflow-wrap: break-word; }
th, td { padding: .25rem .625rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
@media (max-width: 46rem) { table, tbody, tr, td { display: block; } thead { display: none; } tr { padding: .5rem 0; border-bottom: 1px solid var(--line); } td, td[data-label] { border: 0; padding: .0625rem 0; white-space: normal; } td[data-label]::before { content: attr(data-label) \": \"; color: var(--quiet); } }
@page { margin: 14mm; }
@media print { :root { color-scheme: light; --ground: #fff; --ink: #000; --quiet: #333; --mark: #000; --mark-ground: #fff; } body { max-width: none; padding: 0; font-size: 8.5pt; } .sheet { display: table; width: 100%; } .marking { display: table-header-group; break-inside: avoid; } .marking.bottom { display: table-footer-group; } .sheet > main { display: table-row-group; } tr { break-inside: avoid; } }
";
