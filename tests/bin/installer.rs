//! `installer` as the journeys start it: the same code as the released program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(installer::run(&mut edge::Env::real()).code())
}
