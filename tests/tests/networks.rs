//! Networks: which addresses are where, set at headquarters and known to every node.

use anyhow::{Result, ensure};
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::person::Person;
use patchmesh_tests::run::run;
use serde_json::{Value, json};

async fn hq(cluster: &Cluster, arguments: &[&str]) -> Result<Value> {
    cluster.patchmesh(PRIMARY, arguments).await?.success()?.json()
}

fn row(network: &str, site: &str, production: &[&str], validation: &[&str]) -> Value {
    let nodes = |names: &[&str]| json!({"nodes": names, "count": names.len()});
    let (production, validation) = (nodes(production), nodes(validation));
    json!({"network": network, "site": site, "production": production, "validation": validation})
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_knows_where_addresses_are() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::validation("lab", PRIMARY, "emea/fr")).await?;
    cluster.add(&Spec::branch("hub", PRIMARY, "emea/fr")).await?;
    cluster.add(&Spec::branch("lyon", "hub", "emea/fr/lyon")).await?;
    cluster.add(&Spec::branch("lyon-2", "hub", "emea/fr/lyon")).await?;
    ensure!(hq(&cluster, &["network", "list"]).await? == json!({"networks": []}));

    let set = |prefix, site| ["network", "set", prefix, site];
    let first = hq(&cluster, &set("10.3.0.0/16", "emea/fr/paris")).await?;
    ensure!(first["network"] == "10.3.0.0/16", "{first}");
    hq(&cluster, &set("2001:db8:3::/48", "emea/fr/lyon")).await?;
    hq(&cluster, &set("10.3.7.0/24", "emea/fr/lyon")).await?;
    hq(&cluster, &set("9.0.0.0/8", "apac")).await?;
    let last = hq(&cluster, &set("10.3.7.0/24", "emea/fr/lyon")).await?;
    ensure!(last["generation"] == cluster.generation().await?, "{last}");
    let again = hq(&cluster, &set("10.3.7.0/24", "emea/fr/lyon")).await?;
    ensure!(again["generation"] == last["generation"], "nothing changed: {again}");

    // As numbers, not as texts; below the hub as at headquarters.
    let rows = json!({"networks": [
        row("9.0.0.0/8", "apac", &[], &[]),
        row("10.3.0.0/16", "emea/fr/paris", &["hub"], &["lab"]),
        row("10.3.7.0/24", "emea/fr/lyon", &["lyon", "lyon-2"], &["lab"]),
        row("2001:db8:3::/48", "emea/fr/lyon", &["lyon", "lyon-2"], &["lab"]),
    ]});
    cluster.converged(&["lyon"]).await?;
    for node in [PRIMARY, "lyon"] {
        let listed = cluster.patchmesh(node, &["network", "list"]).await?.success()?.json()?;
        ensure!(listed == rows, "{node}: {listed}");
    }
    let text = run(cluster.node("lyon")?.command()?.args(["network", "list"])).await?.success()?;
    for words in ["10.3.7.0/24", "lyon, lyon-2", "none joined: machines there keep their own node"]
    {
        ensure!(text.stdout.contains(words), "{text:?}");
    }

    hq(&cluster, &["network", "remove", "10.3.7.0/24"]).await?;
    hq(&cluster, &["node", "revoke", "lyon-2", "--yes"]).await?;
    cluster.converged(&["lyon"]).await?;
    cluster.node_mut("lyon")?.restart().await?;
    let listed = cluster.patchmesh("lyon", &["network", "list"]).await?.success()?.json()?;
    let rows = json!({"networks": [
        row("9.0.0.0/8", "apac", &[], &[]),
        row("10.3.0.0/16", "emea/fr/paris", &["hub"], &["lab"]),
        row("2001:db8:3::/48", "emea/fr/lyon", &["lyon"], &["lab"]),
    ]});
    ensure!(listed == rows, "{listed}");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_network_says_what_would_be() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon")).await?;
    let refusals: [(&[&str], &[&str]); 6] = [
        (&["set", "10.3.4.0/16", "emea"], &["10.3.4.0/16 has bits set", "write 10.3.0.0/16"]),
        (&["set", "2001:db8::1/32", "emea"], &["write 2001:db8::/32"]),
        (&["set", "::ffff:10.3.0.0/112", "emea"], &["write 10.3.0.0/16"]),
        (
            &["set", "10.3.0.0", "emea"],
            &["is not a network; write an address", "such as 10.3.0.0/16"],
        ),
        (&["set", "10.3.0.0/16", "Paris"], &["site name", "Paris", "lower-case letters"]),
        (&["remove", "10.3.0.0/16"], &["no network 10.3.0.0/16", "patchmesh network list"]),
    ];
    for (arguments, words) in refusals {
        let arguments = [&["network"], arguments].concat();
        cluster.patchmesh(PRIMARY, &arguments).await?.failure_that_says(words)?;
    }
    ensure!(hq(&cluster, &["network", "list"]).await? == json!({"networks": []}));
    let set = ["network", "set", "10.3.0.0/16", "emea/fr/lyon"];
    cluster.patchmesh("lyon", &set).await?.failure_that_says(&[PRIMARY])?;

    // For administrators alone; everybody may look.
    let operator = Person::join(&cluster, "ann", &["operator"], PRIMARY).await?;
    operator.asks(&cluster, &set).await?.failure_that_says(&["administrator"])?;
    operator.asks(&cluster, &["network", "list"]).await?.success()?;
    let administrator = Person::join(&cluster, "ada", &["administrator"], PRIMARY).await?;
    administrator.asks(&cluster, &set).await?.success()?;
    cluster.passed();
    Ok(())
}
