//! The one map from gRPC status to an exit code.

use tonic::{Code, Status};

use super::Exit;
use crate::transport::channel;

/// The exit code for a refused call.
pub(crate) fn exit_of(status: &Status) -> Exit {
    connection_error(status).map_or_else(|| exit(status.code()), connection_exit)
}

/// Why there was no connection to make the call on, if so.
pub(crate) fn connection_error(status: &Status) -> Option<&channel::Error> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_but_ok_succeeds() {
        for number in 1..=16 {
            assert_ne!(exit(Code::from(number)), Exit::Success, "{number}");
        }
    }
}
