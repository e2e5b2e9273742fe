//! The report as a document: `docs/schema/report.schema.json`. The page is made of these fields and of no others.

use edge::Exit;
use manifests::bundle::{BundleDigest, Sequence};
use manifests::root::Verdict as SignatureWord;
use manifests::text::{BundleVersion, Marking, Name};
use manifests::{Digest, KeyId, Scheme, Timestamp};
use serde::Serialize;

use crate::preflight::{Finding, Verdict};

/// The version of the document.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) enum ReportSchema {
    /// This one.
    #[serde(rename = "airlock-report/v1")]
    V1,
}

/// What a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Subject {
    /// What the site has kept.
    Site,
    /// A bundle on a medium.
    Medium,
}

/// The whole report.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) schema: ReportSchema,
    pub(crate) about: Subject,
    pub(crate) written: Written,
    /// Of every bundle in it, each once: what is printed at the top and the bottom of each page.
    pub(crate) markings: Vec<Marking>,
    pub(crate) verdict: Verdict,
    /// The verdict in a sentence.
    pub(crate) summary: String,
    /// What the verdict follows from.
    pub(crate) findings: Vec<Finding>,
    pub(crate) site: SitePart,
    pub(crate) trust: TrustPart,
    pub(crate) clock: ClockPart,
    pub(crate) bundles: Vec<BundlePart>,
    /// Everything that was ever applied here, the oldest first.
    pub(crate) history: Vec<HistoryLine>,
    pub(crate) audit: AuditPart,
    pub(crate) not_checked: Vec<Gap>,
    pub(crate) controls: Vec<Control>,
    pub(crate) recheck: Recheck,
    /// How the run ends that has written it.
    #[serde(skip)]
    pub(crate) exit: Exit,
}

/// Who has written it, when, with what.
#[derive(Debug, Serialize)]
pub(crate) struct Written {
    pub(crate) time: Timestamp,
    pub(crate) tool: String,
    pub(crate) uid: u32,
    pub(crate) user: String,
    pub(crate) sudo_user: Option<String>,
    pub(crate) host: String,
}

/// Which site.
#[derive(Debug, Serialize)]
pub(crate) struct SitePart {
    pub(crate) name: Option<Name>,
    pub(crate) groups: Vec<Name>,
    pub(crate) directory: String,
    /// The site's own keys, the oldest first; the last one signs.
    pub(crate) keys: Vec<SiteKeyLine>,
}

/// One key of the site.
#[derive(Debug, Serialize)]
pub(crate) struct SiteKeyLine {
    pub(crate) number: u64,
    pub(crate) keyid: KeyId,
    pub(crate) scheme: Scheme,
    /// The one before it was lost, so nobody has signed for it.
    pub(crate) after_loss: bool,
}

/// Whom the site trusts.
#[derive(Debug, Serialize)]
pub(crate) struct TrustPart {
    pub(crate) publisher: Name,
    pub(crate) version: u64,
    pub(crate) epoch: u64,
    pub(crate) fingerprint: Digest,
    pub(crate) created: Timestamp,
    pub(crate) expires: Option<Timestamp>,
    /// The root that came with a fingerprint on paper, and each that followed.
    pub(crate) chain: Vec<RootLine>,
    /// None if there never were any.
    pub(crate) revocations: Option<RevocationsPart>,
    /// Since when nothing that was revoked can be known here.
    pub(crate) newest: Timestamp,
    /// Whole days from then until now.
    pub(crate) age_days: i64,
}

/// One root of the chain.
#[derive(Debug, Serialize)]
pub(crate) struct RootLine {
    pub(crate) version: u64,
    pub(crate) fingerprint: Digest,
    pub(crate) created: Timestamp,
}

/// The list that holds.
#[derive(Debug, Serialize)]
pub(crate) struct RevocationsPart {
    pub(crate) epoch: u64,
    pub(crate) version: u64,
    pub(crate) digest: Digest,
    pub(crate) created: Timestamp,
    pub(crate) keys: usize,
    pub(crate) bundles: usize,
    pub(crate) minimums: usize,
}

/// What can be said about time.
#[derive(Debug, Serialize)]
pub(crate) struct ClockPart {
    /// What the site's clock said while this was written.
    pub(crate) clock: Timestamp,
    /// The latest time of anything that was signed for the site and accepted.
    pub(crate) floor: Timestamp,
    pub(crate) plausible: bool,
    pub(crate) last_entry: Option<Timestamp>,
    /// Always false: there is none that a site could ask.
    pub(crate) time_authority_asked: bool,
    pub(crate) statement: String,
}

/// One bundle.
#[derive(Debug, Serialize)]
pub(crate) struct BundlePart {
    pub(crate) bundle: BundleDigest,
    pub(crate) publisher: Name,
    pub(crate) product: Name,
    pub(crate) version: BundleVersion,
    pub(crate) order: Sequence,
    pub(crate) marking: Marking,
    pub(crate) created: Timestamp,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) audience: Vec<String>,
    /// Where it was read from, for a report about a medium.
    pub(crate) medium: Option<String>,
    pub(crate) applied: Option<AppliedPart>,
    /// The version of the root that has judged it.
    pub(crate) root_version: u64,
    pub(crate) signatures: Vec<SignatureLine>,
    pub(crate) thresholds: Vec<ThresholdLine>,
    /// Whether all thresholds were reached in this run.
    pub(crate) signatures_verified: bool,
    /// Whether every byte was read in this run and has its signed digest.
    pub(crate) content_verified: bool,
    /// What did not travel, or only as a patch.
    pub(crate) delta: Option<DeltaPart>,
    /// The bill of materials of the whole bundle.
    pub(crate) sbom: Option<Digest>,
    pub(crate) artifacts: Vec<Artifact>,
    pub(crate) preflight: Vec<PreflightRun>,
    pub(crate) overrides: Vec<OverrideLine>,
    pub(crate) changes: Option<Changes>,
    pub(crate) acts: Vec<Act>,
}

/// What a delta leaves to the site.
#[derive(Debug, Serialize)]
pub(crate) struct DeltaPart {
    /// The bundles that hold the rest, by what people call them and by digest.
    pub(crate) bases: Vec<String>,
    /// The blobs of the bundle.
    pub(crate) blobs: u64,
    /// Those that did not travel, and their bytes.
    pub(crate) left_out: u64,
    pub(crate) left_out_bytes: u64,
    /// Those that were made here of a patch, their bytes, and those of the patches.
    pub(crate) patched: u64,
    pub(crate) patched_bytes: u64,
    pub(crate) patch_bytes: u64,
}

/// What the ledger says of it.
#[derive(Debug, Serialize)]
pub(crate) struct AppliedPart {
    pub(crate) time: Timestamp,
    /// Whether the site runs it.
    pub(crate) current: bool,
    pub(crate) removed: Option<Timestamp>,
    /// Whether the log bears the ledger out.
    pub(crate) in_log: bool,
}

/// One signature over `bundle.json`.
#[derive(Debug, Serialize)]
pub(crate) struct SignatureLine {
    pub(crate) keyid: KeyId,
    pub(crate) scheme: Option<Scheme>,
    pub(crate) holder: Option<Name>,
    pub(crate) role: &'static str,
    pub(crate) verdict: SignatureWord,
    pub(crate) in_words: String,
}

/// One clause of the release role.
#[derive(Debug, Serialize)]
pub(crate) struct ThresholdLine {
    pub(crate) needed: u32,
    /// Distinct holders with a good signature.
    pub(crate) reached: usize,
    pub(crate) signed: Vec<Name>,
    pub(crate) may_sign: Vec<Name>,
}

/// One component of the bundle.
#[derive(Debug, Serialize)]
pub(crate) struct Artifact {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    /// Of its manifest.
    pub(crate) digest: Digest,
    /// Of everything that belongs to it.
    pub(crate) bytes: u64,
    pub(crate) origin: String,
    pub(crate) upstream: Upstream,
    pub(crate) sboms: Vec<SbomLine>,
    /// Signatures, attestations and referrers that travel with it.
    pub(crate) companions: Option<String>,
    pub(crate) files: Vec<FileLine>,
    pub(crate) placed: Vec<Placement>,
}

/// What is known of the signature of whoever made it.
#[derive(Debug, Serialize)]
pub(crate) struct Upstream {
    pub(crate) verdict: UpstreamWord,
    pub(crate) in_words: String,
}

/// In a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UpstreamWord {
    /// The sender has checked it when the bundle was locked.
    Verified,
    /// Nobody has.
    NotChecked,
}

/// A bill of materials that came with an image.
#[derive(Debug, Serialize)]
pub(crate) struct SbomLine {
    pub(crate) format: manifests::inventory::SbomFormat,
    pub(crate) blob: Digest,
}

/// One file of a component.
#[derive(Debug, Serialize)]
pub(crate) struct FileLine {
    pub(crate) path: String,
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
}

/// Where something was put, and what was read back there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Placement {
    pub(crate) target: &'static str,
    pub(crate) place: String,
    /// What was compared when it was read back; none where there is nothing to compare.
    pub(crate) digest_read_back: Option<Digest>,
    pub(crate) read_back: String,
    /// The journal that says so.
    pub(crate) journal: String,
    pub(crate) time: Option<Timestamp>,
}

/// One run of the checks before a change.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PreflightRun {
    pub(crate) seq: u64,
    pub(crate) time: Timestamp,
    #[serde(rename = "for")]
    pub(crate) purpose: String,
    pub(crate) ready: bool,
    pub(crate) passed: u64,
    pub(crate) warned: Vec<String>,
    pub(crate) overridden: Vec<String>,
    pub(crate) failed: Vec<String>,
    pub(crate) user: String,
}

/// A check that did not stop somebody.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct OverrideLine {
    pub(crate) seq: u64,
    pub(crate) time: Timestamp,
    pub(crate) id: String,
    pub(crate) fact: String,
    pub(crate) reason: String,
    pub(crate) change: Option<String>,
    pub(crate) user: String,
}

/// What an apply has changed.
#[derive(Debug, Serialize)]
pub(crate) struct Changes {
    /// The file in the site's journal directory.
    pub(crate) journal: String,
    pub(crate) outcome: RunWord,
    /// What the site ran before.
    pub(crate) before: Option<BundleVersion>,
    pub(crate) after: BundleVersion,
    pub(crate) change: Option<String>,
    pub(crate) steps: Vec<StepLine>,
    /// What was in place already, in the plan's words.
    pub(crate) unchanged: Vec<String>,
    pub(crate) notes: Vec<String>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RunWord {
    /// Everything was done.
    Done,
    /// Everything was taken back.
    Undone,
    /// Something could not be taken back.
    NotUndone,
    /// It was cut off.
    CutOff,
}

/// One step of it.
#[derive(Debug, Serialize)]
pub(crate) struct StepLine {
    pub(crate) number: usize,
    pub(crate) target: &'static str,
    pub(crate) action: String,
    pub(crate) before: String,
    pub(crate) after: String,
    pub(crate) outcome: StepWord,
    pub(crate) time: Option<Timestamp>,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StepWord {
    /// It was done, and read back.
    Done,
    /// It was begun, and nothing says how it ended.
    Begun,
    /// It was taken back.
    Undone,
    /// It could not be taken back.
    Stuck,
    /// It was never begun.
    NotBegun,
}

/// One entry of the log about a bundle.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Act {
    pub(crate) seq: u64,
    pub(crate) time: Timestamp,
    pub(crate) event: String,
    pub(crate) outcome: String,
    pub(crate) user: String,
    pub(crate) detail: String,
}

/// One application in the ledger.
#[derive(Debug, Serialize)]
pub(crate) struct HistoryLine {
    pub(crate) time: Timestamp,
    pub(crate) publisher: Name,
    pub(crate) product: Name,
    pub(crate) version: BundleVersion,
    pub(crate) order: Sequence,
    pub(crate) bundle: BundleDigest,
    pub(crate) marking: Marking,
    pub(crate) signers: Vec<Name>,
    pub(crate) removed: Option<Timestamp>,
}

/// The log, as far as this report goes.
#[derive(Debug, Serialize)]
pub(crate) struct AuditPart {
    /// Whether the chain holds and every checkpoint agrees.
    pub(crate) intact: bool,
    /// What is wrong, if it is not.
    pub(crate) broken: Option<String>,
    /// How many entries hold together.
    pub(crate) entries: u64,
    pub(crate) first_time: Option<Timestamp>,
    pub(crate) last_time: Option<Timestamp>,
    /// SHA-256 of the last of them, with its line feed.
    pub(crate) head: String,
    /// The newest checkpoint, if it agrees.
    pub(crate) checkpoint: Option<CheckpointLine>,
    /// Entries that came after it.
    pub(crate) unsigned: u64,
    /// How many checkpoints are kept here.
    pub(crate) checkpoints: usize,
    /// What happened to the site itself: trust, keys, repairs.
    pub(crate) acts: Vec<Act>,
}

/// What the site's key has signed.
#[derive(Debug, Serialize)]
pub(crate) struct CheckpointLine {
    pub(crate) entries: u64,
    pub(crate) head: Digest,
    pub(crate) time: Timestamp,
    pub(crate) keyid: KeyId,
}

/// What was not checked, and of what that holds.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Gap {
    pub(crate) what: String,
    /// Which artifacts, entries or versions, if it is about some of them.
    pub(crate) of: Vec<String>,
    /// What would show it.
    pub(crate) instead: Option<String>,
}

/// A control, and what of this report is evidence for it.
#[derive(Debug, Serialize)]
pub(crate) struct Control {
    pub(crate) framework: &'static str,
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) state: ControlState,
    /// The sections of the page.
    pub(crate) sections: &'static [&'static str],
    pub(crate) shows: String,
    pub(crate) does_not_show: &'static str,
}

/// How far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ControlState {
    /// What stands under `shows` was found in this run.
    Evidence,
    /// Some of it.
    Partly,
    /// Nothing here is evidence for it, or what was found speaks against it.
    None,
}

/// How to check all this without this program.
#[derive(Debug, Serialize)]
pub(crate) struct Recheck {
    pub(crate) needs: String,
    pub(crate) checks: Vec<RecheckLine>,
    /// All of them as one script, for an empty directory.
    pub(crate) script: String,
}

/// One check.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RecheckLine {
    /// What holds if the command ends with exit code 0.
    pub(crate) shows: String,
    pub(crate) command: String,
    /// Whether it needs the site's store, and not only the evidence.
    pub(crate) needs_store: bool,
}
