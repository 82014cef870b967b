//! Folders of vendor files: from the vendor's manifest to a machine without an
//! agent, what is refused on the way, and who carries which files.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use patchmesh_tests::binaries;
use patchmesh_tests::cluster::{Cluster, Spec};
use patchmesh_tests::http::Curl;
use patchmesh_tests::run::{Outcome, run};
use patchmesh_tests::vendor::files::{File, FilesVendor, Update};
use patchmesh_tests::vendor::foreign_keyring;
use patchmesh_tests::wait::{PATIENCE, until};
use serde_json::Value;
use tokio::process::Command;

/// The group whose machines fetch.
const GROUP: &str = "workstations";

fn french(seed: &str) -> File {
    File::new("KB2/windows-fr.msu", seed, 200_000).in_language("fr-FR").on("x64")
}

fn japanese(seed: &str) -> File {
    File::new("KB2/windows-ja.msu", seed, 300_000).in_language("ja-JP").on("x64")
}

fn old() -> Update {
    Update::new("KB1", "1", &[File::new("KB1.cab", "1", 40_000)])
}

fn cumulative(seed: &str) -> Update {
    Update::new("KB2", "1", &[french(seed), japanese(seed)])
        .with("classification = \"security\"\nseverity = \"critical\"")
        .with("products = [\"windows-11\"]\nsupersedes = [\"KB1\"]\nprerequisites = [\"KB1\"]")
        .with("[revision.installer]\ninstall = [\"wusa.exe\", \"{payload}\", \"/quiet\"]")
}

async fn state(cluster: &Cluster, revision: &str) -> Result<Vec<&'static str>> {
    use patchmesh_proto::admin::UpdateState;
    let updates = cluster.updates().await?;
    let update = updates.into_iter().find(|update| update.revision == revision);
    let update = update.with_context(|| format!("there is no {revision}"))?;
    Ok(update.states.iter().map(|group| UpdateState::as_str_name(&group.state())).collect())
}

/// What a node's own word says of its content: held and wanted payloads.
async fn content(cluster: &Cluster, node: &str) -> Result<(u64, u64, u64)> {
    let status = cluster.node(node)?.status().await?;
    let word = status.status.unwrap_or_default();
    Ok((word.payloads_held, word.payloads_wanted, status.blobs))
}

/// Whether the node that is asked holds each payload of a revision, by file.
async fn held(cluster: &Cluster, node: &str, revision: &str) -> Result<Vec<(String, bool)>> {
    let shown = cluster.patchmesh(node, &["update", "show", revision]).await?.success()?.json()?;
    let payloads = shown["payloads"].as_array().context("no payloads")?;
    let row = |row: &Value| {
        let file = row["filename"].as_str().unwrap_or_default().to_owned();
        (file, row["held"] == true)
    };
    Ok(payloads.iter().map(row).collect())
}

async fn open(cluster: &Cluster, revisions: &[String], nodes: &[&str]) -> Result<()> {
    cluster.approve("validation", revisions).await?;
    cluster.promote(revisions).await?;
    cluster.converged(nodes).await
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_vendors_folder_to_a_machine_without_an_agent() -> Result<()> {
    let vendor = FilesVendor::with(&[old(), cumulative("first")]).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add_company().await?;
    cluster.add_files("windows", &vendor).await?;
    cluster.sync("windows").await?.success()?;
    let revisions =
        ["windows:stable/KB1@1", "windows:stable/KB2@1"].map(|text| text.to_owned()).to_vec();
    let known: Vec<String> = cluster.updates().await?.into_iter().map(|one| one.revision).collect();
    ensure!(known == revisions, "{known:?}");

    // What the vendor states is shown, at a branch too once it is approved.
    let before = curl_index(&cluster, "annecy").await?;
    ensure!(before["revisions"] == serde_json::json!([]), "open before it is approved: {before}");
    open(&cluster, &revisions, &["lab", "hub", "lyon", "annecy"]).await?;
    let shown = cluster.patchmesh("annecy", &["update", "show", &revisions[1]]).await?;
    let shown = shown.success()?.json()?;
    ensure!(shown["facts"]["supersedes"][0] == "windows:stable/KB1", "{shown}");
    ensure!(shown["facts"]["severity"] == "critical", "{shown}");
    ensure!(shown["facts"]["unsigned"] == false, "{shown}");

    // A machine at the end of the tree: curl, gpg and sha256sum, nothing of ours.
    let index = curl_index(&cluster, "annecy").await?;
    let entries = index["revisions"].as_array().context("no revisions")?;
    // The cumulative one replaces what it contains.
    ensure!(entries.len() == 1 && entries[0]["id"] == revisions[1].as_str(), "{index}");
    let machine = tempfile::Builder::new().prefix("pm-machine-").tempdir()?;
    fetch_all(&cluster, "annecy", &index, machine.path()).await?;
    let path = machine.path().join("windows/stable/KB2/1/windows-fr.msu");
    ensure!(std::fs::read(path)? == french("first").bytes(), "other bytes than the vendor's");

    // Released again under its version: another revision, in a place of its own.
    vendor.release(&[old(), cumulative("second")]).await?;
    cluster.sync("windows").await?.success()?;
    let second = "windows:stable/KB2@1#2".to_owned();
    let states = state(&cluster, &second).await?;
    ensure!(states.contains(&"UPDATE_STATE_UPDATED"), "{states:?}");
    open(&cluster, std::slice::from_ref(&second), &["annecy"]).await?;
    let index = curl_index(&cluster, "annecy").await?;
    fetch_all(&cluster, "annecy", &index, machine.path()).await?;
    for (folder, seed) in [("1", "first"), ("1+2", "second")] {
        let path = machine.path().join(format!("windows/stable/KB2/{folder}"));
        let files: Vec<_> = walk(&path)?;
        ensure!(files.len() == 2, "{files:?}");
        let expected = french(seed);
        let is_there = files
            .iter()
            .any(|file| std::fs::read(file).is_ok_and(|bytes| bytes == expected.bytes()));
        ensure!(is_there, "{folder} lacks the French file of {seed}");
    }

    // Declined: gone from the index, so that the one before counts again; the
    // files of nobody's catalogue stay closed.
    cluster.decline("a test is over", &[second]).await?;
    cluster.converged(&["annecy"]).await?;
    let index = curl_index(&cluster, "annecy").await?;
    let ids: Vec<&str> = index["revisions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["id"].as_str())
        .collect();
    ensure!(ids == [revisions[1].as_str()], "{ids:?}");
    let curl = Curl::trusting(&cluster)?;
    let url = format!("{}/files/production/{GROUP}/nothing.cab", cluster.node("annecy")?.url);
    ensure!(curl.get(&url, &[]).await?.status == 404, "a file that nobody approved");
    cluster.passed();
    Ok(())
}

fn walk(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() { found.extend(walk(&path)?) } else { found.push(path) }
    }
    Ok(found)
}

/// The index, once `gpg --verify` and the stage's key say that it is good.
async fn curl_index(cluster: &Cluster, node: &str) -> Result<Value> {
    let folder = tempfile::Builder::new().prefix("pm-gpg-").tempdir()?;
    let curl = Curl::trusting(cluster)?;
    let url = &cluster.node(node)?.url;
    let base = format!("{url}/files/production/{GROUP}");
    for (address, name) in [
        (format!("{base}/index.json"), "index.json"),
        (format!("{base}/index.json.asc"), "index.json.asc"),
        (format!("{url}/keys/production.asc"), "key.asc"),
    ] {
        curl.get(&address, &[]).await?.ok()?.save(&folder.path().join(name))?;
    }
    let gpg = |arguments: &[&str]| {
        let mut command = Command::new("gpg");
        command.current_dir(folder.path()).args(["--homedir", ".", "--batch", "--quiet"]);
        command.args(arguments);
        command
    };
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(folder.path(), mode)?;
    run(&mut gpg(&["--import", "key.asc"])).await?.success()?;
    run(&mut gpg(&["--verify", "index.json.asc", "index.json"])).await?.success()?;
    Ok(serde_json::from_slice(&std::fs::read(folder.path().join("index.json"))?)?)
}

/// Every file of the index, and what `sha256sum -c` says of them.
async fn fetch_all(cluster: &Cluster, node: &str, index: &Value, to: &Path) -> Result<()> {
    let curl = Curl::trusting(cluster)?;
    let base = format!("{}/files/production/{GROUP}", cluster.node(node)?.url);
    let revisions = index["revisions"].as_array().context("no revisions")?;
    for payload in revisions.iter().flat_map(|one| one["payloads"].as_array().into_iter().flatten())
    {
        let path = payload["path"].as_str().context("no path")?;
        let place = to.join(path);
        std::fs::create_dir_all(place.parent().context("no folder")?)?;
        let answer = curl.get(&format!("{base}/{path}"), &[]).await?.ok()?;
        ensure!(Some(answer.body.len() as u64) == payload["length"].as_u64(), "{payload}");
        answer.save(&place)?;
    }
    curl.get(&format!("{base}/SHA256SUMS"), &[]).await?.ok()?.save(&to.join("SHA256SUMS"))?;
    let checked = run(Command::new("sha256sum").args(["-c", "SHA256SUMS"]).current_dir(to)).await?;
    checked.success()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_french_branch_carries_no_japanese_files() -> Result<()> {
    let vendor = FilesVendor::with(&[old(), cumulative("first")]).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("hub", "hq", "emea")).await?;
    cluster.add(&Spec::branch("paris", "hub", "emea/fr/paris")).await?;
    cluster.add(&Spec::branch("tokyo", "hub", "apac/jp/tokyo")).await?;
    let nodes = ["hub", "paris", "tokyo"];
    for (node, tag) in [("paris", "fr"), ("tokyo", "ja")] {
        let arguments = ["node", "subscribe", node, "--language", tag, "--product", "windows-11"];
        cluster.patchmesh("hq", &arguments).await?.success()?;
    }
    cluster.add_files("windows", &vendor).await?;
    cluster.sync("windows").await?.success()?;
    let revision = "windows:stable/KB2@1".to_owned();
    let both = ["windows:stable/KB1@1".to_owned(), revision.clone()];
    open(&cluster, &both, &nodes).await?;

    let (fr, ja) = ("KB2/windows-fr.msu".to_owned(), "KB2/windows-ja.msu".to_owned());
    let expect = async |node: &str, french: bool, japanese: bool| -> Result<()> {
        let expected = vec![(fr.clone(), french), (ja.clone(), japanese)];
        let what = format!("{node} to hold {expected:?}");
        until(&what, PATIENCE, async || {
            let found = held(&cluster, node, &revision).await?;
            ensure!(found == expected, "it holds {found:?}");
            Ok(Some(()))
        })
        .await
    };
    expect("paris", true, false).await?;
    expect("tokyo", false, true).await?;
    expect("hub", true, true).await?;
    ensure!(content(&cluster, "paris").await?.1 == 2, "the French file and the one for everybody");
    let nodes_list = cluster.patchmesh("hq", &["nodes"]).await?.success()?.json()?;
    let paris =
        nodes_list["nodes"].as_array().into_iter().flatten().find(|one| one["name"] == "paris");
    ensure!(paris.is_some_and(|one| one["subscription"]["languages"][0] == "fr"), "{nodes_list}");

    // The decisions are the same everywhere, and a machine that asks is served.
    let sets = |node: &str| {
        let node = cluster.node(node);
        async {
            Ok::<_, anyhow::Error>(patchmesh_tests::cluster::approval_sets_of(
                &node?.status().await?,
            ))
        }
    };
    ensure!(sets("paris").await? == sets("tokyo").await?, "other decisions");
    let curl = Curl::trusting(&cluster)?;
    let path = "windows/stable/KB2/1/windows-ja.msu";
    let url = format!("{}/files/production/{GROUP}/{path}", cluster.node("paris")?.url);
    let answer = curl.get(&url, &[]).await?.ok()?;
    ensure!(answer.body == japanese("first").bytes(), "relayed, and other bytes");

    // Another subscription: what it calls for comes, what it does not goes, and
    // no decision is touched.
    let before = sets("hub").await?;
    let change = ["node", "subscribe", "paris", "--language", "ja"];
    cluster.patchmesh("hq", &change).await?.success()?;
    cluster.converged(&nodes).await?;
    expect("paris", false, true).await?;
    cluster
        .patchmesh("hq", &["node", "subscribe", "paris", "--language", "fr"])
        .await?
        .success()?;
    cluster.converged(&nodes).await?;
    expect("paris", true, false).await?;
    cluster.patchmesh("hq", &["node", "subscribe", "paris", "--everything"]).await?.success()?;
    cluster.converged(&nodes).await?;
    expect("paris", true, true).await?;
    ensure!(sets("hub").await? == before, "a subscription changed decisions");

    // A hub that takes little still carries what its subtree needs.
    cluster
        .patchmesh("hq", &["node", "subscribe", "paris", "--language", "fr"])
        .await?
        .success()?;
    cluster
        .patchmesh("hq", &["node", "subscribe", "tokyo", "--language", "fr"])
        .await?
        .success()?;
    cluster.patchmesh("hq", &["node", "subscribe", "hub", "--language", "de"]).await?.success()?;
    cluster.converged(&nodes).await?;
    expect("hub", true, false).await?;
    expect("tokyo", true, false).await?;
    let refused = cluster.patchmesh("hq", &["node", "subscribe", "hq", "--language", "de"]).await?;
    refused.failure_that_says(&["primary"])?;
    let refused = cluster.patchmesh("hq", &["node", "subscribe", "oslo", "--everything"]).await?;
    ensure!(refused.failure_that_says(&["no node oslo"])?.code == 66, "not found");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_is_not_asked_for_is_neither_fetched_nor_waited_for() -> Result<()> {
    let vendor = FilesVendor::with(&[old(), cumulative("first")]).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("lyon", "hq", "emea/fr/lyon")).await?;
    cluster.add_files("windows", &vendor).await?;
    let french = ["source", "subscribe", "windows", "--language", "fr"];
    cluster.patchmesh("hq", &french).await?.success()?;
    cluster.sync("windows").await?.success()?;
    let revision = "windows:stable/KB2@1".to_owned();
    open(&cluster, std::slice::from_ref(&revision), &["lyon"]).await?;
    let states = state(&cluster, &revision).await?;
    ensure!(states.iter().all(|state| *state == "UPDATE_STATE_APPROVED"), "{states:?}");
    for node in ["hq", "lyon"] {
        let found: Vec<bool> =
            held(&cluster, node, &revision).await?.into_iter().map(|(_, held)| held).collect();
        ensure!(found == [true, false], "{node} {found:?}");
    }
    let index = curl_index(&cluster, "lyon").await?;
    ensure!(index["revisions"][0]["payloads"].as_array().map(Vec::len) == Some(1), "{index}");

    // Asked for later, it comes, and nobody decides anew.
    cluster
        .patchmesh("hq", &["source", "subscribe", "windows", "--everything"])
        .await?
        .success()?;
    until("the Japanese file to arrive", PATIENCE, async || {
        let found = held(&cluster, "lyon", &revision).await?;
        ensure!(found.iter().all(|(_, held)| *held), "{found:?}");
        Ok(Some(()))
    })
    .await?;
    let index = curl_index(&cluster, "lyon").await?;
    ensure!(index["revisions"][0]["payloads"].as_array().map(Vec::len) == Some(2), "{index}");
    let refused = cluster.patchmesh("hq", &["source", "subscribe", "x", "--everything"]).await?;
    ensure!(refused.failure_that_says(&["no source x"])?.code == 66, "not found");
    cluster.passed();
    Ok(())
}

async fn check(folder: &Path, more: &[&str]) -> Result<Outcome> {
    let mut command = Command::new(binaries::patchmesh()?);
    command.args(["source", "check"]).arg(folder).args(["--name", "windows"]).args(more);
    run(&mut command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_manifest_is_explained_and_changes_nothing() -> Result<()> {
    let good = [old(), cumulative("first")];
    let vendor = FilesVendor::with(&good).await?;
    let cluster = Cluster::start().await?;
    cluster.add_files("windows", &vendor).await?;
    cluster.sync("windows").await?.success()?;
    let generation = cluster.generation().await?;
    let said = check(vendor.folder(), &[]).await?.success()?.stdout;
    ensure!(said.contains("2 revisions, 3 files") && said.contains("no fault"), "{said}");

    let text = std::fs::read_to_string(vendor.manifest())?;
    let circle = text.replace("id = \"KB1\"", "id = \"KB1\"\nsupersedes = [\"KB2\"]");
    let twice = format!("{text}\n{}", &text[text.find("[[revision]]").context("a revision")?..]);
    // All of it at once, of the manifest and of the files.
    let everything = circle.replace("KB1.cab", "KB9.cab").replace("severity", "severty");
    vendor.publish(&everything).await?;
    let said = check(vendor.folder(), &[]).await?.stdout;
    for words in ["in a circle", "is missing; put the file", "did you mean `severity`?"] {
        ensure!(said.contains(words), "{words:?} is not told: {said}");
    }
    let faults: [(&str, String, &str); 7] = [
        ("an unknown field", text.replace("severity", "severty"), "did you mean `severity`?"),
        ("a missing payload", text.replace("KB1.cab", "KB9.cab"), "is missing; put the file"),
        (
            "another length",
            text.replace("length = 40000", "length = 40001"),
            "has 40000 bytes, not 40001",
        ),
        (
            "a path that escapes",
            text.replace("KB1.cab", "../KB1.cab"),
            "does not stay inside the folder",
        ),
        ("duplicate ids", twice, "stands at line 5 already"),
        ("a circle", circle, "supersede each other in a circle"),
        (
            "no such prerequisite",
            text.replace("prerequisites = [\"KB1\"]", "prerequisites = [\"KB7\"]"),
            "KB7 does not exist",
        ),
    ];
    for (what, manifest, words) in &faults {
        ensure!(*manifest != text, "{what}: nothing was changed");
        vendor.publish(manifest).await?;
        let checked = check(vendor.folder(), &[]).await?;
        ensure!(checked.code == 65, "{what}: exit code {} {}", checked.code, checked.stderr);
        let line = checked.stdout.lines().find(|line| line.contains(words));
        let line = line.with_context(|| format!("{what}: {}", checked.stdout))?;
        let number = line.strip_prefix("manifest.toml:").and_then(|rest| rest.split(':').next());
        ensure!(number.is_some_and(|number| number.parse::<u32>().is_ok()), "{what}: {line}");
        ensure!(line.contains("; "), "{what} has no remedy: {line}");
        cluster
            .sync("windows")
            .await?
            .failure_that_says(&[words])
            .with_context(|| (*what).to_owned())?;
    }

    // A file that is not what was stated: told when it is checked, and again
    // when it is fetched.
    vendor.release(&good).await?;
    let mut other = good[0].files[0].bytes().to_vec();
    other[7] ^= 1;
    std::fs::write(vendor.folder().join("KB1.cab"), other)?;
    let checked = check(vendor.folder(), &["--output", "json"]).await?;
    ensure!(checked.code == 65, "{}", checked.stdout);
    let report = checked.json()?;
    ensure!(
        report["faults"][0]["what"].as_str().is_some_and(|what| what.contains("SHA-256")),
        "{report}"
    );
    ensure!(report["faults"][0]["line"].is_u64() && report["ok"] == false, "{report}");
    let revision = "windows:stable/KB1@1".to_owned();
    let decided = cluster.patchmesh("hq", &["approve", "--stage", "validation", &revision]).await?;
    ensure!(
        decided.stdout.contains("SHA-256") || decided.stderr.contains("SHA-256"),
        "{decided:?}"
    );
    let states = state(&cluster, &revision).await?;
    ensure!(states.contains(&"UPDATE_STATE_TEMPORARILY_UNAVAILABLE"), "{states:?}");
    let generation_after = cluster.generation().await?;

    // Machines have packages, so there is no baseline of files.
    let snapshot = ["baseline", "snapshot", "windows", "--source", "windows"];
    let refused = cluster.patchmesh("hq", &snapshot).await?;
    ensure!(refused.failure_that_says(&["no package"])?.code == 2, "another exit code");

    // Signed by somebody else, by nobody, and a link that leads elsewhere.
    vendor.release(&good).await?;
    let signed = std::fs::read(vendor.manifest())?;
    std::fs::write(vendor.manifest(), [&signed[..], b"# changed\n"].concat())?;
    cluster
        .sync("windows")
        .await?
        .failure_that_says(&["not signed as the source's keyring asks"])?;
    let keyring = vendor.keyring().display().to_string();
    let checked = check(vendor.folder(), &["--keyring", &keyring]).await?;
    ensure!(checked.code == 65 && checked.stdout.contains("does not fit the text"), "{checked:?}");
    std::fs::write(vendor.manifest(), &signed)?;
    let folder = tempfile::tempdir()?;
    let foreign = foreign_keyring(folder.path()).await?.display().to_string();
    let checked = check(vendor.folder(), &["--keyring", &foreign]).await?;
    ensure!(checked.code == 65 && checked.stdout.contains("not in the keyring"), "{checked:?}");
    std::fs::remove_file(vendor.folder().join("KB1.cab"))?;
    std::os::unix::fs::symlink("/etc/passwd", vendor.folder().join("KB1.cab"))?;
    let text = String::from_utf8(signed)?;
    vendor.publish(&format!("{text}# again\n")).await?;
    cluster.sync("windows").await?.failure_that_says(&["symbolic link"])?;
    std::fs::remove_file(vendor.folder().join("manifest.toml.asc"))?;
    cluster.sync("windows").await?.failure_that_says(&["no signature"])?;
    ensure!(
        cluster.generation().await? == generation_after,
        "a refused manifest left a generation"
    );
    ensure!(generation_after > generation, "the approval made one");

    // Declared unsigned it is taken, and every revision says so.
    std::fs::remove_file(vendor.folder().join("KB1.cab"))?;
    vendor.release(&good).await?;
    std::fs::remove_file(vendor.folder().join("manifest.toml.asc"))?;
    let folder = vendor.folder().display().to_string();
    let add = ["source", "add", "files", "tools", "--folder", &folder];
    let refused = cluster.patchmesh("hq", &add).await?;
    let refused = refused.failure_that_says(&["--keyring", "--unsigned"])?;
    ensure!(refused.code == 64, "neither a keyring nor unsigned: {}", refused.stderr);
    cluster.patchmesh("hq", &[&add[..], &["--unsigned"]].concat()).await?.success()?;
    // Its prerequisite is another source's revision now: it is named in full there.
    cluster.sync("tools").await?.success()?;
    let listed = cluster.patchmesh("hq", &["update", "list", "--source", "tools"]).await?;
    let listed = listed.success()?.json()?;
    let rows = listed["updates"].as_array().context("no updates")?;
    ensure!(rows.len() == 2 && rows.iter().all(|row| row["facts"]["unsigned"] == true), "{listed}");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_becomes_a_source() -> Result<()> {
    let vendor = FilesVendor::with(&[old()]).await?;
    let folder = vendor.folder().display().to_string();
    let template = async || {
        let mut command = Command::new(binaries::patchmesh()?);
        run(command.args(["source", "template", &folder])).await
    };
    let refused = template().await?;
    ensure!(refused.failure_that_says(&["is there already"])?.code == 73, "replaced a manifest");
    std::fs::remove_file(vendor.manifest())?;
    template().await?.success()?;
    let text = std::fs::read_to_string(vendor.manifest())?;
    vendor.publish(&text).await?;
    let keyring = vendor.keyring().display().to_string();
    let checked = check(vendor.folder(), &["--keyring", &keyring]).await?.success()?;
    ensure!(checked.stdout.contains("1 revision, 1 file"), "{}", checked.stdout);
    let cluster = Cluster::start().await?;
    cluster.add_files("windows", &vendor).await?;
    tokio::time::timeout(Duration::from_secs(60), cluster.sync("windows")).await??.success()?;
    ensure!(cluster.revision("KB1").await? == "windows:stable/KB1@1", "the file's name is its id");
    cluster.passed();
    Ok(())
}
