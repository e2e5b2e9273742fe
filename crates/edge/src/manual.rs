//! What can be typed, for shells and for `man`: completions and manual pages of both programs, made from the very
//! definitions that parse the command line. Commands and options that `--help` does not show are in neither.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use serde::Serialize;

use crate::{Exit, Failure, Screen};

/// The arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// The arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// The command whose page is printed, such as `trust new`; without it that of the whole program
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Vec<String>,
    /// Write every page there instead, one file for each command; nothing is overwritten
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document {
    directory: PathBuf,
    pages: Vec<String>,
}

impl CompletionsArgs {
    /// Prints the script.
    ///
    /// # Errors
    /// stdout cannot be written to.
    pub fn run<A: CommandFactory>(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let mut command = shown(&A::command());
        let name = command.get_name().to_string();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        screen.raw(&script)
    }
}

impl ManArgs {
    /// Prints a page, or writes them all.
    ///
    /// # Errors
    /// There is no such command, or a file cannot be written.
    pub fn run<A: CommandFactory>(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let mut command = shown(&A::command()).disable_help_subcommand(true);
        command.build();
        let Some(out) = self.out else {
            let mut chosen = &command;
            for name in &self.command {
                chosen = chosen.find_subcommand(name).ok_or_else(|| {
                    let message = format!("{} has no command `{name}`", title(chosen));
                    Failure::usage(message).hint("--help lists what can be typed")
                })?;
            }
            return screen.raw(&page(chosen)?);
        };
        let out = screen.env.path(&out);
        let mut pages = Vec::new();
        write_all(&command, &out, &mut pages)?;
        let human = format!("{} pages are in {}\n", pages.len(), out.display());
        screen.result(&human, &Document { directory: out, pages })
    }
}

/// The command as `--help` shows it.
fn shown(command: &Command) -> Command {
    let visible = |argument: &&Arg| !argument.is_hide_set();
    let mut shown = Command::new(command.get_name().to_string())
        .args(command.get_arguments().filter(visible).cloned())
        .subcommands(command.get_subcommands().filter(|command| !command.is_hide_set()).map(self::shown))
        .subcommand_required(command.is_subcommand_required_set());
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    if let Some(about) = command.get_long_about() {
        shown = shown.long_about(about.clone());
    }
    match command.get_version() {
        Some(version) => shown.version(version.to_string()),
        None => shown,
    }
}

/// `installer-audit-verify`
fn title(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn page(command: &Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    let man = Man::new(command.clone());
    let written = heading(command, &mut page)
        .and_then(|()| man.render_name_section(&mut page))
        .and_then(|()| man.render_synopsis_section(&mut page))
        .and_then(|()| man.render_description_section(&mut page))
        .and_then(|()| man.render_options_section(&mut page))
        .and_then(|()| match command.has_subcommands() {
            true => man.render_subcommands_section(&mut page),
            false => Ok(()),
        })
        .and_then(|()| exit_status(&mut page));
    written
        .map_err(|error| Failure::new(Exit::Unexpected, format!("a manual page cannot be made: {error}")))?;
    // Two breaks around an empty line are one empty line, and `mandoc` warns of them.
    let text = String::from_utf8_lossy(&page).replace(".br\n\n.br\n", ".sp\n");
    Ok(ascii(&text).into_bytes())
}

/// Other characters as roff spells them: not every formatter reads UTF-8.
fn ascii(text: &str) -> String {
    let mut page = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            page.push(character);
        } else {
            page.push_str(&format!("\\[u{:04X}]", u32::from(character)));
        }
    }
    page
}

/// The first line of a page. It has no date: the same version makes the same pages.
fn heading(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    let (name, version) = (title(command).to_uppercase(), env!("CARGO_PKG_VERSION"));
    writeln!(page, ".TH \"{name}\" \"1\" \"\" \"Airlock {version}\" \"Airlock\"")
}

/// The exit codes are those of the whole program: a script should not have to know which command has which.
fn exit_status(page: &mut Vec<u8>) -> io::Result<()> {
    writeln!(page, ".SH \"EXIT STATUS\"")?;
    for exit in Exit::ALL {
        let meaning = exit.meaning().replace('\\', "\\e").replace('-', "\\-");
        writeln!(page, ".TP\n\\fB{}\\fR\n{meaning}", exit.code())?;
    }
    Ok(())
}

fn write_all(command: &Command, dir: &Path, pages: &mut Vec<String>) -> Result<(), Failure> {
    let name = format!("{}.1", title(command));
    let path = dir.join(&name);
    let bytes = page(command)?;
    let written = File::create_new(&path).and_then(|mut file| file.write_all(&bytes));
    written.map_err(|error| {
        Failure::new(Exit::Unreachable, format!("cannot write {}: {error}", path.display()))
            .hint("name a directory that is there and has no such page yet")
    })?;
    pages.push(name);
    command.get_subcommands().try_for_each(|command| write_all(command, dir, pages))
}
