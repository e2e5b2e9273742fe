//! What a run prints: one result on stdout, for people or as one JSON document; everything else on
//! stderr. Text from outside is made printable by whoever puts it into a message.

use std::io::{self, Write};
use std::sync::Arc;

use manifests::Inventory;
use serde::Serialize;

use crate::progress::Shown;
use crate::{Env, Exit, Failure};

/// For whom the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Human,
    /// One JSON document.
    Json,
}

/// Options that every command has.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// How to print the result
    #[arg(long, global = true, value_enum, default_value = "human")]
    pub output: Output,
    /// Say more about what is being done (on stderr)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// No progress: no bars on a terminal, and no lines about it elsewhere
    #[arg(long, global = true)]
    pub no_progress: bool,
}

/// Prints for one run.
pub struct Screen<'a> {
    /// The world.
    pub env: &'a mut Env,
    /// The options of this run.
    pub common: Common,
}

impl Screen<'_> {
    /// Prints the result: `human` or, as JSON, `document`.
    ///
    /// # Errors
    /// stdout cannot be written to.
    pub fn result<T: Serialize>(&mut self, human: &str, document: &T) -> Result<(), Failure> {
        let text = match self.common.output {
            Output::Human => safe(human),
            Output::Json => {
                let json = serde_json::to_string_pretty(document);
                ascii(&json.map_err(|error| Failure::new(Exit::Unexpected, error.to_string()))?)
            }
        };
        let out = &mut self.env.stdout;
        written(
            out.write_all(text.as_bytes())
                .and_then(|()| if text.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") })
                .and_then(|()| out.flush()),
        )
    }

    /// A piece of a result that is neither for people nor a document of ours: these very bytes.
    ///
    /// # Errors
    /// stdout cannot be written to.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let out = &mut self.env.stdout;
        written(out.write_all(bytes).and_then(|()| out.flush()))
    }

    /// A line about what is being done. Not part of the result.
    pub fn note(&mut self, text: &str) {
        self.env.stderr.say(text);
    }

    /// A line for those who asked for more.
    pub fn detail(&mut self, text: &str) {
        if self.common.verbose > 0 {
            self.note(text);
        }
    }

    /// How this run shows its progress: not beside a JSON document, nor where nobody wants it.
    #[must_use]
    pub fn progress(&self) -> Shown {
        let stderr = self.env.stderr.clone();
        if self.common.no_progress || self.common.output != Output::Human {
            Shown::Not
        } else if self.env.stderr_is_terminal {
            Shown::Bars(stderr)
        } else {
            Shown::Lines(stderr, Arc::clone(&self.env.clock))
        }
    }
}

/// A reader that went away (`| head`) is no failure of ours.
fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Unexpected, format!("the result could not be printed: {error}")))
        }
        _ => Ok(()),
    }
}

#[derive(Serialize)]
struct ErrorDocument<'a> {
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    exit: u8,
    class: &'a str,
    message: &'a str,
    causes: &'a [String],
    hint: Option<&'a str>,
    #[serde(flatten)]
    details: &'a serde_json::Map<String, serde_json::Value>,
}

/// Prints a failure and gives its exit code.
fn failure(env: &mut Env, output: Output, failure: &Failure) -> Exit {
    let messages = failure.messages();
    // A name from a medium may hold a line feed: what follows it must not look like a line of ours.
    env.stderr.say(&format!("error: {}", messages.join(": ").replace('\n', "\n  ")));
    if let Some(hint) = failure.next_step() {
        env.stderr.say(&format!("hint: {hint}"));
    }
    if let Some(details) = failure.details().filter(|_| output == Output::Json) {
        let (first, rest) =
            messages.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
        let exit = failure.exit();
        let body = ErrorBody {
            exit: exit.code(),
            class: exit.word(),
            message: first,
            causes: rest,
            hint: failure.next_step(),
            details,
        };
        if let Ok(json) = serde_json::to_string_pretty(&ErrorDocument { error: body }) {
            let _ = writeln!(env.stdout, "{}", ascii(&json));
        }
    }
    failure.exit()
}

/// Parses the arguments, runs the command, and says how it ended.
pub fn run<A: clap::Parser>(
    env: &mut Env,
    output: fn(&A) -> Output,
    command: fn(A, &mut Env) -> Result<(), Failure>,
) -> Exit {
    let arguments = match A::try_parse_from(&env.args) {
        Ok(arguments) => arguments,
        Err(error) => return parse_error(env, &error),
    };
    let output = output(&arguments);
    match command(arguments, env) {
        Ok(()) => Exit::Done,
        Err(error) => failure(env, output, &error),
    }
}

/// Prints what the argument parser has to say: help and version are results, the rest are errors.
fn parse_error(env: &mut Env, error: &clap::Error) -> Exit {
    let text = error.render();
    if error.use_stderr() {
        if asks_for_json(&env.args) {
            let first = text.to_string().lines().next().unwrap_or_default().to_string();
            let message = first.strip_prefix("error: ").unwrap_or(&first).to_string();
            return failure(
                env,
                Output::Json,
                &Failure::usage(message).hint("--help lists what can be typed"),
            );
        }
        env.stderr.say(&text.to_string());
        Exit::Usage
    } else {
        let _ = write!(env.stdout, "{text}");
        Exit::Done
    }
}

/// Whether a command line that does not parse asked for JSON nevertheless.
fn asks_for_json(args: &[std::ffi::OsString]) -> bool {
    let pair =
        |pair: &[std::ffi::OsString]| matches!(pair, [name, value] if name == "--output" && value == "json");
    args.windows(2).any(pair) || args.iter().any(|arg| arg == "--output=json")
}

/// Text for a terminal: everything that could move the cursor, ring the bell or turn the direction of
/// writing is escaped. Names come from media and from people; every line goes through here.
#[must_use]
pub fn safe(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let invisible = matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if character != '\n' && (character.is_control() || invisible) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// JSON in ASCII: other characters are only ever inside texts, where `\u` says the same and moves no cursor.
fn ascii(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() && character != '\u{7f}' {
            shown.push(character);
        } else {
            let mut units = [0; 2];
            shown.extend(character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    shown
}

/// `1.4 GiB`; exact below 1 KiB.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut tenths = u128::from(count) * 10 / 1024;
    let mut unit = UNITS.iter();
    let mut name = unit.next().copied().unwrap_or_default();
    while tenths >= 10_240 {
        tenths /= 1024;
        name = unit.next().copied().unwrap_or(name);
    }
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// What a delta leaves out, what its patches save, and which bundles hold the rest, for people: the first row with a head, all with an indent of
/// `width`. Nothing for a whole bundle.
#[must_use]
pub fn delta_rows(inventory: &Inventory, width: usize) -> String {
    let Some(delta) = &inventory.delta else { return String::new() };
    let counts = inventory.counts();
    let (left_out, all) = (counts.left_out, counts.blobs);
    let held = if delta.bases.len() == 1 { "this bundle holds them" } else { "these bundles hold them" };
    let (less, of) = (bytes(counts.left_out_bytes), bytes(counts.blob_bytes));
    let mut rows =
        format!("{:<width$}leaves out {left_out} of {all} blobs, {less} of {of}; {held}:\n", "delta");
    for base in &delta.bases {
        rows.push_str(&format!("{:<width$}{base}\n", ""));
    }
    if counts.patched > 0 {
        let (whole, patches) = (bytes(counts.patched_bytes), bytes(counts.patch_bytes));
        let saved = bytes(counts.patched_bytes.saturating_sub(counts.patch_bytes));
        let blobs = if counts.patched == 1 { "blob" } else { "blobs" };
        rows.push_str(&format!(
            "{:<width$}{} {blobs} of {whole} as {patches}, which saves {saved}\n",
            "patches", counts.patched
        ));
    }
    rows
}

/// The width of a terminal that nobody has made wider.
pub const COLUMNS: usize = 80;

/// A text in lines of at most 80 columns, the first after `head`, the others `indent` columns in. A word that
/// is longer than a line stays whole: it is a path or a digest, and somebody will copy it.
#[must_use]
pub fn wrap(head: &str, indent: usize, content: &str) -> String {
    let mut text = String::new();
    let mut line = format!("{head:<indent$}");
    let mut is_empty = true;
    for word in content.split_whitespace() {
        let needed = line.chars().count() + usize::from(!is_empty) + word.chars().count();
        if !is_empty && needed > COLUMNS {
            text.push_str(&line);
            text.push('\n');
            line = " ".repeat(indent);
        } else if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    text.push_str(line.trim_end());
    text.push('\n');
    text
}

/// Rows in columns, as wide as they must be, two spaces between.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from("  ");
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_say_them() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(1536 * 1024 * 1024), "1.5 GiB");
        assert!(bytes(u64::MAX).ends_with("PiB"));
    }

    #[test]
    fn nothing_that_is_shown_can_move_the_cursor() {
        assert_eq!(safe("a\u{1b}[2J\r\nb\u{202e}é"), "a\\u{1b}[2J\\r\nb\\u{202e}é");
    }

    #[test]
    fn json_is_ascii_and_says_the_same() {
        let text = "a\u{9b}2J\u{202e}é\u{7f}😀";
        let json = ascii(&serde_json::to_string(text).unwrap());
        assert!(json.is_ascii() && !json.chars().any(|c| c.is_control()), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn a_line_is_broken_between_words_and_a_word_that_is_too_long_stays_whole() {
        let long = "x".repeat(100);
        let text = wrap("head", 6, &format!("{} {long} end", "word ".repeat(20)));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("head  word word") && lines[1].starts_with("      word"), "{text}");
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS || line.trim() == long), "{text}");
    }

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["a".into(), "bb".into()], vec!["ccc".into(), "d".into()]];
        assert_eq!(table(&rows), "  a    bb\n  ccc  d\n");
    }
}
