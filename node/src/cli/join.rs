//! `patchmesh join`: makes this host a node.

use std::net::SocketAddr;

use clap::Args;
use serde::Serialize;

use super::Context;
use super::init::listen_or_default;
use super::output::{Answer, fields};
use crate::config;
use crate::daemon::join::{self, JoinOptions};
use crate::terminal::token::read_token;
use crate::transport::address::NodeUrl;

/// Make this host a node, with a token from `invite`
///
/// The node's key is made here and never leaves this host; the parent named
/// in the token passes the request for a certificate on.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh join pm1.CiQ3ZDYw --url https://lyon.example:8443 --data /var/lib/patchmesh
  patchmesh join - --url https://lyon.example:8443 < token.txt

JSON:
  {\"node\", \"mesh_id\", \"parent\", \"url\", \"data\"}")]
pub(crate) struct Join {
    /// The token from `invite`, or - to read it from standard input
    token: String,
    /// Where children and machines will reach this node
    #[arg(long, value_name = "URL")]
    url: NodeUrl,
    /// Address and port to listen on, kept in the new configuration file [default: the URL's port on every address]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

#[derive(Debug, Serialize)]
struct Joined {
    node: String,
    mesh_id: String,
    parent: String,
    url: String,
    data: String,
}

impl Answer for Joined {
    fn text(&self) -> String {
        let facts = fields([
            ("node", Some(format!("{} at {}", self.node, self.url))),
            ("mesh", Some(self.mesh_id.clone())),
            ("parent", Some(self.parent.clone())),
            ("data", Some(self.data.clone())),
        ]);
        format!("{facts}\nNext: patchmesh serve --data {}\n", self.data)
    }
}

impl Join {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let data = context.data().to_owned();
        let listen = listen_or_default(self.listen, &self.url);
        let options = JoinOptions {
            data: data.clone(),
            token: read_token(self.token)?,
            url: self.url.to_string(),
            listen,
        };
        let waiting = context.progress.spinner("asking the parent for a certificate");
        let report = join::run(options).await;
        waiting.finish_and_clear();
        let report = report?;
        config::write_first(&data, listen)?;
        context.output.print(&Joined {
            node: report.node,
            mesh_id: report.mesh_id,
            parent: report.parent,
            url: self.url.to_string(),
            data: data.display().to_string(),
        })
    }
}
