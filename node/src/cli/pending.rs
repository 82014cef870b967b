//! `patchmesh pending`: what waits for people's signatures.

use clap::{Args, Subcommand};
use patchmesh_proto::admin;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;

use super::output::{Answer, clean, table};
use super::select::confirm_on_terminal;
use super::{Context, answer, connect, grpc};

mod check;
mod row;

pub(crate) use check::{Asked, sign};
use row::Row;

#[derive(Debug, Subcommand)]
pub(crate) enum Pending {
    List(List),
    Show(Show),
    Sign(Sign),
    Consent(Consent),
    Withdraw(Withdraw),
}

/// What waits for signatures, and whose are missing
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh pending list
  patchmesh pending list --all --output json

JSON:
  {\"pending\": [{\"id\", \"kind\", \"state\", \"by\", \"comment\", \"created_at\", \"stage\",
   \"changes\": [{\"revision\", \"group\", \"decision\"}], \"summary\": [TEXT],
   \"parts\": [{\"role\", \"signatures\", \"threshold\"}],
   \"signers\": [{\"user\", \"key_id\", \"role\", \"at\"}],
   \"missing\": [{\"user\", \"key_id\", \"role\"}], \"note\", \"generation\"}]}")]
pub(crate) struct List {
    /// Also what was published or withdrawn, and who signed it
    #[arg(long)]
    all: bool,
}

/// One of them in full
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh pending show 7

JSON:
  As an entry of `pending list`.")]
pub(crate) struct Show {
    /// Its number
    id: u64,
}

/// Sign one of them with your key
///
/// What is to be signed is fetched, checked on this machine and shown. The
/// key never leaves it; only the signature does.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh pending sign 7 --key ~/.patchmesh/signing.pem --node primary

JSON:
  As an entry of `pending list`.")]
pub(crate) struct Sign {
    /// Its number
    id: u64,
    /// Your signing key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Consent to a promotion without evidence that somebody else asked for
///
/// It is shown first, with what lacks now. Who asked cannot consent.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh pending consent 7 --node primary

JSON:
  {\"generation\", \"lacks\": [TEXT], \"pending\": [NUMBER]}
  \"lacks\" is what it did without; \"pending\" what now waits for signatures")]
pub(crate) struct Consent {
    /// Its number
    id: u64,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Give one of them up
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh pending withdraw 7 --comment 'the vendor has a newer one'

JSON:
  As an entry of `pending list`.")]
pub(crate) struct Withdraw {
    /// Its number
    id: u64,
    /// Why
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,
}

#[derive(Debug, Serialize)]
struct Rows {
    pending: Vec<Row>,
}

impl Answer for Rows {
    fn text(&self) -> String {
        let rows = self.pending.iter().map(|one| {
            [
                one.id.to_string(),
                one.state.to_owned(),
                one.what(),
                one.by.clone(),
                one.count(),
                one.missing_users(),
            ]
        });
        table(["ID", "STATE", "WHAT", "BY", "SIGNED", "MISSING"], rows)
    }
}

impl Pending {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut client = context.signatures()?;
        match self {
            Pending::List(List { all }) => {
                let request = admin::ListPendingRequest { all };
                let response = client.list_pending(request).await.map_err(grpc::failure)?;
                let pending = response.into_inner().pending.into_iter().map(Row::from).collect();
                context.output.print(&Rows { pending })
            }
            Pending::Show(Show { id }) => {
                let found = get(&mut client, id).await?;
                context.output.print(&Row::from(found.pending.unwrap_or_default()))
            }
            Pending::Sign(command) => command.run(context, &mut client).await,
            Pending::Consent(command) => command.run(context, &mut client).await,
            Pending::Withdraw(Withdraw { id, comment }) => {
                let request = admin::WithdrawPendingRequest { id, comment };
                let response = client.withdraw_pending(request).await.map_err(grpc::failure)?;
                let pending = response.into_inner().pending.unwrap_or_default();
                context.output.print(&Row::from(pending))
            }
        }
    }
}

impl Sign {
    async fn run(self, context: &Context, client: &mut connect::Signatures) -> anyhow::Result<()> {
        let key = crate::tuf::signing::SigningKey::read(&self.key)?;
        let found = get(client, self.id).await?;
        let signed = sign(&found, &key, None)?;
        for line in &signed.lines {
            context.output.remark(line);
        }
        if !self.yes {
            confirm_on_terminal(&format!("Sign {}?", self.id))?;
        }
        let row = hand_in(client, self.id, signed.signatures).await?;
        context.output.print(&row)
    }
}

impl Consent {
    async fn run(self, context: &Context, client: &mut connect::Signatures) -> anyhow::Result<()> {
        let found = get(client, self.id).await?.pending.unwrap_or_default();
        let summary = lacks_now(context, &found).await?;
        context.output.remark(&Row { summary, ..Row::from(found) }.text());
        if !self.yes {
            confirm_on_terminal(&format!("Consent to {}?", self.id))?;
        }
        let request = admin::ConsentOverrideRequest { number: self.id };
        let response = context.lab()?.consent_override(request).await.map_err(grpc::failure)?;
        let admin::ConsentOverrideResponse { generation, lacks, pending } = response.into_inner();
        context.output.print(&Consented { generation, lacks, pending })
    }
}

/// What an override would do without at this moment.
async fn lacks_now(context: &Context, found: &admin::Pending) -> anyhow::Result<Vec<String>> {
    let revisions: BTreeSet<_> = found.changes.iter().map(|one| one.revision.clone()).collect();
    if found.kind() != admin::PendingKind::Override || revisions.is_empty() {
        return Ok(found.summary.clone());
    }
    let request = admin::GetEvidenceRequest { revisions: revisions.into_iter().collect() };
    let response = context.lab()?.get_evidence(request).await.map_err(grpc::failure)?;
    let evidence = response.into_inner().evidence.into_iter();
    let lines = evidence.flat_map(|one| {
        let revision = one.revision;
        one.lacks.into_iter().map(move |lack| format!("{revision}: {lack}"))
    });
    Ok(lines.collect())
}

/// What consent came to.
#[derive(Debug, Serialize)]
struct Consented {
    generation: u64,
    lacks: Vec<String>,
    pending: Vec<u64>,
}

impl Answer for Consented {
    fn text(&self) -> String {
        let lacks = self.lacks.iter().map(|one| format!("did without: {}\n", clean(one)));
        let waits = self
            .pending
            .iter()
            .map(|id| format!("Waiting for signatures: patchmesh pending sign {id} --key FILE\n"));
        let generation = format!("generation {}\n", self.generation);
        lacks.chain(waits).chain([generation]).collect()
    }
}

/// Everything about one of them.
pub(crate) async fn get(
    client: &mut connect::Signatures,
    id: u64,
) -> anyhow::Result<admin::GetPendingResponse> {
    let request = admin::GetPendingRequest { id };
    Ok(client.get_pending(request).await.map_err(grpc::failure)?.into_inner())
}

/// Sends signatures; what became of it.
pub(crate) async fn hand_in(
    client: &mut connect::Signatures,
    id: u64,
    signatures: Vec<admin::DetachedSignature>,
) -> anyhow::Result<Row> {
    let request = admin::SignPendingRequest { id, signatures };
    let response = client.sign_pending(request).await.map_err(grpc::failure)?.into_inner();
    Ok(Row::from(response.pending.unwrap_or_default()))
}

/// Signs what a decision left waiting, if it is what was asked for. Returns
/// the numbers that still wait, and the generation of what was published.
pub(crate) async fn sign_decided(
    context: &Context,
    ids: &[u64],
    key: &std::path::Path,
    asked: &Asked,
) -> anyhow::Result<(Vec<u64>, Option<u64>)> {
    let key = crate::tuf::signing::SigningKey::read(key)?;
    let mut client = context.signatures()?;
    let (mut waiting, mut generation) = (Vec::new(), None);
    for id in ids {
        let found = get(&mut client, *id).await?;
        let signed = sign(&found, &key, Some(asked))?;
        for line in &signed.lines {
            context.output.remark(line);
        }
        let row = hand_in(&mut client, *id, signed.signatures).await?;
        match row.generation {
            Some(number) => generation = Some(number),
            None => waiting.push(*id),
        }
        context.output.remark(&format!(
            "{id}: {} signed; missing: {}",
            row.count(),
            row.missing_users()
        ));
    }
    Ok((waiting, generation))
}

fn time(at: Option<&prost_types::Timestamp>) -> Option<String> {
    answer::time(at)
}
