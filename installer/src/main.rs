//! The program `installer`: the real world in, an exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(installer::run(&mut edge::Env::real()).code())
}
