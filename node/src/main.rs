//! The `patchmesh` program: everything it does is in the library; here it
//! only begins and ends.

use std::process::ExitCode;

fn main() -> ExitCode {
    patchmesh::cli::main(std::env::args_os())
}
