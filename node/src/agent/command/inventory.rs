//! `patchmesh agent inventory`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::agent::inventory::listing::state_of;
use crate::agent::inventory::{Listing, gather};
use crate::terminal::output::{Answer, Output, fields, table};

/// Show what is known of this machine
///
/// Everything is read from files below the root: os-release, the lists of dpkg
/// and rpm, the restart marker, and what etc/patchmesh/facts.d/*.toml states.
/// Nothing is sent anywhere.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh agent inventory
  patchmesh agent inventory --root /srv/images/till --output json

JSON:
  {\"digest\", \"os\", \"os_version\", \"architectures\": [TEXT], \"languages\": [TAG],
   \"products\": [TEXT], \"services\": [TEXT], \"packages\": [{\"name\", \"format\", \"architecture\", \"version\",
   \"fault\", \"held\"}], \"facts\": {NAME: TEXT}, \"reboot_needed\"}")]
pub(crate) struct Show {
    /// A system that is unpacked elsewhere
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    root: PathBuf,
}

/// An inventory with its digest.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    digest: String,
    #[serde(flatten)]
    listing: Listing,
}

impl From<Listing> for Shown {
    fn from(listing: Listing) -> Self {
        Self { digest: listing.digest().to_string(), listing }
    }
}

impl Answer for Shown {
    fn text(&self) -> String {
        let one = &self.listing;
        let list = |list: &[String]| (!list.is_empty()).then(|| list.join(", "));
        let stated = one.facts.iter().map(|(name, value)| format!("{name}={value}"));
        let head = fields([
            ("system", Some(format!("{} {}", one.os, one.os_version).trim().to_owned())),
            ("architectures", list(&one.architectures)),
            ("languages", list(&one.languages)),
            ("products", list(&one.products)),
            ("services", list(&one.services)),
            ("facts", list(&stated.collect::<Vec<_>>())),
            ("restart", one.reboot_needed.then(|| "is due".to_owned())),
            ("packages", Some(one.packages.len().to_string())),
            ("digest", Some(self.digest.clone())),
        ]);
        let rows = one.packages.iter().map(|package| {
            let state = state_of(&package.fault, package.held).to_owned();
            let name = package.name.clone();
            [
                name,
                package.version.clone(),
                package.architecture.clone(),
                package.format.into(),
                state,
            ]
        });
        let rows = table(["package", "version", "architecture", "format", "state"], rows);
        format!("{head}\n{rows}")
    }
}

impl Show {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<()> {
        let inventory = tokio::task::spawn_blocking(move || gather(&self.root, [])).await??;
        output.print(&Shown::from(Listing::from(&inventory)))
    }
}
