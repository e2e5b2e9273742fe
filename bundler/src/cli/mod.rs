//! The command line of `bundler`: what can be typed. One file for each subcommand.

mod attest;
mod bases;
mod build;
mod diff;
mod images;
mod inspect;
mod key;
mod lock;
mod receipt;
mod sign;
mod signers;
mod split;
mod trust;
mod verify;
mod write;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, Subcommand};
use edge::manual::{CompletionsArgs, ManArgs};
use edge::show::{self, Common};
use edge::{Env, Exit, Failure, Screen};

/// Packs container images, Python wheels, Helm charts and files into one signed archive that crosses an
/// air gap.
#[derive(Debug, Parser)]
#[command(name = "bundler", version, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make key pairs
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Make, change and sign what sites check bundles against: trust roots, revocations
    #[command(subcommand)]
    Trust(trust::TrustCommand),
    /// Resolve every name in bundle.yaml to a digest
    Lock(lock::LockArgs),
    /// List every image that a chart, or all charts of bundle.yaml, need
    Images(images::ImagesArgs),
    /// Write the archive from the lock
    Build(build::BuildArgs),
    /// Write a bundle that is there as discs, or one of them again
    Split(split::SplitArgs),
    /// Copy a bundle to a medium, and read it back
    Write(write::WriteArgs),
    /// Add a signature to an archive, in place
    Sign(sign::SignArgs),
    /// State what went into an archive, signed, for tools that read SLSA provenance
    Attest(attest::AttestArgs),
    /// Show what an archive says of itself; checks no signature
    Inspect(inspect::InspectArgs),
    /// Check an archive as a site would, apart from what only the site knows
    Verify(verify::VerifyArgs),
    /// Show what is different between two archives; checks no signature
    Diff(diff::DiffArgs),
    /// Read what a site holds, from the receipt that it has signed
    #[command(subcommand)]
    Receipt(receipt::ReceiptCommand),
    /// Print what lets a shell complete commands and options
    Completions(CompletionsArgs),
    /// Print a manual page, or write all of them
    Man(ManArgs),
}

/// Runs the program in a world.
pub fn run(env: &mut Env) -> Exit {
    show::run(env, |arguments: &Arguments| arguments.common.output, dispatch)
}

fn dispatch(arguments: Arguments, env: &mut Env) -> Result<(), Failure> {
    let mut screen = Screen { env, common: arguments.common };
    match arguments.command {
        Command::Key(command) => command.run(&mut screen),
        Command::Trust(command) => command.run(&mut screen),
        Command::Lock(args) => args.run(&mut screen),
        Command::Images(args) => args.run(&mut screen),
        Command::Build(args) => args.run(&mut screen),
        Command::Split(args) => args.run(&mut screen),
        Command::Write(args) => args.run(&mut screen),
        Command::Sign(args) => args.run(&mut screen),
        Command::Attest(args) => args.run(&mut screen),
        Command::Inspect(args) => args.run(&mut screen),
        Command::Verify(args) => args.run(&mut screen),
        Command::Diff(args) => args.run(&mut screen),
        Command::Receipt(command) => command.run(&mut screen),
        Command::Completions(args) => args.run::<Arguments>(&mut screen),
        Command::Man(args) => args.run::<Arguments>(&mut screen),
    }
}

/// Set by Ctrl-C or a termination request, so that a long command can clean up.
fn interruption() -> Result<impl Fn() -> bool, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The second one ends the program at once.
        let armed = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)));
        armed
            .map_err(|error| Failure::new(Exit::Unexpected, format!("cannot watch for signals: {error}")))?;
    }
    Ok(move || flag.load(Ordering::Relaxed))
}

/// Stops between two reads when somebody asked for it.
struct Stoppable<'a, R> {
    input: R,
    interrupted: &'a dyn Fn() -> bool,
}

impl<'a, R> Stoppable<'a, R> {
    fn new(input: R, interrupted: &'a dyn Fn() -> bool) -> Self {
        Self { input, interrupted }
    }
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if (self.interrupted)() {
            return Err(std::io::Error::other("interrupted"));
        }
        self.input.read(buffer)
    }
}

/// `SOURCE_DATE_EPOCH` if it is set, else now.
pub(crate) fn created(env: &Env) -> Result<manifests::Timestamp, Failure> {
    match env.var("SOURCE_DATE_EPOCH") {
        None => Ok(env.clock.now()),
        Some(text) => text
            .parse()
            .ok()
            .and_then(manifests::Timestamp::from_unix_seconds)
            .ok_or_else(|| Failure::usage("SOURCE_DATE_EPOCH is not a number of seconds")),
    }
}
