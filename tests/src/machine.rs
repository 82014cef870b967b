//! A plain machine that reports: joins with a group token, keeps a queue, signs
//! batches and sends them until a node says that it holds them.
//!
//! It shares no code with the node but the generated messages: key, certificate
//! request, proof and signature are made here from their description. Its queue is
//! a list in memory, which [`Machine::reimaged`] throws away.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use aws_lc_rs::{digest, hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use patchmesh_proto::identity::identity_client::IdentityClient;
use patchmesh_proto::identity::{JoinRequest, JoinToken, RenewRequest};
use patchmesh_proto::report::reports_client::ReportsClient;
use patchmesh_proto::report::{
    Batch, Event, Fact, GreetRequest, Outcome, Phase, ReportRequest, ReportResponse, SignedBatch,
    Verdict,
};
use prost::Message;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::tls::{self, Certificate};

/// What a token begins with.
const PREFIX: &str = "pm1.";

/// Bytes of checksum behind a token.
const CHECKSUM: usize = 4;

/// Batches that a machine makes have at most so many events.
const EVENTS_PER_BATCH: usize = 20;

/// How long a node may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A machine that has joined.
pub struct Machine {
    /// Its name.
    pub name: String,
    /// The node that it reports to.
    pub url: String,
    /// Where it is, as the node told.
    pub site: String,
    mesh_id: String,
    group: String,
    key: KeyPair,
    certificate: Vec<u8>,
    /// Its one connection, made when it is first needed; it mends itself.
    client: Option<ReportsClient<Channel>>,
    queue: Queue,
    /// Events made, in the order of `Outcome`.
    made: [u64; 7],
}

/// What it has to report.
struct Queue {
    epoch: u64,
    began: Timestamp,
    events: Vec<Event>,
    /// Which of them a node holds.
    held: Vec<bool>,
}

impl Queue {
    fn new() -> Result<Self> {
        let mut epoch = [0; 8];
        rand::fill(&mut epoch).context("no random bytes")?;
        let epoch = u64::from_be_bytes(epoch);
        Ok(Self { epoch, began: Timestamp::now(), events: Vec::new(), held: Vec::new() })
    }
}

/// What is inside a token's text.
///
/// # Errors
/// When it is no token.
pub fn open_token(text: &str) -> Result<JoinToken> {
    let text = text.strip_prefix(PREFIX).context("not a token")?;
    let bytes = URL_SAFE_NO_PAD.decode(text)?;
    let body = bytes.len().checked_sub(CHECKSUM).context("too short")?;
    Ok(JoinToken::decode(&bytes[..body])?)
}

impl Machine {
    /// Joins with a token, at the node that it names.
    ///
    /// # Errors
    /// When the mesh refuses.
    pub async fn join(name: &str, token: &str) -> Result<Self> {
        Self::join_with(KeyPair::generate()?, name, token).await
    }

    async fn join_with(key: KeyPair, name: &str, token: &str) -> Result<Self> {
        let token = open_token(token)?;
        let asked = request(&key, name)?;
        let secret = digest::digest(&digest::SHA256, &token.secret);
        let proof_key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref());
        let parts: [&[u8]; 4] =
            [name.as_bytes(), token.group.as_bytes(), token.token_id.as_bytes(), &asked];
        let mut statement = b"patchmesh-join-machine-v1\0".to_vec();
        for part in parts {
            statement.extend_from_slice(&u32::try_from(part.len())?.to_be_bytes());
            statement.extend_from_slice(part);
        }
        let join = JoinRequest {
            machine: name.to_owned(),
            group: token.group.clone(),
            token_id: token.token_id.clone(),
            proof: hmac::sign(&proof_key, &statement).as_ref().to_vec().into(),
            certificate_request: asked.into(),
            ..JoinRequest::default()
        };
        let channel = tls::anonymous(&token.parent_url).await?;
        let answer = IdentityClient::new(channel).join(limited(join)).await?.into_inner();
        let ca = digest::digest(&digest::SHA256, &answer.ca_certificate);
        ensure!(ca.as_ref() == &token.ca_sha256[..], "the CA is not the token's");
        let mut machine = Self {
            name: name.to_owned(),
            url: answer.parent_url,
            site: String::new(),
            mesh_id: answer.mesh_id,
            group: token.group,
            key,
            certificate: answer.certificate.to_vec(),
            client: None,
            queue: Queue::new()?,
            made: [0; 7],
        };
        machine.greet().await?;
        Ok(machine)
    }

    /// Sets the machine up anew: its key, its certificate and its queue are lost,
    /// and it joins with another token under its old name. What it had made so far
    /// and no node holds is gone; so is it from [`Machine::made`].
    ///
    /// # Errors
    /// When the mesh refuses.
    pub async fn reimaged(self, token: &str) -> Result<Self> {
        let mut made = self.made;
        for (event, held) in self.queue.events.iter().zip(&self.queue.held) {
            if !held {
                made[event.outcome as usize] -= 1;
            }
        }
        let mut anew = Self::join(&self.name, token).await?;
        anew.made = made;
        Ok(anew)
    }

    /// Its group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The epoch of its queue.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.queue.epoch
    }

    /// Goes to another node, and learns where it is now.
    ///
    /// # Errors
    /// When that node refuses.
    pub async fn move_to(&mut self, url: &str) -> Result<()> {
        url.clone_into(&mut self.url);
        self.client = None;
        self.greet().await
    }

    async fn greet(&mut self) -> Result<()> {
        let answer = self.reports().await?.greet(limited(GreetRequest {})).await?;
        self.site = answer.into_inner().site;
        Ok(())
    }

    /// A client with its certificate.
    ///
    /// # Errors
    /// When the node cannot be reached.
    pub async fn reports(&mut self) -> Result<ReportsClient<Channel>> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let client = ReportsClient::new(self.channel(&self.url).await?);
        self.client = Some(client.clone());
        Ok(client)
    }

    /// A channel with its certificate.
    ///
    /// # Errors
    /// When the node cannot be reached.
    pub async fn channel(&self, url: &str) -> Result<Channel> {
        let key = self.key.serialize_der();
        let certificate = Certificate::new(self.certificate.clone(), key);
        tls::with_certificate(url, &certificate).await
    }

    /// Asks for a new certificate for its key.
    ///
    /// # Errors
    /// When the mesh refuses.
    pub async fn renew(&mut self) -> Result<()> {
        let renew = RenewRequest {
            machine: self.name.clone(),
            certificate_request: request(&self.key, &self.name)?.into(),
            ..RenewRequest::default()
        };
        let mut client = IdentityClient::new(self.channel(&self.url).await?);
        self.certificate = client.renew(limited(renew)).await?.into_inner().certificate.to_vec();
        self.client = None;
        Ok(())
    }

    /// Something happened: it is put into the queue.
    pub fn happened(&mut self, revision: &str, phase: Phase, outcome: Outcome, message: &str) {
        let now = Timestamp::now();
        self.queue.events.push(Event {
            revision: revision.to_owned(),
            phase: phase.into(),
            outcome: outcome.into(),
            code: if outcome == Outcome::Failure { -1 } else { 0 },
            message: message.to_owned(),
            at: Some(wire(now)),
        });
        self.queue.held.push(false);
        self.made[outcome as usize] += 1;
    }

    /// Events made so far by outcome, those of earlier lives that some node held
    /// included.
    #[must_use]
    pub fn made(&self) -> [u64; 7] {
        self.made
    }

    /// All of them.
    #[must_use]
    pub fn made_in_all(&self) -> u64 {
        self.made.iter().sum()
    }

    /// Events of the queue that no node is known to hold.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.held.iter().filter(|held| !**held).count()
    }

    /// The batch of these events of the queue; a part of it may be held already.
    #[must_use]
    pub fn batch(&self, first: usize, end: usize) -> Batch {
        Batch {
            mesh_id: self.mesh_id.clone(),
            machine: self.name.clone(),
            epoch: self.queue.epoch,
            epoch_began: Some(wire(self.queue.began)),
            first: first as u64,
            events: self.queue.events[first..end].to_vec(),
            site: self.site.clone(),
            facts: vec![Fact { name: "os".to_owned(), value: "test".to_owned() }],
            made_at: Some(wire(Timestamp::now())),
            rolled_up: None,
        }
    }

    /// Signs a batch, or whatever is taken for one.
    ///
    /// # Errors
    /// When the key cannot be used.
    pub fn seal(&self, batch: &[u8]) -> Result<SignedBatch> {
        self.seal_as("patchmesh-report-v1", batch)
    }

    /// The same with another word before it.
    ///
    /// # Errors
    /// When the key cannot be used.
    pub fn seal_as(&self, context: &str, batch: &[u8]) -> Result<SignedBatch> {
        let pkcs8 = self.key.serialize_der();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8)?;
        let signed = [context.as_bytes(), b"\0", batch].concat();
        let signature = key.sign(&rand::SystemRandom::new(), &signed).context("not signed")?;
        Ok(SignedBatch {
            batch: batch.to_vec().into(),
            certificate: self.certificate.clone().into(),
            signature: signature.as_ref().to_vec().into(),
            seen_from: String::new(),
        })
    }

    /// Sends batches as they are.
    ///
    /// # Errors
    /// When the node cannot be reached; what it says is inside.
    pub async fn send(
        &mut self,
        batches: Vec<SignedBatch>,
    ) -> Result<Result<ReportResponse, Status>> {
        let answer = self.reports().await?.report(limited(ReportRequest { batches })).await;
        Ok(answer.map(tonic::Response::into_inner))
    }

    /// Sends a sign of life and what waits in the queue, once. Whatever happens,
    /// what is not known to be held stays.
    ///
    /// # Errors
    /// When the node cannot be reached or does not take it.
    pub async fn report(&mut self) -> Result<()> {
        let mut batches = vec![self.batch(0, 0)];
        let mut next = 0;
        while let Some(step) = self.queue.held[next..].iter().position(|held| !held) {
            let first = next + step;
            let end = self.queue.held.len().min(first + EVENTS_PER_BATCH);
            batches.push(self.batch(first, end));
            next = end;
            if batches.len() == 40 {
                break;
            }
        }
        let sealed = batches.iter().map(|batch| self.seal(&batch.encode_to_vec()));
        let answer = self.send(sealed.collect::<Result<_>>()?).await??;
        ensure!(answer.answers.len() == batches.len(), "not every batch has an answer");
        for (batch, answer) in batches.iter().zip(&answer.answers) {
            if answer.verdict() != Verdict::Held {
                bail!("{} says {:?}: {}", self.url, answer.verdict(), answer.reason);
            }
            let first = usize::try_from(batch.first)?;
            self.queue.held[first..first + batch.events.len()].fill(true);
        }
        Ok(())
    }

    /// Takes for lost what nodes answered, as after a loss of the machine's power:
    /// everything is sent again.
    pub fn forget_answers(&mut self) {
        self.queue.held.fill(false);
    }
}

fn request(key: &KeyPair, name: &str) -> Result<Vec<u8>> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params.serialize_request(key)?.der().to_vec())
}

fn limited<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(TIMEOUT);
    request
}

/// A moment for the wire; none of ours is before 1970.
fn wire(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}
