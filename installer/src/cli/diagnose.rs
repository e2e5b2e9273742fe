//! `installer diagnose`: what somebody far away needs to understand a site, in one file that a security officer can
//! release. It changes nothing, sends nothing, and works where the site is broken.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use edge::show::{table, wrap};
use edge::{Failure, Screen};
use manifests::Digest;
use manifests::audit::Outcome;
use serde::Serialize;

use crate::audit::{AuditLog, about};
use crate::diagnose::{self, Choice, Diagnosis, Gap, Piece, Section, archive};
use crate::output::{PRIVATE, Staged};
use crate::site::Site;
use crate::witness::Remembered;

/// The arguments of `diagnose`.
#[derive(Debug, Args)]
pub(super) struct DiagnoseArgs {
    /// The archive, a plain tar; nothing is overwritten
    #[arg(long, value_name = "FILE", required_unless_present = "list")]
    out: Option<PathBuf>,
    /// Show what would be in it, and write nothing
    #[arg(long, conflicts_with = "out")]
    list: bool,
    /// Take only this: an id, or a file that --list shows. Several: once for each
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Leave this out: an id, or a file that --list shows. Several: once for each
    #[arg(long, value_name = "ID")]
    exclude: Vec<String>,
    /// Take the last lines of containers as well, word by word; read them before you release them
    #[arg(long)]
    pod_logs: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    /// None if nothing was written.
    archive: Option<Written>,
    files: Vec<File<'a>>,
    left_out: &'a [String],
    not_looked_at: &'a [Gap],
}

#[derive(Serialize)]
struct Written {
    path: PathBuf,
    size: u64,
    sha256: String,
}

#[derive(Serialize)]
struct File<'a> {
    path: &'a str,
    id: Section,
    meaning: &'static str,
    rule: &'static str,
    size: u64,
    sha256: String,
    replaced: &'a BTreeMap<&'static str, usize>,
}

impl DiagnoseArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let out = self.out.as_ref().map(|out| screen.env.path(out));
        out.as_deref().map_or(Ok(()), Staged::must_be_free)?;
        let choice = Choice::new(self.only, self.exclude, self.pod_logs);
        let diagnosis = diagnose::look(&choice, site, screen.env, &super::client()?)?;
        let written = out.map(|out| write(&out, &diagnosis, site, screen)).transpose()?;
        let human = human(&diagnosis, written.as_ref());
        let document = Document {
            archive: written,
            files: diagnosis.pieces.iter().map(file).collect(),
            left_out: &diagnosis.left_out,
            not_looked_at: &diagnosis.gaps,
        };
        screen.result(&human, &document)
    }
}

fn file(piece: &Piece) -> File<'_> {
    File {
        path: &piece.path,
        id: piece.section,
        meaning: piece.section.meaning(),
        rule: piece.section.rule(),
        size: piece.text.len() as u64,
        sha256: piece.digest().hex(),
        replaced: &piece.replaced,
    }
}

/// Whole, or not at all; for its owner only, who decides about it.
fn write(
    out: &Path,
    diagnosis: &Diagnosis,
    site: &Site,
    screen: &mut Screen<'_>,
) -> Result<Written, Failure> {
    let bytes = archive::bytes(diagnosis, screen.env.clock.now());
    Staged::file_of(out, &bytes, PRIVATE)?.keep()?;
    let digest = Digest::of(&bytes);
    note(out, digest, site, screen);
    Ok(Written { path: out.to_path_buf(), size: bytes.len() as u64, sha256: digest.hex() })
}

/// What was made for somebody outside is in the log, unless the log is what is broken: nothing is added to
/// evidence then.
fn note(out: &Path, digest: Digest, site: &Site, screen: &mut Screen<'_>) {
    if Remembered::of(site).is_err() || site.trust().is_err() {
        screen.note("this was not written into the audit log, which cannot be used as it is");
        return;
    }
    let facts = about([("file", out.display().to_string()), ("digest", digest.to_string())]);
    if let Err(error) = AuditLog::of(site, screen.env).append(screen.env, "diagnose", Outcome::Done, facts) {
        screen.note(&format!("this was not written into the audit log: {error}"));
    }
}

fn human(diagnosis: &Diagnosis, written: Option<&Written>) -> String {
    let rows: Vec<Vec<String>> = diagnosis
        .pieces
        .iter()
        .map(|piece| {
            let replaced: usize = piece.replaced.values().sum();
            vec![
                piece.path.clone(),
                piece.section.id().to_string(),
                edge::show::bytes(piece.text.len() as u64),
                format!("{replaced} replaced"),
            ]
        })
        .collect();
    let mut text = table(&rows);
    for id in &diagnosis.left_out {
        let why = if id == Section::PodLogs.id() { ", unless --pod-logs asks for it" } else { "" };
        text.push_str(&format!("left out: {id}{why}\n"));
    }
    for gap in &diagnosis.gaps {
        text.push_str(&wrap("", 2, &format!("could not be looked at: {}: {}", gap.what, gap.why)));
    }
    match written {
        Some(written) => {
            let (path, size) = (written.path.display(), edge::show::bytes(written.size));
            text.push_str(&format!("{path} ({size})\n  sha256 {}\n", written.sha256));
            text.push_str("nothing was sent; read CONTENTS.txt in it before you release it\n");
        }
        None => text.push_str("nothing was written\n"),
    }
    text
}
