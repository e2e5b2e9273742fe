//! `installer verify`

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use edge::progress::{Progress, Shown};
use edge::show::{bytes, delta_rows};
use edge::{Env, Failure, Screen};
use layout::medium::Input;
use manifests::audit::Outcome;
use manifests::bundle::BundleDigest;
use manifests::root::SignatureVerdict;
use manifests::{BundleManifest, VerifiedBundle};
use serde::Serialize;

use super::drive::AtTheDrive;
use crate::admit::{self, AdmitError};
use crate::audit::{AuditLog, about};
use crate::discs::{self, Given, Looked, SomeParts};
use crate::loan::Loan;
use crate::preflight;
use crate::preflight::overrides::Overrides;
use crate::repair::{self, Report};
use crate::site::Site;
use crate::site::config::SiteConfig;

/// The arguments of `verify`.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The bundle: an archive, or directories of its discs. One disc alone gets a verdict of its own
    #[arg(required = true)]
    bundle: Vec<PathBuf>,
    /// Repair what is damaged, from the recovery data beside the bundle or on its discs, while it is read; nothing
    /// is written to the medium
    #[arg(long)]
    repair: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    bundle: BundleDigest,
    verified: bool,
    root_version: u64,
    signatures: &'a [SignatureVerdict],
    manifest: &'a BundleManifest,
    /// About time: the bundle is what it is, whatever they say.
    findings: &'a preflight::report::Report,
    /// With `--repair`: what was repaired, and what margin is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    repair: Option<&'a Report>,
}

/// A disc, or several that are not all of them: never a verdict on the bundle.
#[derive(Serialize)]
struct PartsDocument<'a> {
    bundle: BundleDigest,
    verified: bool,
    parts: Parts<'a>,
    root_version: u64,
    signatures: &'a [SignatureVerdict],
    manifest: &'a BundleManifest,
}

#[derive(Serialize)]
struct Parts<'a> {
    count: usize,
    whole: &'a [usize],
    not_looked_at: Vec<usize>,
    /// Bytes of the whole parts that belong to blobs which go on in others.
    bytes_at_edges: u64,
}

/// What the command line names: an archive, a part, or places where discs are.
pub(super) fn given(bundles: &[PathBuf], screen: &Screen<'_>) -> Result<Given, Failure> {
    Ok(Given::look(bundles.iter().map(|path| screen.env.path(path)).collect())?)
}

impl VerifyArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let given = given(&self.bundle, screen)?;
        // A site without trust has no log either: nothing is written then.
        let judged = super::judged(site, screen.env)?;
        let (bundle, repair) = match &given {
            Given::Archive(_) => verified(site, screen, &given, self.repair, "verify")?,
            Given::Discs(_) if self.repair => verified(site, screen, &given, true, "verify")?,
            Given::Discs(places) => match looked_at(site, screen, &given, places)? {
                Looked::Whole(bundle) => (*bundle, None),
                Looked::Some(some) => return show_parts(&some, screen),
            },
        };
        let config = site.config()?;
        let findings = preflight::clock::check(&preflight::times(&bundle, &judged, screen.env), &config.time);
        let findings = preflight::report::Report::of(findings, &Overrides::default());
        let human = format!(
            "verified: every signature, every digest, every byte{}\n{}{}{}",
            match &bundle.inventory().delta {
                None => "",
                Some(delta) if delta.patches.is_empty() =>
                    ", and of what is left out every byte in the site store",
                Some(_) =>
                    ", and of what is left out every byte in the site store; each patch makes the blob that was signed",
            },
            summary(&bundle),
            repair.as_ref().map_or(String::new(), Report::text),
            findings.table()
        );
        let document = Document {
            bundle: bundle.digest(),
            verified: true,
            root_version: bundle.root_version(),
            signatures: bundle.signatures(),
            manifest: bundle.manifest(),
            findings: &findings,
            repair: repair.as_ref(),
        };
        screen.result(&human, &document)
    }
}

/// Checks what there is of a set of discs, and logs how that ended.
fn looked_at(
    site: &Site,
    screen: &mut Screen<'_>,
    given: &Given,
    places: &[PathBuf],
) -> Result<Looked, Failure> {
    let config = site.config()?;
    let changer = AtTheDrive::of(screen);
    let log = AuditLog::of(site, screen.env);
    let mut bar = screen.progress().begin("verifying", given.bytes());
    let looked = discs::verify(site, &config, places, &changer, &mut *bar).map_err(Failure::from);
    drop(bar);
    let title = given.title();
    let verdict = match looked {
        Ok(Looked::Some(some)) => {
            let facts = about([
                ("medium", title.display().to_string()),
                ("bundle", some.digest().to_string()),
                ("parts", discs::numbers(&some.whole)),
                ("count", some.count.to_string()),
                ("root_version", some.accepted.signed().root_version().to_string()),
            ]);
            // An event of its own: a look at some discs must not pass for one at the bundle.
            log.append(screen.env, "verify.part", Outcome::Done, facts)?;
            return Ok(Looked::Some(some));
        }
        Ok(Looked::Whole(bundle)) => Ok(bundle),
        Err(failure) => Err(failure),
    };
    let verdict = super::log_verdict("verify", &log, screen.env, &title, verdict, |bundle| {
        (bundle.digest(), bundle.root_version())
    });
    verdict.map(Looked::Whole)
}

fn show_parts(some: &SomeParts, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let manifest = some.manifest();
    let others = some.others();
    let (word, are) = if some.whole.len() == 1 { ("part", "is") } else { ("parts", "are") };
    let edges = if some.edges == 0 {
        String::new()
    } else {
        format!(
            "{} at the edges belong to blobs that go on in other parts: they are as parts.json says, which is not signed\n",
            bytes(some.edges)
        )
    };
    let human = format!(
        "{word} {} of {} {are} whole; not looked at: {}\n{edges}This says nothing about the bundle as a whole.\n{}\n{} {} {} (order {})\nbundle     {}\n",
        discs::numbers(&some.whole),
        some.count,
        discs::numbers(&others),
        manifest.marking,
        manifest.publisher,
        manifest.product,
        manifest.version,
        manifest.order,
        some.digest(),
    );
    let parts =
        Parts { count: some.count, whole: &some.whole, not_looked_at: others, bytes_at_edges: some.edges };
    let document = PartsDocument {
        bundle: some.digest(),
        verified: false,
        parts,
        root_version: some.accepted.signed().root_version(),
        signatures: some.signatures(),
        manifest,
    };
    screen.result(&human, &document)
}

/// The archive as it was, if it has to be repaired; what was repaired goes into the log before anything is
/// judged.
pub(super) fn repaired(
    site: &Site,
    env: &Env,
    log: &AuditLog,
    given: &Given,
    shown: &Shown,
) -> Result<(Box<dyn Read>, Report), Failure> {
    let mut bar = shown.begin("locating", given.bytes());
    let (archive, report) = match given {
        Given::Archive(path) => repair::archive(site, path, &mut *bar)?,
        Given::Discs(places) => repair::of_discs(site, &given.title(), places, &mut *bar)?,
    };
    drop(bar);
    let facts = about([
        ("medium", given.title().display().to_string()),
        ("repaired_bytes", report.repaired_bytes.to_string()),
        ("places", report.repaired.len().to_string()),
        ("margin", format!("{} of {}", report.margin, report.of)),
    ]);
    log.append(env, "repair", Outcome::Done, facts)?;
    Ok((Box::new(archive), report))
}

/// Checks a whole bundle, and logs how that ended.
pub(super) fn verified(
    site: &Site,
    screen: &mut Screen<'_>,
    given: &Given,
    repair: bool,
    event: &str,
) -> Result<(VerifiedBundle, Option<Report>), Failure> {
    let verify = |config: &SiteConfig, path: &Path, input: Input, bar: &mut dyn Progress| {
        admit::verify_input(site, config, path, input, bar).map(|bundle| (bundle, Loan::default()))
    };
    let (found, repair) = checked(site, screen, given, repair, event, &verify)?;
    Ok((found.bundle, repair))
}

/// A bundle that was checked, and what checks have to read of it.
pub(super) struct Lent {
    pub(super) bundle: VerifiedBundle,
    pub(super) loan: Loan,
}

/// The same, while what checks have to read is kept for them. Of discs nothing is.
pub(super) fn lent(
    site: &Site,
    screen: &mut Screen<'_>,
    given: &Given,
    repair: bool,
    event: &str,
) -> Result<Lent, Failure> {
    let verify = |config: &SiteConfig, path: &Path, input: Input, bar: &mut dyn Progress| {
        admit::verify_lending(site, config, path, input, bar)
    };
    checked(site, screen, given, repair, event, &verify).map(|(found, _)| found)
}

/// How an archive is checked.
type Verify<'a> =
    dyn Fn(&SiteConfig, &Path, Input, &mut dyn Progress) -> Result<(VerifiedBundle, Loan), AdmitError> + 'a;

fn checked(
    site: &Site,
    screen: &mut Screen<'_>,
    given: &Given,
    repair: bool,
    event: &str,
    verify: &Verify<'_>,
) -> Result<(Lent, Option<Report>), Failure> {
    let config = site.config()?;
    let changer = AtTheDrive::of(screen);
    let log = AuditLog::of(site, screen.env);
    let shown = screen.progress();
    let bar = || shown.begin("verifying", given.bytes());
    let verdict = match given {
        _ if repair => repaired(site, screen.env, &log, given, &shown).and_then(|(input, report)| {
            let (bundle, loan) = verify(&config, &given.title(), Input::Forward(input), &mut *bar())?;
            Ok((Lent { bundle, loan }, Some(report)))
        }),
        Given::Archive(path) => {
            let input = Input::open(path).map_err(AdmitError::from);
            let found = input.and_then(|input| verify(&config, path, input, &mut *bar()));
            found.map(|(bundle, loan)| (Lent { bundle, loan }, None)).map_err(Failure::from)
        }
        Given::Discs(places) => {
            let found = whole(discs::verify(site, &config, places, &changer, &mut *bar()));
            found.map(|bundle| (Lent { bundle, loan: Loan::default() }, None))
        }
    };
    super::log_verdict(event, &log, screen.env, &given.title(), verdict, |(found, _)| {
        (found.bundle.digest(), found.bundle.root_version())
    })
}

/// Of discs that are not all there, nothing can be planned.
fn whole(looked: Result<Looked, AdmitError>) -> Result<VerifiedBundle, Failure> {
    match looked? {
        Looked::Whole(bundle) => Ok(*bundle),
        Looked::Some(some) => Err(some.missing().into()),
    }
}

/// Who, what, for whom, by whom.
pub(super) fn summary(bundle: &VerifiedBundle) -> String {
    let manifest = bundle.manifest();
    let signature = |verdict: &SignatureVerdict| format!("signature  {}\n", verdict.line());
    let audience: Vec<String> = manifest.audience.iter().map(ToString::to_string).collect();
    format!(
        "{}\n{} {} {} (order {})\nbundle     {}\n{}audience   {}\ncreated    {}\n{}",
        manifest.marking,
        manifest.publisher,
        manifest.product,
        manifest.version,
        manifest.order,
        bundle.digest(),
        bundle.signatures().iter().map(signature).collect::<String>(),
        audience.join(", "),
        manifest.created,
        delta_rows(bundle.inventory(), 11),
    )
}
