//! Feeds: files that a person sends, and those that the primary fetches.

use jiff::Timestamp;
use patchmesh_proto::admin as wire;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_topology::name::FeedName;
use tonic::{Code, Status, Streaming};

use crate::assess::MAX_FILE;
use crate::assess::book::{self, Book};
use crate::assess::feeds::{Error, Feeds};
use crate::assess::import::{Collector, Kind, Refused};
use crate::log::in_one_line;
use crate::rpc::blocking;
use crate::rpc::status::{field, internal, published};
use crate::source::http::shown_text;

/// The most files of one import.
const MAX_FILES: u32 = 200_000;
/// The most bytes of one import.
const MAX_BYTES: u64 = 4 << 30;
/// The longest file name.
const MAX_NAME: usize = 1000;

use wire::import_feed_request::Part;

pub(super) async fn import(
    book: &Book,
    mut messages: Streaming<wire::ImportFeedRequest>,
) -> Result<wire::ImportFeedResponse, Status> {
    let options = match next(&mut messages).await? {
        Some(Part::Options(options)) => options,
        _ => return Err(field("options", "is missing")),
    };
    let kind = Kind::of(options.kind).ok_or_else(|| field("kind", "is no kind of feed"))?;
    let mut collector = Collector::new(kind);
    let mut file: Option<(String, Vec<u8>)> = None;
    let (mut files, mut bytes) = (0_u32, 0_u64);
    loop {
        match next(&mut messages).await? {
            Some(Part::File(name)) => {
                collector = read(collector, file.take()).await?;
                files += 1;
                if files > MAX_FILES || name.len() > MAX_NAME {
                    return Err(field(
                        "file",
                        &format!(
                            "more than {MAX_FILES} files, or a name of more than {MAX_NAME} bytes"
                        ),
                    ));
                }
                file = Some((name, Vec::new()));
            }
            Some(Part::Bytes(part)) => {
                let Some((name, content)) = &mut file else {
                    return Err(field("bytes", "come before the name of their file"));
                };
                bytes += part.len() as u64;
                if content.len() + part.len() > MAX_FILE || bytes > MAX_BYTES {
                    let problem = format!(
                        "{name} has more than {MAX_FILE} bytes, or all files have more than {MAX_BYTES}"
                    );
                    return Err(field("bytes", &problem));
                }
                content.extend_from_slice(&part);
            }
            Some(Part::Files(count)) if count == files => break,
            Some(Part::Files(_) | Part::Options(_)) => {
                return Err(field("files", "is not how many files there were"));
            }
            None => {
                return Err(field(
                    "files",
                    "is missing: the import was cut off; nothing has changed",
                ));
            }
        }
    }
    let collector = read(collector, file).await?;
    let content = collector.finish().map_err(|error| refused(&error))?;
    let outcome = book.import(content, options.accept_smaller).await.map_err(published)?;
    Ok(wire::ImportFeedResponse { outcome: Some(to_wire(kind, outcome)) })
}

async fn next(messages: &mut Streaming<wire::ImportFeedRequest>) -> Result<Option<Part>, Status> {
    let Some(message) = messages.message().await? else { return Ok(None) };
    message.part.map(Some).ok_or_else(|| field("part", "is missing"))
}

/// Reads a file on a blocking thread: a large one takes seconds.
async fn read(
    mut collector: Collector,
    file: Option<(String, Vec<u8>)>,
) -> Result<Collector, Status> {
    let Some((name, bytes)) = file else { return Ok(collector) };
    let work =
        tokio::task::spawn_blocking(move || collector.add(&name, &bytes).map(|()| collector));
    let read = work.await.map_err(|_| Status::unavailable("the node is shutting down"))?;
    read.map_err(|error| refused(&error))
}

fn refused(error: &Refused) -> Status {
    Status::invalid_argument(in_one_line(error))
}

fn to_wire(kind: Kind, outcome: book::Outcome) -> wire::ImportOutcome {
    wire::ImportOutcome {
        kind: kind.to_wire().into(),
        entries: outcome.entries,
        older: outcome.older,
        revisions_changed: outcome.changed,
        generation: outcome.generation,
    }
}

pub(super) async fn fetch(
    feeds: &Feeds,
    request: wire::FetchFeedRequest,
) -> Result<wire::FetchFeedResponse, Status> {
    let options = request.options.unwrap_or_default();
    let kind = Kind::of(options.kind).ok_or_else(|| field("kind", "is no kind of feed"))?;
    let outcome = feeds.fetch(kind, &request.url, options.accept_smaller).await.map_err(status)?;
    Ok(wire::FetchFeedResponse { outcome: Some(to_wire(kind, outcome)) })
}

pub(super) async fn add(
    feeds: &Feeds,
    request: wire::AddFeedRequest,
) -> Result<wire::AddFeedResponse, Status> {
    let feed = request.feed.ok_or_else(|| field("feed", "is missing"))?;
    let name = name(&feed.name)?;
    let kind = Kind::of(feed.kind).ok_or_else(|| field("kind", "is no kind of feed"))?;
    feeds.add(name, kind, &feed.url).await.map_err(status)?;
    Ok(wire::AddFeedResponse {})
}

pub(super) async fn list(feeds: &Feeds) -> Result<wire::ListFeedsResponse, Status> {
    let feeds = feeds.clone();
    let rows = blocking(move || feeds.all()).await?;
    let time = |second: i64| {
        let time = Timestamp::from_second(second).ok().filter(|_| second != 0);
        time.map(timestamp_to_wire)
    };
    let feeds = rows.into_iter().map(|(name, record)| wire::FeedRow {
        // Passwords are for the primary alone.
        feed: Some(wire::Feed { name, kind: record.kind, url: shown_text(&record.url) }),
        last_success_at: time(record.succeeded_at),
        last_attempt_at: time(record.attempted_at),
        problem: record.problem,
        failures: record.failures,
        entries: record.entries,
    });
    Ok(wire::ListFeedsResponse { feeds: feeds.collect() })
}

pub(super) async fn remove(
    feeds: &Feeds,
    request: &wire::RemoveFeedRequest,
) -> Result<wire::RemoveFeedResponse, Status> {
    feeds.remove(&name(&request.name)?).await.map_err(status)?;
    Ok(wire::RemoveFeedResponse {})
}

pub(super) async fn refresh(
    feeds: &Feeds,
    request: &wire::RefreshFeedsRequest,
) -> Result<wire::RefreshFeedsResponse, Status> {
    let all = {
        let feeds = feeds.clone();
        blocking(move || feeds.all()).await?
    };
    let is_asked = |feed: &&(String, _)| request.name.is_empty() || feed.0 == request.name;
    let asked: Vec<_> = all.iter().filter(is_asked).collect();
    if asked.is_empty() && !request.name.is_empty() {
        return Err(status(Error::Unknown(name(&request.name)?)));
    }
    let mut rows = Vec::new();
    for (feed, record) in asked {
        let mut row = wire::FeedRefresh { name: feed.clone(), ..Default::default() };
        match (feeds.refresh(&name(feed)?).await, Kind::of(record.kind)) {
            (Ok(Some(outcome)), Some(kind)) => row.outcome = Some(to_wire(kind, outcome)),
            (Ok(_), _) => row.unchanged = true,
            (Err(error), _) => row.problem = in_one_line(&error),
        }
        rows.push(row);
    }
    Ok(wire::RefreshFeedsResponse { feeds: rows })
}

fn name(text: &str) -> Result<FeedName, Status> {
    text.parse().map_err(|error| field("name", &error))
}

fn status(error: Error) -> Status {
    let code = match error {
        Error::Taken(_) => Code::AlreadyExists,
        Error::Unknown(_) | Error::Missing(_) => Code::NotFound,
        Error::Url(ref problem) => return field("url", problem),
        Error::Full | Error::Fetch(_) => Code::FailedPrecondition,
        Error::Refused(ref error) => return refused(error),
        Error::Book(error) => return published(error),
        Error::Stopped => Code::Unavailable,
        Error::Store(ref error) => return internal(error),
    };
    Status::new(code, in_one_line(&error))
}
