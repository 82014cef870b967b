//! The one place where errors become gRPC status codes.
//!
//! The text is for a person: the error and its causes, in one line. A field
//! at fault is named in a `BadRequest` detail as well.

use std::error::Error;
use std::fmt::Display;
use std::str::FromStr;

use patchmesh_topology::approval::{self, Fault};
use patchmesh_topology::node::membership;
use patchmesh_topology::person;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::log::in_one_line;
use crate::primary::publisher;
use crate::primary::tokens;

/// `INVALID_ARGUMENT`, naming the field.
#[must_use]
pub fn field(name: &str, problem: &(impl Display + ?Sized)) -> Status {
    let details = ErrorDetails::with_bad_request_violation(name, problem.to_string());
    Status::with_error_details(Code::InvalidArgument, format!("{name}: {problem}"), details)
}

/// Refuses a comment that is too long or would garble a terminal.
///
/// # Errors
/// `INVALID_ARGUMENT`, naming the field.
pub fn check_comment(comment: &str) -> Result<(), Status> {
    match approval::is_plain(comment, approval::MAX_COMMENT) {
        true => Ok(()),
        false => Err(field("comment", &Fault::Comment)),
    }
}

/// `INTERNAL`, logged: a person has to look at this node.
#[must_use]
pub fn internal(error: &(dyn Error + 'static)) -> Status {
    tracing::error!(error, "a request failed inside this node");
    Status::internal(in_one_line(error))
}

/// What a refused change is to its caller.
pub trait Refusal: Error + Send + Sync + 'static {
    /// The status code that fits.
    fn code(&self) -> Code;
}

/// The status of a change that was not published.
#[must_use]
pub fn published<R: Refusal>(error: publisher::Error<R>) -> Status {
    match error {
        publisher::Error::Refused(refusal) => Status::new(refusal.code(), in_one_line(&refusal)),
        publisher::Error::Failed(fault) => match fault.as_ref() {
            // Not a fault of this node.
            publisher::Fault::Unproven(rejection) => {
                Status::new(rejection.code(), in_one_line(rejection))
            }
            fault => internal(fault),
        },
        publisher::Error::Stopped => {
            Status::unavailable("the node is shutting down; nothing was changed")
        }
    }
}

impl Refusal for membership::Rejection {
    fn code(&self) -> Code {
        match self {
            Self::NameTaken(_) => Code::AlreadyExists,
            Self::UnknownNode(_) => Code::NotFound,
            _ => Code::FailedPrecondition,
        }
    }
}

impl Refusal for person::Rejection {
    fn code(&self) -> Code {
        match self {
            Self::NameTaken(_) => Code::AlreadyExists,
            Self::Unknown(_) => Code::NotFound,
            Self::NoRole(_) | Self::TooManyRoles(_) => Code::InvalidArgument,
            _ => Code::FailedPrecondition,
        }
    }
}

impl Refusal for approval::Rejection {
    /// The first reason is the one told first.
    fn code(&self) -> Code {
        match self.faults.first() {
            Some(Fault::UnknownRevision(_) | Fault::UnknownGroup(_) | Fault::UnknownRollout(_)) => {
                Code::NotFound
            }
            Some(Fault::NoRevisions | Fault::NoComment | Fault::Comment) => Code::InvalidArgument,
            _ => Code::FailedPrecondition,
        }
    }
}

impl Refusal for tokens::Refusal {
    fn code(&self) -> Code {
        match self {
            Self::Mesh(rejection) => rejection.code(),
            Self::Person(rejection) => rejection.code(),
            Self::Via(_) => Code::NotFound,
            Self::Store(_) => Code::Internal,
            _ => Code::PermissionDenied,
        }
    }
}

/// A field that may be empty.
///
/// # Errors
/// INVALID_ARGUMENT, with the field and what is wrong.
pub(crate) fn some<T: FromStr<Err: Display>>(name: &str, text: &str) -> Result<Option<T>, Status> {
    let parsed = (!text.is_empty()).then(|| text.parse());
    parsed.transpose().map_err(|error| field(name, &error))
}
