//! What we ourselves read in a requirements file: the hashes that it pins, and the indexes that it names.
//! What it requires is for `uv` to understand, which reads the same file; but `uv` looks at no hash while
//! it resolves, and a login in an index's address has to be kept out of what is written down.
//!
//! Follows pip's requirements file format: comments, continued lines, `-r` and `-c`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use manifests::text::printable;
use manifests::{Digest, Name};

use super::Class;
use super::filename::project_name;
use super::index_url::IndexUrl;

/// Bounds one file: a hundred hashes for each of a thousand projects need about 10 MiB.
pub const REQUIREMENTS_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Bounds how many files one file may lead to.
const FILES_MAX: usize = 64;

/// What the file pins and where it looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requirements {
    /// The SHA-256 digests of the files that will do, of each project that has any. If this is empty,
    /// nothing is pinned by hash; if not, everything has to be, as with pip's `--require-hashes`.
    pub hashes: BTreeMap<Name, BTreeSet<Digest>>,
    /// `--index-url`, if the file has it; the last one counts.
    pub index: Option<IndexUrl>,
    /// `--extra-index-url`, in the order of the file.
    pub extra: Vec<IndexUrl>,
    /// Other files: `-r` and `-c`, as written.
    included: Vec<String>,
}

/// A file that cannot be used.
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
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It is not there, or not readable.
    #[error("the file cannot be read: {0}")]
    Read(std::io::Error),
    /// The bytes are not UTF-8.
    #[error("the file is not UTF-8")]
    NotUtf8,
    /// `-r` and `-c` lead to more files than [`FILES_MAX`].
    #[error("it leads to more than {FILES_MAX} files")]
    TooMany,
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
    /// A hash without a project's name before it: for what it is meant cannot be told.
    #[error("a `--hash` follows something else than the name of a project")]
    Nameless,
    /// `--index-url` without an address, which is not shown: it may hold a password.
    #[error("`{option}` is not followed by an http or https address")]
    Index {
        /// The option.
        option: &'static str,
    },
}

impl RequirementsError {
    /// Which kind of failure it is.
    #[must_use]
    pub fn class(&self) -> Class {
        if matches!(self.problem, Problem::Read(_)) { Class::Unreachable } else { Class::Spec }
    }
}

impl Requirements {
    /// Reads a file and those that it includes; `shown` is its name for messages.
    ///
    /// # Errors
    /// The first line that is not understood.
    pub fn read(path: &Path, shown: &str) -> Result<Self, RequirementsError> {
        let mut found = Self::default();
        let mut seen: BTreeSet<PathBuf> = BTreeSet::new();
        let mut waiting = vec![(path.to_path_buf(), shown.to_string())];
        while let Some((path, shown)) = waiting.pop() {
            // The same file by two paths is the same file.
            if !seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
                continue;
            }
            let at = |problem| RequirementsError { file: printable(&shown), line: 1, problem };
            if seen.len() > FILES_MAX {
                return Err(at(Problem::TooMany));
            }
            let bytes = layout::durable::read_bounded(&path, REQUIREMENTS_BYTES_MAX);
            let one = Self::parse(&shown, &bytes.map_err(|error| at(Problem::Read(error)))?)?;
            let directory = path.parent().unwrap_or(Path::new("."));
            // An address is `uv`'s to fetch or to refuse.
            let local = one.included.iter().filter(|name| !name.contains("://"));
            waiting.extend(local.map(|name| (directory.join(name), name.clone())));
            found.take(one);
        }
        Ok(found)
    }

    fn take(&mut self, one: Self) {
        for (project, hashes) in one.hashes {
            self.hashes.entry(project).or_default().extend(hashes);
        }
        self.index = self.index.take().or(one.index);
        self.extra.extend(one.extra);
    }

    /// Reads the bytes of one file; `file` is its name for messages.
    ///
    /// # Errors
    /// The first line that is not understood.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, RequirementsError> {
        let at = |line, problem| RequirementsError { file: printable(file), line, problem };
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = bytes.iter().take(error.valid_up_to());
            at(before.filter(|byte| **byte == b'\n').count() + 1, Problem::NotUtf8)
        })?;
        let mut found = Self::default();
        for (number, line) in logical_lines(text.strip_prefix('\u{feff}').unwrap_or(text)) {
            found.statement(line.trim()).map_err(|problem| at(number, problem))?;
        }
        Ok(found)
    }

    fn statement(&mut self, line: &str) -> Result<(), Problem> {
        if line.starts_with('-') { self.option(line) } else { self.requirement(line) }
    }

    /// A line of its own that starts with a dash.
    fn option(&mut self, line: &str) -> Result<(), Problem> {
        let short = ["-i", "-r", "-c"].into_iter().find(|name| line.starts_with(name));
        let end = short.map_or_else(
            || line.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(line.len()),
            str::len,
        );
        let (name, rest) = line.split_at_checked(end).unwrap_or((line, ""));
        let value = rest.trim_start().strip_prefix('=').unwrap_or(rest).trim();
        let address = |option| value.parse().map_err(|_| Problem::Index { option });
        match name {
            "-i" | "--index-url" => self.index = Some(address("--index-url")?),
            "--extra-index-url" => self.extra.push(address("--extra-index-url")?),
            "-r" | "--requirement" | "-c" | "--constraint" => self.included.push(value.to_string()),
            _ => {}
        }
        Ok(())
    }

    /// `name[extras]==version ; marker --hash=sha256:…`
    fn requirement(&mut self, line: &str) -> Result<(), Problem> {
        if !line.split_whitespace().any(|word| word == "--hash" || word.starts_with("--hash=")) {
            return Ok(());
        }
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let end = line.find(|c| !named(c)).unwrap_or(line.len());
        let spelled = line.get(..end).unwrap_or_default();
        let is_path = line.get(end..).is_some_and(|rest| rest.starts_with([':', '/', '\\']));
        let project = project_name(spelled).ok().filter(|_| !is_path).ok_or(Problem::Nameless)?;
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            let value = match word.strip_prefix("--hash") {
                Some("") => words.next().unwrap_or_default(),
                Some(value) if value.starts_with('=') => value.get(1..).unwrap_or_default(),
                _ => continue,
            };
            let digest = digest(&project, value)?;
            self.hashes.entry(project.clone()).or_default().insert(digest);
        }
        Ok(())
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

fn digest(project: &Name, text: &str) -> Result<Digest, Problem> {
    let wrong = || Problem::Hash { project: project.clone(), found: printable(text) };
    let (algorithm, hex) = text.split_once(':').ok_or_else(wrong)?;
    if !algorithm.eq_ignore_ascii_case("sha256") {
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
        parse(text).unwrap_err().problem
    }

    fn hashes(text: &str, project: &str) -> usize {
        good(text).hashes.get(&project.parse::<Name>().unwrap()).map_or(0, BTreeSet::len)
    }

    #[test]
    fn finds_the_hashes_that_pip_compile_writes() {
        let text = format!(
            "#\n# This file is autogenerated by pip-compile\n#\n--index-url https://index.example/simple\n\n\
             Foo_Bar[x,y]==1.0 ; python_version >= \"3.8\" \\\n    {A} \\\n    {B}\n    # via -r requirements.in\n\
             b==2 {A}\nc>=1\n"
        );
        assert_eq!(hashes(&text, "foo-bar"), 2);
        assert_eq!(hashes(&text, "b"), 1);
        assert_eq!(hashes(&text, "c"), 0);
        assert_eq!(good(&text).index.unwrap().to_string(), "https://index.example/simple/");
    }

    #[test]
    fn takes_the_spellings_that_pip_takes() {
        assert_eq!(hashes(&format!("\u{feff}a == 1.0\t{A}"), "a"), 1);
        assert_eq!(
            hashes(&A.replace("--hash=", "a==1 --hash ").to_uppercase().replace("--HASH", "--hash"), "a"),
            1
        );
        assert_eq!(hashes(&format!("a==1 \\\n  {A} \\\n  # note\nb==1 {B}\n"), "a"), 1);
        let found = good("-ihttps://a/simple\n--extra-index-url=https://u:p@b/simple\n--pre\n-e .\n./x\n");
        assert_eq!(found.index.unwrap().to_string(), "https://a/simple/");
        assert_eq!(found.extra[0].to_string(), "https://***@b/simple/");
        assert!(good("").hashes.is_empty());
    }

    #[test]
    fn refuses_hashes_that_could_not_be_held_to() {
        assert!(matches!(problem("a==1.0 --hash=md5:abc"), Problem::Algorithm { .. }));
        assert!(matches!(problem("a==1.0 --hash=sha256:abc"), Problem::Hash { .. }));
        assert!(matches!(problem("a==1.0 --hash"), Problem::Hash { .. }));
        assert!(matches!(problem(&format!("https://u:p@x/a.whl {A}")), Problem::Nameless));
        assert!(matches!(problem(&format!("./a.whl {A}")), Problem::Nameless));
        let error = parse("# one\n--index-url https://u:hunter2@a b/\n").unwrap_err();
        let said = "requirements.txt:2: `--index-url` is not followed by an http or https address";
        assert_eq!(error.to_string(), said);
        let error = Requirements::parse("r", b"a\n\xff").unwrap_err();
        assert_eq!(error.to_string(), "r:2: the file is not UTF-8");
    }

    #[test]
    fn follows_the_files_that_a_file_includes_once_each() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
        std::fs::create_dir(dir.path().join("more")).unwrap();
        write("a.txt", format!("-r more/b.txt\n-c https://x/c.txt\na==1 {A}\n"));
        write("more/b.txt", format!("--requirement ../a.txt\n-i https://i/\na==1 {B}\nb==1 {B}\n"));
        let found = Requirements::read(&dir.path().join("a.txt"), "a.txt").unwrap();
        let counts: Vec<usize> = found.hashes.values().map(BTreeSet::len).collect();
        assert_eq!(counts, [2, 1]);
        assert!(found.index.is_some());
        write("a.txt", "-r nothing.txt\n".to_string());
        let error = Requirements::read(&dir.path().join("a.txt"), "a.txt").unwrap_err();
        assert!(
            error.to_string().starts_with("nothing.txt:1: the file cannot be read: No such file"),
            "{error}"
        );
        assert_eq!(error.class(), Class::Unreachable);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_understood_or_refused(text in "[a-c=;#\\[\\]@:/. \\\\\n-]{0,60}", more in ".{0,40}") {
            let _ = parse(&text);
            let _ = parse(&more);
        }
    }
}
