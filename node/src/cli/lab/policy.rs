//! `patchmesh lab policy`: what promotion asks for. The file is TOML, with every
//! field explained in [`EXAMPLE`].

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::SignedDuration;
use patchmesh_proto::{admin, wire};
use patchmesh_topology::name::{PlatformName, SourceName};
use patchmesh_topology::promotion::{Machines, Policy, Requirement};
use patchmesh_topology::rollout::Share;
use serde::{Deserialize, Serialize};

use super::Changed;
use crate::cli::file::{self, Most, Text, Wait};
use crate::cli::output::{self, Answer, fields};
use crate::cli::{Context, answer, grpc};
use crate::duration;

/// A policy to go on from.
const EXAMPLE: &str = include_str!("example.toml");

/// What is said where there is none.
pub(super) const NONE: &str =
    "No policy is in force: whatever validation approves may be promoted at once.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Example(Example),
    Show(Show),
    Set(Set),
    Remove(Remove),
}

/// Print a policy to go on from, with every field explained
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh lab policy example > promotion.toml

JSON:
  the same policy: it is TOML in any form of output")]
pub(crate) struct Example {}

/// Show what promotion asks for, and who changed that
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh lab policy show

JSON:
  {\"policy\": POLICY or null, \"changes\": [{\"by\", \"at\", \"policy\": POLICY or null}]}
  POLICY: {\"platforms\": [{\"platform\", \"sources\": [NAME], \"name\" or null}], \"soak_seconds\",
   \"min_reported\", \"min_installed\", \"max_failed\": {\"share\" or null, \"count\" or null,
   \"min_sample\"} or null}")]
pub(crate) struct Show {}

/// Put a policy in force
///
/// What production has approved already stands.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh lab policy set promotion.toml

JSON:
  {\"generation\"}")]
pub(crate) struct Set {
    /// The policy
    #[arg(value_name = "FILE")]
    policy: PathBuf,
}

/// Ask for nothing from now on
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh lab policy remove

JSON:
  {\"generation\"}")]
pub(crate) struct Remove {}

/// What the file may say, and nothing else.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    soak: Option<Text<Wait>>,
    #[serde(default)]
    platform: Vec<PlatformFile>,
    #[serde(default)]
    machines: MachinesFile,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlatformFile {
    platform: Text<PlatformName>,
    #[serde(default)]
    sources: Vec<Text<SourceName>>,
    #[serde(default)]
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct MachinesFile {
    #[serde(default)]
    min_reported: u64,
    #[serde(default)]
    min_installed: u64,
    #[serde(default)]
    max_failed: Option<Most>,
}

fn parse(text: &str) -> Result<Policy, String> {
    let file: File = file::fields(text)?;
    let MachinesFile { min_reported, min_installed, max_failed } = file.machines;
    let platforms = file.platform.into_iter().map(|one| Requirement {
        platform: one.platform.0,
        sources: one.sources.into_iter().map(|one| one.0).collect(),
        name_glob: one.name,
    });
    let policy = Policy {
        platforms: platforms.collect(),
        soak: file.soak.map_or(SignedDuration::ZERO, |one| one.0.0),
        machines: Machines {
            min_reported,
            min_installed,
            max_failed: max_failed.map(|one| one.limit("machines")).transpose()?,
        },
    };
    policy.check().map_err(|error| error.to_string())?;
    Ok(policy)
}

/// A policy as it is printed.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    platforms: Vec<Platform>,
    soak_seconds: u64,
    min_reported: u64,
    min_installed: u64,
    max_failed: Option<Limit>,
}

#[derive(Debug, Serialize)]
struct Platform {
    platform: String,
    sources: Vec<String>,
    name: Option<String>,
}

#[derive(Debug, Serialize)]
struct Limit {
    share: Option<String>,
    count: Option<u64>,
    min_sample: u64,
}

impl From<wire::PromotionPolicy> for Shown {
    fn from(policy: wire::PromotionPolicy) -> Self {
        let machines = policy.machines.unwrap_or_default();
        let seconds = policy.soak.map_or(0, |soak| soak.seconds);
        Self {
            platforms: policy
                .platforms
                .into_iter()
                .map(|one| Platform {
                    platform: one.platform,
                    sources: one.sources,
                    name: answer::some(one.name_glob),
                })
                .collect(),
            soak_seconds: u64::try_from(seconds).unwrap_or_default(),
            min_reported: machines.min_reported,
            min_installed: machines.min_installed,
            max_failed: machines.max_failed.map(|one| Limit {
                share: one.share.map(share),
                count: one.count,
                min_sample: one.min_sample,
            }),
        }
    }
}

fn share(parts: u32) -> String {
    let share = u16::try_from(parts).ok().and_then(Share::from_ten_thousandths);
    share.unwrap_or(Share::ALL).to_string()
}

impl Platform {
    fn text(&self) -> String {
        let mut text = self.platform.clone();
        if !self.sources.is_empty() {
            text += &format!(" for {}", self.sources.join(","));
        }
        match &self.name {
            Some(name) => format!("{text} for names like {name}"),
            None => text,
        }
    }
}

impl Limit {
    fn text(&self) -> String {
        let share = self.share.as_ref().map(|share| match self.min_sample {
            0 => share.clone(),
            least => format!("{share} of at least {least}"),
        });
        let both = [share, self.count.map(|count| count.to_string())];
        both.into_iter().flatten().collect::<Vec<_>>().join(" and ")
    }
}

impl Shown {
    fn text(&self) -> String {
        let some = |count: u64| (count > 0).then(|| count.to_string());
        let platforms: Vec<_> = self.platforms.iter().map(Platform::text).collect();
        fields([
            (
                "platforms",
                Some(if platforms.is_empty() { "-".to_owned() } else { platforms.join("; ") }),
            ),
            ("soak", Some(duration::format(Duration::from_secs(self.soak_seconds)))),
            ("machines reported", some(self.min_reported)),
            ("machines installed", some(self.min_installed)),
            ("machines failed, at most", self.max_failed.as_ref().map(Limit::text)),
        ])
    }
}

#[derive(Debug, Serialize)]
struct History {
    policy: Option<Shown>,
    changes: Vec<Change>,
}

#[derive(Debug, Serialize)]
struct Change {
    by: String,
    at: Option<String>,
    policy: Option<Shown>,
}

impl Answer for History {
    fn text(&self) -> String {
        let mut text = match &self.policy {
            Some(policy) => policy.text(),
            None => format!("{NONE}\n"),
        };
        for change in self.changes.iter().rev() {
            let what = if change.policy.is_some() { "set" } else { "removed" };
            let at = answer::or_dash(change.at.as_deref());
            text += &format!("{what} by {} at {at}\n", output::clean(&change.by));
        }
        text
    }
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Example(Example {}) => output::write(EXAMPLE),
            Self::Show(Show {}) => {
                let request = admin::GetPromotionPolicyRequest {};
                let response = context.lab()?.get_promotion_policy(request).await;
                let response = response.map_err(grpc::failure)?.into_inner();
                let changes = response.changes.into_iter().map(|one| Change {
                    at: answer::time(one.at.as_ref()),
                    by: one.by,
                    policy: one.policy.map(Shown::from),
                });
                let changes = changes.collect();
                let policy = response.policy.map(Shown::from);
                context.output.print(&History { policy, changes })
            }
            Self::Set(Set { policy }) => set(context, Some(file::read(&policy, parse)?)).await,
            Self::Remove(Remove {}) => set(context, None).await,
        }
    }
}

async fn set(context: &Context, policy: Option<Policy>) -> anyhow::Result<()> {
    let policy = policy.as_ref().map(Into::into);
    let request = admin::SetPromotionPolicyRequest { policy };
    let response = context.lab()?.set_promotion_policy(request).await.map_err(grpc::failure)?;
    context.output.print(&Changed { generation: response.into_inner().generation })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_says_what_it_says() {
        let policy = parse(EXAMPLE).expect("a policy");
        assert_eq!(policy.soak, SignedDuration::from_hours(72));
        assert_eq!(policy.platforms.len(), 2);
        assert_eq!(policy.platforms[1].name_glob, "exchange-*");
        assert_eq!((policy.machines.min_reported, policy.machines.min_installed), (5, 4));
        let limit = policy.machines.max_failed.expect("a limit");
        assert_eq!((limit.count, limit.min_sample), (Some(3), 20));
        let shown = Shown::from(wire::PromotionPolicy::from(&policy)).text();
        assert!(shown.contains("exchange-2019 for windows for names like exchange-*"), "{shown}");
        assert!(shown.contains("5 % of at least 20 and 3"), "{shown}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let said = |from: &str, to: &str| {
            assert!(EXAMPLE.contains(from), "{from}");
            parse(&EXAMPLE.replacen(from, to, 1)).expect_err("refused")
        };
        assert!(said("soak =", "soack =").contains("soack"));
        assert!(said("\"72h\"", "\"400d\"").contains("365 days"));
        assert!(said("\"exchange-2019\"", "\"Exchange 2019\"").contains("platform name"));
        assert!(
            said("share = \"5 %\", min_sample = 20, count = 3", "").contains("a share, a count")
        );
    }
}
