//! A requirements file that is pinned with hashes, as `pip-compile --generate-hashes` and
//! `uv pip compile --generate-hashes` write it (pip's requirements file format, PEP 508).
//!
//! Every line is understood as pip understands it or refused by name. Nothing is resolved, no other file
//! is read and no environment variable is put in: what the file says is all there is.

use std::collections::{BTreeMap, BTreeSet};

use manifests::text::printable;
use manifests::{Digest, Name};

use super::Class;
use super::filename::project_name;
use super::index_url::IndexUrl;
use super::version::Version;

/// Bounds the file: a hundred hashes for each of a thousand projects need about 10 MiB.
pub const REQUIREMENTS_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What the file asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirements {
    /// One for each project, in the order of the file.
    pub pins: Vec<Pin>,
    /// `--index-url`, if the file has it; the last one counts.
    pub index: Option<IndexUrl>,
}

/// One project at one version, in one of the given files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The project, normalised.
    pub project: Name,
    /// Its extras, normalised. The file lists what they need as projects of their own.
    pub extras: BTreeSet<Name>,
    /// The version behind `==`.
    pub version: Version,
    /// The SHA-256 digests of the files that will do: at least one.
    pub hashes: BTreeSet<Digest>,
    /// Where it starts, counted from 1.
    pub line: usize,
}

/// A line that is not a pinned requirement.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct RequirementsError {
    /// The file, as the caller named it.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file is larger than [`REQUIREMENTS_BYTES_MAX`].
    #[error("the file is larger than {REQUIREMENTS_BYTES_MAX} bytes")]
    TooLarge,
    /// The bytes are not UTF-8.
    #[error("the file is not UTF-8")]
    NotUtf8,
    /// Neither an option nor the name of a project.
    #[error("`{shown}` does not start with the name of a project")]
    Project {
        /// The line, made printable.
        shown: String,
    },
    /// No `==`, or more than one version.
    #[error("{project} is not pinned: expected `{project}==VERSION`, found `{found}`")]
    NotPinned {
        /// The project as the line spells it.
        project: String,
        /// What follows the name.
        found: String,
    },
    /// `==1.0.*`
    #[error("{project} is pinned to the range `{found}`, not to one version")]
    Range {
        /// The project.
        project: Name,
        /// `1.0.*`
        found: String,
    },
    /// What follows `==` is no version.
    #[error("{project} is pinned to `{found}`, which is not a version by PEP 440")]
    Version {
        /// The project.
        project: Name,
        /// The text.
        found: String,
    },
    /// No `--hash`.
    #[error("{project} has no `--hash=sha256:…`: write the file with `--generate-hashes`")]
    NoHash {
        /// The project.
        project: Name,
    },
    /// A hash of another kind.
    #[error("{project} has a hash by `{algorithm}`, expected sha256")]
    Algorithm {
        /// The project.
        project: Name,
        /// `md5`
        algorithm: String,
    },
    /// `sha256:` and something else than 64 hex digits.
    #[error("{project} has a `--hash` that is not sha256: and 64 hex digits: `{found}`")]
    Hash {
        /// The project.
        project: Name,
        /// The text.
        found: String,
    },
    /// The same project a second time.
    #[error("{project} was already required on line {first}")]
    Twice {
        /// The project.
        project: Name,
        /// Counted from 1.
        first: usize,
    },
    /// An option that is not known or would weaken the pins.
    #[error("`{option}` is not accepted in a pinned requirements file")]
    Option {
        /// The option's name; never its value, which may hold a password.
        option: String,
    },
    /// `--index-url` without an address.
    #[error("`--index-url` is not followed by an http or https address")]
    Index,
    /// `${NAME}`: pip would put in an environment variable.
    #[error("environment variables are not put into a requirements file: write the value")]
    Variable,
    /// A feature that may come.
    #[error("{what} not supported yet")]
    NotYet {
        /// With its verb: `environment markers are`.
        what: &'static str,
    },
}

impl RequirementsError {
    /// Which kind of failure it is.
    #[must_use]
    pub fn class(&self) -> Class {
        if matches!(self.problem, Problem::NotYet { .. }) { Class::NotYet } else { Class::Spec }
    }
}

impl Requirements {
    /// Reads the bytes of a file; `file` is its name for messages.
    ///
    /// # Errors
    /// The first line that is not understood or not pinned.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, RequirementsError> {
        let at = |line, problem| RequirementsError { file: printable(file), line, problem };
        if bytes.len() as u64 > REQUIREMENTS_BYTES_MAX {
            return Err(at(1, Problem::TooLarge));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = bytes.iter().take(error.valid_up_to());
            at(before.filter(|byte| **byte == b'\n').count() + 1, Problem::NotUtf8)
        })?;
        let mut found = Self { pins: Vec::new(), index: None };
        let mut lines: BTreeMap<Name, usize> = BTreeMap::new();
        for (number, line) in logical_lines(text.strip_prefix('\u{feff}').unwrap_or(text)) {
            match statement(&line, number).map_err(|problem| at(number, problem))? {
                Statement::Nothing => {}
                Statement::Index(url) => found.index = Some(url),
                Statement::Pin(pin) => {
                    if let Some(first) = lines.insert(pin.project.clone(), number) {
                        return Err(at(number, Problem::Twice { project: pin.project, first }));
                    }
                    found.pins.push(pin);
                }
            }
        }
        Ok(found)
    }
}

/// Lines with their backslashes resolved and their comments gone, each with the number of its first.
/// As in pip, a comment line ends a continued line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (position, raw) in text.lines().enumerate() {
        let (first, mut joined) = open.take().unwrap_or((position + 1, String::new()));
        let line = without_comment(raw);
        let is_comment = line.len() != raw.len();
        match line.strip_suffix('\\') {
            Some(line) if !is_comment => {
                joined.push_str(line);
                open = Some((first, joined));
            }
            _ => {
                if is_comment {
                    joined.push(' ');
                }
                joined.push_str(line);
                lines.push((first, joined));
            }
        }
    }
    lines.extend(open);
    lines
}

/// A `#` starts a comment at the start of a line or after a blank: `pkg#egg=x` has none.
fn without_comment(line: &str) -> &str {
    let starts = |position: usize| {
        line.get(..position).is_none_or(|before| before.is_empty() || before.ends_with(char::is_whitespace))
    };
    let comment = line.match_indices('#').map(|(position, _)| position).find(|position| starts(*position));
    comment.and_then(|position| line.get(..position)).unwrap_or(line)
}

enum Statement {
    Nothing,
    Index(IndexUrl),
    Pin(Pin),
}

fn statement(line: &str, number: usize) -> Result<Statement, Problem> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(Statement::Nothing);
    }
    if has_variable(line) {
        return Err(Problem::Variable);
    }
    if line.starts_with('-') { option(line) } else { pin(line, number).map(Statement::Pin) }
}

/// `${NAME}`, with the capital letters that pip asks for.
fn has_variable(line: &str) -> bool {
    line.split("${").skip(1).any(|rest| {
        let name = rest.split_once('}').map_or("", |(name, _)| name);
        !name.is_empty() && name.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
    })
}

/// A line of its own that starts with a dash.
fn option(line: &str) -> Result<Statement, Problem> {
    let end = line.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(line.len());
    let (name, rest) = line.split_at_checked(end).unwrap_or((line, ""));
    let value = rest.trim_start().strip_prefix('=').unwrap_or(rest).trim();
    match name {
        "-i" if rest.starts_with('=') => Err(Problem::Index),
        "-i" | "--index-url" => {
            let one_word = !value.is_empty() && !value.contains(char::is_whitespace);
            let url = one_word.then(|| value.parse().ok()).flatten();
            url.map(Statement::Index).ok_or(Problem::Index)
        }
        // Nothing but wheels is ever taken and every hash is required, so both ask for what is done.
        "--only-binary" if !value.contains(char::is_whitespace) && !value.is_empty() => {
            Ok(Statement::Nothing)
        }
        "--require-hashes" if value.is_empty() => Ok(Statement::Nothing),
        "-r" | "--requirement" => Err(Problem::NotYet { what: "other requirements files (`-r`) are" }),
        "-c" | "--constraint" => Err(Problem::NotYet { what: "constraints files (`-c`) are" }),
        "--extra-index-url" => Err(Problem::NotYet { what: "a second index (`--extra-index-url`) is" }),
        "-f" | "--find-links" => Err(Problem::NotYet { what: "lists of links (`--find-links`) are" }),
        _ => Err(Problem::Option { option: printable(name) }),
    }
}

/// `name[extras]==version --hash=sha256:…`
fn pin(line: &str, number: usize) -> Result<Pin, Problem> {
    let (requirement, options) = match line.find(" -").or_else(|| line.find("\t-")) {
        Some(position) => line.split_at_checked(position).unwrap_or((line, "")),
        None => (line, ""),
    };
    let requirement = requirement.trim();
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let end = requirement.find(|c| !named(c)).unwrap_or(requirement.len());
    let (spelled, rest) = requirement.split_at_checked(end).unwrap_or((requirement, ""));
    if is_location(spelled, rest) {
        return Err(Problem::NotYet { what: "requirements by address or by path are" });
    }
    let no_project = || Problem::Project { shown: printable(requirement) };
    if spelled.starts_with(['-', '_', '.']) {
        return Err(no_project());
    }
    let project = project_name(spelled).map_err(|_| no_project())?;
    let (extras, rest) = extras(rest.trim_start()).ok_or_else(no_project)?;
    if rest.contains(';') {
        return Err(Problem::NotYet { what: "environment markers are" });
    }
    let version = pinned_version(&project, spelled, rest)?;
    let hashes = hashes(&project, options)?;
    Ok(Pin { project, extras, version, hashes, line: number })
}

/// `name @ https://…`, `https://…`, `./dir`, `git+ssh://…`.
fn is_location(spelled: &str, rest: &str) -> bool {
    let after = rest.trim_start();
    let after = after.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(after, |(_, rest)| rest);
    after.trim_start().starts_with('@')
        || rest.contains("://")
        || rest.starts_with(['/', '\\', ':'])
        || (spelled.ends_with(".whl") && rest.is_empty())
}

/// The extras between brackets, and what follows them.
fn extras(rest: &str) -> Option<(BTreeSet<Name>, &str)> {
    let Some(inner) = rest.strip_prefix('[') else {
        return Some((BTreeSet::new(), rest));
    };
    let (list, rest) = inner.split_once(']')?;
    let extras = list.split(',').map(str::trim).filter(|extra| !extra.is_empty());
    let extras: Option<BTreeSet<Name>> = extras.map(|extra| project_name(extra).ok()).collect();
    Some((extras?, rest))
}

fn pinned_version(project: &Name, spelled: &str, rest: &str) -> Result<Version, Problem> {
    let rest = rest.trim();
    let inner = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).map_or(rest, str::trim);
    let not_pinned = || Problem::NotPinned { project: printable(spelled), found: printable(rest) };
    let version = inner.strip_prefix("==").ok_or_else(not_pinned)?.trim();
    if version.starts_with('=') || version.contains(',') {
        return Err(not_pinned());
    }
    if version.ends_with(".*") {
        return Err(Problem::Range { project: project.clone(), found: printable(version) });
    }
    version.parse().map_err(|_| Problem::Version { project: project.clone(), found: printable(version) })
}

fn hashes(project: &Name, options: &str) -> Result<BTreeSet<Digest>, Problem> {
    let mut hashes = BTreeSet::new();
    let mut words = options.split_whitespace();
    while let Some(word) = words.next() {
        let (option, value) = match word.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (word, None),
        };
        if option != "--hash" {
            return Err(Problem::Option { option: printable(option) });
        }
        let value = value.or_else(|| words.next()).unwrap_or_default();
        hashes.insert(digest(project, value)?);
    }
    if hashes.is_empty() { Err(Problem::NoHash { project: project.clone() }) } else { Ok(hashes) }
}

fn digest(project: &Name, text: &str) -> Result<Digest, Problem> {
    let wrong = || Problem::Hash { project: project.clone(), found: printable(text) };
    let (algorithm, hex) = text.split_once(':').ok_or_else(wrong)?;
    if algorithm != "sha256" {
        return Err(Problem::Algorithm { project: project.clone(), algorithm: printable(algorithm) });
    }
    Digest::from_hex(&hex.to_ascii_lowercase()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "--hash=sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
    const B: &str = "--hash=sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d";

    fn parse(text: &str) -> Result<Requirements, RequirementsError> {
        Requirements::parse("requirements.txt", text.as_bytes())
    }

    fn good(text: &str) -> Requirements {
        parse(text).unwrap_or_else(|error| panic!("{error}"))
    }

    fn problem(text: &str) -> Problem {
        match parse(text) {
            Ok(requirements) => panic!("accepted {text:?} as {requirements:?}"),
            Err(error) => error.problem,
        }
    }

    #[test]
    fn reads_what_pip_compile_writes() {
        let found = good(&format!(
            "#\n# This file is autogenerated by pip-compile with Python 3.11\n# by the following command:\n#\n\
             #    pip-compile --generate-hashes requirements.in\n#\n--index-url https://index.example/simple\n\
             --only-binary :all:\n\n\
             click==8.1.7 \\\n    {A} \\\n    {B}\n    # via flask\n\
             Zope.Interface==6.4.post2 \\\n    {A}\n    # via\n    #   -r requirements.in\n    #   other\n\
             uvicorn[standard, Foo_Bar]==0.30.0 {B}\n"
        ));
        assert_eq!(found.index.unwrap().to_string(), "https://index.example/simple/");
        let [click, zope, uvicorn] = found.pins.as_slice() else { panic!("{:?}", found.pins) };
        assert_eq!((click.project.as_str(), click.version.as_str(), click.line), ("click", "8.1.7", 10));
        assert_eq!(click.hashes.len(), 2);
        assert_eq!((zope.project.as_str(), zope.version.as_str()), ("zope-interface", "6.4.post2"));
        let extras: Vec<&str> = uvicorn.extras.iter().map(Name::as_str).collect();
        assert_eq!(extras, ["foo-bar", "standard"]);
    }

    #[test]
    fn reads_what_uv_writes_and_what_windows_does_to_it() {
        let text = format!(
            "# This file was autogenerated by uv via the following command:\r\n\
             -i https://index.example/simple\r\n\
             colorama==0.4.6 \\\r\n    {A} \\\r\n    {B}\r\n    # via tqdm\r\ntqdm==4.66.4 \\\r\n    {A}"
        );
        let found = good(&format!("\u{feff}{text}"));
        assert_eq!(found.pins.len(), 2);
        assert_eq!(found.pins[0].hashes.len(), 2);
        assert_eq!(found.index.unwrap().to_string(), "https://index.example/simple/");
    }

    #[test]
    fn takes_the_other_spellings_that_pip_takes() {
        assert_eq!(good(&format!("a == 1.0 {A}")).pins[0].version.as_str(), "1.0");
        assert_eq!(good(&format!("a (==1.0) {A}")).pins[0].version.as_str(), "1.0");
        assert_eq!(good(&format!("a==1!2.0+cpu.1\t{A}")).pins[0].version.as_str(), "1!2.0+cpu.1");
        let upper = A.to_uppercase().replace("--HASH=SHA256", "--hash sha256");
        assert_eq!(good(&format!("a==1 {upper}")).pins[0].hashes, good(&format!("a==1 {A}")).pins[0].hashes);
        assert_eq!(good(&format!("--require-hashes\n--only-binary=:all:\na==1 {A}")).pins.len(), 1);
        assert_eq!(good(&format!("--index-url=https://x.example\na==1 {A} # why")).pins.len(), 1);
        assert_eq!(good("").pins.len(), 0);
    }

    #[test]
    fn refuses_what_is_not_pinned_by_version_and_hash() {
        assert!(matches!(problem(&format!("a>=1.0 {A}")), Problem::NotPinned { .. }));
        assert!(matches!(problem(&format!("a {A}")), Problem::NotPinned { .. }));
        assert!(matches!(problem(&format!("a===1.0 {A}")), Problem::NotPinned { .. }));
        assert!(matches!(problem(&format!("a==1.0,!=2 {A}")), Problem::NotPinned { .. }));
        assert!(matches!(problem(&format!("a==1.0.* {A}")), Problem::Range { .. }));
        assert!(matches!(problem(&format!("a==latest {A}")), Problem::Version { .. }));
        assert!(matches!(problem("a==1.0"), Problem::NoHash { .. }));
        assert!(matches!(problem("a==1.0 --hash=md5:abc"), Problem::Algorithm { .. }));
        assert!(matches!(problem("a==1.0 --hash=sha256:abc"), Problem::Hash { .. }));
        assert!(matches!(problem("a==1.0 --hash"), Problem::Hash { .. }));
        let twice = problem(&format!("Foo_Bar==1 {A}\n\nfoo.bar==1 {A}"));
        assert!(matches!(twice, Problem::Twice { first: 1, .. }));
    }

    #[test]
    fn refuses_options_by_name() {
        for option in
            ["--no-binary :all:", "--trusted-host x", "--pre", "--no-index", "-e .", "--prefer-binary", "-x"]
        {
            let name = option.split(' ').next().unwrap_or_default();
            assert_eq!(problem(option), Problem::Option { option: name.to_owned() });
        }
        assert_eq!(
            problem(&format!("a==1 {A} --global-option=x")),
            Problem::Option { option: "--global-option".to_owned() }
        );
        assert_eq!(problem("--index-url"), Problem::Index);
        assert_eq!(problem("--index-url simple"), Problem::Index);
        assert_eq!(problem("--index-url https://${TOKEN}@index.example/"), Problem::Variable);
    }

    #[test]
    fn says_what_may_come_later() {
        for text in [
            &format!("a==1 ; python_version < \"3.12\" {A}"),
            &format!("a==1; sys_platform == 'win32' \\\n  {A}"),
            "-r base.txt",
            "--requirement=base.txt",
            "-c constraints.txt",
            "--extra-index-url https://u:hunter2@other.example",
            "--find-links wheels/",
            "a @ https://u:hunter2@other.example/a-1-py3-none-any.whl",
            "a[x] @ file:///a.whl",
            "https://u:hunter2@other.example/a-1-py3-none-any.whl",
            "git+ssh://git@host/x",
            "./local",
            "wheels/a-1-py3-none-any.whl",
            "a-1-py3-none-any.whl",
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.class(), Class::NotYet, "{text}: {error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn an_error_names_file_and_line() {
        let error = parse(&format!("# one\na==1 \\\n  {A}\n\nb>1 \\\n  {A}\n")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "requirements.txt:5: b is not pinned: expected `b==VERSION`, found `>1`"
        );
        assert_eq!(error.class(), Class::Spec);
        let error = Requirements::parse("r", b"a\n\xff").unwrap_err();
        assert_eq!(error.to_string(), "r:2: the file is not UTF-8");
    }

    #[test]
    fn a_comment_ends_a_continued_line_as_in_pip() {
        let found = good(&format!("a==1 \\\n  {A} \\\n  # note\nb==1 {A}\n"));
        assert_eq!(found.pins.len(), 2);
        assert!(matches!(problem("a==1#x"), Problem::Version { .. }));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_understood_or_refused(text in "[a-c=;#\\[\\]@:/. \\\\\n-]{0,60}", more in ".{0,40}") {
            let _ = parse(&text);
            let _ = parse(&more);
        }
    }
}
