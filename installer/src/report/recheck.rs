//! The commands that check a report without this program: `openssl`, `sha256sum` and the usual small tools. For a
//! medium they are those of `audit explain`; for a site they work on its directory, and on the evidence that was
//! written beside a report, which has the same layout.
//!
//! *What it never does:* run anything, or put a text from outside into a command unquoted.

use std::path::{Path, PathBuf};

use manifests::TrustRoot;
use manifests::root::{RootKey, Verdict};
use manifests::verify::SignedManifest;

use super::bundle;
use super::facts::{BundleFacts, Facts};
use super::model::{Recheck, RecheckLine};
use crate::explain::{self, Check, quoted};

/// The commands of one report.
pub(crate) struct Made(pub(crate) Recheck);

const NEEDS: &str = "tar, openssl 3.0 or newer, sha256sum, and the usual small tools (ssh-keygen where a signer uses an SSH key); a POSIX shell, in an empty directory";

/// For a bundle on a medium.
pub(crate) fn of_medium(root: &TrustRoot, signed: &SignedManifest, files: &[PathBuf]) -> Made {
    let plain = |check: Check| RecheckLine { shows: check.shows, command: check.command, needs_store: false };
    let checks = explain::checks(root, signed, files).into_iter().map(plain).collect();
    Made(Recheck { needs: NEEDS.to_string(), checks, script: explain::script(root, signed, files) })
}

/// For what a site has kept; `out` is the report itself, which the log names by its digest.
pub(crate) fn of_site(facts: &Facts, out: &Path) -> Made {
    let mut checks = Checks::default();
    checks.plain(
        "where the site is, or the evidence that was written beside this report",
        format!("SITE=${{SITE:-{}}}", quoted(&facts.directory.display().to_string())),
    );
    checks.plain("this directory is empty", "[ -z \"$(ls -A .)\" ]\nmkdir keys".to_string());
    checks.trust(facts);
    facts
        .bundles
        .iter()
        .filter(|found| found.documents.is_ok())
        .for_each(|found| checks.bundle(found, facts));
    checks.log(facts);
    checks.store(
        "the log names this very report; REPORT is its file, if it was moved",
        format!(
            "REPORT=${{REPORT:-{}}}\n[ \"$(grep -c \"$(sha256sum \"$REPORT\" | cut -d' ' -f1)\" \"$SITE/audit/audit.jsonl\")\" = 1 ]",
            quoted(&out.display().to_string())
        ),
    );
    Made(Recheck { needs: NEEDS.to_string(), script: script(&checks.0), checks: checks.0 })
}

/// What was carried of a bundle is in the store by its digest, but for patches: what was made of those is.
fn blobs_are_signed(bundle: &str) -> String {
    let place = format!("bundles/{bundle}");
    let patches = format!(
        r#"$(grep -o '"patch":{{"digest":"sha256:[0-9a-f]*' {place}/inventory.json | cut -d: -f4; echo none)"#
    );
    let made = format!(
        r#"grep -o '"blob":"sha256:[0-9a-f]*' {place}/inventory.json | cut -d: -f3 | sed 's|.*|&  blobs/sha256/&|'"#
    );
    format!(
        "(cd \"$SITE/store\" && {{ grep '  blobs/' {place}/SHA256SUMS | grep -v -F -e \"{patches}\"; {made}; }} | sha256sum --check --strict --quiet)"
    )
}

fn script(checks: &[RecheckLine]) -> String {
    let mut text = format!(
        "#!/bin/sh\n# Rechecks what an Airlock report says of a site. SITE=DIR names its directory, or the evidence.\n# Needs {NEEDS}.\n# It ends with `all of it holds`, or stops at the first check that does not hold and names it.\n{}",
        explain::STOPS
    );
    for line in checks {
        let check = Check { shows: line.shows.clone(), command: line.command.clone() };
        text.push_str(&explain::in_script(&check));
    }
    text.push_str("\necho 'all of it holds'\n");
    text
}

#[derive(Default)]
struct Checks(Vec<RecheckLine>);

impl Checks {
    fn plain(&mut self, shows: &str, command: String) {
        self.0.push(RecheckLine { shows: shows.to_string(), command, needs_store: false });
    }

    /// A check that only the site itself can pass: in its evidence the store is not, and the log ends earlier.
    fn store(&mut self, shows: &str, command: String) {
        let left_out = quoted(&format!("not checked, as the site's store is not here: {shows}"));
        let command =
            format!("if [ -d \"$SITE/store/blobs\" ]; then\n{command}\nelse echo {left_out} >&2; fi");
        self.0.push(RecheckLine { shows: shows.to_string(), command, needs_store: true });
    }

    fn trust(&mut self, facts: &Facts) {
        for root in facts.trust.roots() {
            let (version, hex) = (root.document().version, root.fingerprint().hex());
            self.plain(
                &format!(
                    "trust root version {version} is the one that this report names; compare {hex} with paper"
                ),
                is_digest(&format!("$SITE/trust/{version}.root.json"), &hex),
            );
        }
        if let Some(list) = facts.trust.revocations() {
            let (epoch, version) = (list.document().epoch, list.document().version);
            self.plain(
                &format!("revocations version {version} of epoch {epoch} are those that this report names"),
                is_digest(&format!("$SITE/trust/{epoch}.{version}.revocations.json"), &list.digest().hex()),
            );
        }
    }

    fn bundle(&mut self, found: &BundleFacts, facts: &Facts) {
        let (title, hex) = (found.title(), found.bundle.0.hex());
        let place = format!("$SITE/store/bundles/{hex}");
        self.plain(
            &format!("bundle.json of {title} is the one that this report names"),
            is_digest(&format!("{place}/bundle.json"), &hex),
        );
        let root = bundle::root(found, &facts.trust);
        let (document, version) = (root.document(), root.document().version);
        let signatures = found.signatures.as_deref().unwrap_or_default();
        for verdict in signatures.iter().filter(|signature| signature.verdict == Verdict::Good) {
            let (Some(key), keyid) = (document.keys.get(&verdict.keyid), verdict.keyid) else { continue };
            self.plain(
                &format!("trust root version {version} lists this key of {}", key.holder),
                format!("[ \"$(grep -c '\"{keyid}\":' \"$SITE/trust/{version}.root.json\")\" = 1 ]"),
            );
            let (signed, signature) =
                (format!("\"{place}/bundle.json\""), format!("\"{place}/signatures/{keyid}.sig\""));
            for check in
                explain::signed_by(keyid, key, &format!("bundle.json of {title}"), &signed, &signature)
            {
                self.plain(&check.shows, check.command);
            }
        }
        self.plain(
            &format!("bundle.json of {title} names this very SHA256SUMS"),
            format!("[ \"$(grep -c \"$(sha256sum \"{place}/SHA256SUMS\" | cut -d' ' -f1)\" \"{place}/bundle.json\")\" = 1 ]"),
        );
        self.plain(
            &format!("inventory.json of {title} is the one that was signed"),
            format!(
                "(cd \"{place}\" && grep '  inventory.json$' SHA256SUMS | sha256sum --check --strict --quiet)"
            ),
        );
        let is_kept = found.applied.as_ref().is_none_or(|applied| applied.applied.removed.is_none());
        if is_kept {
            self.store(
                &format!("every blob of {title} in the site store is the one that was signed"),
                blobs_are_signed(&hex),
            );
        }
    }

    fn log(&mut self, facts: &Facts) {
        let (entries, head) = (facts.log.head.entries, &facts.log.head.digest);
        let log = "$SITE/audit/audit.jsonl";
        if entries > 0 {
            self.plain(
                &format!("the log holds together, and its entry {} is the one that this report names", entries - 1),
                format!(
                    "prev={genesis}\nn=0\nhead=\nwhile IFS= read -r line; do\n    case $line in *\"\\\"prev\\\":\\\"$prev\\\",\\\"seq\\\":$n,\"*) ;; *) echo \"broken at line $((n + 1))\"; exit 1 ;; esac\n    prev=$(printf '%s\\n' \"$line\" | sha256sum | cut -d' ' -f1)\n    n=$((n + 1))\n    [ \"$n\" != {entries} ] || head=$prev\ndone <\"{log}\"\n[ \"$head\" = {head} ]",
                    genesis = manifests::audit::GENESIS,
                ),
            );
        }
        let Some(newest) = facts.log.checkpoints.last() else { return };
        let Some((number, key)) = (1_u64..).zip(&facts.keys).find(|(_, key)| key.id() == newest.keyid) else {
            return;
        };
        let Ok(holder) = "site".parse() else { return };
        let listed = RootKey { scheme: key.scheme(), pem: key.pem().to_string(), holder };
        let document = format!("$SITE/audit/checkpoints/{}.checkpoint.json", newest.entries);
        let (quoted, signature) =
            (format!("\"{document}\""), format!("\"{document}.sigs/{}.sig\"", key.id()));
        let what = format!("the checkpoint of {} entries", newest.entries);
        for check in explain::signed_by(key.id(), &listed, &what, &quoted, &signature) {
            self.plain(&check.shows, check.command);
        }
        self.plain(
            &format!("key {number} of the site is that key"),
            format!("[ \"$(openssl pkey -pubin -in \"$SITE/key/{number}.pub.pem\" -outform DER | sha256sum | cut -d' ' -f1)\" = {} ]", key.id()),
        );
        self.plain(
            "the log still has the line that was signed",
            format!("[ \"$(grep -c \"\\\"head\\\":\\\"sha256:$(sed -n {}p \"{log}\" | sha256sum | cut -d' ' -f1)\\\"\" \"{document}\")\" = 1 ]", newest.entries),
        );
    }
}

fn is_digest(path: &str, hex: &str) -> String {
    format!("[ \"$(sha256sum \"{path}\" | cut -d' ' -f1)\" = {hex} ]")
}
