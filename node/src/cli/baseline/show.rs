//! `patchmesh baseline show` and `diff`.

use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::name::BaselineName;
use serde::Serialize;

use crate::cli::output::{Answer, table};
use crate::cli::{Context, grpc};

/// Show the packages of a snapshot
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh baseline show bookworm
  patchmesh baseline show bookworm 3

JSON:
  {\"baseline\", \"version\", \"packages\": [{\"package\", \"architecture\", \"version\"}]}")]
pub(crate) struct Show {
    /// Its name
    name: BaselineName,
    /// The snapshot [default: the last one]
    #[arg(value_name = "VERSION", default_value_t = 0, hide_default_value = true)]
    version: u64,
}

/// Compare two snapshots of a baseline
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh baseline diff bookworm
  patchmesh baseline diff bookworm 1 4

JSON:
  {\"baseline\", \"a\", \"b\", \"differences\": [{\"package\", \"architecture\", \"before\": [VERSION],
   \"after\": [VERSION]}]}")]
pub(crate) struct Diff {
    /// Its name
    name: BaselineName,
    /// A snapshot [default: the one before the last]
    #[arg(value_name = "A", default_value_t = 0, hide_default_value = true)]
    a: u64,
    /// Another [default: the last one]
    #[arg(value_name = "B", default_value_t = 0, hide_default_value = true)]
    b: u64,
}

#[derive(Debug, Serialize)]
struct Shown {
    baseline: String,
    version: u64,
    packages: Vec<Package>,
}

#[derive(Debug, Serialize)]
struct Package {
    package: String,
    architecture: String,
    version: String,
}

#[derive(Debug, Serialize)]
struct Compared {
    baseline: String,
    a: u64,
    b: u64,
    differences: Vec<Difference>,
}

#[derive(Debug, Serialize)]
struct Difference {
    package: String,
    architecture: String,
    before: Vec<String>,
    after: Vec<String>,
}

impl Answer for Shown {
    fn text(&self) -> String {
        table(
            ["package", "architecture", "version"],
            self.packages
                .iter()
                .map(|one| [one.package.clone(), one.architecture.clone(), one.version.clone()]),
        )
    }
}

impl Answer for Compared {
    fn text(&self) -> String {
        if self.differences.is_empty() {
            return format!("{}@{} and @{} are the same\n", self.baseline, self.a, self.b);
        }
        let (a, b) = (format!("@{}", self.a), format!("@{}", self.b));
        let list = |versions: &[String]| match versions {
            [] => "-".to_owned(),
            versions => versions.join(", "),
        };
        table(
            ["package", "architecture", &a, &b],
            self.differences.iter().map(|one| {
                [one.package.clone(), one.architecture.clone(), list(&one.before), list(&one.after)]
            }),
        )
    }
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let request =
            admin::GetBaselineRequest { name: self.name.to_string(), version: self.version };
        let response =
            context.policies()?.get_baseline(request).await.map_err(grpc::failure)?.into_inner();
        let packages = response.packages.into_iter().map(|one| Package {
            package: one.package,
            architecture: one.architecture,
            version: one.version,
        });
        context.output.print(&Shown {
            baseline: self.name.to_string(),
            version: response.version,
            packages: packages.collect(),
        })
    }
}

impl Diff {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let name = self.name.to_string();
        let request = admin::DiffBaselineRequest { name, a: self.a, b: self.b };
        let response =
            context.policies()?.diff_baseline(request).await.map_err(grpc::failure)?.into_inner();
        let differences = response.differences.into_iter().map(|one| Difference {
            package: one.package,
            architecture: one.architecture,
            before: one.before,
            after: one.after,
        });
        context.output.print(&Compared {
            baseline: self.name.to_string(),
            a: response.a,
            b: response.b,
            differences: differences.collect(),
        })
    }
}
