//! Chooses the wheels: for each requirement and each target the best wheel of exactly the pinned
//! version, among those whose digest is pinned. All that cannot be met is reported at once.
//!
//! *Invariant:* a [`ChosenWheel`] has a digest that the requirements file pins, and suits each target it
//! names. Whether the bytes have that digest is for whoever fetches them to check.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use manifests::text::printable;
use manifests::{Digest, Name};
use registry::Url;

use super::filename::{WheelFilename, project_name};
use super::index::{IndexError, IndexFile, IndexTransport, ProjectPage, project_page};
use super::index_url::IndexUrl;
use super::requirements::{Pin, Requirements};
use super::tags::{PythonVersion, SupportedTags, Target};
use super::version::{PythonRange, Version};
use super::{Class, enumeration};

/// Questions to an index at one time: waiting, not work.
const QUESTIONS_AT_ONCE: usize = 8;

/// A wheel to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenWheel {
    /// Its name.
    pub filename: WheelFilename,
    /// Where the index says it is; it holds no user information.
    pub url: Url,
    /// The pinned digest that its bytes must have.
    pub sha256: Digest,
    /// Bytes, as the index or its file server states them.
    pub size: Option<u64>,
    /// What the index says of the interpreters it needs, if that can be read.
    pub requires_python: Option<String>,
    /// Why the index withdrew it (PEP 592), possibly empty. A pin takes it all the same; people should
    /// hear of it.
    pub yanked: Option<String>,
    /// The targets it is for: places in the list that was given, sorted.
    pub targets: Vec<usize>,
}

/// Why wheels could not be chosen.
#[derive(Debug, thiserror::Error)]
#[error("{}", summary(.unmet))]
pub struct ResolveError {
    /// Everything that cannot be met, in the order of the requirements file; at least one.
    pub unmet: Vec<Unmet>,
}

/// A requirement that cannot be met.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unmet {
    /// There is nothing to resolve for.
    #[error("wheels are chosen for a target, and there is none: name an interpreter and a platform")]
    NoTarget,
    /// The index says nothing about the project.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The index has the project, not the version.
    #[error("the index has no {project} {version}; it has {available}")]
    VersionNotFound {
        /// The project.
        project: Name,
        /// As pinned.
        version: String,
        /// The latest versions it has.
        available: String,
    },
    /// The version was never built.
    #[error("{project} {version} is on the index as a source distribution only: build a wheel of it first")]
    OnlySourceDistribution {
        /// The project.
        project: Name,
        /// As pinned.
        version: String,
    },
    /// The version was built, and the requirements file has no digest of a wheel.
    #[error(
        "the requirements file pins only the source distribution of {project} {version}: write its hashes again"
    )]
    OnlySourceDistributionPinned {
        /// The project.
        project: Name,
        /// As pinned.
        version: String,
    },
    /// No file of this version has a digest that the requirements file pins: the index offers others
    /// than those that were looked at when the file was written.
    #[error("none of the wheels of {project} {version} on the index has a pinned hash: it offers {offered}")]
    HashNotOffered {
        /// The project.
        project: Name,
        /// As pinned.
        version: String,
        /// Some of the wheels and the digests that the index states.
        offered: String,
    },
    /// Wheels suit the target, but only others are pinned.
    #[error(
        "the requirements file pins no wheel of {project} {version} for {target}, such as {wheel}: write its hashes again"
    )]
    HashNotPinned {
        /// The project.
        project: Name,
        /// As pinned.
        version: String,
        /// Which target.
        target: Target,
        /// The best that the index has.
        wheel: String,
    },
    /// No wheel suits the target.
    #[error("no wheel of {project} {version} is for {target}; there are {available}")]
    NoWheelForTarget {
        /// The project.
        project: Name,
        /// As pinned.
        version: String,
        /// Which target.
        target: Target,
        /// The tags of the wheels that there are.
        available: String,
    },
    /// The wheels that would suit want another interpreter.
    #[error("{project} {version} needs Python {requires}, the target has {python}")]
    RequiresPython {
        /// The project.
        project: Name,
        /// As pinned.
        version: String,
        /// `>=3.12`
        requires: String,
        /// What the target has.
        python: PythonVersion,
    },
}

fn summary(unmet: &[Unmet]) -> String {
    match unmet {
        [one] => with_causes(one),
        all => {
            let lines: Vec<String> = all.iter().map(|one| format!("\n  - {}", with_causes(one))).collect();
            format!("{} requirements cannot be met:{}", all.len(), lines.concat())
        }
    }
}

/// The causes of several failures cannot all be the one `source()`, so each stands beside its failure.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

impl Unmet {
    /// Which kind of failure it is.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Index(error) => error.class(),
            Self::HashNotOffered { .. } => Class::Damaged,
            // The index was asked and lacks it, as a registry can lack a platform.
            Self::VersionNotFound { .. }
            | Self::OnlySourceDistribution { .. }
            | Self::NoWheelForTarget { .. } => Class::Unreachable,
            _ => Class::Spec,
        }
    }
}

impl ResolveError {
    /// Which kind of failure it is: the gravest of all.
    #[must_use]
    pub fn class(&self) -> Class {
        let has = |class| self.unmet.iter().any(|one| one.class() == class);
        [Class::Damaged, Class::Unreachable].into_iter().find(|class| has(*class)).unwrap_or(Class::Spec)
    }
}

impl ChosenWheel {
    /// The project, normalised.
    #[must_use]
    pub fn project(&self) -> &Name {
        self.filename.project()
    }

    /// The version, as the file name spells it.
    #[must_use]
    pub fn version(&self) -> &Version {
        self.filename.version()
    }
}

/// Chooses the wheels for all requirements and targets, each file once, sorted by file name. The same
/// pages give the same choice.
///
/// # Errors
/// Every requirement that cannot be met.
pub fn resolve(
    requirements: &Requirements,
    targets: &[Target],
    index: &IndexUrl,
    transport: &dyn IndexTransport,
) -> Result<Vec<ChosenWheel>, ResolveError> {
    if targets.is_empty() {
        return Err(ResolveError { unmet: vec![Unmet::NoTarget] });
    }
    let suited: Vec<SupportedTags> = targets.iter().map(Target::supported).collect();
    let answers = at_once(&requirements.pins, |pin| {
        let page = project_page(transport, index, &pin.project).map_err(|error| vec![Unmet::from(error)])?;
        choose(pin, &page, targets, &suited)
    });
    let mut unmet = Vec::new();
    let mut chosen = Vec::new();
    for answer in answers {
        match answer {
            Ok(wheels) => chosen.extend(wheels),
            Err(more) => unmet.extend(more),
        }
    }
    if unmet.is_empty() { with_sizes(chosen, transport) } else { Err(ResolveError { unmet }) }
}

/// Asks for the lengths that the index did not state, and puts the wheels in order.
fn with_sizes(
    mut chosen: Vec<ChosenWheel>,
    transport: &dyn IndexTransport,
) -> Result<Vec<ChosenWheel>, ResolveError> {
    let sizes = at_once(&chosen, |wheel| match wheel.size {
        Some(size) => Ok(Some(size)),
        None => transport
            .size(&wheel.url)
            .map_err(|source| Unmet::Index(IndexError::Transport { url: wheel.url.to_string(), source })),
    });
    let mut unmet = Vec::new();
    for (wheel, size) in chosen.iter_mut().zip(sizes) {
        match size {
            Ok(size) => wheel.size = size,
            Err(error) => unmet.push(error),
        }
    }
    if !unmet.is_empty() {
        return Err(ResolveError { unmet });
    }
    chosen.sort_by(|left, right| left.filename.cmp(&right.filename));
    Ok(chosen)
}

/// A wheel of the pinned version on the project's page.
struct Candidate<'a> {
    filename: WheelFilename,
    file: &'a IndexFile,
    /// `None` if the page says nothing, or nothing that can be read: then pip, too, takes the wheel.
    range: Option<PythonRange>,
    /// The stated digest, if the requirements file pins it.
    pinned: Option<Digest>,
}

impl Candidate<'_> {
    fn runs_on(&self, python: PythonVersion) -> bool {
        self.range.as_ref().is_none_or(|range| range.admits(python))
    }
}

/// The wheels for one requirement.
fn choose(
    pin: &Pin,
    page: &ProjectPage,
    targets: &[Target],
    suited: &[SupportedTags],
) -> Result<Vec<ChosenWheel>, Vec<Unmet>> {
    let candidates: Vec<Candidate<'_>> = page.files.iter().filter_map(|file| candidate(pin, file)).collect();
    if !candidates.iter().any(|candidate| candidate.pinned.is_some()) {
        return Err(vec![nothing_pinned(pin, page, &candidates)]);
    }
    let mut unmet = Vec::new();
    let mut chosen: BTreeMap<(WheelFilename, Digest), ChosenWheel> = BTreeMap::new();
    for (place, (target, tags)) in targets.iter().zip(suited).enumerate() {
        match best(pin, &candidates, target, tags) {
            Ok((candidate, sha256)) => {
                let key = (candidate.filename.clone(), sha256);
                let wheel = chosen.entry(key).or_insert_with(|| chosen_wheel(candidate, sha256));
                wheel.targets.push(place);
            }
            Err(error) => unmet.push(error),
        }
    }
    if unmet.is_empty() { Ok(chosen.into_values().collect()) } else { Err(unmet) }
}

fn candidate<'a>(pin: &Pin, file: &'a IndexFile) -> Option<Candidate<'a>> {
    let filename: WheelFilename = file.filename.parse().ok()?;
    if *filename.project() != pin.project || !pin.version.accepts(filename.version()) {
        return None;
    }
    let range = file.requires_python.as_deref().and_then(|text| text.parse().ok());
    let pinned = file.sha256.filter(|digest| pin.hashes.contains(digest));
    Some(Candidate { filename, file, range, pinned })
}

fn chosen_wheel(candidate: &Candidate<'_>, sha256: Digest) -> ChosenWheel {
    let requires_python = candidate.file.requires_python.clone().filter(|_| candidate.range.is_some());
    ChosenWheel {
        filename: candidate.filename.clone(),
        url: candidate.file.url.clone(),
        sha256,
        size: candidate.file.size,
        requires_python,
        yanked: candidate.file.yanked.clone(),
        targets: Vec::new(),
    }
}

/// The best pinned wheel for a target. As in pip: one that was not withdrawn, then the higher version
/// (a local build), then the closer tag, then the higher build tag.
fn best<'a, 'b>(
    pin: &Pin,
    candidates: &'a [Candidate<'b>],
    target: &Target,
    tags: &SupportedTags,
) -> Result<(&'a Candidate<'b>, Digest), Unmet> {
    let (project, version) = (pin.project.clone(), pin.version.to_string());
    let suiting: Vec<(usize, &Candidate<'b>)> =
        candidates.iter().filter_map(|one| Some((tags.rank(&one.filename)?, one))).collect();
    let Some((_, closest)) = suiting.iter().min_by_key(|(rank, one)| (!one.runs_on(target.python), *rank))
    else {
        let mut available: Vec<String> = candidates.iter().map(|one| one.filename.tags()).collect();
        available.sort_unstable();
        available.dedup();
        let available = enumeration(&available, 12);
        return Err(Unmet::NoWheelForTarget { project, version, target: target.clone(), available });
    };
    if !closest.runs_on(target.python) {
        let requires = printable(closest.file.requires_python.as_deref().unwrap_or_default());
        return Err(Unmet::RequiresPython { project, version, requires, python: target.python });
    }
    let pinned = suiting.iter().filter(|(_, one)| one.runs_on(target.python));
    let pinned = pinned.filter_map(|(rank, one)| Some((*rank, *one, one.pinned?)));
    let best = pinned.min_by_key(|(rank, one, digest)| {
        let name = &one.filename;
        (one.file.yanked.is_some(), Reverse(name.version()), *rank, Reverse(name.build()), name, *digest)
    });
    best.map(|(_, one, digest)| (one, digest)).ok_or_else(|| {
        let wheel = closest.filename.to_string();
        Unmet::HashNotPinned { project, version, target: target.clone(), wheel }
    })
}

/// Why no wheel of the page has a pinned digest.
fn nothing_pinned(pin: &Pin, page: &ProjectPage, candidates: &[Candidate<'_>]) -> Unmet {
    let (project, version) = (pin.project.clone(), pin.version.to_string());
    let sources: Vec<&IndexFile> = page
        .files
        .iter()
        .filter(|file| {
            source_version(&file.filename, &project).is_some_and(|found| pin.version.accepts(&found))
        })
        .collect();
    match (candidates.is_empty(), sources.is_empty()) {
        (true, true) => {
            Unmet::VersionNotFound { available: latest_versions(page, &project), project, version }
        }
        (true, false) => Unmet::OnlySourceDistribution { project, version },
        _ if sources.iter().any(|file| file.sha256.is_some_and(|digest| pin.hashes.contains(&digest))) => {
            Unmet::OnlySourceDistributionPinned { project, version }
        }
        _ => {
            let offered = candidates.iter().map(|one| match one.file.sha256 {
                Some(digest) => format!("{} with {digest}", one.filename),
                None => format!("{} without a sha256", one.filename),
            });
            let offered = enumeration(&offered.collect::<Vec<_>>(), 2);
            Unmet::HashNotOffered { project, version, offered }
        }
    }
}

/// The version of a source distribution by its file name: `zope.interface-6.4.tar.gz`.
fn source_version(filename: &str, project: &Name) -> Option<Version> {
    let stem = [".tar.gz", ".zip", ".tar.bz2", ".tgz"].iter().find_map(|end| filename.strip_suffix(end))?;
    stem.match_indices('-').find_map(|(dash, _)| {
        let (name, version) = stem.split_at_checked(dash)?;
        let names_project = project_name(name).is_ok_and(|name| name == *project);
        names_project.then(|| version.trim_start_matches('-').parse().ok()).flatten()
    })
}

/// The last versions of a page, for people.
fn latest_versions(page: &ProjectPage, project: &Name) -> String {
    let version = |file: &IndexFile| match file.filename.parse::<WheelFilename>() {
        Ok(wheel) => (wheel.project() == project).then(|| wheel.version().clone()),
        Err(_) => source_version(&file.filename, project),
    };
    let mut versions: Vec<Version> = page.files.iter().filter_map(version).collect();
    versions.sort_unstable_by(|left, right| right.cmp(left));
    versions.dedup();
    if versions.is_empty() { "no files of it".to_owned() } else { enumeration(&versions, 8) }
}

/// Does the same to every item, a few at one time; the answers are in the order of the items.
fn at_once<T: Sync, R: Send>(items: &[T], act: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(place) else { return done };
            done.push((place, act(item)));
        }
    };
    let mut done: Vec<(usize, R)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..items.len().min(QUESTIONS_AT_ONCE)).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    done.sort_unstable_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::wheels::index::{Page, TransportError};
    use std::sync::Mutex;

    /// An index in memory: project → files as `(name, requires-python, yanked)`. The digest of a file is
    /// that of its name.
    #[derive(Default)]
    struct FakeIndex {
        pages: BTreeMap<String, String>,
        sizes: Mutex<Vec<String>>,
        broken: bool,
    }

    impl FakeIndex {
        fn with(mut self, project: &str, files: &[(&str, &str, bool)]) -> Self {
            let anchors = files.iter().map(|(name, requires, yanked)| {
                let yanked = if *yanked { " data-yanked=\"broken\"" } else { "" };
                let requires = requires.replace('<', "&lt;").replace('>', "&gt;");
                let digest = Digest::of(name.as_bytes()).hex();
                format!("<a href=\"/f/{name}#sha256={digest}\" data-requires-python=\"{requires}\"{yanked}>{name}</a>\n")
            });
            self.pages.insert(format!("https://index.example/simple/{project}/"), anchors.collect());
            self
        }
    }

    impl IndexTransport for FakeIndex {
        fn page(&self, url: &Url, _: &str) -> Result<Page, TransportError> {
            if self.broken {
                return Err(TransportError::Failed("connection refused".into()));
            }
            let text = self.pages.get(&url.to_wire()).ok_or(TransportError::NotFound)?;
            Ok(Page {
                content_type: "text/html".to_owned(),
                final_url: url.clone(),
                bytes: text.clone().into_bytes(),
            })
        }

        fn size(&self, url: &Url) -> Result<Option<u64>, TransportError> {
            self.sizes.lock().unwrap().push(url.to_wire());
            Ok(Some(url.to_wire().len() as u64))
        }
    }

    /// A requirements file: each line a pin and the names of the files whose digests it pins.
    fn requirements(pins: &[(&str, &[&str])]) -> Requirements {
        let mut text = String::new();
        for (pin, files) in pins {
            text.push_str(pin);
            for file in *files {
                text.push_str(&format!(" --hash=sha256:{}", Digest::of(file.as_bytes()).hex()));
            }
            text.push('\n');
        }
        Requirements::parse("requirements.txt", text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn targets(targets: &[(&str, &str)]) -> Vec<Target> {
        targets.iter().map(|(python, platform)| Target::parse(python, platform).unwrap()).collect()
    }

    fn run(
        index: &FakeIndex,
        pins: &[(&str, &[&str])],
        machines: &[(&str, &str)],
    ) -> Result<Vec<ChosenWheel>, ResolveError> {
        let url = "https://index.example/simple".parse().unwrap();
        resolve(&requirements(pins), &targets(machines), &url, index)
    }

    fn unmet(index: &FakeIndex, pins: &[(&str, &[&str])], machines: &[(&str, &str)]) -> Unmet {
        let error = run(index, pins, machines).unwrap_err();
        assert_eq!(error.unmet.len(), 1, "{error}");
        error.unmet.into_iter().next().unwrap()
    }

    const LINUX: (&str, &str) = ("3.11", "manylinux_2_28_x86_64");
    const MAC: (&str, &str) = ("3.12", "macosx_11_0_arm64");

    const NEW: &str = "x-1.0-cp311-cp311-manylinux_2_28_x86_64.whl";
    const OLD: &str = "x-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl";
    const APPLE: &str = "x-1.0-cp312-cp312-macosx_11_0_arm64.whl";
    const PURE: &str = "x-1.0-py3-none-any.whl";
    const SOURCE: &str = "x-1.0.tar.gz";

    #[test]
    fn takes_the_closest_wheel_for_each_target_and_each_file_once() {
        let index = FakeIndex::default()
            .with(
                "x",
                &[
                    (PURE, "", false),
                    (OLD, "", false),
                    (NEW, "", false),
                    (APPLE, "", false),
                    (SOURCE, "", false),
                ],
            )
            .with("a-b", &[("a_b-2-py3-none-any.whl", ">=3.8", false)]);
        let chosen = run(
            &index,
            &[("x==1", &[PURE, OLD, NEW, APPLE, SOURCE]), ("A.B==2.0", &["a_b-2-py3-none-any.whl"])],
            &[LINUX, MAC],
        )
        .unwrap();
        let files: Vec<(String, &[usize])> =
            chosen.iter().map(|wheel| (wheel.filename.to_string(), wheel.targets.as_slice())).collect();
        assert_eq!(
            files,
            [
                ("a_b-2-py3-none-any.whl".to_owned(), [0, 1].as_slice()),
                (NEW.to_owned(), [0].as_slice()),
                (APPLE.to_owned(), [1].as_slice()),
            ]
        );
        assert_eq!(chosen[0].requires_python.as_deref(), Some(">=3.8"));
        assert_eq!(chosen[1].url.to_wire(), format!("https://index.example/f/{NEW}"));
        assert_eq!(chosen[1].sha256, Digest::of(NEW.as_bytes()));
        assert_eq!(chosen[1].size, Some(chosen[1].url.to_wire().len() as u64));
        assert_eq!(index.sizes.lock().unwrap().len(), 3);
    }

    #[test]
    fn never_takes_a_wheel_whose_hash_is_not_pinned() {
        let index = FakeIndex::default().with("x", &[(NEW, "", false), (OLD, "", false), (PURE, "", false)]);
        let chosen = run(&index, &[("x==1.0", &[OLD, PURE])], &[LINUX]).unwrap();
        assert_eq!(chosen[0].filename.to_string(), OLD);
    }

    #[test]
    fn hashes_that_the_index_does_not_offer_are_damage() {
        let index = FakeIndex::default().with("x", &[(NEW, "", false), (SOURCE, "", false)]);
        let error = run(&index, &[("x==1.0", &["something else"])], &[LINUX]).unwrap_err();
        assert!(matches!(error.unmet[0], Unmet::HashNotOffered { .. }));
        assert_eq!(error.class(), Class::Damaged);
        assert!(error.to_string().contains(&Digest::of(NEW.as_bytes()).hex()), "{error}");
    }

    #[test]
    fn says_which_hashes_are_missing_from_the_requirements_file() {
        let index =
            FakeIndex::default().with("x", &[(NEW, "", false), (APPLE, "", false), (SOURCE, "", false)]);
        let found = unmet(&index, &[("x==1.0", &[APPLE])], &[LINUX]);
        assert!(matches!(&found, Unmet::HashNotPinned { wheel, .. } if wheel == NEW), "{found}");
        let found = unmet(&index, &[("x==1.0", &[SOURCE])], &[LINUX]);
        assert!(matches!(found, Unmet::OnlySourceDistributionPinned { .. }));
        assert_eq!(found.class(), Class::Spec);
    }

    #[test]
    fn says_what_the_index_has_instead() {
        let index = FakeIndex::default()
            .with(
                "x",
                &[(APPLE, "", false), ("x-0.9-py3-none-any.whl", "", false), ("x-1.10.zip", "", false)],
            )
            .with("docopt", &[("docopt-0.6.2.tar.gz", "", false)]);
        let found = unmet(&index, &[("x==2", &[PURE])], &[LINUX]);
        assert_eq!(found.to_string(), "the index has no x 2; it has 1.10, 1.0, 0.9");
        let found = unmet(&index, &[("docopt==0.6.2", &["docopt-0.6.2.tar.gz"])], &[LINUX]);
        assert!(matches!(found, Unmet::OnlySourceDistribution { .. }));
        let found = unmet(&index, &[("x==1.0", &[APPLE])], &[LINUX]);
        assert_eq!(
            found.to_string(),
            "no wheel of x 1.0 is for Python 3.11 on manylinux_2_28_x86_64; there are cp312-cp312-macosx_11_0_arm64"
        );
        let found = unmet(&index, &[("nothing==1", &[PURE])], &[LINUX]);
        assert!(matches!(found, Unmet::Index(IndexError::ProjectNotFound { .. })));
        assert_eq!(found.class(), Class::Unreachable);
    }

    #[test]
    fn a_wheel_for_another_interpreter_is_not_taken() {
        let index = FakeIndex::default().with("x", &[(PURE, ">=3.12", false)]);
        let found = unmet(&index, &[("x==1.0", &[PURE])], &[LINUX]);
        assert_eq!(found.to_string(), "x 1.0 needs Python >=3.12, the target has 3.11");
        assert!(run(&index, &[("x==1.0", &[PURE])], &[MAC]).is_ok());
        let index = FakeIndex::default().with("x", &[(PURE, ">=3.6.*", false)]);
        let chosen = run(&index, &[("x==1.0", &[PURE])], &[LINUX]).unwrap();
        assert_eq!(chosen[0].requires_python, None);
    }

    #[test]
    fn a_higher_build_tag_breaks_a_tie_and_only_a_tie() {
        let (one, ten) = ("x-1.0-1-py3-none-any.whl", "x-1.0-10-py3-none-any.whl");
        let index = FakeIndex::default().with("x", &[(ten, "", false), (one, "", false), (PURE, "", false)]);
        let pins: &[(&str, &[&str])] = &[("x==1.0", &[one, ten, PURE])];
        assert_eq!(run(&index, pins, &[LINUX]).unwrap()[0].filename.to_string(), ten);
        let index = index.with("x", &[(ten, "", false), (NEW, "", false)]);
        let pins: &[(&str, &[&str])] = &[("x==1.0", &[ten, NEW])];
        assert_eq!(run(&index, pins, &[LINUX]).unwrap()[0].filename.to_string(), NEW);
    }

    #[test]
    fn a_withdrawn_wheel_is_the_last_choice_and_is_named() {
        let index = FakeIndex::default().with("x", &[(NEW, "", true), (PURE, "", false)]);
        let chosen = run(&index, &[("x==1.0", &[NEW, PURE])], &[LINUX]).unwrap();
        assert_eq!((chosen[0].filename.to_string().as_str(), &chosen[0].yanked), (PURE, &None));
        let chosen = run(&index, &[("x==1.0", &[NEW])], &[LINUX]).unwrap();
        assert_eq!(chosen[0].yanked.as_deref(), Some("broken"));
    }

    #[test]
    fn reports_everything_that_cannot_be_met_at_once() {
        let index = FakeIndex::default().with("x", &[(APPLE, "", false)]).with("y", &[]);
        let error = run(&index, &[("x==1.0", &[APPLE]), ("y==1", &[PURE]), ("z==1", &[PURE])], &[LINUX, MAC])
            .unwrap_err();
        assert_eq!(error.unmet.len(), 3, "{error}");
        assert!(error.to_string().starts_with("3 requirements cannot be met:\n  - no wheel of x"), "{error}");
        assert_eq!(error.class(), Class::Unreachable);
    }

    #[test]
    fn an_index_that_does_not_answer_is_out_of_reach() {
        let index = FakeIndex { broken: true, ..FakeIndex::default() };
        let error = run(&index, &[("x==1.0", &[PURE])], &[LINUX]).unwrap_err();
        assert_eq!(error.class(), Class::Unreachable);
        let expected =
            "cannot read https://index.example/simple/x/: the server could not be asked: connection refused";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn without_a_target_there_is_nothing_to_choose() {
        assert!(matches!(unmet(&FakeIndex::default(), &[], &[]), Unmet::NoTarget));
    }

    #[test]
    fn knows_a_source_distribution_by_its_name() {
        let version = |file: &str, project: &str| {
            source_version(file, &project.parse().unwrap()).map(|version| version.to_string())
        };
        assert_eq!(version("zope.interface-6.4.tar.gz", "zope-interface").as_deref(), Some("6.4"));
        assert_eq!(version("a-b-1.0.zip", "a-b").as_deref(), Some("1.0"));
        assert_eq!(version("a-b-1.0.zip", "a"), None);
        assert_eq!(version("a-1.0.whl", "a"), None);
    }

    #[test]
    fn answers_are_in_the_order_of_the_questions() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(at_once(&items, |item| item * 2), items.iter().map(|item| item * 2).collect::<Vec<_>>());
        assert!(at_once(&[] as &[usize], |item| *item).is_empty());
    }
}
