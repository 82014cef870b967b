//! How many requests each machine has in work at a time.
//!
//! Who sends without end keeps none of the others waiting. A turn begins before the body of a
//! request is read, so it bounds what a machine makes the node hold as well.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use patchmesh_topology::name::MachineName;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::identity::peer::Peer;
use crate::identity::places::Places;
use crate::reports::intake::COME_AGAIN;

/// Requests of one machine in work at a time. One that is answered by a stream is so no more
/// when the stream begins.
const MAX_TURNS: usize = 4;

/// Puts the bound before every route of a router of gRPC services.
pub fn take_turns(services: Router) -> Router {
    services.route_layer(from_fn_with_state(Places::default(), in_turn))
}

async fn in_turn(
    State(turns): State<Places<MachineName>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(Peer::Machine(machine)) = request.extensions().get() else {
        return next.run(request).await;
    };
    let Some(_turn) = turns.enter(machine, MAX_TURNS) else {
        let text = format!("{MAX_TURNS} requests of machine {machine} are in work: wait");
        return come_again(text).into_http();
    };
    next.run(request).await
}

/// `RESOURCE_EXHAUSTED`, and when to come again.
pub(super) fn come_again(text: String) -> Status {
    let hint = ErrorDetails::with_retry_info(Some(COME_AGAIN));
    Status::with_error_details(Code::ResourceExhausted, text, hint)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use axum::routing::post;
    use tokio::sync::Semaphore;
    use tower::ServiceExt;

    use super::*;

    fn request(machine: &str) -> Request {
        let mut request = Request::post("/call").body(Body::empty()).expect("a request");
        request.extensions_mut().insert(Peer::Machine(machine.parse().expect("a name")));
        request
    }

    fn status(response: &Response) -> Option<Status> {
        Status::from_header_map(response.headers())
    }

    #[tokio::test]
    async fn a_machine_that_sends_without_end_waits_for_itself_alone() {
        let (begun, may_end) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (begins, ends) = (begun.clone(), may_end.clone());
        let call = move || {
            let (begins, ends) = (begins.clone(), ends.clone());
            async move {
                begins.add_permits(1);
                let _end = ends.acquire().await;
            }
        };
        let services = take_turns(Router::new().route("/call", post(call)));
        let send = |machine| tokio::spawn(services.clone().oneshot(request(machine)));
        let loud: Vec<_> = (0..MAX_TURNS).map(|_| send("loud")).collect();
        let _ = begun.acquire_many(u32::try_from(MAX_TURNS).expect("few")).await;
        let refused = services.clone().oneshot(request("loud")).await.expect("an answer");
        let refused = status(&refused).expect("a status");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.get_error_details().retry_info().is_some());
        let quiet = send("quiet");
        may_end.add_permits(MAX_TURNS + 2);
        for one in loud.into_iter().chain([quiet]) {
            let answer = one.await.expect("no panic").expect("an answer");
            assert!(status(&answer).is_none(), "it had its turn");
        }
        let again = services.oneshot(request("loud")).await.expect("an answer");
        assert!(status(&again).is_none(), "its turns have ended");
    }
}
