//! `patchmesh source subscribe`: what is fetched of a source.

use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::name::SourceName;

use crate::cli::subscription::{Subscribed, Words};
use crate::cli::{Context, grpc};

/// Choose what is fetched of a source
///
/// Replaces what was chosen before. Revisions and decisions stay as they are;
/// files that are not taken are fetched from the vendor by nobody, stand in no
/// view and are not waited for.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh source subscribe windows --language fr --language ja --architecture x64
  patchmesh source subscribe windows --everything

JSON:
  {\"name\", \"generation\", \"subscription\": SUBSCRIPTION as in `patchmesh source list`}")]
pub(crate) struct Subscribe {
    /// The source's name
    name: SourceName,
    #[command(flatten)]
    words: Words,
}

impl Subscribe {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let subscription = self.words.to_wire()?;
        let name = self.name.to_string();
        let request = admin::SubscribeSourceRequest {
            name: name.clone(),
            subscription: subscription.clone(),
        };
        let mut client = context.subscriptions()?;
        let response = client.subscribe_source(request).await.map_err(grpc::failure)?;
        let subscription = subscription.unwrap_or_default().into();
        let generation = response.into_inner().generation;
        context.output.print(&Subscribed { name, generation, subscription })
    }
}
