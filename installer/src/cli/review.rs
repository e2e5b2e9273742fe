//! `installer inspect BUNDLE --review FILE`: the list that a guard station reads before it lets a medium across. The
//! whole bundle is verified; the list is there whole or not at all.

use std::io::Write;
use std::path::{Path, PathBuf};

use edge::{Failure, Screen};
use manifests::Digest;
use manifests::audit::Outcome;
use manifests::bundle::BundleDigest;
use manifests::text::printable;
use serde::Serialize;

use crate::admit;
use crate::audit::{AuditLog, about};
use crate::discs::Given;
use crate::output::{OutputError, PRIVATE, Staged};
use crate::report::review::{Counts, Form, List, Reviewer};
use crate::site::Site;
use crate::site::scratch::Scratch;

#[derive(Serialize)]
struct Document {
    bundle: BundleDigest,
    file: PathBuf,
    digest: Digest,
    counts: Counts,
}

/// Writes the list.
pub(super) fn run(site: &Site, screen: &mut Screen<'_>, given: &Given, out: &Path) -> Result<(), Failure> {
    let form = Form::of(out).ok_or_else(|| {
        let shown = printable(&out.display().to_string());
        Failure::usage(format!("--review {shown}: the end of its name says no form"))
            .hint("a table is FILE.csv, a document FILE.json, a page FILE.html")
    })?;
    let Given::Archive(path) = given else {
        return Err(Failure::usage("a list of the files on discs is not there yet")
            .hint("join the parts on a disk, as docs/auditor.md shows, and name that file"));
    };
    let out = screen.env.path(out);
    let (staged, mut file) = Staged::file(&out, PRIVATE)?;
    let unwritable = |source| Failure::from(OutputError::of(&out)(source));
    let scratch = Scratch::make(site, "review").map_err(unwritable)?;
    let list = List::begin(form, scratch.path()).map_err(unwritable)?;
    let log = AuditLog::of(site, screen.env);
    let config = site.config()?;
    let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let mut bar = screen.progress().begin("looking at every file", size);
    let verdict = admit::verify_watched(site, &config, path, &mut *bar, |head, documents, inventory| {
        Reviewer::begin(list, scratch.path(), head, documents, inventory)
    });
    drop(bar);
    let verdict = verdict.map_err(Failure::from);
    let (bundle, reviewer) =
        super::log_verdict("inspect", &log, screen.env, path, verdict, |(bundle, _)| {
            (bundle.digest(), bundle.root_version())
        })?;
    let list = reviewer.finish().map_err(unwritable)?;
    let counts = list.counts.clone();
    list.write(bundle.manifest(), bundle.digest(), &mut file).map_err(unwritable)?;
    file.flush().and_then(|()| file.sync_all()).map_err(unwritable)?;
    let digest = std::fs::File::open(staged.made())
        .and_then(|mut file| layout::hashing::hash(&mut file))
        .map_err(unwritable)?
        .digest;
    let facts = about([
        ("file", out.display().to_string()),
        ("digest", digest.hex()),
        ("bundle", bundle.digest().to_string()),
        ("files", counts.files.to_string()),
        ("members", counts.members.to_string()),
    ]);
    log.append(screen.env, "review", Outcome::Done, facts)?;
    staged.keep()?;
    show(screen, Document { bundle: bundle.digest(), file: out, digest, counts })
}

fn show(screen: &mut Screen<'_>, document: Document) -> Result<(), Failure> {
    let counts = &document.counts;
    let mut human = format!(
        "verified: every signature, every digest, every byte\n{} files, {} members of archives among them, {} not looked into to their end\n",
        counts.files, counts.members, counts.not_looked_into
    );
    for (word, count) in &counts.active {
        human.push_str(&format!("  active content  {word}: {count}\n"));
    }
    human.push_str(&format!("list    {}\nsha256  {}\n", document.file.display(), document.digest.hex()));
    screen.result(&human, &document)
}
