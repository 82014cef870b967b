//! `patchmesh rule`: what is approved by itself.

use std::time::Duration;

use clap::{Args, Subcommand};
use patchmesh_proto::{admin, wire};
use patchmesh_topology::name::{GroupName, RuleName, SourceName};
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::{Classification, Severity};
use serde::Serialize;

use super::output::{Answer, fields, table};
use super::{Context, answer, grpc, stage};
use crate::duration;

mod run;

#[derive(Debug, Subcommand)]
pub(crate) enum Rule {
    Add(Box<Add>),
    List(List),
    Show(Show),
    Remove(Remove),
    Enable(Enable),
    Disable(Disable),
    Run(run::Run),
}

/// Add a rule
///
/// It decides nothing by itself before it is enabled; until then, and for a
/// look, `rule run NAME --dry-run` says what it comes to. Where somebody has
/// decided, that stands.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh rule add lab-security --stage validation --classification security
  patchmesh rule add critical-fast --stage production --severity critical --delay 2d --enable

JSON:
  what the rule comes to now, as `rule run --dry-run` prints it")]
pub(crate) struct Add {
    /// Its name
    name: RuleName,
    /// The stage that it approves for: validation or production
    #[arg(long)]
    stage: Stage,
    /// A group of the stage, once for each [default: every group]
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<GroupName>,
    /// A kind of update, once for each, such as security or critical
    #[arg(long = "classification", value_name = "KIND")]
    classifications: Vec<Classification>,
    /// The least severity: low, moderate, important or critical
    #[arg(long)]
    severity: Option<Severity>,
    /// A product, once for each
    #[arg(long = "product", value_name = "PRODUCT")]
    products: Vec<String>,
    /// A source, once for each
    #[arg(long = "source", value_name = "SOURCE")]
    sources: Vec<SourceName>,
    /// Updates with a name like this
    #[arg(long = "name", value_name = "GLOB", default_value = "", hide_default_value = true)]
    name_glob: String,
    /// Wait so long: after entry for validation, after the approval in
    /// validation for production; such as 2d or 12h
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    delay: Option<Duration>,
    /// Let it decide by itself from now on
    #[arg(long)]
    enable: bool,
}

/// List the rules
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh rule list

JSON:
  {\"rules\": [RULE]}
  RULE: {\"name\", \"stage\", \"groups\": [NAME], \"classifications\": [WORD], \"severity\" or null,
   \"products\": [TEXT], \"sources\": [NAME], \"name_glob\" or null, \"delay_seconds\", \"enabled\",
   \"by\", \"at\"}")]
pub(crate) struct List {}

/// Show one rule
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh rule show security-fixes

JSON:
  RULE, as in `rule list`")]
pub(crate) struct Show {
    /// Its name
    name: RuleName,
}

/// Remove a rule; what it decided stands
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh rule remove security-fixes

JSON:
  {\"rule\", \"generation\"}")]
pub(crate) struct Remove {
    /// Its name
    name: RuleName,
}

/// Let a rule decide by itself
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh rule enable security-fixes

JSON:
  {\"rule\", \"generation\"}")]
pub(crate) struct Enable {
    /// Its name
    name: RuleName,
}

/// Let a rule decide no more by itself
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh rule disable security-fixes

JSON:
  {\"rule\", \"generation\"}")]
pub(crate) struct Disable {
    /// Its name
    name: RuleName,
}

#[derive(Debug, Serialize)]
struct Rules {
    rules: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    stage: &'static str,
    groups: Vec<String>,
    classifications: Vec<String>,
    severity: Option<String>,
    products: Vec<String>,
    sources: Vec<String>,
    name_glob: Option<String>,
    delay_seconds: u64,
    enabled: bool,
    by: String,
    at: Option<String>,
}

impl From<wire::Rule> for Row {
    fn from(rule: wire::Rule) -> Self {
        let word = |one: i32| patchmesh_proto::convert::classification(one).ok().flatten();
        let severity = patchmesh_proto::convert::severity(rule.severity).ok().flatten();
        Self {
            stage: answer::stage(rule.stage()),
            classifications: rule
                .classifications
                .iter()
                .filter_map(|one| word(*one))
                .map(|one| one.to_string())
                .collect(),
            severity: severity.map(|one| one.to_string()),
            at: answer::time(rule.at.as_ref()),
            name: rule.name,
            groups: rule.groups,
            products: rule.products,
            sources: rule.sources,
            name_glob: answer::some(rule.name_glob),
            delay_seconds: rule.delay_seconds,
            enabled: rule.enabled,
            by: rule.by,
        }
    }
}

impl Row {
    fn conditions(&self) -> String {
        let lists = [
            ("classification", self.classifications.join(",")),
            ("severity", self.severity.clone().unwrap_or_default()),
            ("product", self.products.join(",")),
            ("source", self.sources.join(",")),
            ("name", self.name_glob.clone().unwrap_or_default()),
        ];
        let given = lists.iter().filter(|(_, text)| !text.is_empty());
        given.map(|(name, text)| format!("{name} {text}")).collect::<Vec<_>>().join("; ")
    }

    fn delay(&self) -> String {
        match self.delay_seconds {
            0 => "at once".to_owned(),
            seconds => indicatif::HumanDuration(Duration::from_secs(seconds)).to_string(),
        }
    }

    fn groups(&self) -> String {
        if self.groups.is_empty() { "every group".to_owned() } else { self.groups.join(",") }
    }
}

impl Answer for Rules {
    fn text(&self) -> String {
        table(
            ["rule", "stage", "groups", "conditions", "delay", "enabled"],
            self.rules.iter().map(|row| {
                [
                    row.name.clone(),
                    row.stage.to_owned(),
                    row.groups(),
                    row.conditions(),
                    row.delay(),
                    if row.enabled { "yes" } else { "no" }.to_owned(),
                ]
            }),
        )
    }
}

impl Answer for Row {
    fn text(&self) -> String {
        fields([
            ("rule", Some(self.name.clone())),
            ("stage", Some(self.stage.to_owned())),
            ("groups", Some(self.groups())),
            ("conditions", Some(self.conditions())),
            ("delay", Some(self.delay())),
            ("enabled", Some(if self.enabled { "yes" } else { "no" }.to_owned())),
            ("by", Some(self.by.clone())),
            ("at", self.at.clone()),
        ])
    }
}

#[derive(Debug, Serialize)]
struct Changed {
    rule: String,
    generation: u64,
}

impl Answer for Changed {
    fn text(&self) -> String {
        format!("rule {}; generation {}\n", self.rule, self.generation)
    }
}

impl Rule {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Rule::Add(command) => command.run(context).await,
            Rule::List(List {}) => context.output.print(&Rules { rules: rules(context).await? }),
            Rule::Show(command) => command.run(context).await,
            Rule::Remove(command) => command.run(context).await,
            Rule::Enable(command) => enable(context, &command.name, true).await,
            Rule::Disable(command) => enable(context, &command.name, false).await,
            Rule::Run(command) => command.run(context).await,
        }
    }
}

async fn rules(context: &Context) -> anyhow::Result<Vec<Row>> {
    let request = admin::ListRulesRequest {};
    let response = context.policies()?.list_rules(request).await.map_err(grpc::failure)?;
    Ok(response.into_inner().rules.into_iter().map(Row::from).collect())
}

async fn enable(context: &Context, name: &RuleName, enabled: bool) -> anyhow::Result<()> {
    let request = admin::EnableRuleRequest { name: name.to_string(), enabled };
    let response = context.policies()?.enable_rule(request).await.map_err(grpc::failure)?;
    let generation = response.into_inner().generation;
    context.output.print(&Changed { rule: name.to_string(), generation })
}

impl Add {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let name = self.name.to_string();
        let rule = wire::Rule {
            name: name.clone(),
            stage: stage::to_wire(self.stage).into(),
            groups: self.groups.iter().map(ToString::to_string).collect(),
            classifications: self
                .classifications
                .iter()
                .map(|one| wire::Classification::from(*one).into())
                .collect(),
            severity: self.severity.map_or(0, |one| wire::Severity::from(one).into()),
            products: self.products,
            sources: self.sources.iter().map(ToString::to_string).collect(),
            name_glob: self.name_glob,
            delay_seconds: self.delay.unwrap_or_default().as_secs(),
            // What it comes to is shown first.
            enabled: false,
            by: String::new(),
            at: None,
        };
        let mut policies = context.policies()?;
        policies
            .add_rule(admin::AddRuleRequest { rule: Some(rule) })
            .await
            .map_err(grpc::failure)?;
        run::dry(context, &name).await?;
        if self.enable {
            let request = admin::EnableRuleRequest { name, enabled: true };
            policies.enable_rule(request).await.map_err(grpc::failure)?;
        } else {
            context.output.remark(&format!(
                "the rule decides nothing by itself yet; let it with `patchmesh rule enable {name}`"
            ));
        }
        Ok(())
    }
}

impl Show {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let rules = rules(context).await?;
        let row = rules.into_iter().find(|row| row.name == self.name.as_str());
        let row = row.ok_or_else(|| {
            super::exit::Exit::NotFound
                .error(format!("there is no rule {}; see `patchmesh rule list`", self.name))
        })?;
        context.output.print(&row)
    }
}

impl Remove {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let request = admin::RemoveRuleRequest { name: self.name.to_string() };
        let response = context.policies()?.remove_rule(request).await.map_err(grpc::failure)?;
        let generation = response.into_inner().generation;
        context.output.print(&Changed { rule: self.name.to_string(), generation })
    }
}
