//! The program `bundler`: the real world in, an exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(bundler::run(&mut edge::Env::real()).code())
}
