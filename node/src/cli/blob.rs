//! `patchmesh blob`: stored content.

use clap::{Args, Subcommand};
use patchmesh_proto::admin;
use patchmesh_topology::digest::Digest;
use serde::Serialize;

use super::exit::Exit;
use super::output::{Answer, table};
use super::progress::Progress;
use super::{Context, answer, grpc};

#[derive(Debug, Subcommand)]
pub(crate) enum Blob {
    Verify(Verify),
}

/// Read blobs again and compare them with their names; exits 1 on a fault, which is then mended
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh blob verify
  patchmesh blob verify af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262

JSON:
  {\"blobs\", \"bytes\", \"faults\": [{\"digest\", \"problem\"}]}")]
pub(crate) struct Verify {
    /// Blobs by their BLAKE3 digest [default: every blob]
    #[arg(value_name = "DIGEST")]
    digests: Vec<Digest>,
}

#[derive(Debug, Serialize)]
struct Verified {
    blobs: u64,
    bytes: u64,
    faults: Vec<Fault>,
}

#[derive(Debug, Serialize)]
struct Fault {
    digest: String,
    problem: String,
}

impl Answer for Verified {
    fn text(&self) -> String {
        let summary = format!(
            "{} read, {}: {}\n",
            answer::counted(self.blobs, "blob"),
            answer::size(self.bytes),
            if self.faults.is_empty() {
                "all good".to_owned()
            } else {
                answer::counted(self.faults.len() as u64, "fault")
            }
        );
        if self.faults.is_empty() {
            return summary;
        }
        let rows = self.faults.iter().map(|fault| [fault.digest.clone(), fault.problem.clone()]);
        format!("{summary}\n{}", table(["blob", "problem"], rows))
    }
}

impl Blob {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Blob::Verify(command) => command.run(context).await,
        }
    }
}

impl Verify {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let request = admin::VerifyBlobsRequest {
            digests: self.digests.iter().map(|digest| digest.as_bytes().to_vec().into()).collect(),
        };
        let mut admin = context.admin()?;
        let bar = context.progress.bytes("reading blobs");
        let mut stream = admin.verify_blobs(request).await.map_err(grpc::failure)?.into_inner();
        let mut verified = Verified { blobs: 0, bytes: 0, faults: Vec::new() };
        let mut finished = false;
        while let Some(message) = stream.message().await.map_err(grpc::failure)? {
            Progress::set(&bar, message.bytes_checked, message.bytes_total);
            verified.blobs = message.blobs_checked;
            verified.bytes = message.bytes_checked;
            verified.faults.extend(
                message.faults.into_iter().map(|fault| Fault {
                    digest: hex::encode(&fault.digest),
                    problem: fault.problem,
                }),
            );
            finished = message.finished;
        }
        bar.finish_and_clear();
        if !finished {
            return Err(Exit::Unavailable.error("the node stopped before every blob was read"));
        }
        context.output.print(&verified)?;
        if verified.faults.is_empty() {
            return Ok(());
        }
        let count = verified.faults.len() as u64;
        Err(Exit::Failed.error(format!("{} found", answer::counted(count, "damaged blob"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_listed() {
        let fault = Fault { digest: "ab".repeat(32), problem: "piece 3 differs".to_owned() };
        let verified = Verified { blobs: 2, bytes: 2_048, faults: vec![fault] };
        let text = verified.text();
        assert!(text.starts_with("2 blobs read, 2.00 KiB: 1 fault\n"), "{text}");
        assert!(text.contains("piece 3 differs"), "{text}");
    }
}
