//! FleetLock, as a client: a slot is taken before a restart and given back after it.

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tower::{Service, ServiceExt};

use super::{Error, Link, PATIENCE, one_line};
use crate::transport::channel;

/// The longest answer that is read.
const MAX_ANSWER: usize = 64 << 10;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A slot, to restart.
    PreReboot,
    /// That there is none any more.
    SteadyState,
}

impl Step {
    const fn path(self) -> &'static str {
        match self {
            Self::PreReboot => "/v1/pre-reboot",
            Self::SteadyState => "/v1/steady-state",
        }
    }
}

/// Why not, in the node's words.
#[derive(Debug, Deserialize)]
struct Refused {
    value: String,
}

impl Link {
    /// Takes a step for this machine.
    ///
    /// # Errors
    /// The node cannot be reached, or [`Error::NoSlot`].
    pub async fn fleet_lock(&self, step: Step, machine: &str, group: &str) -> Result<(), Error> {
        let unreachable = |why: String| Error::Unreachable { url: self.url.to_string(), why };
        let params = serde_json::json!({"client_params": {"id": machine, "group": group}});
        let request = Request::post(step.path())
            .header("fleet-lock-protocol", "true")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::new(http_body_util::Full::from(params.to_string())))
            .map_err(|error| unreachable(error.to_string()))?;
        let mut channel = self.channel.clone();
        let asked = async {
            let response = channel.ready().await?.call(request).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            Ok::<_, tonic::transport::Error>((
                head.status,
                body.map(|body| body.to_bytes()).unwrap_or_default(),
            ))
        };
        let silent = || unreachable(format!("no answer within {} s", PATIENCE.as_secs()));
        let (status, body) = timeout(PATIENCE, asked)
            .await
            .map_err(|_| silent())?
            .map_err(|error| unreachable(channel::explain(&Status::from_error(Box::new(error)))))?;
        if status == StatusCode::OK {
            return Ok(());
        }
        let said = serde_json::from_slice::<Refused>(&body).map(|refused| refused.value);
        let why = said.unwrap_or_else(|_| format!("it answers {status} {}", one_line(&body)));
        Err(Error::NoSlot { node: self.node.clone(), why })
    }
}
