//! What this module decides, compared with Python's own `packaging` library, which pip uses, and with pip
//! itself. Needs a `python3` that has them.
#![allow(clippy::disallowed_methods)]

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use manifests::Digest;

use super::choose::{Pins, choose};
use super::filename::WheelFilename;
use super::metadata::tests::wheel;
use super::pylock::{LockedFile, LockedWheel, Package, Place};
use super::tags::{PythonVersion, Target};
use super::version::{PythonRange, Version};

const PREAMBLE: &str = "\
import json, sys
try:
    from packaging import tags, version, specifiers, utils, _manylinux, _musllinux
except ImportError:
    from pip._vendor.packaging import tags, version, specifiers, utils, _manylinux, _musllinux
question = json.load(sys.stdin)
";

/// Runs a script with a question on its standard input; `None`, and a line for people, without Python.
fn ask(script: &str, question: &Value) -> Option<Value> {
    let run = |script: &str| {
        Command::new("python3")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    };
    let probe = format!("{PREAMBLE}import pip");
    let available = run(&probe).is_ok_and(|mut child| {
        child.stdin.take().is_some_and(|mut stdin| stdin.write_all(b"null").is_ok())
            && child.wait().is_ok_and(|status| status.success())
    });
    if !available {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "python3 with pip is missing");
        eprintln!("skipped: the comparison with Python's packaging library and pip, which are not here");
        return None;
    }
    let mut child = run(&format!("{PREAMBLE}{script}")).unwrap();
    child.stdin.take().unwrap().write_all(question.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

const INTERPRETER_TAGS: &str = "
answer = []
for minor, platforms in question:
    abi = 'cp3%d%s' % (minor, 'm' if minor < 8 else '')
    found = list(tags.cpython_tags((3, minor), [abi], platforms))
    found += tags.compatible_tags((3, minor), 'cp3%d' % minor, platforms)
    answer.append([str(tag) for tag in found])
json.dump(answer, sys.stdout)
";

#[test]
fn the_tags_of_a_target_are_those_of_packaging_in_the_same_order() {
    let targets: Vec<Target> = [
        ("3.11", "manylinux_2_28_x86_64"),
        ("3.7", "manylinux2014_x86_64"),
        ("3.13", "manylinux_2_35_aarch64"),
        ("3.9", "manylinux_2_17_i686"),
        ("3.12", "musllinux_1_2_aarch64"),
        ("3.10", "linux_s390x"),
        ("3.12", "macosx_14_0_arm64"),
        ("3.8", "macosx_10_15_x86_64"),
        ("3.14", "win_amd64"),
        ("3.2", "win32"),
    ]
    .iter()
    .map(|(python, platform)| Target::parse(python, platform).unwrap())
    .collect();
    let question: Vec<Value> =
        targets.iter().map(|target| json!([target.python.minor(), target.platform.accepted()])).collect();
    let Some(answer) = ask(INTERPRETER_TAGS, &json!(question)) else { return };
    for (target, theirs) in targets.iter().zip(answer.as_array().unwrap()) {
        assert_eq!(json!(target.supported().in_order()), *theirs, "{target}");
    }
}

const PLATFORM_TAGS: &str = "
import sysconfig
def linux(machine, glibc, musl):
    class Version(tuple):
        major = property(lambda it: it[0])
        minor = property(lambda it: it[1])
    sysconfig.get_platform = lambda: 'linux-' + machine
    glibc_version = getattr(_manylinux, '_GLibCVersion', Version)
    wrap = (lambda pair: glibc_version(*pair)) if glibc_version is not Version else Version
    _manylinux._get_glibc_version = lambda: wrap(glibc or (-1, -1))
    _manylinux._have_compatible_abi = lambda *_: True
    _manylinux._get_manylinux_module = lambda: None
    _musllinux._get_musl_version = lambda _: musl and Version(musl)
    return list(tags._linux_platforms(is_32bit=False))
answer = []
for kind, first, second, machine in question:
    if kind == 'macosx':
        # packaging called the tag fat3 by a name that no file has, up to version 21.
        found = tags.mac_platforms((first, second), machine)
        answer.append([tag.replace('fat32', 'fat3') for tag in found])
    elif kind == 'manylinux':
        answer.append(linux(machine, (first, second), None))
    elif kind == 'musllinux':
        answer.append(linux(machine, None, (first, second)))
json.dump(answer, sys.stdout)
";

#[test]
fn a_platform_takes_what_packaging_takes_on_such_a_machine() {
    let question = json!([
        ["manylinux", 2, 28, "x86_64"],
        ["manylinux", 2, 17, "x86_64"],
        ["manylinux", 2, 5, "i686"],
        ["manylinux", 2, 34, "aarch64"],
        ["manylinux", 2, 17, "ppc64le"],
        ["manylinux", 2, 39, "s390x"],
        ["manylinux", 2, 31, "armv7l"],
        ["musllinux", 1, 2, "x86_64"],
        ["musllinux", 1, 0, "aarch64"],
        ["macosx", 11, 0, "arm64"],
        ["macosx", 15, 0, "arm64"],
        ["macosx", 13, 2, "x86_64"],
        ["macosx", 10, 9, "x86_64"],
    ]);
    let Some(answer) = ask(PLATFORM_TAGS, &question) else { return };
    for (asked, theirs) in question.as_array().unwrap().iter().zip(answer.as_array().unwrap()) {
        let [family, first, second, machine] = asked.as_array().unwrap().as_slice() else {
            panic!("{asked}")
        };
        let tag = format!("{}_{first}_{second}_{}", family.as_str().unwrap(), machine.as_str().unwrap());
        let ours = tag.parse::<super::tags::PlatformTag>().unwrap().accepted();
        // The place of the plain `linux_ARCH` changed from version to version of packaging; ours is last.
        let plain = |tag: &&str| tag.starts_with("linux_");
        let theirs: Vec<&str> = theirs.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let mut sorted: Vec<&str> = theirs.iter().copied().filter(|tag| !plain(tag)).collect();
        sorted.extend(theirs.iter().copied().filter(plain));
        assert_eq!(ours, sorted, "{tag}");
    }
}

const VERSIONS: &str = "
answer = []
for left in question:
    row = []
    for right in question:
        one, other = version.Version(left), version.Version(right)
        row.append([(one > other) - (one < other), one == other])
    answer.append(row)
json.dump(answer, sys.stdout)
";

#[test]
fn versions_compare_as_in_packaging() {
    let spellings = [
        "1",
        "1.0",
        "1.0.0",
        "v1.0",
        "0.9",
        "1.0a1",
        "1.0.alpha.1",
        "1.0a",
        "1.0b2",
        "1.0rc1",
        "1.0c1",
        "1.0-pre1",
        "1.0.dev3",
        "1.0a1.dev2",
        "1.0.post1",
        "1.0-1",
        "1.0.r1",
        "1.0.post1.dev4",
        "1.0a1.post2",
        "1.0+cpu",
        "1.0+CPU",
        "1.0+cpu.1",
        "1.0+1",
        "1.0+1.2",
        "1.0+1.a",
        "1.0+ubuntu_1",
        "1!0.1",
        "1!0.1.0",
        "2024.07.04",
        "2024.7.4",
        "1.0.post0",
        "1.10",
        "1.9",
        "0",
        "0.0",
    ];
    let Some(answer) = ask(VERSIONS, &json!(spellings.as_slice())) else { return };
    for (left, row) in spellings.iter().zip(answer.as_array().unwrap()) {
        for (right, theirs) in spellings.iter().zip(row.as_array().unwrap()) {
            let (one, other): (Version, Version) = (left.parse().unwrap(), right.parse().unwrap());
            assert_eq!(json!([one.cmp(&other) as i8, one == other]), *theirs, "{left} {right}");
        }
    }
}

const RANGES: &str = "
answer = []
for text, minor in question:
    wanted = specifiers.SpecifierSet(text)
    answer.append(any(wanted.contains('3.%d.%d' % (minor, patch)) for patch in range(100)))
json.dump(answer, sys.stdout)
";

#[test]
fn ranges_of_interpreters_are_read_as_in_packaging() {
    let ranges = [
        ">=3.8",
        ">= 3.8, < 4",
        "<3.11",
        "<=3.11",
        "<=3.11.2",
        ">3.11",
        ">3.11.200",
        "==3.11",
        "==3.11.*",
        "!=3.11.*",
        "!=3.11",
        "~=3.7",
        "~=3.7.1",
        "~=3.11.2",
        ">=2.7,!=3.0.*,!=3.1.*",
        ">=3.9.0rc1",
        "!=3.9.7",
        "<3.12.0a0",
        "==3.*",
        "==3.9.1",
        ">=1!3",
        "",
        "~=3.0",
        "!=3.*",
    ];
    let asked: Vec<(&str, u16)> =
        ranges.iter().flat_map(|range| [8, 9, 11, 12].map(|minor| (*range, minor))).collect();
    let Some(answer) = ask(RANGES, &json!(asked)) else { return };
    for ((range, minor), theirs) in asked.iter().zip(answer.as_array().unwrap()) {
        let python: PythonVersion = format!("3.{minor}").parse().unwrap();
        assert_eq!(json!(range.parse::<PythonRange>().unwrap().admits(python)), *theirs, "{range} 3.{minor}");
    }
}

const FILENAMES: &str = "
answer = []
for text in question:
    name, number, build, found = utils.parse_wheel_filename(text)
    answer.append([name, list(build), sorted(map(str, found))])
json.dump(answer, sys.stdout)
";

#[test]
fn file_names_are_taken_apart_as_in_packaging() {
    let names = [
        "numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "cryptography-42.0.8-cp39-abi3-manylinux_2_28_x86_64.whl",
        "zope.interface-6.4-cp311-cp311-win_amd64.whl",
        "ruamel.yaml-0.18.6-py3-none-any.whl",
        "PyYAML-6.0.1-12_local-cp311-cp311-musllinux_1_1_x86_64.whl",
        "torch-2.3.0+cpu-1-cp311-cp311-linux_x86_64.whl",
        "odd-1!2.0-py2.py3-none-any.whl",
        "x_y-1-cp311.cp312-abi3.none-a_1.b_2.c_3.whl",
    ];
    let Some(answer) = ask(FILENAMES, &json!(names)) else { return };
    for (name, theirs) in names.iter().zip(answer.as_array().unwrap()) {
        let wheel: WheelFilename = name.parse().unwrap();
        let build = wheel.build().map_or(json!([]), |build| json!([build.number, build.suffix]));
        let mut tags = Vec::new();
        for python in wheel.python_tags() {
            for abi in wheel.abi_tags() {
                tags.extend(
                    wheel.platform_tags().iter().map(|platform| format!("{python}-{abi}-{platform}")),
                );
            }
        }
        tags.sort_unstable();
        assert_eq!(json!([wheel.project().as_str(), build, tags]), *theirs, "{name}");
    }
}

const PIP: &str = "
import os, subprocess, tempfile
answer = []
for python, platforms in question['targets']:
    with tempfile.TemporaryDirectory() as found:
        command = [sys.executable, '-m', 'pip', '--isolated', 'download', '--quiet', '--no-deps', '--no-index',
                   '--disable-pip-version-check', '--find-links', question['wheels'], '--only-binary', ':all:',
                   '--implementation', 'cp', '--python-version', python, '--dest', found]
        command += [word for platform in platforms for word in ('--platform', platform)]
        subprocess.run(command + ['x==1.0'], capture_output=True)
        answer.append((os.listdir(found) or [None])[0])
json.dump(answer, sys.stdout)
";

#[test]
fn the_wheel_that_is_chosen_is_the_one_that_pip_chooses() {
    let names = [
        "x-1.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        "x-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "x-1.0-2-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "x-1.0-cp312-cp312-manylinux_2_5_x86_64.manylinux1_x86_64.manylinux_2_12_x86_64.whl",
        "x-1.0-cp38-abi3-manylinux2014_aarch64.whl",
        "x-1.0-cp310-abi3-manylinux2014_aarch64.whl",
        "x-1.0-cp311-cp311-musllinux_1_1_x86_64.whl",
        "x-1.0-cp311-cp311-macosx_10_9_universal2.whl",
        "x-1.0-cp311-cp311-macosx_11_0_arm64.whl",
        "x-1.0-py3-none-win_amd64.whl",
        "x-1.0-py37-none-any.whl",
    ];
    let directory = tempfile::tempdir().unwrap();
    let mut wheels = Vec::new();
    for name in names {
        let version = name.split('-').nth(1).unwrap_or_default();
        let metadata = format!("Metadata-Version: 2.1\nName: x\nVersion: {version}\n");
        let bytes = wheel(&[
            (&format!("x-{version}.dist-info/METADATA"), &metadata),
            // No two have the same bytes.
            (&format!("x-{version}.dist-info/WHEEL"), &format!("Wheel-Version: 1.0\nGenerator: {name}\n")),
        ]);
        std::fs::write(directory.path().join(name), &bytes).unwrap();
        let file = LockedFile {
            name: name.to_owned(),
            place: Place::Path(directory.path().join(name)),
            sha256: Digest::of(&bytes),
            size: None,
        };
        wheels.push(LockedWheel { filename: name.parse().unwrap(), file });
    }
    let targets: Vec<Target> = [
        ("3.11", "manylinux_2_28_x86_64"),
        ("3.11", "manylinux_2_17_x86_64"),
        ("3.12", "manylinux_2_35_x86_64"),
        ("3.12", "manylinux_2_28_aarch64"),
        ("3.9", "manylinux_2_28_aarch64"),
        ("3.11", "musllinux_1_2_x86_64"),
        ("3.11", "macosx_12_0_arm64"),
        ("3.11", "macosx_10_15_x86_64"),
        ("3.11", "win_amd64"),
        ("3.6", "win_amd64"),
        ("3.6", "manylinux_2_28_x86_64"),
    ]
    .iter()
    .map(|(python, platform)| Target::parse(python, platform).unwrap())
    .collect();
    let asked: Vec<Value> =
        targets.iter().map(|target| json!([target.python.to_string(), target.platform.accepted()])).collect();
    let question = json!({ "wheels": directory.path(), "targets": asked });
    let Some(answer) = ask(PIP, &question) else { return };
    let package =
        Package { project: "x".parse().unwrap(), version: "1.0".parse().unwrap(), wheels, sdist: None };
    for (target, theirs) in targets.iter().zip(answer.as_array().unwrap()) {
        let ours = choose(&package, target, &target.supported(), &Pins::new());
        let ours = ours.map_or(Value::Null, |wheel| json!(wheel.filename.to_string()));
        assert_eq!(ours, *theirs, "{target}");
    }
}
