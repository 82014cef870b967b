//! The one map from gRPC status to a message for people.

use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::exit::Failure;
use crate::terminal::exit::status::{connection_error, exit_of};
use crate::transport::channel;

/// What a refused call means to the user. The server's words are kept; where
/// they alone do not say what to do next, a hint follows.
pub(crate) fn failure(status: Status) -> Failure {
    let exit = exit_of(&status);
    if connection_error(&status).is_some() {
        return Failure { exit, message: channel::explain(&status), source: None };
    }
    let mut message = if status.message().is_empty() {
        status.code().description().to_owned()
    } else {
        status.message().to_owned()
    };
    for field in violations(&status) {
        if !message.contains(&field) {
            message.push_str("; ");
            message.push_str(&field);
        }
    }
    if let Some(hint) = hint(status.code()) {
        message.push_str(" (");
        message.push_str(hint);
        message.push(')');
    }
    Failure { exit, message, source: None }
}

fn hint(code: Code) -> Option<&'static str> {
    match code {
        Code::Unauthenticated => Some("name the credentials with `patchmesh remote add`"),
        Code::Unimplemented => Some("the node runs another version of patchmesh"),
        Code::Unavailable => Some("is `patchmesh serve` running there, and reachable?"),
        Code::DeadlineExceeded => {
            Some("the node did not answer in time; `patchmesh status` may say why")
        }
        _ => None,
    }
}

fn violations(status: &Status) -> Vec<String> {
    status
        .get_details_bad_request()
        .map(|details| {
            details
                .field_violations
                .into_iter()
                .map(|violation| format!("{}: {}", violation.field, violation.description))
                .collect()
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;
    use crate::terminal::exit::Exit;

    #[test]
    fn the_field_at_fault_is_named() {
        let details = ErrorDetails::with_bad_request_violation("site", "has an empty step");
        let status = Status::with_error_details(Code::InvalidArgument, "bad invitation", details);
        let failure = failure(status);
        assert_eq!(failure.exit, Exit::BadData);
        assert_eq!(failure.message, "bad invitation; site: has an empty step");
    }

    #[test]
    fn what_is_down_says_what_to_do() {
        let failure = failure(Status::unavailable("connection refused"));
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.message.contains("patchmesh serve"), "{}", failure.message);
    }

    #[tokio::test]
    async fn a_socket_without_a_node_is_unavailable() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = super::super::connect::Target::Local { data: folder.path().to_owned() };
        let mut admin = super::super::connect::admin(&target).expect("a client");
        let status = admin
            .get_status(patchmesh_proto::admin::GetStatusRequest {})
            .await
            .expect_err("nobody is there");
        let failure = failure(status);
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.message.contains("patchmesh serve"), "{}", failure.message);
    }
}
