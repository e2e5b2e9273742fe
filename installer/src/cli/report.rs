//! `installer report`: what an auditor reads, prints and files. It changes nothing at the site but for one entry in
//! the log, which names the digest of what was written.
//!
//! A report is written also where something is not in order, and says so first; the exit code says it as well.

use std::path::{Path, PathBuf};

use clap::Args;
use edge::{Exit, Failure, Screen};
use layout::reader::BundleReader;
use layout::{disc, medium};
use manifests::audit::Outcome;
use manifests::text::{Name, printable};
use manifests::verify::SignedManifest;
use manifests::{BundleManifest, Digest, TrustRoot, VerifiedBundle, canonical};
use serde::Serialize;

use crate::admit::{self, AdmitError};
use crate::audit::{AuditLog, about};
use crate::discs::{self, Given};
use crate::output::{PRIVATE, Staged};
use crate::preflight::Verdict;
use crate::report::evidence::{self, Made};
use crate::report::facts::{Chosen, Facts, OnMedium, State};
use crate::report::html::{self, PageError};
use crate::report::log::Trouble;
use crate::report::model::Report;
use crate::report::{recheck, whole};
use crate::site::Site;
use crate::site::evidence::Originals;
use crate::site::ledger::{Applied, Ledger};

/// The arguments of `report`.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// A bundle on a medium, which is verified first; without it the report is about what this site has kept
    bundle: Vec<PathBuf>,
    /// The file, by its end a page (.html) or a document (.json); nothing is overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Copy the signed originals into this new directory, with the commands that check them
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
    /// Only this product; all of them by default
    #[arg(long, conflicts_with = "bundle")]
    product: Option<Name>,
    /// An earlier version that was applied here, or the digest of its bundle; by default what runs
    #[arg(long, value_name = "VERSION", conflicts_with = "bundle")]
    version: Option<String>,
}

/// In which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Page,
    Document,
}

#[derive(Serialize)]
struct Written<'a> {
    file: PathBuf,
    digest: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<EvidenceWritten>,
    verdict: Verdict,
    summary: &'a str,
    findings: &'a [crate::preflight::Finding],
}

#[derive(Debug, Clone, Serialize)]
struct EvidenceWritten {
    directory: PathBuf,
    /// Of its `SHA256SUMS`.
    digest: Digest,
}

/// What has to be written, and how.
struct Job {
    out: PathBuf,
    form: Form,
    evidence: Option<PathBuf>,
}

impl ReportArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let job = self.job(screen)?;
        // A site without trust has no log either: nothing is written then.
        site.trust()?;
        let judged = super::judged(site, screen.env);
        if self.bundle.is_empty() {
            return self.of_site(site, screen, &job, judged.map_err(|failure| trouble(&failure)));
        }
        // A medium is judged by a site that is in order, or not at all.
        let state = State::of(site, Ok(judged?))?;
        self.of_medium(site, screen, &job, state)
    }

    fn job(&self, screen: &Screen<'_>) -> Result<Job, Failure> {
        let form = match self.out.extension().and_then(|end| end.to_str()) {
            Some("html" | "htm") => Form::Page,
            Some("json") => Form::Document,
            _ => {
                return Err(Failure::usage(format!(
                    "--out {}: the end of its name says no form",
                    printable(&self.out.display().to_string())
                ))
                .hint("a page is FILE.html, a document FILE.json"));
            }
        };
        Ok(Job {
            out: screen.env.path(&self.out),
            form,
            evidence: self.evidence.as_ref().map(|dir| screen.env.path(dir)),
        })
    }

    fn of_site(
        &self,
        site: &Site,
        screen: &mut Screen<'_>,
        job: &Job,
        judged: Result<crate::witness::Judged, Trouble>,
    ) -> Result<(), Failure> {
        let chosen = self.chosen(site)?;
        let state = State::of(site, judged)?;
        let mut bar = screen.progress().begin("checking what was kept", 0);
        let facts = Facts::of_site(site, screen.env, state, chosen, &mut *bar)?;
        drop(bar);
        let commands = recheck::of_site(&facts, &job.out);
        let script = commands.0.script.clone();
        let report = whole::report(&facts, commands);
        write(
            site,
            screen,
            job,
            &Whole { facts: &facts, report: &report, script: &script, from_medium: None },
        )
    }

    /// What runs of each product, or the one that was asked for.
    fn chosen(&self, site: &Site) -> Result<Vec<Chosen>, Failure> {
        if let Some(version) = &self.version {
            let ledger = super::rollback::ledger(self.product.as_ref(), site)?;
            let named = |applied: &&Applied| {
                applied.version.as_str() == version.as_str() || applied.bundle.to_string() == *version
            };
            let found = ledger.applied.iter().rfind(named).cloned();
            let applied = found.ok_or_else(|| {
                let message = format!("{}: {} was never applied here", ledger.product, printable(version));
                Failure::new(Exit::Refused, message).hint("`installer history` lists what was")
            })?;
            return Ok(vec![Chosen { ledger, applied }]);
        }
        let ledgers = site.ledgers()?.into_iter();
        let wanted =
            ledgers.filter(|ledger| self.product.as_ref().is_none_or(|product| *product == ledger.product));
        let current = |ledger: Ledger| ledger.current().cloned().map(|applied| Chosen { ledger, applied });
        let chosen: Vec<Chosen> = wanted.filter_map(current).collect();
        match &self.product {
            Some(product) if chosen.is_empty() => {
                Err(Failure::new(Exit::Refused, format!("the site does not run {product}"))
                    .hint("`installer status` says what it runs; an earlier version: --version VERSION"))
            }
            _ => Ok(chosen),
        }
    }

    fn of_medium(
        &self,
        site: &Site,
        screen: &mut Screen<'_>,
        job: &Job,
        state: State,
    ) -> Result<(), Failure> {
        let given = super::verify::given(&self.bundle, screen)?;
        let (bundle, _) = super::verify::verified(site, screen, &given, false, "verify")?;
        let taken = Taken::again(site, &given, &bundle)?;
        let on_medium = OnMedium { path: given.title(), bundle };
        let facts = Facts::of_medium(site, screen.env, state, on_medium)?;
        let commands = recheck::of_medium(&taken.root, &taken.signed, &taken.files);
        let script = recheck::of_site(&facts, &job.out).0.script;
        let report = whole::report(&facts, commands);
        let from_medium = Some((taken.signed.digest(), taken.originals));
        write(
            site,
            screen,
            job,
            &Whole { facts: &facts, report: &report, script: &script, from_medium: from_medium.as_ref() },
        )
    }
}

/// A failure as a report tells it.
fn trouble(failure: &Failure) -> Trouble {
    Trouble {
        exit: failure.exit(),
        text: manifests::text::printable_up_to(&failure.messages().join(": "), 1000),
    }
}

/// The signatures of a medium, which are kept nowhere while it is verified: read and checked once more. The other
/// documents have one form only, and follow from what was verified.
struct Taken {
    root: TrustRoot,
    signed: SignedManifest,
    originals: Originals,
    files: Vec<PathBuf>,
}

impl Taken {
    fn again(site: &Site, given: &Given, bundle: &VerifiedBundle) -> Result<Self, Failure> {
        let trust = site.trust()?;
        let (signed, files, bytes, signatures) = match given {
            Given::Archive(path) => {
                let (file, _) = medium::open(path).map_err(AdmitError::from)?;
                let damaged = |source| AdmitError::Damaged { path: path.clone(), source };
                let reader = BundleReader::open(file).map_err(damaged)?;
                let head = reader.head().clone();
                let signed = admit::authenticate(&trust, path)?;
                (signed, vec![path.clone()], head.manifest, head.signatures)
            }
            Given::Discs(places) => {
                let (signed, files) = discs::authenticate(&trust, places)?;
                let found = first_disc(places)?;
                (signed, files, found.0, found.1)
            }
        };
        let again = SignedManifest::authenticate(&trust, &bytes, &signatures);
        let same =
            again.is_ok_and(|again| again.digest() == bundle.digest()) && signed.digest() == bundle.digest();
        if !same {
            return Err(Failure::new(Exit::Damaged, "the medium is not the one any more that was verified")
                .hint("leave it in, and try again"));
        }
        let originals = originals(bundle.manifest(), bundle, bytes, signatures)?;
        Ok(Self { root: trust.root().clone(), signed, originals, files })
    }
}

type Signed = (Vec<u8>, Vec<manifests::root::FoundSignature>);

fn first_disc(places: &[PathBuf]) -> Result<Signed, Failure> {
    for place in places {
        if let disc::Named::Discs(found) = disc::look(place).map_err(AdmitError::from)?
            && let Some(first) = found.first()
        {
            let signed = first.signed().map_err(AdmitError::from)?;
            return Ok((signed.manifest, signed.signatures));
        }
    }
    Err(AdmitError::NoDisc { paths: places.to_vec() }.into())
}

fn originals(
    manifest: &BundleManifest,
    bundle: &VerifiedBundle,
    bytes: Vec<u8>,
    signatures: Vec<manifests::root::FoundSignature>,
) -> Result<Originals, Failure> {
    let unexpected = |error: canonical::CanonicalError| Failure::new(Exit::Unexpected, error.to_string());
    let inventory = canonical::to_canonical(bundle.inventory()).map_err(unexpected)?;
    let checksums = bundle.inventory().checksums(manifest.inventory.digest).into_bytes();
    Ok(Originals { manifest: bytes, signatures, checksums, inventory })
}

/// A report that was made.
struct Whole<'a> {
    facts: &'a Facts,
    report: &'a Report,
    script: &'a str,
    from_medium: Option<&'a (manifests::bundle::BundleDigest, Originals)>,
}

/// Writes all of it, or nothing; the log says what, before anything has its name.
fn write(site: &Site, screen: &mut Screen<'_>, job: &Job, whole: &Whole<'_>) -> Result<(), Failure> {
    let defect = |error: PageError| Failure::new(Exit::Unexpected, admit::with_causes(&error));
    let document = html::document(whole.report).map_err(defect)?;
    let json = serde_json::to_vec_pretty(&document).map_err(|error| defect(error.into()))?;
    let content = match job.form {
        Form::Document => json.clone(),
        Form::Page => html::page(&document).map_err(defect)?.into_bytes(),
    };
    let made = Made {
        site,
        facts: whole.facts,
        document: &json,
        script: whole.script,
        from_medium: whole.from_medium,
    };
    let evidence = job.evidence.as_ref().map(|dir| evidence::write(dir, &made)).transpose()?;
    let staged = Staged::file_of(&job.out, &content, PRIVATE)?;
    let digest = Digest::of(&content);
    let told = job
        .evidence
        .clone()
        .zip(evidence.as_ref())
        .map(|(directory, (_, digest))| EvidenceWritten { directory, digest: *digest });
    // A log that takes no line is no reason to say nothing of it: then the report is what says so.
    let unlogged = match log(site, screen, &job.out, digest, told.as_ref(), whole) {
        Err(failure) if whole.report.audit.intact => return Err(failure),
        Err(failure) => Some(failure.messages().join(": ")),
        Ok(()) => None,
    };
    staged.keep()?;
    if let Some((evidence, _)) = evidence {
        evidence.keep()?;
    }
    let shown = show(screen, &job.out, digest, told, whole.report);
    match unlogged {
        Some(unlogged) => shown.map_err(|failure| failure.and(&unlogged)),
        None => shown,
    }
}

fn log(
    site: &Site,
    screen: &Screen<'_>,
    out: &Path,
    digest: Digest,
    evidence: Option<&EvidenceWritten>,
    whole: &Whole<'_>,
) -> Result<(), Failure> {
    let titles: Vec<String> = whole.facts.bundles.iter().map(|found| found.title()).collect();
    let mut facts = about([
        ("file", out.display().to_string()),
        ("digest", digest.hex()),
        ("verdict", word(whole.report.verdict).to_string()),
        ("product", titles.join(", ")),
        ("entries", whole.report.audit.entries.to_string()),
    ]);
    if let Some(evidence) = evidence {
        let place = evidence.directory.display().to_string();
        facts.extend(about([("evidence", place), ("evidence_digest", evidence.digest.hex())]));
    }
    Ok(AuditLog::of(site, screen.env).append(screen.env, "report", Outcome::Done, facts)?)
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Warn => "warn",
        Verdict::Fail => "fail",
    }
}

fn show(
    screen: &mut Screen<'_>,
    out: &Path,
    digest: Digest,
    evidence: Option<EvidenceWritten>,
    report: &Report,
) -> Result<(), Failure> {
    let heading = match report.verdict {
        Verdict::Pass => "in order",
        Verdict::Warn => "in order, with remarks",
        Verdict::Fail => "NOT IN ORDER",
    };
    let mut human = format!("verdict  {heading}\n");
    for finding in report.findings.iter().filter(|finding| finding.verdict != Verdict::Pass) {
        human.push_str(&format!("  {}  {}: {}\n", word(finding.verdict), finding.id, finding.fact));
    }
    human.push_str(&format!("report   {}\nsha256   {}\n", out.display(), digest.hex()));
    if let Some(evidence) = &evidence {
        human.push_str(&format!("evidence {}\n", evidence.directory.display()));
    }
    let written = Written {
        file: out.to_path_buf(),
        digest,
        evidence,
        verdict: report.verdict,
        summary: &report.summary,
        findings: &report.findings,
    };
    screen.result(&human, &written)?;
    if report.exit == Exit::Done {
        return Ok(());
    }
    Err(Failure::new(report.exit, report.summary.clone())
        .hint("the report was written; its first section says what is wrong, and what to do")
        .is_in_result())
}
