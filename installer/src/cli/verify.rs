//! `installer verify`

use std::path::PathBuf;

use clap::Args;
use edge::{Failure, Screen, progress};
use manifests::bundle::BundleDigest;
use manifests::root::SignatureVerdict;
use manifests::{BundleManifest, VerifiedBundle};
use serde::Serialize;

use crate::admit;
use crate::audit::AuditLog;
use crate::preflight::{self, Finding};
use crate::site::Site;

/// The arguments of `verify`.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The bundle
    #[arg(required = true)]
    bundle: Vec<PathBuf>,
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
        let bundle = verified(site, screen, &path, "verify")?;
        let config = site.config()?;
        let findings = preflight::clock::check(&preflight::times(&bundle, &judged, screen.env), &config.time);
        let human = format!(
            "verified: every signature, every digest, every byte\n{}{}",
            summary(&bundle),
            super::plan::show_findings(&findings)
        );
        let document = Document {
            bundle: bundle.digest(),
            verified: true,
            root_version: bundle.root_version(),
            signatures: bundle.signatures(),
            manifest: bundle.manifest(),
            findings: &findings,
        };
        screen.result(&human, &document)
    }
}

/// Checks a whole bundle, and logs how that ended.
pub(super) fn verified(
    site: &Site,
    screen: &mut Screen<'_>,
    path: &std::path::Path,
    event: &str,
) -> Result<VerifiedBundle, Failure> {
    let config = site.config()?;
    let log = AuditLog::of(site, screen.env);
    let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let mut bar = progress::new(screen.wants_bars(), "verifying", size);
    let verdict = admit::verify(site, &config, path, &mut *bar).map_err(Failure::from);
    drop(bar);
    super::log_verdict(event, &log, screen.env, path, verdict, |bundle| {
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
