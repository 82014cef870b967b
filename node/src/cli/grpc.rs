//! The one map from gRPC status to a message for people and an exit code.

use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::exit::{Exit, Failure};
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

/// The exit code for a refused call.
pub(crate) fn exit_of(status: &Status) -> Exit {
    connection_error(status).map_or_else(|| exit(status.code()), connection_exit)
}

/// Why there was no connection to make the call on, if so.
fn connection_error(status: &Status) -> Option<&channel::Error> {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        cause = error.source();
    }
    None
}

fn connection_exit(error: &channel::Error) -> Exit {
    match error {
        channel::Error::Forbidden(_) | channel::Error::Untrusted { .. } => Exit::NoPermission,
        channel::Error::Url(..) => Exit::Usage,
        _ => Exit::Unavailable,
    }
}

fn exit(code: Code) -> Exit {
    match code {
        Code::Ok => Exit::Success,
        Code::InvalidArgument | Code::OutOfRange | Code::DataLoss => Exit::BadData,
        Code::NotFound => Exit::NotFound,
        Code::AlreadyExists => Exit::Exists,
        Code::PermissionDenied | Code::Unauthenticated => Exit::NoPermission,
        Code::FailedPrecondition => Exit::Refused,
        Code::Unavailable => Exit::Unavailable,
        Code::DeadlineExceeded | Code::ResourceExhausted | Code::Aborted => Exit::TryLater,
        Code::Cancelled => Exit::Interrupted,
        Code::Unknown | Code::Internal | Code::Unimplemented => Exit::Internal,
    }
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

    #[test]
    fn no_code_but_ok_succeeds() {
        for number in 1..=16 {
            assert_ne!(exit(Code::from(number)), Exit::Success, "{number}");
        }
    }
}
