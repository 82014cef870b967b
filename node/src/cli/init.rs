//! `patchmesh init`: a new mesh and its primary, on this host.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use patchmesh_topology::name::{NodeName, Site};
use serde::Serialize;

use super::Context;
use super::output::{Answer, fields};
use crate::config;
use crate::daemon::Layout;
use crate::daemon::init::{self, InitOptions};
use crate::duration;
use crate::transport::address::NodeUrl;

/// Make a new mesh and its primary on this host
///
/// Makes the mesh's identity, its certificate authority, the keys of every
/// role (all kept here: single-operator mode) and the first generation.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh init --name 'Example Corp' --url https://hq.example:8443 --data /var/lib/patchmesh
  patchmesh serve --data /var/lib/patchmesh

JSON:
  {\"mesh_id\", \"mesh_name\", \"node\", \"url\", \"data\", \"credentials\", \"generation\"}")]
pub(crate) struct Init {
    /// The company's name for its mesh
    #[arg(long, value_name = "COMPANY")]
    name: String,
    /// Where other nodes and machines will reach this primary
    #[arg(long, value_name = "URL")]
    url: NodeUrl,
    /// Address and port to listen on, kept in the new configuration file [default: the URL's port on every address]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// The primary's own name
    #[arg(long, value_name = "NAME", default_value = "primary")]
    node_name: NodeName,
    /// Where the primary stands
    #[arg(long, default_value = "hq")]
    site: Site,
    /// Life of the primary's certificate
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = duration::parse)]
    certificate_lifetime: Duration,
}

#[derive(Debug, Serialize)]
struct Made {
    mesh_id: String,
    mesh_name: String,
    node: String,
    url: String,
    data: String,
    /// The administrator's, for `--credentials` on other hosts.
    credentials: String,
    generation: u64,
}

impl Answer for Made {
    fn text(&self) -> String {
        let facts = fields([
            ("mesh", Some(format!("{} ({})", self.mesh_name, self.mesh_id))),
            ("primary", Some(format!("{} at {}", self.node, self.url))),
            ("data", Some(self.data.clone())),
            ("credentials", Some(format!("{} (administrator)", self.credentials))),
            ("generation", Some(self.generation.to_string())),
        ]);
        format!("{facts}\nNext: patchmesh serve --data {}\n", self.data)
    }
}

impl Init {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let data = context.data().to_owned();
        let listen = listen_or_default(self.listen, &self.url);
        let options = InitOptions {
            data: data.clone(),
            mesh_name: self.name.clone(),
            node_name: self.node_name.clone(),
            site: self.site,
            url: self.url.to_string(),
            listen,
            certificate_lifetime: self.certificate_lifetime,
        };
        let waiting = context.progress.spinner("making keys and the first generation");
        let report = init::run(options).await;
        waiting.finish_and_clear();
        let report = report?;
        config::write_first(&data, listen)?;
        context.output.print(&Made {
            mesh_id: report.mesh_id,
            mesh_name: self.name,
            node: self.node_name.to_string(),
            url: self.url.to_string(),
            credentials: Layout::new(&data).admin().display().to_string(),
            data: data.display().to_string(),
            generation: report.generation,
        })
    }
}

/// What `--listen` says, else every address and the URL's own port.
pub(crate) fn listen_or_default(listen: Option<SocketAddr>, url: &NodeUrl) -> SocketAddr {
    listen.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], url.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_decides_the_port_unless_told() {
        let url: NodeUrl = "https://hq.example:8443/".parse().expect("a URL");
        assert_eq!(listen_or_default(None, &url).to_string(), "0.0.0.0:8443");
        let told = "127.0.0.1:1".parse().expect("an address");
        assert_eq!(listen_or_default(Some(told), &url), told);
        let plain: NodeUrl = "https://hq.example".parse().expect("a URL");
        assert_eq!(listen_or_default(None, &plain).port(), 443);
    }
}
