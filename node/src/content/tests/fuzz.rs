//! What sources send and receivers ask, as nobody honest would.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use patchmesh_proto::replication::{
    GetBlobsResponse, PieceRange, TransferOpen, TransferRequest, TransferResponse,
};
use patchmesh_topology::digest::Digest;
use tokio::runtime::{Builder, Runtime};
use tonic::Status;

use super::{Node, PIECE};
use crate::content::ask::is_note;
use crate::content::assemble::Assembler;
use crate::content::parent::next_blob;
use crate::content::{Server, Wanted};
use crate::fuzz::{Form, LISTS, Target, said, script, word};
use crate::store::Manifest;
use crate::store::manifest::ManifestBuilder;

/// Two pieces and a little.
const BLOB: usize = 2 * PIECE + 700;

/// Pieces that are asked for, in this order.
const ASKED: [u64; 3] = [2, 0, 1];

/// No answer takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes that tell where they stand.
fn blob(length: usize) -> Bytes {
    (0..length).map(|at| (at / 251 + at) as u8).collect()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

fn frame(piece: u64, offset: usize, data: &[u8]) -> TransferResponse {
    let data = Bytes::copy_from_slice(data);
    TransferResponse {
        piece,
        offset: offset as u32,
        data,
        sent_at: 0,
        held: String::new(),
        waited: 0,
    }
}

/// A frame without data whose clock says so many stands for so many right bytes:
/// whole pieces need no large inputs.
fn expand(frame: &mut TransferResponse, blob: &Bytes) {
    if frame.data.is_empty() && frame.sent_at > 0 {
        let start = (frame.piece as usize).saturating_mul(PIECE);
        let start = start.saturating_add(frame.offset as usize).min(blob.len());
        let length = usize::try_from(frame.sent_at).unwrap_or(usize::MAX).min(PIECE + 1);
        frame.data = blob.slice(start..start.saturating_add(length).min(blob.len()));
    }
}

fn assemble(input: &[u8], blob: &Bytes, manifest: &Manifest) -> String {
    let asked = ASKED.map(|piece| piece..piece + 1).to_vec();
    let mut assembler = Assembler::new(manifest.clone(), asked);
    let mut due = VecDeque::from(ASKED);
    let mut begun = Vec::new();
    for mut frame in said::<TransferResponse>(input) {
        expand(&mut frame, blob);
        if is_note(&frame) {
            continue;
        }
        begun.push(frame.data.clone());
        match assembler.push(frame) {
            Ok(None) => {}
            Ok(Some((piece, bytes))) => {
                assert_eq!(due.pop_front(), Some(piece), "a piece that was not due");
                assert_eq!(manifest.piece_length(piece), Ok(bytes.len() as u64));
                assert_eq!(begun.concat(), bytes, "other bytes than came");
                begun.clear();
                let start = piece as usize * PIECE;
                let is_good = blob[start..start + bytes.len()] == bytes;
                assert_eq!(manifest.verify_piece(piece, &bytes).is_ok(), is_good);
            }
            Err(deceit) => return word::<(), _>(&Err(deceit)),
        }
        assert_eq!(assembler.is_done(), due.is_empty());
    }
    format!("{} pieces", ["three", "two", "one", "no"][due.len()])
}

#[test]
fn frames() {
    let blob = blob(BLOB);
    let mut builder = ManifestBuilder::new();
    builder.update(&blob);
    let manifest = builder.finish();
    let large =
        |piece, offset, length| TransferResponse { sent_at: length, ..frame(piece, offset, b"") };
    let last = &blob[2 * PIECE..];
    let piece = PIECE as u64;
    let note = TransferResponse { held: "line".to_owned(), ..frame(0, 0, b"") };
    let seeds = [
        script(&[frame(2, 0, last), large(0, 0, piece), large(1, 0, piece)]),
        script(&[frame(2, 0, &last[..100]), note, frame(2, 100, &last[100..])]),
        script(&[frame(2, 0, last), large(0, 0, 5000), large(0, 5000, piece - 5000)]),
        script(&[frame(2, 0, last), frame(0, 0, &blob[..300]), frame(0, 200, &blob[200..300])]),
    ];
    Target::new("frames", Form::Fields)
        .with_words(&["closed", "control", "line", "node"])
        // Besides a piece: what this test keeps to compare with.
        .with_base(12 << 20)
        .run(seeds, |input| assemble(input, &blob, &manifest));
}

fn part(digest: &Digest, data: &[u8], last: bool) -> GetBlobsResponse {
    let digest = Bytes::copy_from_slice(digest.as_bytes());
    GetBlobsResponse { digest, absent: false, data: Bytes::copy_from_slice(data), last }
}

#[test]
fn batches() {
    let blobs = [blob(300), Bytes::new(), blob(3000)];
    let wanted = blobs.clone().map(|blob| Wanted::new(Digest::of(&blob), blob.len() as u64));
    let [first, second, third] = wanted.map(|one| one.digest);
    let absent = GetBlobsResponse { absent: true, ..part(&second, b"", true) };
    let seeds = [
        script(&[part(&first, &blobs[0], true), part(&second, b"", true)]),
        script(&[part(&first, &blobs[0], true), absent, part(&third, &blobs[2], true)]),
        script(&[
            part(&first, &blobs[0][..9], false),
            part(&first, &blobs[0][9..], true),
            part(&second, b"", true),
            part(&third, &blobs[2][..1000], false),
            part(&third, &blobs[2][1000..], true),
        ]),
    ];
    let runtime = runtime();
    let read = |input: &[u8]| {
        let parts = said::<GetBlobsResponse>(input);
        let mut parts = stream::iter(parts.into_iter().map(Ok::<_, Status>));
        let mut became = String::new();
        for wanted in wanted {
            let found = runtime.block_on(next_blob("hub", &mut parts, wanted));
            if let Ok(Some(bytes)) = &found {
                assert_eq!(Digest::of(bytes), wanted.digest);
                assert_eq!(bytes.len() as u64, wanted.length);
            }
            became += &word(&found);
            if found.is_err() {
                break;
            }
        }
        became
    };
    Target::new("batches", Form::Fields).with_factor(LISTS).run(seeds, read);
}

/// What a child says to a parent that sends.
#[test]
fn requests() {
    let node = Node::new();
    let blob = blob(PIECE + 700);
    let digest = node.store().put_blob(&blob).unwrap();
    let server = Server::new(node.content.clone(), |_| None);
    let open = TransferOpen {
        digest: Bytes::copy_from_slice(digest.as_bytes()),
        class: "normal".to_owned(),
        ..TransferOpen::default()
    };
    let asks = |start, end, grant| TransferRequest {
        open: None,
        ranges: vec![PieceRange { start, end }],
        grant,
    };
    let first = TransferRequest { open: Some(open.clone()), ..asks(1, 2, 100) };
    let held = TransferOpen { held: true, direct: true, ..open };
    let seeds = [
        script(&[first.clone(), asks(0, 0, 600)]),
        script(&[first.clone(), asks(0, 1, 5000), asks(1, 2, u64::MAX)]),
        script(&[TransferRequest { open: Some(held), ranges: vec![], grant: 0 }, first]),
    ];
    let runtime = runtime();
    let peer = "lyon".parse().unwrap();
    let read = |input: &[u8]| {
        let requests = said::<TransferRequest>(input);
        let granted = requests.iter().fold(0_u64, |all, request| all.saturating_add(request.grant));
        let requests = stream::iter(requests.into_iter().map(Ok));
        let sends = async {
            let mut frames = server.transfer(&peer, requests).await?;
            let mut sent = 0;
            while let Some(frame) = frames.next().await {
                let frame = frame?;
                sent += frame.data.len() as u64;
                assert!(sent <= granted, "{sent} bytes were sent of {granted} granted");
                let start = frame.piece as usize * PIECE + frame.offset as usize;
                assert_eq!(frame.data, blob[start..start + frame.data.len()]);
            }
            Ok::<_, Status>(())
        };
        let sends = async { tokio::time::timeout(PATIENCE, sends).await };
        word(&runtime.block_on(sends).expect("it hangs"))
    };
    Target::new("requests", Form::Fields)
        .with_words(&["critical", "normal", "background", "control"])
        .with_base(8 << 20)
        .run(seeds, read);
}
