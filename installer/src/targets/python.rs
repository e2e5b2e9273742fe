//! Python: a new virtual environment for each bundle, filled from the carried wheels only, checked, and
//! switched to by one link. The old environment stays as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use edge::process::{Finished, Program};
use manifests::bundle::BundleDigest;
use manifests::inventory::{Component, Inventory, Wheel, WheelTarget, Wheelhouse};
use manifests::text::{FileName, Name, PackageVersion};

use super::{Context, TargetError};
use crate::plan::{PlannedWheel, Venv};
use crate::site::config::PythonTarget;

/// Inside an environment that was filled and checked to the end.
const COMPLETE: &str = ".airlock-complete";

/// What an interpreter says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonVersion {
    /// `3.11`
    pub minor: String,
    /// `x86_64`
    pub machine: String,
    /// Whether its C library is the GNU one; wheels for musl are not for it then.
    pub is_glibc: bool,
    /// Whether it has `venv` and `ensurepip`.
    pub has_venv: bool,
}

/// Asks an interpreter what it is.
///
/// # Errors
/// It cannot be started, or answers something else.
pub fn version(target: &PythonTarget, context: &Context<'_>) -> Result<PythonVersion, TargetError> {
    let question = "import sys, platform, importlib.util as u; print('%d.%d' % sys.version_info[:2], platform.machine(), all(map(u.find_spec, ('venv', 'ensurepip'))), platform.libc_ver()[0] == 'glibc')";
    let program = python(&target.interpreter, &scratch(context), context).args(["-I", "-c", question]);
    let finished = checked(&program, "asking the interpreter for its version", context)?;
    let mut words = finished.stdout.split_whitespace();
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(minor), Some(machine), Some(has_venv), Some(is_glibc)) => Ok(PythonVersion {
            is_glibc: is_glibc == "True",
            minor: minor.to_string(),
            machine: machine.to_string(),
            has_venv: has_venv == "True",
        }),
        _ => Err(TargetError::Program {
            doing: format!("asking {} for its version", target.interpreter.display()),
            code: "0".to_string(),
            last_words: finished.last_words(),
        }),
    }
}

/// The target of a wheelhouse that fits an interpreter.
#[must_use]
pub fn fitting<'a>(wheelhouse: &'a Wheelhouse, version: &PythonVersion) -> Option<&'a WheelTarget> {
    let fits = |target: &&WheelTarget| {
        let platform = target.platform.as_str();
        target.python.as_str() == version.minor
            && platform.ends_with(&version.machine)
            && platform.starts_with("musllinux") != version.is_glibc
    };
    wheelhouse.targets.iter().find(fits)
}

/// The wheels for an interpreter: those of the target that fits it, or all if the wheelhouse was taken as
/// it was.
#[must_use]
pub fn choose<'a>(wheelhouse: &'a Wheelhouse, version: &PythonVersion) -> Vec<&'a Wheel> {
    let chosen: Option<&Vec<FileName>> = fitting(wheelhouse, version).map(|target| &target.wheels);
    let wanted = |wheel: &&Wheel| match chosen {
        Some(names) => names.contains(&wheel.filename),
        None => wheelhouse.targets.is_empty(),
    };
    wheelhouse.wheels.iter().filter(wanted).collect()
}

/// The link that names the environment of a wheelhouse.
#[must_use]
pub fn link(target: &PythonTarget, wheelhouse: &Name) -> PathBuf {
    target.venvs.join(wheelhouse.as_str())
}

/// The environment of a wheelhouse for a bundle.
#[must_use]
pub fn place(target: &PythonTarget, name: &Name, bundle: BundleDigest) -> PathBuf {
    target.venvs.join(format!(".{name}-{}", bundle.0.short()))
}

/// The environments of a bundle, each with the link that names it while it is in use.
pub fn environments<'a>(
    target: &'a PythonTarget,
    bundle: BundleDigest,
    inventory: &'a Inventory,
) -> impl Iterator<Item = (&'a Wheelhouse, PathBuf, PathBuf)> {
    inventory.components.iter().filter_map(move |component| match component {
        Component::Wheelhouse(wheelhouse) => {
            let name = &wheelhouse.name;
            Some((wheelhouse, place(target, name, bundle), link(target, name)))
        }
        _ => None,
    })
}

/// Removes an environment that nobody uses. First its mark: what a kill leaves of it is made anew when it is needed.
///
/// # Errors
/// The disk.
pub fn discard(venv: &Path) -> Result<(), TargetError> {
    let failed = |source| TargetError::Io { doing: "cannot remove", path: venv.to_path_buf(), source };
    match std::fs::remove_file(venv.join(COMPLETE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Err(_) => {}
        Ok(()) => layout::durable::flush_directory(venv).map_err(failed)?,
    }
    remove(venv)
}

/// What is not as it was shipped: files that are gone or other than in the wheels of the site store, and projects
/// that lack another. Nothing if all is as it was.
///
/// # Errors
/// The environment's interpreter cannot be run.
pub fn altered(
    venv: &Path,
    wheelhouse: &Wheelhouse,
    version: &PythonVersion,
    context: &Context<'_>,
) -> Result<Vec<String>, TargetError> {
    let inside = venv.join("bin/python");
    let store = context.site.store();
    let wheels = choose(wheelhouse, version).into_iter().map(|wheel| store.blob_path(&wheel.digest));
    let home = scratch(context);
    let compare = python(&inside, &home, context).args(["-I", "-B", "-c", COMPARE]);
    let compare = wheels.fold(compare, Program::arg);
    let compared = checked(&compare, "comparing what is installed", context)?;
    let mut found: Vec<String> = compared.stdout.lines().map(manifests::text::printable).collect();
    let check = ["-I", "-B", "-m", "pip", "check", "--disable-pip-version-check"];
    let check = python(&inside, &home, context).args(check);
    let checked = check.run(&*context.env.clock)?;
    if !checked.succeeded() {
        found.push(format!("pip check: {}", checked.last_words()));
    }
    Ok(found)
}

/// Prints a line for each file that is not as in its wheel (the "Binary distribution format" of PyPA). Of several
/// wheels of one project pip has taken one. RECORD is pip's own, and what lies below `.data` goes elsewhere.
const COMPARE: &str = "import os, sys, sysconfig, zipfile
root, projects = sysconfig.get_path('purelib'), {}
for wheel in sys.argv[1:]:
    with zipfile.ZipFile(wheel) as z:
        names = [n for n in z.namelist() if not n.endswith('/') and not n.split('/')[0].endswith('.data')]
        project = next((n.split('/')[0] for n in names if n.endswith('.dist-info/METADATA')), wheel)
        found = []
        for n in names:
            if n == project + '/RECORD': continue
            try: same = open(os.path.join(root, n), 'rb').read() == z.read(n)
            except OSError: found.append(n + ' is gone')
            else: found += [] if same else [n + ' was changed']
        projects[project] = min(projects.get(project, found), found, key=len)
for found in projects.values():
    for line in found: print(line)
";

/// Where a link points, as it says and as a path of its own.
///
/// # Errors
/// Something that is no link is in the way.
pub fn points_to(link: &Path) -> Result<Option<(PathBuf, PathBuf)>, TargetError> {
    Ok(link_target(link)?.map(|target| (target.clone(), link.with_file_name(target))))
}

/// Whether an environment was filled and checked to the end.
#[must_use]
pub fn is_complete(venv: &Path) -> bool {
    venv.join(COMPLETE).exists()
}

/// Fills in where the link points now. Tells whether it points to this environment already.
///
/// # Errors
/// Something that is no link is in the way.
pub fn look(venv: &mut Venv) -> Result<bool, TargetError> {
    venv.old = link_target(&venv.link)?;
    venv.was_complete = is_complete(&venv.venv);
    is_new(venv)
}

/// Where a link points; nothing if it is not there.
pub(super) fn link_target(link: &Path) -> Result<Option<PathBuf>, TargetError> {
    match std::fs::read_link(link) {
        Ok(target) => Ok(Some(target)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            Err(TargetError::InTheWay { path: link.to_path_buf(), what: "not a link" })
        }
        Err(source) => Err(TargetError::Io { doing: "cannot read", path: link.to_path_buf(), source }),
    }
}

/// Whether the environment is complete and in use.
///
/// # Errors
/// Something that is no link is in the way.
pub fn is_new(venv: &Venv) -> Result<bool, TargetError> {
    let linked = link_target(&venv.link)?.is_some_and(|target| venv.link.with_file_name(target) == venv.venv);
    Ok(linked && is_complete(&venv.venv))
}

/// Makes the environment unless it is complete, and switches to it.
///
/// # Errors
/// Python, pip or the disk.
pub fn perform(venv: &Venv, context: &Context<'_>) -> Result<(), TargetError> {
    if !is_complete(&venv.venv) {
        remove(&venv.venv)?;
        build(venv, context)?;
    }
    let name = venv.venv.file_name().unwrap_or_default();
    switch(&venv.link, Path::new(name))
}

fn build(venv: &Venv, context: &Context<'_>) -> Result<(), TargetError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| TargetError::Io { doing: "cannot write", path, source }
    };
    if let Some(parent) = venv.venv.parent() {
        std::fs::create_dir_all(parent).map_err(failed(parent))?;
    }
    let work = scratch(context);
    remove(&work)?;
    let filled = fill(venv, &work, context);
    remove(&work)?;
    filled?;
    // What pip wrote reaches the disk before the mark that says it is complete.
    std::fs::File::open(&venv.venv)
        .and_then(|directory| Ok(rustix::fs::syncfs(directory)?))
        .map_err(failed(&venv.venv))?;
    layout::durable::replace(&venv.venv.join(COMPLETE), b"", 0o644).map_err(failed(&venv.venv))
}

/// Makes the environment and installs into it. pip chooses by file name, and the store knows digests:
/// links give each wheel its name.
fn fill(venv: &Venv, work: &Path, context: &Context<'_>) -> Result<(), TargetError> {
    let wheels = lay_out(&venv.wheels, work, context)?;
    let program = python(&venv.interpreter, work, context).args(["-I", "-m", "venv"]).arg(&venv.venv);
    checked(&program, "making the virtual environment", context)?;
    let inside = venv.venv.join("bin/python");
    checked(&pip_install(&inside, work, &wheels, context), "pip install", context)?;
    let check =
        python(&inside, work, context).args(["-I", "-m", "pip", "check", "--disable-pip-version-check"]);
    checked(&check, "pip check", context)?;
    Ok(())
}

/// Where pip finds wheels by their names, and what it is asked to install.
struct LaidOut {
    links: PathBuf,
    requirements: PathBuf,
}

fn lay_out(wheels: &[PlannedWheel], work: &Path, context: &Context<'_>) -> Result<LaidOut, TargetError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| TargetError::Io { doing: "cannot write", path, source }
    };
    let links = work.join("wheels");
    layout::durable::make_directory(&links).map_err(failed(&links))?;
    for wheel in wheels {
        let link = links.join(wheel.filename.as_str());
        std::os::unix::fs::symlink(context.site.store().blob_path(&wheel.digest), &link)
            .map_err(failed(&link))?;
    }
    let requirements = work.join("requirements.txt");
    std::fs::write(&requirements, pins(wheels)).map_err(failed(&requirements))?;
    Ok(LaidOut { links, requirements })
}

/// pip, which may use these wheels and no others.
fn pip_install(inside: &Path, work: &Path, wheels: &LaidOut, context: &Context<'_>) -> Program {
    python(inside, work, context)
        .args([
            "-I",
            "-m",
            "pip",
            "install",
            "--isolated",
            "--no-input",
            "--no-cache-dir",
            "--disable-pip-version-check",
        ])
        .args(["--no-index", "--require-hashes", "--only-binary", ":all:", "--find-links"])
        .arg(&wheels.links)
        .arg("-r")
        .arg(&wheels.requirements)
}

/// An environment that nothing is installed into: to ask what an interpreter takes, and what pip would do.
pub struct Rehearsal<'a> {
    work: &'a Path,
    context: &'a Context<'a>,
}

impl<'a> Rehearsal<'a> {
    /// Makes it in a directory of the caller's.
    ///
    /// # Errors
    /// Python or the disk.
    pub fn begin(
        target: &PythonTarget,
        work: &'a Path,
        context: &'a Context<'a>,
    ) -> Result<Self, TargetError> {
        let this = Self::of(work, context);
        let program = python(&target.interpreter, work, context).args(["-I", "-m", "venv"]).arg(this.venv());
        checked(&program, "making a virtual environment", context)?;
        Ok(this)
    }

    /// The one that was begun in this directory.
    #[must_use]
    pub fn of(work: &'a Path, context: &'a Context<'a>) -> Self {
        Self { work, context }
    }

    fn venv(&self) -> PathBuf {
        self.work.join("venv")
    }

    fn inside(&self) -> PathBuf {
        self.venv().join("bin/python")
    }

    /// Every tag that a wheel may have for this interpreter: implementation, ABI and platform, as pip has them.
    ///
    /// # Errors
    /// pip is not there, or says something else.
    pub fn tags(&self) -> Result<BTreeSet<String>, TargetError> {
        let question = "from pip._vendor.packaging.tags import sys_tags\nfor tag in sys_tags(): print(tag)";
        let mut program = python(&self.inside(), self.work, self.context).args(["-I", "-c", question]);
        program.whole_output = Some(TAGS_BYTES_MAX);
        let finished = checked(&program, "asking pip for the tags that it takes", self.context)?;
        Ok(finished.stdout.lines().map(str::to_string).collect())
    }

    /// Lets pip resolve these wheels as for an installation, and install nothing.
    ///
    /// # Errors
    /// pip cannot, and says why.
    pub fn resolve(&self, name: &Name, wheels: &[PlannedWheel]) -> Result<(), TargetError> {
        let own = self.work.join(name.as_str());
        layout::durable::make_directory(&own).map_err(|source| TargetError::Io {
            doing: "cannot write",
            path: own.clone(),
            source,
        })?;
        let wheels = lay_out(wheels, &own, self.context)?;
        let program = pip_install(&self.inside(), self.work, &wheels, self.context).arg("--dry-run");
        checked(&program, "pip install --dry-run", self.context).map(|_| ())
    }
}

/// An interpreter has some thousand tags.
const TAGS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Every project once, with the digests of all its carried files of that version.
fn pins(wheels: &[PlannedWheel]) -> String {
    let mut pins: BTreeMap<(&Name, &PackageVersion), Vec<String>> = BTreeMap::new();
    for wheel in wheels {
        let hashes = pins.entry((&wheel.project, &wheel.version)).or_default();
        hashes.push(format!("--hash={}", wheel.digest));
    }
    pins.iter()
        .map(|((project, version), hashes)| format!("{project}=={version} {}\n", hashes.join(" ")))
        .collect()
}

/// Points the link somewhere else, in one step.
pub(super) fn switch(link: &Path, target: &Path) -> Result<(), TargetError> {
    let failed = |source| TargetError::Io { doing: "cannot switch", path: link.to_path_buf(), source };
    let mut name = std::ffi::OsString::from(".");
    name.push(link.file_name().unwrap_or_default());
    name.push(".airlock-new");
    let temporary = link.with_file_name(name);
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    std::os::unix::fs::symlink(target, &temporary).map_err(failed)?;
    std::fs::rename(&temporary, link).map_err(failed)?;
    layout::durable::flush_directory(link.parent().unwrap_or(Path::new("/"))).map_err(failed)
}

/// Points the link to the old environment, or takes it away; then removes the new environment, unless it
/// was there before. A link that points elsewhere meanwhile is somebody else's.
///
/// # Errors
/// The disk, or something that is no link in the link's place.
pub fn undo(venv: &Venv, context: &Context<'_>) -> Result<(), TargetError> {
    remove(&scratch(context))?;
    let points_here =
        link_target(&venv.link)?.is_some_and(|target| venv.link.with_file_name(target) == venv.venv);
    match &venv.old {
        Some(old) if points_here => switch(&venv.link, old)?,
        None if points_here => std::fs::remove_file(&venv.link).map_err(|source| TargetError::Io {
            doing: "cannot remove",
            path: venv.link.clone(),
            source,
        })?,
        _ => {}
    }
    if venv.was_complete { Ok(()) } else { remove(&venv.venv) }
}

fn remove(directory: &Path) -> Result<(), TargetError> {
    match std::fs::remove_dir_all(directory) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(TargetError::Io { doing: "cannot remove", path: directory.to_path_buf(), source })
        }
        _ => Ok(()),
    }
}

/// Python with nothing of the caller's environment but where to find libraries. pip asks whatever tools
/// it finds on the `PATH` for their versions, and they may write into `HOME`: it gets the system's own
/// directories only, and a `HOME` that is thrown away.
fn python(interpreter: &Path, home: &Path, context: &Context<'_>) -> Program {
    let mut program = Program::new(interpreter, Path::new("/"));
    if let Some(value) = context.env.var("LD_LIBRARY_PATH") {
        program = program.var("LD_LIBRARY_PATH", value);
    }
    program
        .var("PATH", "/usr/bin:/bin")
        .var("HOME", home)
        .var("LANG", "C.UTF-8")
        .var("PIP_CONFIG_FILE", "/dev/null")
}

/// Where wheels get their names for pip. Removed when the environment is complete.
fn scratch(context: &Context<'_>) -> PathBuf {
    context.site.dir().join("store/quarantine-wheels")
}

fn checked(program: &Program, doing: &str, context: &Context<'_>) -> Result<Finished, TargetError> {
    let finished = program.run(&*context.env.clock)?;
    if finished.succeeded() {
        return Ok(finished);
    }
    Err(TargetError::Program {
        doing: doing.to_string(),
        code: finished.code.map_or("none: a signal ended it".to_string(), |code| code.to_string()),
        last_words: finished.last_words(),
    })
}
