//! `patchmesh user renew`: a new certificate for the key that one has.

use std::path::Path;

use clap::Args;
use jiff::Timestamp;
use patchmesh_proto::identity::RenewRequest;
use patchmesh_proto::identity::identity_client::IdentityClient;
use serde::Serialize;

use crate::cli::connect::{self, Target};
use crate::cli::exit::Exit;
use crate::cli::output::Answer;
use crate::cli::{Context, grpc};
use crate::identity::certificate::{Certificate, Subject};
use crate::identity::files::Identity;
use crate::identity::renewal;

/// Get a new certificate before yours ends
///
/// Commands for another node do this by themselves when two thirds of the
/// certificate's life are over.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh user renew --node primary

JSON:
  {\"user\", \"expires_at\"}")]
pub(crate) struct Renew {}

#[derive(Debug, Serialize)]
struct Renewed {
    user: String,
    expires_at: String,
}

impl Answer for Renewed {
    fn text(&self) -> String {
        format!("the certificate of {} is good until {}\n", self.user, self.expires_at)
    }
}

impl Renew {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let target = Target::choose(&context.global)?;
        let Target::Remote { credentials, .. } = &target else {
            return Err(Exit::Usage.error("name the node to ask with --node NAME or --node URL"));
        };
        let certificate = renew(&target, credentials).await?;
        context.output.print(&Renewed {
            user: certificate.subject.name().to_owned(),
            expires_at: certificate.not_after.to_string(),
        })
    }
}

/// Renews the certificate of a command's credentials when it is due. That it
/// could not be had is a remark: the old one is good for months.
pub(crate) async fn keep_fresh(context: &Context) {
    let Some(_) = &context.global.node else { return };
    let Ok(target) = Target::choose(&context.global) else { return };
    let Target::Remote { credentials, .. } = &target else { return };
    let Ok(identity) = Identity::load(credentials) else { return };
    let (due, _) = renewal::due(identity.certificate(), 0.0);
    if Timestamp::now() < due {
        return;
    }
    match renew(&target, credentials).await {
        Ok(new) => context.output.remark(&format!("Certificate renewed until {}.", new.not_after)),
        Err(error) => context.output.remark(&format!(
            "Your certificate ends at {} and could not be renewed: {error:#}",
            identity.certificate().not_after
        )),
    }
}

async fn renew(target: &Target, credentials: &Path) -> anyhow::Result<Certificate> {
    let identity = Identity::load(credentials)?;
    let Subject::User(user) = identity.certificate().subject.clone() else {
        return Err(Exit::Usage.error("these are a node's credentials, not a person's"));
    };
    let request = RenewRequest {
        user: user.to_string(),
        certificate_request: identity.key().certificate_request(user.as_str())?.into(),
        node: String::new(),
        machine: String::new(),
    };
    let channel = connect::channel(target)?;
    let answer = IdentityClient::with_interceptor(channel, connect::Deadline)
        .renew(request)
        .await
        .map_err(grpc::failure)?
        .into_inner();
    let certificate = Certificate::parse(&answer.certificate)?;
    if certificate.subject != Subject::User(user) {
        return Err(Exit::BadData.error("the new certificate is for somebody else"));
    }
    let renewed = identity.renewed(certificate.clone())?;
    renewed.save_certificate(credentials)?;
    Ok(certificate)
}
