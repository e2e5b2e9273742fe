//! From requirements or a lock to the wheels of a wheelhouse: resolve for each target, choose, fetch, and
//! prove that nothing is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use edge::Env;
use edge::process::Program;
use manifests::bundle::Content;
use manifests::text::printable;
use manifests::{Digest, Name};
use registry::Url;

use super::World;
use super::fetch::{Fetcher, Wanted, content_of};
use super::logins::{self, Logins};
use super::wheelhouse::{Taken, WheelhouseError};
use super::wheels::choose::{ChooseError, Pins, choose};
use super::wheels::metadata::skeleton;
use super::wheels::pylock::{LockedFile, LockedWheel, PYLOCK_BYTES_MAX, Package, Place};
use super::wheels::uv::{Places, Question};
use super::wheels::version::Version;
use super::wheels::{
    IndexNames, IndexUrl, Pylock, Requirements, Target, Uv, WheelFilename, WheelMetadata, WheelsError,
    wheels_in,
};
use crate::lock::{BuiltWheel, Origin};
use crate::spec::{SourcePin, WheelsSpec};

/// A wheel that is on this machine, and what the lock will say of where it is from.
struct Local {
    path: PathBuf,
    from: Origin,
}

/// The wheels that a wheelhouse consists of, each once, sorted by file name.
pub(super) fn wheels(spec: &WheelsSpec, world: &World<'_>) -> Result<Vec<Taken>, WheelhouseError> {
    let scratch = tempfile::tempdir().map_err(|source| WheelhouseError::Scratch { source })?;
    let mut work = Work::begin(spec, world, scratch.path())?;
    work.take_directory()?;
    work.build_what_was_asked()?;
    let chosen = work.chosen()?;
    let taken = work.fetched(chosen)?;
    work.prove(&taken)?;
    Ok(taken)
}

/// A wheel that some target needs.
struct Chosen {
    wheel: LockedWheel,
    targets: Vec<usize>,
}

/// What is resolved, and with what.
struct Work<'a> {
    spec: &'a WheelsSpec,
    world: &'a World<'a>,
    scratch: &'a Path,
    targets: Vec<Target>,
    pins: Pins,
    places: Places,
    logins: Logins,
    /// The wheels of directories, by their digest.
    local: BTreeMap<Digest, Local>,
    /// What stands for them beside what a lock names.
    offered: Vec<(Version, LockedWheel)>,
}

impl<'a> Work<'a> {
    fn begin(spec: &'a WheelsSpec, world: &'a World<'a>, scratch: &'a Path) -> Result<Self, WheelhouseError> {
        let failed = |source: WheelsError| failed(spec, source);
        let target =
            |one: &crate::spec::WheelTargetSpec| Target::parse(one.python.as_str(), one.platform.as_str());
        let targets =
            spec.targets.iter().map(target).collect::<Result<_, _>>().map_err(|e| failed(e.into()))?;
        let requirements = match &spec.requirements {
            Some(file) => Requirements::read(&world.path(file), &file.display().to_string()),
            None => Ok(Requirements::default()),
        };
        let requirements = requirements.map_err(|error| failed(error.into()))?;
        let places = places(spec, &requirements, world)?;
        let mut logins = Logins::of_user(world.env);
        places.index.iter().chain(&places.extra).for_each(|index| logins.add(index));
        let (local, offered) = (BTreeMap::new(), Vec::new());
        Ok(Self { spec, world, scratch, targets, pins: requirements.hashes, places, logins, local, offered })
    }

    fn failed(&self, source: impl Into<WheelsError>) -> WheelhouseError {
        failed(self.spec, source.into())
    }

    fn uv(&self) -> Result<Uv<'_>, WheelhouseError> {
        let cache = self.world.cache.root().join("uv");
        Uv::find(self.world.env, cache, &self.logins).map_err(|error| self.failed(error))
    }

    /// A new directory of ours.
    fn room(&self, name: &str) -> Result<PathBuf, WheelhouseError> {
        let path = self.scratch.join(name);
        std::fs::create_dir(&path).map_err(|source| WheelhouseError::Scratch { source })?;
        Ok(path)
    }

    /// The wheels of `source:` that go along with the index.
    fn take_directory(&mut self) -> Result<(), WheelhouseError> {
        let Some(shown) = &self.spec.source else { return Ok(()) };
        let directory = self.world.env.path(&self.world.path(shown));
        for wheel in wheels_in(&directory).map_err(|error| self.failed(error))? {
            let from = Origin::File(shown.join(wheel.path.file_name().unwrap_or_default()));
            let content = Content { digest: wheel.sha256, size: wheel.size };
            self.offer(wheel.filename, content, Local { path: wheel.path, from });
        }
        self.places.directories.push(directory);
        Ok(())
    }

    /// Who names a directory or asks for a build vouches for what comes of it, so it counts as pinned.
    fn offer(&mut self, filename: WheelFilename, content: Content, local: Local) {
        if let Some(pins) = self.pins.get_mut(filename.project()) {
            pins.insert(content.digest);
        }
        let file = LockedFile {
            name: filename.to_string(),
            place: Place::Path(local.path.clone()),
            sha256: content.digest,
            size: Some(content.size),
        };
        self.offered.push((filename.version().clone(), LockedWheel { filename, file }));
        self.local.insert(content.digest, local);
    }

    fn build_what_was_asked(&mut self) -> Result<(), WheelhouseError> {
        if self.spec.build.is_empty() {
            return Ok(());
        }
        let out = self.room("built")?;
        for (number, pin) in self.spec.build.iter().enumerate() {
            let source = self.source_distribution(pin, number)?;
            let (filename, content, local) = self.build(pin, &source, &out.join(number.to_string()))?;
            self.offer(filename, content, local);
            self.places.directories.push(out.join(number.to_string()));
        }
        Ok(())
    }

    /// Where the source distribution of a pin is: in the lock that was given, or on the index.
    fn source_distribution(&self, pin: &SourcePin, number: usize) -> Result<LockedFile, WheelhouseError> {
        let scratch = self.room(&format!("source-{number}"))?;
        let missing = || WheelhouseError::NoSource { name: self.spec.name.to_string(), pin: pin.to_string() };
        let (shown, text) = match &self.spec.lock {
            Some(file) => self.lock_text(file)?,
            None => {
                let requirement = scratch.join("requirement.txt");
                write(&requirement, &format!("{pin}\n"))?;
                let text = self.uv()?.source_distribution(&requirement, &pin.project, &self.places, &scratch);
                ("uv's answer".to_string(), text.map_err(|error| self.failed(error))?)
            }
        };
        let lock = Pylock::parse(&shown, &text).map_err(|error| self.failed(error))?;
        let source =
            lock.find(&pin.project, &pin.version).and_then(|package| package.sdist).ok_or_else(missing)?;
        match self.pins.get(&pin.project) {
            Some(pins) if !pins.contains(&source.sha256) => {
                let (project, version) = (pin.project.clone(), pin.version.to_string());
                let offered = format!("{} with {}", printable(&source.name), source.sha256);
                let target = self.targets.first().cloned();
                Err(target.map_or_else(missing, |target| {
                    self.failed(ChooseError::HashNotOffered { project, version, target, offered })
                }))
            }
            _ => Ok(source),
        }
    }

    fn build(
        &self,
        pin: &SourcePin,
        source: &LockedFile,
        out: &Path,
    ) -> Result<(WheelFilename, Content, Local), WheelhouseError> {
        let unusable = |what: String| WheelhouseError::Build {
            name: self.spec.name.to_string(),
            pin: pin.to_string(),
            what,
        };
        let Place::Url(url) = &source.place else {
            return Err(unusable("its source distribution is not on a server".to_string()));
        };
        let wanted = Wanted {
            name: printable(&source.name),
            url: url.clone(),
            digest: source.sha256,
            size: source.size,
        };
        let content = self
            .fetch(std::slice::from_ref(&wanted))?
            .pop()
            .ok_or_else(|| unusable("nothing came".into()))?;
        let plain: manifests::text::FileName = source
            .name
            .parse()
            .map_err(|_| unusable("its source distribution has no plain name".to_string()))?;
        (self.world.note)(&format!("note: building a wheel of {plain}"));
        let scratch = out.with_extension("scratch");
        let made = || -> io::Result<()> {
            std::fs::create_dir_all(out)?;
            std::fs::create_dir_all(&scratch)?;
            std::fs::copy(self.world.cache.path(&content.digest), scratch.join(plain.as_str())).map(|_| ())
        };
        made().map_err(|source| WheelhouseError::Scratch { source })?;
        let built = self.uv()?.build(&scratch.join(plain.as_str()), out, &self.places, &scratch);
        built.map_err(|error| self.failed(error))?;
        let wheel = wheels_in(out).map_err(|error| self.failed(error))?.into_iter().next();
        let wheel = wheel.ok_or_else(|| unusable("its build made no wheel".to_string()))?;
        if !wheel.filename.platform_tags().iter().all(|tag| tag == "any") {
            let tags = wheel.filename.tags();
            return Err(unusable(format!("its wheel is for this machine ({tags}), not for every one")));
        }
        if *wheel.filename.project() != pin.project || *wheel.filename.version() != pin.version {
            return Err(unusable(format!("its build made {}", wheel.filename)));
        }
        let from = BuiltWheel { url: url.to_wire(), sha256: content.digest, size: content.size };
        let path = wheel.path.clone();
        let kept = File::open(&path)
            .and_then(|mut file| self.world.cache.add(&mut |out| io::copy(&mut file, out).map(|_| ())));
        let kept = kept.map_err(|source| WheelhouseError::Read { path: path.clone(), source })?;
        Ok((wheel.filename, kept, Local { path, from: Origin::BuiltWheel(from) }))
    }

    fn fetch(&self, wanted: &[Wanted]) -> Result<Vec<Content>, WheelhouseError> {
        let total = wanted.iter().filter_map(|one| one.size).fold(0_u64, u64::saturating_add);
        let fetcher =
            Fetcher { http: self.world.http, cache: self.world.cache, logins: &self.logins, limit: u64::MAX };
        let mut bar = self.world.shown.begin("fetching wheels", total);
        fetcher.all(wanted, &mut *bar).map_err(|error| self.failed(error))
    }

    fn lock_text(&self, file: &Path) -> Result<(String, String), WheelhouseError> {
        let path = self.world.path(file);
        let read = |source| WheelhouseError::Read { path: file.to_path_buf(), source };
        let bytes = layout::durable::read_bounded(&path, PYLOCK_BYTES_MAX).map_err(read)?;
        Ok((file.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The best wheel of each project that each target needs.
    fn chosen(&self) -> Result<Vec<Chosen>, WheelhouseError> {
        let mut chosen: BTreeMap<(WheelFilename, Digest), Chosen> = BTreeMap::new();
        let mut warnings = BTreeSet::new();
        for (number, target) in self.targets.iter().enumerate() {
            (self.world.note)(&format!("resolving {} for {target}", self.spec.name));
            let tags = target.supported();
            for package in self.packages(number, target, &mut warnings)? {
                let wheel =
                    choose(&package, target, &tags, &self.pins).map_err(|error| self.failed(error))?;
                let key = (wheel.filename.clone(), wheel.file.sha256);
                let entry = chosen.entry(key);
                let found = entry.or_insert_with(|| Chosen { wheel: wheel.clone(), targets: Vec::new() });
                if found.targets.last() != Some(&number) {
                    found.targets.push(number);
                }
            }
        }
        for warning in warnings {
            (self.world.note)(&format!("note: uv: {warning}"));
        }
        Ok(chosen.into_values().collect())
    }

    /// The projects that a target needs, with all their wheels.
    fn packages(
        &self,
        number: usize,
        target: &Target,
        warnings: &mut BTreeSet<String>,
    ) -> Result<Vec<Package>, WheelhouseError> {
        let scratch = self.room(&format!("target-{number}"))?;
        let failed = |error: WheelsError| self.failed(error);
        let uv = self.uv()?;
        if let Some(file) = &self.spec.requirements {
            let requirements = self.world.env.path(&self.world.path(file));
            let question = Question { requirements: &requirements, constraints: None, offline: false };
            let compiled = uv.compile(&question, target, &self.places, &scratch);
            let compiled = compiled.map_err(|error| failed(error.into()))?;
            warnings.extend(compiled.warnings);
            let lock = Pylock::parse(&file.display().to_string(), &compiled.text);
            return lock.map(|lock| lock.packages).map_err(|error| failed(error.into()));
        }
        let file = self.spec.lock.as_deref().unwrap_or(Path::new("pylock.toml"));
        let (shown, text) = self.lock_text(file)?;
        let lock = Pylock::parse(&shown, &text).map_err(|error| failed(error.into()))?;
        lock.admits(target.python).map_err(|error| failed(error.into()))?;
        // `uv` takes a lock by no other name, and only markers are asked about.
        let copy = scratch.join("pylock.toml");
        write(&copy, &text)?;
        let wanted = uv.plan(&copy, target, &scratch).map_err(|error| failed(error.into()))?;
        let found = wanted.iter().filter_map(|(project, version)| lock.find(project, version));
        Ok(found.map(|package| self.with_offered(package)).collect())
    }

    /// A lock does not know the wheels of a directory; they stand in for what it has no wheel of.
    fn with_offered(&self, mut package: Package) -> Package {
        let offered = self.offered.iter().filter(|(version, wheel)| {
            *version == package.version && *wheel.filename.project() == package.project
        });
        if package.wheels.is_empty() {
            package.wheels.extend(offered.map(|(_, wheel)| wheel.clone()));
        }
        package
    }

    /// Brings what was chosen into the cache, and looks into it.
    fn fetched(&self, chosen: Vec<Chosen>) -> Result<Vec<Taken>, WheelhouseError> {
        let mut wanted = Vec::new();
        for one in &chosen {
            if let (Place::Url(url), false) =
                (&one.wheel.file.place, self.local.contains_key(&one.wheel.file.sha256))
            {
                wanted.push(Wanted {
                    name: one.wheel.filename.to_string(),
                    url: url.clone(),
                    digest: one.wheel.file.sha256,
                    size: one.wheel.file.size,
                });
            }
        }
        let sizes: BTreeMap<Digest, u64> =
            self.fetch(&wanted)?.into_iter().map(|content| (content.digest, content.size)).collect();
        chosen.into_iter().map(|one| self.taken(one, &sizes)).collect()
    }

    fn taken(&self, chosen: Chosen, sizes: &BTreeMap<Digest, u64>) -> Result<Taken, WheelhouseError> {
        let LockedWheel { filename, file } = chosen.wheel;
        let (path, from, size) = match (self.local.get(&file.sha256), &file.place) {
            (Some(local), _) => (local.path.clone(), local.from.clone(), file.size),
            (None, Place::Url(url)) => {
                let size = sizes.get(&file.sha256).copied();
                (self.world.cache.path(&file.sha256), Origin::Url(url.to_wire()), size)
            }
            (None, Place::Path(path)) => {
                let below = self.spec.lock.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
                (self.world.path(&below.join(path)), Origin::File(below.join(path)), None)
            }
        };
        let read = |source| WheelhouseError::Read { path: path.clone(), source };
        let mut opened = File::open(&path).map_err(read)?;
        let size = match size {
            Some(size) => size,
            None => {
                let found = content_of(&mut opened).map_err(read)?;
                if found.digest != file.sha256 {
                    let filename = filename.to_string();
                    return Err(WheelhouseError::Digest {
                        filename,
                        found: found.digest,
                        expected: file.sha256,
                    });
                }
                found.size
            }
        };
        let opened = File::open(&path).map_err(read)?;
        let metadata = WheelMetadata::read(BufReader::new(opened), &filename);
        let requires_python = metadata.map_err(|error| self.failed(error))?.requires_python;
        Ok(Taken {
            filename,
            digest: file.sha256,
            size,
            requires_python,
            from,
            path,
            targets: chosen.targets,
        })
    }

    /// Resolves once more for each target, with nothing but its wheels: what is missing on site is missed
    /// here.
    fn prove(&self, taken: &[Taken]) -> Result<(), WheelhouseError> {
        for (number, target) in self.targets.iter().enumerate() {
            let wheels: Vec<&Taken> = taken.iter().filter(|one| one.targets.contains(&number)).collect();
            let directory = self.room(&format!("proof-{number}"))?;
            let scratch = self.room(&format!("proof-{number}-scratch"))?;
            let mut pins = String::new();
            for wheel in &wheels {
                let read = |source| WheelhouseError::Read { path: wheel.path.clone(), source };
                let opened = File::open(&wheel.path).map_err(read)?;
                let bytes = skeleton(BufReader::new(opened), &wheel.filename);
                let bytes = bytes.map_err(|error| self.failed(error))?;
                std::fs::write(directory.join(wheel.filename.to_string()), bytes)
                    .map_err(|source| WheelhouseError::Scratch { source })?;
                pins.push_str(&format!("{}=={}\n", wheel.filename.project(), wheel.filename.version()));
            }
            let constraints = scratch.join("pins.txt");
            write(&constraints, &pins)?;
            let requirements = match &self.spec.requirements {
                Some(file) => self.world.env.path(&self.world.path(file)),
                None => constraints.clone(),
            };
            let question =
                Question { requirements: &requirements, constraints: Some(&constraints), offline: true };
            let places = Places { directories: vec![directory], ..Places::default() };
            let incomplete = |source: WheelsError| WheelhouseError::Incomplete {
                name: self.spec.name.to_string(),
                target: target.to_string(),
                source,
            };
            let answer = self.uv()?.compile(&question, target, &places, &scratch);
            let answer = answer.map_err(|error| incomplete(error.into()))?;
            let again =
                Pylock::parse("uv's answer", &answer.text).map_err(|error| incomplete(error.into()))?;
            let again: BTreeSet<&Name> = again.packages.iter().map(|package| &package.project).collect();
            let before: BTreeSet<&Name> = wheels.iter().map(|wheel| wheel.filename.project()).collect();
            if let Some(project) = before.symmetric_difference(&again).next() {
                return Err(WheelhouseError::Unsettled {
                    name: self.spec.name.to_string(),
                    target: target.to_string(),
                    project: project.to_string(),
                });
            }
        }
        Ok(())
    }
}

fn failed(spec: &WheelsSpec, source: WheelsError) -> WheelhouseError {
    WheelhouseError::Wheels { name: spec.name.to_string(), source }
}

fn write(path: &Path, text: &str) -> Result<(), WheelhouseError> {
    std::fs::write(path, text).map_err(|source| WheelhouseError::Scratch { source })
}

/// The indexes of an entry, with their logins. A lock names its files itself, so it needs none.
fn places(
    spec: &WheelsSpec,
    requirements: &Requirements,
    world: &World<'_>,
) -> Result<Places, WheelhouseError> {
    let names = IndexNames {
        spec: spec.index.as_deref(),
        requirements: requirements.index.as_ref(),
        environment: world.env.var("PIP_INDEX_URL"),
    };
    let index = match names.choose(|| ask_pip(world.env)) {
        Ok((index, _)) => Some(index),
        Err(_) if spec.requirements.is_none() && spec.index.is_none() => None,
        Err(error) => return Err(failed(spec, error.into())),
    };
    let index = match (&spec.password_file, index) {
        (Some(file), Some(index)) => Some(with_password(spec, file, &index, world)?),
        (_, index) => index,
    };
    let extra = spec.extra_indexes.iter().map(|text| text.parse::<IndexUrl>()).collect::<Result<Vec<_>, _>>();
    let mut extra = extra.map_err(|error| failed(spec, error.into()))?;
    extra.extend(requirements.extra.iter().cloned());
    Ok(Places { index, extra, directories: Vec::new() })
}

fn with_password(
    spec: &WheelsSpec,
    file: &Path,
    index: &IndexUrl,
    world: &World<'_>,
) -> Result<IndexUrl, WheelhouseError> {
    let password = logins::password_file(&world.path(file), file)?;
    index.with_password(&password).ok_or_else(|| WheelhouseError::NoUser { name: spec.name.to_string() })
}

/// What opens the servers that a bundle's wheels come from: for a build that has to fetch them again. An
/// index that cannot be made out gives no login, and a server that wants one then says so.
pub(crate) fn add_logins(world: &World<'_>, logins: &mut Logins) {
    for spec in world.wheels.iter().filter(|spec| spec.requirements.is_some() || spec.lock.is_some()) {
        let requirements = spec.requirements.as_ref().map(|file| {
            Requirements::read(&world.path(file), &file.display().to_string()).unwrap_or_default()
        });
        if let Ok(places) = places(spec, &requirements.unwrap_or_default(), world) {
            places.index.iter().chain(&places.extra).for_each(|index| logins.add(index));
        }
    }
}

/// Builds once more what was built while locking and is no longer in the cache. Whether the same bytes came
/// of it is for the caller to see: the cache has them under their digest then.
pub(crate) fn rebuild(built: &BuiltWheel, world: &World<'_>) -> Result<(), WheelhouseError> {
    let url: Url =
        built.url.parse().map_err(|error| WheelhouseError::Scratch { source: io::Error::other(error) })?;
    let name = url.file_name();
    // `docopt-0.6.2.tar.gz`
    let of = |pin: &&SourcePin| {
        let project = name.rsplit_once('-').map(|(project, _)| project).unwrap_or_default();
        super::wheels::filename::project_name(project).is_ok_and(|project| project == pin.project)
    };
    for spec in world.wheels {
        for pin in spec.build.iter().filter(of) {
            let scratch = tempfile::tempdir().map_err(|source| WheelhouseError::Scratch { source })?;
            let work = Work::begin(spec, world, scratch.path())?;
            let source = LockedFile {
                name: name.clone(),
                place: Place::Url(url.clone()),
                sha256: built.sha256,
                size: Some(built.size),
            };
            work.build(pin, &source, &scratch.path().join("built"))?;
        }
    }
    Ok(())
}

/// A file of a lock as something to fetch.
pub(crate) fn wanted(url: &str, content: Content) -> io::Result<Wanted> {
    let url: Url = url.parse().map_err(io::Error::other)?;
    Ok(Wanted { name: printable(&url.file_name()), url, digest: content.digest, size: Some(content.size) })
}

/// The index that pip uses on this machine: the one it is configured with, or its own default.
fn ask_pip(env: &Env) -> Option<String> {
    let default = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)";
    let questions = [vec!["-m", "pip", "config", "get", "global.index-url"], vec!["-c", default]];
    for args in questions {
        let mut program = Program::new("python3", &env.cwd).args(args);
        for name in ["PATH", "HOME", "XDG_CONFIG_HOME", "PIP_CONFIG_FILE"] {
            if let Some(value) = env.var(name) {
                program = program.var(name, value);
            }
        }
        let answer = program.run(&*env.clock).ok().filter(edge::process::Finished::succeeded);
        let answer =
            answer.map(|answer| answer.stdout.trim().to_string()).filter(|answer| !answer.is_empty());
        if answer.is_some() {
            return answer;
        }
    }
    None
}
