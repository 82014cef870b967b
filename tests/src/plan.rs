//! Rollouts as scenarios plan them.

use anyhow::Result;

use crate::cluster::Cluster;

/// `spring`: Europe first, the rest when an operator says so.
pub const EUROPE_FIRST: &str = r#"
name = "spring"

[what]
revisions = ["REVISION"]

[[wave]]
name = "europe"
geographies = ["emea/**"]

[wave.gate]
operator = "required"

[[wave]]
name = "world"
"#;

/// `NAME`: Europe first, where one failure is too many; the rest after an hour.
pub const GUARDED: &str = r#"
name = "NAME"

[what]
revisions = ["REVISION"]

[[wave]]
name = "europe"
geographies = ["emea/**"]

[wave.gate]
max_failed = { count = 0 }
soak = "1h"
on_breach = "halt"

[[wave]]
name = "world"
"#;

/// `back`: what machines have of these is removed, everywhere.
pub const TAKEN_BACK: &str = r#"
name = "back"
action = "remove"

[what]
revisions = [REVISION]

[[wave]]
name = "all"
"#;

/// Revisions as [`TAKEN_BACK`] lists them.
#[must_use]
pub fn list(revisions: &[String]) -> String {
    revisions.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(", ")
}

/// Writes a plan for `revision` into the cluster's folder; its path.
///
/// # Errors
/// When it cannot be written.
pub fn write(cluster: &Cluster, plan: &str, revision: &str) -> Result<String> {
    let path = cluster.folder().join("plan.toml");
    std::fs::write(&path, plan.replace("REVISION", revision))?;
    Ok(path.display().to_string())
}
