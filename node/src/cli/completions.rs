//! `patchmesh completions`: a completion script for a shell.

use clap::Args;
use clap_complete::Shell;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh completions bash > /etc/bash_completion.d/patchmesh
  patchmesh completions fish > ~/.config/fish/completions/patchmesh.fish")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "patchmesh", &mut script);
        super::output::write(&String::from_utf8(script)?)
    }
}
