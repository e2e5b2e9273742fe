//! `installer verify`

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use edge::{Env, Failure, Screen, progress};
use manifests::audit::Outcome;
use manifests::bundle::BundleDigest;
use manifests::root::SignatureVerdict;
use manifests::{BundleManifest, VerifiedBundle};
use serde::Serialize;

use crate::admit;
use crate::audit::{AuditLog, about};
use crate::preflight::{self, Finding};
use crate::repair::{self, Report};
use crate::site::Site;

/// The arguments of `verify`.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The bundle
    #[arg(required = true)]
    bundle: Vec<PathBuf>,
    /// Repair what is damaged, from the recovery data beside the bundle, while it is read; nothing is written to
    /// the medium
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
    findings: &'a [Finding],
    /// With `--repair`: what was repaired, and what margin is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    repair: Option<&'a Report>,
}

/// One bundle is one file; several parts are not read yet.
pub(super) fn only_one(bundles: &[PathBuf], screen: &Screen<'_>) -> Result<PathBuf, Failure> {
    match bundles {
        [only] => {
            let path = screen.env.path(only);
            if path.is_dir() || only.extension().is_some_and(|extension| extension == "001") {
                return Err(Failure::not_yet("reading a bundle in parts"));
            }
            Ok(path)
        }
        _ => Err(Failure::not_yet("reading a bundle in parts")),
    }
}

impl VerifyArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let path = only_one(&self.bundle, screen)?;
        // A site without trust has no log either: nothing is written then.
        let judged = super::judged(site, screen.env)?;
        let (bundle, repair) = verified(site, screen, &path, self.repair, "verify")?;
        let config = site.config()?;
        let findings = preflight::clock::check(&preflight::times(&bundle, &judged, screen.env), &config.time);
        let human = format!(
            "verified: every signature, every digest, every byte\n{}{}{}",
            summary(&bundle),
            repair.as_ref().map_or(String::new(), Report::text),
            super::plan::show_findings(&findings)
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

/// The archive as it was, if it has to be repaired; what was repaired goes into the log before anything is
/// judged.
pub(super) fn repaired(
    site: &Site,
    env: &Env,
    log: &AuditLog,
    path: &std::path::Path,
    bars: bool,
) -> Result<(Box<dyn Read>, Report), Failure> {
    let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let mut bar = progress::new(bars, "locating", size);
    let (archive, report) = repair::archive(site, path, &mut *bar)?;
    drop(bar);
    let facts = about([
        ("medium", path.display().to_string()),
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
    path: &std::path::Path,
    repair: bool,
    event: &str,
) -> Result<(VerifiedBundle, Option<Report>), Failure> {
    let config = site.config()?;
    let log = AuditLog::of(site, screen.env);
    let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let bars = screen.wants_bars();
    let check = |input: Option<Box<dyn Read>>| {
        let mut bar = progress::new(bars, "verifying", size);
        let verdict = match input {
            Some(input) => admit::verify_stream(site, &config, path, input, &mut *bar),
            None => admit::verify(site, &config, path, &mut *bar),
        };
        verdict.map_err(Failure::from)
    };
    let verdict = match repair {
        true => repaired(site, screen.env, &log, path, bars)
            .and_then(|(input, report)| check(Some(input)).map(|bundle| (bundle, Some(report)))),
        false => check(None).map(|bundle| (bundle, None)),
    };
    super::log_verdict(event, &log, screen.env, path, verdict, |(bundle, _)| {
        (bundle.digest(), bundle.root_version())
    })
}

/// Who, what, for whom, by whom.
pub(super) fn summary(bundle: &VerifiedBundle) -> String {
    let manifest = bundle.manifest();
    let signature = |verdict: &SignatureVerdict| format!("signature  {}\n", verdict.line());
    let audience: Vec<String> = manifest.audience.iter().map(ToString::to_string).collect();
    format!(
        "{}\n{} {} {} (order {})\nbundle     {}\n{}audience   {}\ncreated    {}\n",
        manifest.marking,
        manifest.publisher,
        manifest.product,
        manifest.version,
        manifest.order,
        bundle.digest(),
        bundle.signatures().iter().map(signature).collect::<String>(),
        audience.join(", "),
        manifest.created,
    )
}
