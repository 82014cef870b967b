//! `patchmesh source add apt`: a Debian-style repository.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use patchmesh_proto::admin;
use patchmesh_topology::name::SourceName;
use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::output::Answer;
use crate::cli::{Context, grpc};

/// The largest keyring read: a distribution's whole ring has some 100 KiB.
const MAX_KEYRING_BYTES: u64 = 1 << 20;

/// A Debian-style repository
///
/// Its releases are believed only when a key of the keyring signed them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh source add apt debian-security --url https://mirror.example/debian-security \\
    --suite bookworm-security --component main --architecture amd64 \\
    --keyring /usr/share/keyrings/debian-archive-keyring.gpg
  patchmesh source add apt vendor --url http://127.0.0.1:8000 --suite stable \\
    --component main --architecture amd64 --keyring vendor.asc --package 'tool-*' --policy prefetch

JSON:
  {\"name\", \"type\": \"apt\", \"url\", \"suite\"}")]
pub(crate) struct Apt {
    /// What to call it; begins the name of each of its revisions
    name: SourceName,
    /// Base URL, the one that stands in a `deb` line
    #[arg(long)]
    url: url::Url,
    /// Suite, the word after it
    #[arg(long)]
    suite: String,
    /// Component, once for each or separated by commas
    #[arg(long = "component", value_name = "COMPONENT", value_delimiter = ',', required = true)]
    components: Vec<String>,
    /// Architecture, once for each or separated by commas
    #[arg(
        long = "architecture",
        value_name = "ARCHITECTURE",
        value_delimiter = ',',
        required = true
    )]
    architectures: Vec<String>,
    /// File with the vendor's OpenPGP certificates, armored or not
    #[arg(long, value_name = "FILE")]
    keyring: PathBuf,
    /// Only source or binary packages with a name like this, once for each
    #[arg(long = "package", value_name = "GLOB")]
    packages: Vec<String>,
    /// When payloads are fetched
    #[arg(long, value_enum, default_value_t = Policy::OnDemand)]
    policy: Policy,
    /// Cap on one decompressed index, in bytes [default: 1 GiB]
    #[arg(long, value_name = "BYTES", default_value_t = 0, hide_default_value = true)]
    max_index_bytes: u64,
}

/// When payloads are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Policy {
    /// When a revision is first approved
    OnDemand,
    /// At once
    Prefetch,
}

impl Policy {
    pub(super) const fn to_wire(self) -> admin::FetchPolicy {
        match self {
            Self::OnDemand => admin::FetchPolicy::OnDemand,
            Self::Prefetch => admin::FetchPolicy::Prefetch,
        }
    }
}

#[derive(Debug, Serialize)]
struct Added {
    name: String,
    r#type: &'static str,
    url: String,
    suite: String,
}

impl Answer for Added {
    fn text(&self) -> String {
        format!(
            "Source {} added: {} {}\n\nNext: patchmesh source sync {}\n",
            self.name, self.url, self.suite, self.name
        )
    }
}

impl Apt {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        if !matches!(self.url.scheme(), "http" | "https") {
            return Err(Exit::Usage.error(format!("{} is neither http nor https", self.url)));
        }
        let apt = admin::AptSource {
            url: self.url.to_string(),
            suite: self.suite.clone(),
            components: self.components,
            architectures: self.architectures,
            keyring: read_keyring(&self.keyring)?.into(),
            packages: self.packages,
            max_index_bytes: self.max_index_bytes,
        };
        let source = admin::Source {
            name: self.name.to_string(),
            policy: self.policy.to_wire().into(),
            apt: Some(apt),
            files: None,
        };
        let mut admin = context.admin()?;
        let request = admin::AddSourceRequest { source: Some(source) };
        admin.add_source(request).await.map_err(grpc::failure)?;
        context.output.print(&Added {
            name: self.name.to_string(),
            r#type: "apt",
            url: self.url.to_string(),
            suite: self.suite,
        })
    }
}

pub(super) fn read_keyring(path: &Path) -> anyhow::Result<Vec<u8>> {
    let problem = || format!("cannot read keyring {}", path.display());
    let file = std::fs::File::open(path).with_context(problem)?;
    let mut bytes = Vec::new();
    file.take(MAX_KEYRING_BYTES + 1).read_to_end(&mut bytes).with_context(problem)?;
    if bytes.len() as u64 > MAX_KEYRING_BYTES {
        return Err(Exit::BadData.error(format!(
            "keyring {} has more than {MAX_KEYRING_BYTES} bytes; export only the vendor's keys",
            path.display()
        )));
    }
    Ok(bytes)
}
