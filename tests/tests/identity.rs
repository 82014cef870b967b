//! Who may join, who may talk, and who is shut out.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use patchmesh_proto::admin::{ListNodesRequest, admin_client::AdminClient};
use patchmesh_proto::replication::WatchRequest;
use patchmesh_proto::replication::replication_client::ReplicationClient;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::run::run;
use patchmesh_tests::tls;
use patchmesh_tests::wait::{PATIENCE, holds, until};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_works_once_and_only_as_it_was_made() -> Result<()> {
    let cluster = Cluster::start().await?;
    let spec = Spec::branch("lyon", PRIMARY, "emea/fr/lyon");
    let token = cluster.invite(&spec).await?;

    // Altered on the way: a letter in the middle becomes another one.
    let altered = alter(&token);
    let refused = cluster.try_join("altered", &altered).await?.failure_that_says(&["token"])?;
    ensure!(refused.code == 65, "an altered token is bad data, not {}", refused.code);

    // Cut short while copying.
    let short = &token[..token.len() - 5];
    cluster.try_join("short", short).await?.failure_that_says(&["token"])?;

    cluster.try_join("lyon", &token).await?.success()?;
    let refused = cluster.try_join("again", &token).await?.failure_that_says(&["token"])?;
    ensure!(refused.code == 77, "a used token is not permitted, not {}", refused.code);
    cluster.passed();
    Ok(())
}

fn alter(token: &str) -> String {
    let middle = token.len() / 2;
    let other = if token.as_bytes()[middle] == b'A' { "B" } else { "A" };
    format!("{}{other}{}", &token[..middle], &token[middle + 1..])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_expires() -> Result<()> {
    let cluster = Cluster::start().await?;
    let arguments = ["invite", "lyon", "--parent", PRIMARY, "--site", "emea", "--valid", "1s"];
    let invited = cluster.patchmesh(PRIMARY, &arguments).await?.success()?.json()?;
    let token = invited["token"].as_str().context("no token")?.to_owned();
    tokio::time::sleep(Duration::from_secs(2)).await;
    cluster.try_join("late", &token).await?.failure_that_says(&["expired"])?;
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_unique_and_the_tree_has_no_loops() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("hub", PRIMARY, "emea")).await?;

    let twice = cluster.try_invite(&Spec::branch("hub", PRIMARY, "apac")).await?;
    let twice = twice.failure_that_says(&["hub"])?;
    ensure!(twice.code == 73, "exit code {}", twice.code);
    let own_child = cluster.try_invite(&Spec::branch("loop", "loop", "emea")).await?;
    own_child.failure_that_says(&["parent"])?;
    let orphan = cluster.try_invite(&Spec::branch("orphan", "nobody", "emea")).await?;
    orphan.failure_that_says(&["nobody"])?;
    let second_primary =
        ["invite", "king", "--role", "primary", "--parent", PRIMARY, "--site", "x"];
    cluster.patchmesh(PRIMARY, &second_primary).await?.failure_that_says(&["primary"])?;

    // Two hosts with one name: the second copy of a data folder is noticed by its
    // key, the second token of a joined name is never made.
    let names = cluster.primary()?.admin().await?.list_nodes(ListNodesRequest {}).await?;
    ensure!(names.into_inner().nodes.len() == 2, "only hq and hub are nodes");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_needs_no_way_to_the_primary() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("hub", PRIMARY, "emea")).await?;
    // The token names the hub; the hub relays.
    cluster.add(&Spec::branch("lyon", "hub", "emea/fr/lyon")).await?;
    cluster.add(&Spec::branch("annecy", "lyon", "emea/fr/annecy")).await?;
    cluster.converged(&["hub", "lyon", "annecy"]).await?;
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_node_learns_nothing_more() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("hub", PRIMARY, "emea")).await?;
    cluster.add(&Spec::branch("lyon", "hub", "emea/fr/lyon")).await?;
    cluster.add(&Spec::branch("nice", PRIMARY, "emea/fr/nice")).await?;
    cluster.converged(&["hub", "lyon", "nice"]).await?;
    let before = cluster.generation().await?;

    let arguments = ["node", "revoke", "lyon", "--comment", "stolen from the rack"];
    cluster.patchmesh(PRIMARY, &arguments).await?.success()?;
    cluster.converged(&["hub", "nice"]).await?;
    // Something to learn.
    cluster.invite(&Spec::branch("later", PRIMARY, "emea")).await?;
    cluster.converged(&["hub", "nice"]).await?;
    let after = cluster.generation().await?;
    ensure!(after > before, "an invitation is part of the topology");
    holds("lyon being shut out", Duration::from_secs(3), async || {
        let status = cluster.node("lyon")?.status().await?.status.unwrap_or_default();
        ensure!(status.generation < after, "it learnt generation {}", status.generation);
        Ok(())
    })
    .await?;
    cluster.logged("hub", "revoked").await?;
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_the_mesh_needs_a_certificate() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("hub", PRIMARY, "emea")).await?;
    for name in [PRIMARY, "hub"] {
        let node = cluster.node(name)?;
        let channel = tls::anonymous(&node.url).await?;
        refused(AdminClient::new(channel.clone()).list_nodes(ListNodesRequest {}).await)?;
        refused(ReplicationClient::new(channel).watch(WatchRequest {}).await)?;
    }

    // A stranger's certificate is no better than none.
    let stranger = Cluster::start().await?;
    let foreign = tls::certificate_of(&stranger.primary()?.data)?;
    let url = &cluster.primary()?.url;
    if let Ok(channel) = tls::with_certificate(url, &foreign).await {
        match ReplicationClient::new(channel).watch(WatchRequest {}).await {
            Ok(_) => bail!("a stranger may watch"),
            Err(status) => ensure!(
                matches!(
                    status.code(),
                    Code::Unauthenticated
                        | Code::PermissionDenied
                        | Code::Unavailable
                        | Code::Unknown
                        // TLS refused the certificate and closed the line.
                        | Code::Cancelled
                ),
                "{status}"
            ),
        }
    }
    stranger.passed();
    cluster.passed();
    Ok(())
}

fn refused<T>(answer: Result<T, tonic::Status>) -> Result<()> {
    match answer {
        Ok(_) => bail!("answered without a certificate"),
        Err(status) => ensure!(
            matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied),
            "{status}"
        ),
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_certificate_is_no_user_certificate() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("hub", PRIMARY, "emea")).await?;
    let own = tls::certificate_of(&cluster.node("hub")?.data)?;
    let channel = tls::with_certificate(&cluster.primary()?.url, &own).await?;
    refused(AdminClient::new(channel).list_nodes(ListNodesRequest {}).await)?;
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_is_used_by_one_process_only() -> Result<()> {
    let cluster = Cluster::start().await?;
    let primary = cluster.primary()?;
    let listen = patchmesh_tests::cluster::free_address()?.to_string();
    let second = run(primary.command()?.args(["serve", "--listen", &listen])).await?;
    second.failure_that_says(&["data"])?;
    // The first one is none the worse for it.
    until("the first one to answer", PATIENCE, async || primary.status().await.map(Some)).await?;
    cluster.passed();
    Ok(())
}
