//! What a person at the machine asks of the agent that runs: over a socket in the
//! agent's folder, which nobody but its owner can enter. The agent that runs is the
//! only one that knows what is under way, so it does the work and answers.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use patchmesh_topology::node::mode::Asked;
use patchmesh_topology::revision::RevisionId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::state::{self, State};

const SOCKET: &str = "ask.sock";

/// The longest question: some thousand revisions by name.
const MAX_QUESTION: u64 = 1 << 20;

/// How long a question may take to come whole.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why nobody answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent's folder cannot be used.
    #[error(transparent)]
    State(#[from] state::Error),
    /// The socket failed, or the agent ended.
    #[error("the agent that runs did not answer; its log says more")]
    Silent(#[source] io::Error),
}

/// Where questions come in.
#[derive(Debug)]
pub struct Door {
    listener: Option<UnixListener>,
}

impl Door {
    /// Opens it for the one agent that runs. Where that fails nobody is heard, and the
    /// agent goes on.
    ///
    /// # Errors
    /// A folder that cannot be used.
    pub fn open(state: &State) -> Result<Self, state::Error> {
        let path = state.part("")?.join(SOCKET);
        // That of an agent that was killed.
        let _ = std::fs::remove_file(&path);
        let bound = UnixListener::bind(&path);
        if let Err(error) = &bound {
            tracing::warn!(%error, path = %path.display(), "nobody can ask this agent");
        }
        Ok(Self { listener: bound.ok() })
    }

    /// Waits for somebody. May be dropped and called again.
    pub async fn knock(&self) -> UnixStream {
        loop {
            let Some(listener) = &self.listener else { return std::future::pending().await };
            match listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) => {
                    tracing::warn!(%error, "nobody can ask this agent for a moment");
                    tokio::time::sleep(PATIENCE).await;
                }
            }
        }
    }
}

/// Somebody who waits for an answer.
#[derive(Debug)]
pub struct Asker {
    stream: UnixStream,
}

impl Asker {
    /// Reads the question; `None` where it is none.
    pub async fn read(mut stream: UnixStream) -> Option<(Self, Asked)> {
        let mut text = String::new();
        let mut question = (&mut stream).take(MAX_QUESTION);
        timeout(PATIENCE, question.read_to_string(&mut text)).await.ok()?.ok()?;
        let names: Vec<&str> = text.lines().collect();
        let asked = match names[..] {
            [] => return None,
            ["*"] => Asked::All,
            ref names => {
                let ids = names.iter().map(|name| name.parse::<RevisionId>());
                Asked::These(ids.collect::<Result<_, _>>().ok()?)
            }
        };
        Some((Self { stream }, asked))
    }

    /// Answers. Somebody who has gone does not need it.
    pub async fn answer(mut self, text: &str) {
        let _ = timeout(PATIENCE, self.stream.write_all(text.as_bytes())).await;
    }
}

/// Asks the agent that runs for all that waits for a person, or for these revisions.
/// `None` where none runs.
///
/// # Errors
/// [`Error`].
pub async fn ask(state: &State, revisions: &BTreeSet<RevisionId>) -> Result<Option<String>, Error> {
    let path = state.part("")?.join(SOCKET);
    let Ok(mut stream) = UnixStream::connect(&path).await else { return Ok(None) };
    let lines: Vec<String> = revisions.iter().map(ToString::to_string).collect();
    let question = if lines.is_empty() { "*".to_owned() } else { lines.join("\n") };
    let asking = async {
        stream.write_all(question.as_bytes()).await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        match answer.is_empty() {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => Ok(answer),
        }
    };
    asking.await.map(Some).map_err(Error::Silent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_runs_is_asked_and_answers_and_else_nobody_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = State::new(folder.path().to_owned());
        let named: BTreeSet<RevisionId> = [
            "vendor:stable/app@2".parse().expect("a revision"),
            "vendor:stable/tool@2".parse().expect("a revision"),
        ]
        .into();
        assert_eq!(ask(&state, &named).await.expect("asked"), None, "nobody runs");
        for (revisions, expected) in
            [(named.clone(), Asked::These(named.clone())), (BTreeSet::new(), Asked::All)]
        {
            // The second one comes after a killed one, whose socket is there still.
            let door = Door::open(&state).expect("a door");
            let answering = async {
                let (asker, asked) = Asker::read(door.knock().await).await.expect("a question");
                assert_eq!(asked, expected);
                asker.answer("done").await;
            };
            let (answer, ()) = tokio::join!(ask(&state, &revisions), answering);
            assert_eq!(answer.expect("answered").as_deref(), Some("done"));
        }
        // Whoever says nothing of use is heard no further, and is told so.
        let door = Door::open(&state).expect("a door");
        let path = folder.path().join(SOCKET);
        let saying = async {
            let mut stream = UnixStream::connect(path).await.expect("a stream");
            stream.write_all(b"no revision").await.expect("said");
            stream.shutdown().await.expect("said");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("ended");
            answer
        };
        let hearing = async { Asker::read(door.knock().await).await.is_none() };
        assert_eq!(tokio::join!(saying, hearing), (String::new(), true));
    }
}
