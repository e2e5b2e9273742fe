//! The interpreter and platform a wheelhouse is resolved for, and which wheels suit it (PEP 425; PEP 600
//! for manylinux, PEP 656 for musllinux).
//!
//! The list of tags is the one that the `packaging` library makes on such a machine, with one change: a
//! plain `linux_ARCH` wheel comes last, because it promises nothing about the libraries it needs.
//! Nothing here looks at the machine it runs on.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use manifests::text::printable;

use super::filename::WheelFilename;

/// CPython 3.*minor*, the normal build with its lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PythonVersion {
    minor: u16,
}

/// A platform as wheels name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlatformTag {
    /// glibc 2.*minor*: `manylinux_2_28_x86_64`, or the older aliases such as `manylinux2014_x86_64`.
    Manylinux {
        /// The minor version of glibc.
        minor: u16,
        /// `x86_64`
        arch: LinuxArch,
    },
    /// musl 1.*minor*: `musllinux_1_2_aarch64`.
    Musllinux {
        /// The minor version of musl.
        minor: u16,
        /// `x86_64`
        arch: LinuxArch,
    },
    /// A Linux of which no more is known. Takes neither manylinux nor musllinux wheels.
    Linux {
        /// `x86_64`
        arch: LinuxArch,
    },
    /// macOS: `macosx_11_0_arm64`.
    Macos {
        /// `11`
        major: u16,
        /// `0`
        minor: u16,
        /// `arm64`
        arch: MacArch,
    },
    /// Windows: `win_amd64`.
    Windows(WindowsArch),
    /// `any`: wheels without compiled code only.
    Any,
}

macro_rules! architectures {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            const ALL: &[Self] = &[$(Self::$variant),+];

            /// As tags spell it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            fn find(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|arch| arch.as_str() == text)
            }
        }
    };
}

architectures!(
    /// The machines that wheels for Linux are built for.
    LinuxArch {
        /// 64-bit Intel and AMD.
        X86_64 = "x86_64",
        /// 32-bit Intel and AMD.
        I686 = "i686",
        /// 64-bit Arm.
        Aarch64 = "aarch64",
        /// 32-bit Arm.
        Armv7l = "armv7l",
        /// 64-bit POWER, little end first.
        Ppc64le = "ppc64le",
        /// IBM Z.
        S390x = "s390x",
        /// 64-bit RISC-V.
        Riscv64 = "riscv64",
        /// 64-bit LoongArch.
        Loongarch64 = "loongarch64",
    }
);

architectures!(
    /// The machines that wheels for macOS are built for.
    MacArch {
        /// Apple silicon.
        Arm64 = "arm64",
        /// Intel.
        X86_64 = "x86_64",
    }
);

architectures!(
    /// The machines that wheels for Windows are built for. The text is the whole tag.
    WindowsArch {
        /// 64-bit Intel and AMD.
        Amd64 = "win_amd64",
        /// 32-bit Intel and AMD.
        Win32 = "win32",
        /// 64-bit Arm.
        Arm64 = "win_arm64",
    }
);

/// What a wheelhouse has to run on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// `3.11`
    pub python: PythonVersion,
    /// `manylinux_2_28_x86_64`
    pub platform: PlatformTag,
}

/// A target that nobody can build for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Not a minor version of CPython 3.
    #[error("`{shown}` is not a Python version for a target: expected the minor version, such as `3.11`")]
    Python {
        /// The text, made printable.
        shown: String,
    },
    /// Not a platform tag we know.
    #[error(
        "`{shown}` is not a platform for a target: expected one such as `manylinux_2_28_x86_64`, \
         `musllinux_1_2_aarch64`, `linux_x86_64`, `macosx_11_0_arm64`, `win_amd64` or `any`"
    )]
    Platform {
        /// The text, made printable.
        shown: String,
    },
}

impl PythonVersion {
    /// The `11` of `3.11`.
    #[must_use]
    pub fn minor(self) -> u16 {
        self.minor
    }

    /// The name of the interpreter and of its own binary interface.
    fn abi(self) -> String {
        // Up to 3.7 the name told which allocator was compiled in; every common build had this one.
        let allocator = if self.minor < 8 { "m" } else { "" };
        format!("cp3{}{allocator}", self.minor)
    }
}

impl fmt::Display for PythonVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "3.{}", self.minor)
    }
}

impl FromStr for PythonVersion {
    type Err = TargetError;
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let minor = text.strip_prefix("3.").and_then(number).filter(|minor| (2..100).contains(minor));
        minor.map(|minor| Self { minor }).ok_or_else(|| TargetError::Python { shown: printable(text) })
    }
}

/// Decimal digits without a zero in front.
fn number(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

impl LinuxArch {
    /// The oldest glibc that manylinux knows for this machine (PEP 513, PEP 599).
    fn oldest_glibc(self) -> u16 {
        if matches!(self, Self::X86_64 | Self::I686) { 5 } else { 17 }
    }
}

/// The names that three versions of glibc had before PEP 600.
const MANYLINUX_ALIASES: [(u16, &str); 3] = [(17, "manylinux2014"), (12, "manylinux2010"), (5, "manylinux1")];

impl FromStr for PlatformTag {
    type Err = TargetError;
    fn from_str(text: &str) -> Result<Self, TargetError> {
        platform(text).ok_or_else(|| TargetError::Platform { shown: printable(text) })
    }
}

fn platform(text: &str) -> Option<PlatformTag> {
    if text == "any" {
        return Some(PlatformTag::Any);
    }
    if let Some(arch) = WindowsArch::find(text) {
        return Some(PlatformTag::Windows(arch));
    }
    let manylinux = |minor, arch: &str| {
        let arch = LinuxArch::find(arch)?;
        // Newer than any glibc there will be for long: a slip of the pen, not a platform.
        let known = (arch.oldest_glibc()..=99).contains(&minor);
        known.then_some(PlatformTag::Manylinux { minor, arch })
    };
    let (family, rest) = text.split_once('_')?;
    match family {
        "manylinux" => {
            let (minor, arch) = rest.strip_prefix("2_")?.split_once('_')?;
            manylinux(number(minor)?, arch)
        }
        "musllinux" => {
            let (minor, arch) = rest.strip_prefix("1_")?.split_once('_')?;
            let minor = number(minor).filter(|minor| *minor < 100)?;
            Some(PlatformTag::Musllinux { minor, arch: LinuxArch::find(arch)? })
        }
        "linux" => Some(PlatformTag::Linux { arch: LinuxArch::find(rest)? }),
        "macosx" => {
            let mut parts = rest.splitn(3, '_');
            let major = parts.next().and_then(number)?;
            let minor = parts.next().and_then(number)?;
            let arch = MacArch::find(parts.next()?)?;
            mac_exists(major, minor, arch).then_some(PlatformTag::Macos { major, minor, arch })
        }
        alias => {
            let (minor, _) = MANYLINUX_ALIASES.iter().find(|(_, name)| *name == alias)?;
            manylinux(*minor, rest)
        }
    }
}

fn mac_exists(major: u16, minor: u16, arch: MacArch) -> bool {
    match major {
        10 => arch == MacArch::X86_64 && (4..=16).contains(&minor),
        _ => (11..100).contains(&major),
    }
}

impl fmt::Display for PlatformTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manylinux { minor, arch } => write!(f, "manylinux_2_{minor}_{}", arch.as_str()),
            Self::Musllinux { minor, arch } => write!(f, "musllinux_1_{minor}_{}", arch.as_str()),
            Self::Linux { arch } => write!(f, "linux_{}", arch.as_str()),
            Self::Macos { major, minor, arch } => write!(f, "macosx_{major}_{minor}_{}", arch.as_str()),
            Self::Windows(arch) => f.write_str(arch.as_str()),
            Self::Any => f.write_str("any"),
        }
    }
}

impl PlatformTag {
    /// The platform tags that such a machine takes, the best first; `any` is not among them.
    #[must_use]
    pub fn accepted(&self) -> Vec<String> {
        match self {
            Self::Manylinux { minor, arch } => manylinux_tags(*minor, *arch),
            Self::Musllinux { minor, arch } => {
                let arch = arch.as_str();
                let musl = (0..=*minor).rev().map(|minor| format!("musllinux_1_{minor}_{arch}"));
                musl.chain([format!("linux_{arch}")]).collect()
            }
            Self::Linux { arch } => vec![format!("linux_{}", arch.as_str())],
            Self::Macos { major, minor, arch } => mac_tags(*major, *minor, *arch),
            Self::Windows(arch) => vec![arch.as_str().to_owned()],
            Self::Any => Vec::new(),
        }
    }
}

fn manylinux_tags(minor: u16, arch: LinuxArch) -> Vec<String> {
    let mut tags = Vec::new();
    for minor in (arch.oldest_glibc()..=minor).rev() {
        tags.push(format!("manylinux_2_{minor}_{}", arch.as_str()));
        let alias = MANYLINUX_ALIASES.iter().find(|(aliased, _)| *aliased == minor);
        tags.extend(alias.map(|(_, alias)| format!("{alias}_{}", arch.as_str())));
    }
    tags.push(format!("linux_{}", arch.as_str()));
    tags
}

fn mac_tags(major: u16, minor: u16, arch: MacArch) -> Vec<String> {
    // From 11 on the major version alone grows; before that it was 10 and the minor version grew.
    let new = (11..=major).rev().map(|major| (major, 0));
    let old = (4..=if major > 10 { 16 } else { minor }).rev().map(|minor| (10, minor));
    let formats = |major: u16| -> &[&str] {
        match arch {
            MacArch::X86_64 => &["x86_64", "intel", "fat64", "fat3", "universal2", "universal"],
            MacArch::Arm64 if major > 10 => &["arm64", "universal2"],
            // There was no Apple silicon then; a file for both kinds may name the older system.
            MacArch::Arm64 => &["universal2"],
        }
    };
    let tag =
        |(major, minor)| formats(major).iter().map(move |format| format!("macosx_{major}_{minor}_{format}"));
    new.chain(old).flat_map(tag).collect()
}

impl Target {
    /// From the two texts of `targets:` in `bundle.yaml`.
    ///
    /// # Errors
    /// A text that names no interpreter or no platform.
    pub fn parse(python: &str, platform: &str) -> Result<Self, TargetError> {
        Ok(Self { python: python.parse()?, platform: platform.parse()? })
    }

    /// Every tag that such a machine takes. Make it once and ask it often.
    #[must_use]
    pub fn supported(&self) -> SupportedTags {
        SupportedTags::new(self)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Python {} on {}", self.python, self.platform)
    }
}

/// The tags that a target takes, in the order of preference.
#[derive(Debug, Clone)]
pub struct SupportedTags {
    /// `cp311-cp311-manylinux_2_28_x86_64` and its place in the order, from 0.
    ranks: BTreeMap<String, usize>,
}

impl SupportedTags {
    fn new(target: &Target) -> Self {
        let mut list = TagList { platforms: target.platform.accepted(), tags: Vec::new() };
        let minor = target.python.minor;
        let interpreter = format!("cp3{minor}");
        list.on_each_platform(&interpreter, &target.python.abi());
        list.on_each_platform(&interpreter, "abi3");
        list.on_each_platform(&interpreter, "none");
        for older in (2..minor).rev() {
            list.on_each_platform(&format!("cp3{older}"), "abi3");
        }
        let older = (0..minor).rev().map(|minor| format!("py3{minor}"));
        let pure: Vec<String> = [format!("py3{minor}"), "py3".to_owned()].into_iter().chain(older).collect();
        for python in &pure {
            list.on_each_platform(python, "none");
        }
        list.tags.push(format!("{interpreter}-none-any"));
        list.tags.extend(pure.iter().map(|python| format!("{python}-none-any")));
        Self { ranks: list.tags.into_iter().enumerate().map(|(rank, tag)| (tag, rank)).collect() }
    }

    /// How well a wheel suits: 0 is best, `None` means that it does not. Between equals the higher
    /// [`WheelFilename::build`] wins.
    #[must_use]
    pub fn rank(&self, wheel: &WheelFilename) -> Option<usize> {
        let mut best: Option<usize> = None;
        for python in wheel.python_tags() {
            for abi in wheel.abi_tags() {
                for platform in wheel.platform_tags() {
                    let rank = self.ranks.get(&format!("{python}-{abi}-{platform}")).copied();
                    best = best.into_iter().chain(rank).min();
                }
            }
        }
        best
    }

    /// The tags, the best first.
    #[must_use]
    pub fn in_order(&self) -> Vec<&str> {
        let mut tags: Vec<(&usize, &str)> =
            self.ranks.iter().map(|(tag, rank)| (rank, tag.as_str())).collect();
        tags.sort_unstable();
        tags.into_iter().map(|(_, tag)| tag).collect()
    }
}

struct TagList {
    platforms: Vec<String>,
    tags: Vec<String>,
}

impl TagList {
    fn on_each_platform(&mut self, python: &str, abi: &str) {
        let tags = self.platforms.iter().map(|platform| format!("{python}-{abi}-{platform}"));
        self.tags.extend(tags);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(target: (&str, &str), wheel: &str) -> Option<usize> {
        let target = Target::parse(target.0, target.1).unwrap_or_else(|error| panic!("{error}"));
        target.supported().rank(&wheel.parse().unwrap_or_else(|error| panic!("{error}")))
    }

    #[test]
    fn parses_the_targets_that_people_write() {
        for platform in [
            "manylinux_2_28_x86_64",
            "musllinux_1_2_aarch64",
            "linux_x86_64",
            "macosx_11_0_arm64",
            "macosx_10_15_x86_64",
            "win_amd64",
            "win32",
            "any",
        ] {
            assert_eq!(platform.parse::<PlatformTag>().unwrap().to_string(), platform);
        }
        assert_eq!(
            "manylinux2014_aarch64".parse::<PlatformTag>().unwrap().to_string(),
            "manylinux_2_17_aarch64"
        );
        assert_eq!(Target::parse("3.11", "any").unwrap().to_string(), "Python 3.11 on any");
    }

    #[test]
    fn refuses_targets_that_nobody_can_build_for() {
        for bad in [
            "",
            "linux",
            "linux_amd64",
            "manylinux_2_28",
            "manylinux_2_28_arm64",
            "manylinux_2_5_aarch64",
            "manylinux1_aarch64",
            "manylinux_1_28_x86_64",
            "manylinux_2_028_x86_64",
            "manylinux2015_x86_64",
            "musllinux_2_0_x86_64",
            "macosx_11_arm64",
            "macosx_10_15_arm64",
            "macosx_9_0_x86_64",
            "win64",
            "Any",
        ] {
            assert!(bad.parse::<PlatformTag>().is_err(), "accepted {bad:?}");
        }
        for bad in ["", "3", "2.7", "3.1", "3.011", "3.11.4", "3.13t", "311", "3.x"] {
            assert!(bad.parse::<PythonVersion>().is_err(), "accepted {bad:?}");
        }
    }

    #[test]
    fn an_older_glibc_suits_and_a_newer_one_does_not() {
        let target = ("3.11", "manylinux_2_28_x86_64");
        for good in [
            "x-1-cp311-cp311-manylinux_2_28_x86_64.whl",
            "x-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "x-1-cp311-cp311-manylinux1_x86_64.whl",
            "x-1-cp311-cp311-linux_x86_64.whl",
            "x-1-cp37-abi3-manylinux2010_x86_64.whl",
            "x-1-py2.py3-none-any.whl",
            "x-1-py3-none-manylinux_2_12_x86_64.whl",
        ] {
            assert!(rank(target, good).is_some(), "{good}");
        }
        for bad in [
            "x-1-cp311-cp311-manylinux_2_31_x86_64.whl",
            "x-1-cp311-cp311-manylinux_2_28_aarch64.whl",
            "x-1-cp311-cp311-musllinux_1_1_x86_64.whl",
            "x-1-cp312-cp312-manylinux_2_17_x86_64.whl",
            "x-1-cp312-abi3-manylinux_2_17_x86_64.whl",
            "x-1-cp311-cp311t-manylinux_2_17_x86_64.whl",
            "x-1-pp310-pypy310_pp73-manylinux_2_17_x86_64.whl",
            "x-1-py2-none-any.whl",
            "x-1-cp311-cp311-win_amd64.whl",
        ] {
            assert_eq!(rank(target, bad), None, "{bad}");
        }
    }

    #[test]
    fn a_closer_build_is_preferred_to_a_more_general_one() {
        let target = ("3.11", "manylinux_2_28_x86_64");
        let ranks: Vec<usize> = [
            "x-1-cp311-cp311-manylinux_2_28_x86_64.whl",
            "x-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "x-1-cp311-cp311-linux_x86_64.whl",
            "x-1-cp311-abi3-manylinux_2_17_x86_64.whl",
            "x-1-cp37-abi3-manylinux_2_28_x86_64.whl",
            "x-1-py3-none-manylinux_2_17_x86_64.whl",
            "x-1-py3-none-any.whl",
        ]
        .iter()
        .map(|wheel| rank(target, wheel).unwrap())
        .collect();
        assert!(ranks.is_sorted_by(|left, right| left < right), "{ranks:?}");
    }

    #[test]
    fn a_plain_linux_takes_no_manylinux_wheel_and_any_takes_no_compiled_one() {
        assert!(rank(("3.11", "linux_x86_64"), "x-1-cp311-cp311-linux_x86_64.whl").is_some());
        assert_eq!(rank(("3.11", "linux_x86_64"), "x-1-cp311-cp311-manylinux1_x86_64.whl"), None);
        assert!(rank(("3.11", "any"), "x-1-py3-none-any.whl").is_some());
        assert_eq!(rank(("3.11", "any"), "x-1-cp311-cp311-linux_x86_64.whl"), None);
    }

    #[test]
    fn a_newer_musl_takes_what_was_built_for_an_older_one() {
        let target = ("3.12", "musllinux_1_2_aarch64");
        let newer = rank(target, "x-1-cp312-cp312-musllinux_1_2_aarch64.whl").unwrap();
        assert!(newer < rank(target, "x-1-cp312-cp312-musllinux_1_1_aarch64.whl").unwrap());
        assert_eq!(rank(target, "x-1-cp312-cp312-musllinux_1_3_aarch64.whl"), None);
        assert_eq!(rank(target, "x-1-cp312-cp312-manylinux_2_17_aarch64.whl"), None);
    }
}
