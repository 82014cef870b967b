//! The agent as a program of its own, for machines: `patchmesh agent` without
//! everything that nodes need.

use std::process::ExitCode;

fn main() -> ExitCode {
    patchmesh::agent::program::main(std::env::args_os())
}
