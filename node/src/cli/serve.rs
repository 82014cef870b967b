//! `patchmesh serve`: runs the node of a data folder until told to stop.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tokio_util::sync::CancellationToken;

use patchmesh_topology::name::NodeName;

use super::Context;
use super::exit::Exit;
use super::signals;
use crate::succession::census::Accept;
use crate::{config, daemon, log};

/// Run this host's node
///
/// Settings come from the configuration file, its drop-ins, the environment
/// and these options, each winning over the one before.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh serve --data /var/lib/patchmesh
  PATCHMESH_LISTEN=127.0.0.1:9443 patchmesh serve --config /etc/patchmesh.toml")]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) settings: Settings,

    /// Treat this primary's data folder as restored: learn from other nodes what it has missed
    ///
    /// For one that was put back by other means than `backup restore`, such as a copied disk. The old primary must be gone.
    #[arg(long)]
    restored: bool,

    /// Go on without what a node directly below accepted since the backup: its name, or all; once for each
    #[arg(long, value_name = "NODE|all")]
    accept_unreachable: Vec<String>,

    /// Stop when standard input ends, as it does when the parent process dies
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

// The options that are settings, shared with `config`. No doc comment: clap
// would take it for the description of the command that this is flattened into.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Settings {
    /// Configuration file [default: patchmesh.toml in the data folder]
    #[arg(long, env = "PATCHMESH_CONFIG", value_name = "FILE", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Address and port for gRPC and HTTPS
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Address and port for plain HTTP (views, content, TUF metadata and status of old clients only)
    #[arg(long, value_name = "ADDRESS:PORT")]
    http_listen: Option<SocketAddr>,
    /// What is logged: LEVEL or MODULE=LEVEL, separated by commas
    #[arg(long, value_name = "FILTER")]
    log_filter: Option<String>,
}

impl Settings {
    /// The topmost layer of the configuration.
    pub(crate) fn flags(&self, context: &Context) -> config::Flags {
        let values = [
            ("listen", self.listen.map(|address| address.to_string())),
            ("http_listen", self.http_listen.map(|address| address.to_string())),
            ("log_filter", self.log_filter.clone()),
            ("log_format", context.global.printing.log_format.map(|format| format.to_string())),
        ];
        config::Flags {
            data: context.global.data.clone(),
            config: self.config.clone(),
            values: values.into_iter().filter_map(|(key, text)| Some((key, text?))).collect(),
        }
    }
}

/// The variables of this process, as the configuration reads them. One that
/// is not UTF-8 is none of ours.
pub(crate) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

impl Serve {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let settings = config::load(&self.settings.flags(context), environment())?;
        log::start(settings.log_format, &settings.log_filter)?;
        let stop = CancellationToken::new();
        stop_on_signals(stop.clone())?;
        if self.exit_with_parent {
            stop_at_end_of_input(stop.clone())?;
        }
        let start =
            daemon::Start { restored: self.restored, accept: accept(&self.accept_unreachable)? };
        daemon::serve(settings, start, stop).await?;
        Ok(())
    }
}

/// Whose silence a restored primary accepts.
fn accept(names: &[String]) -> anyhow::Result<Accept> {
    if names.iter().any(|name| name == "all") {
        return Ok(Accept::All);
    }
    let parsed =
        names.iter().map(|name| name.parse::<NodeName>()).collect::<Result<BTreeSet<_>, _>>();
    match parsed {
        Ok(names) if names.is_empty() => Ok(Accept::None),
        Ok(names) => Ok(Accept::Nodes(names)),
        Err(error) => Err(Exit::Usage.error(format!("--accept-unreachable: {error}"))),
    }
}

fn stop_on_signals(stop: CancellationToken) -> std::io::Result<()> {
    let signal = signals::first_to_stop()?;
    tokio::spawn(async move {
        let name = signal.await;
        tracing::info!(signal = name, "stopping");
        stop.cancel();
    });
    Ok(())
}

/// A thread of its own: reading standard input cannot be cancelled, and must
/// not keep the runtime from ending.
fn stop_at_end_of_input(stop: CancellationToken) -> std::io::Result<()> {
    std::thread::Builder::new().name("parent-watch".into()).spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut buffer = [0; 64];
        // An error says as much as an end: nobody is there any more.
        while matches!(input.read(&mut buffer), Ok(count) if count > 0) {}
        stop.cancel();
    })?;
    Ok(())
}
