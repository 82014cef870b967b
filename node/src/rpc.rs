//! The gRPC services and who may call them.

pub mod admin;
pub mod alerts;
pub mod assessments;
pub mod backup;
pub mod brakes;
pub mod compliance;
pub mod context;
mod inventories;
mod known;
pub mod lab;
mod legacy;
pub mod links;
pub mod machines;
pub mod networks;
pub mod parents;
pub mod people;
pub mod plans;
pub mod policies;
pub mod reboot_locks;
pub mod reports;
pub mod rights;
pub mod roles;
pub mod rollouts;
pub mod signatures;
pub mod standbys;
pub mod status;
pub mod subscriptions;
pub mod turns;

use tonic::Status;

/// Runs store work on a blocking thread and turns its error into a status.
///
/// # Errors
/// What `work` failed with, as `INTERNAL`, or `UNAVAILABLE` at shutdown.
pub async fn blocking<T, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Status>
where
    T: Send + 'static,
    E: std::error::Error + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(status::internal(&error)),
        Err(_) => Err(Status::unavailable("the node is shutting down")),
    }
}
