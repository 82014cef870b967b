//! The exit codes of what only nodes, and those who order them about, get wrong.

use std::error::Error as StdError;

use super::Exit;
use crate::daemon::{OpenError, PrimaryError, RecoverError, promote};
use crate::succession::census;
use crate::succession::watch::Superseded;
use crate::{backup, config, store};

pub(super) fn of_cause(cause: &(dyn StdError + 'static)) -> Option<Exit> {
    if cause.is::<config::Error>() {
        return Some(Exit::Usage);
    }
    if let Some(store::Error::AlreadyExists { .. }) = cause.downcast_ref() {
        return Some(Exit::Exists);
    }
    match cause.downcast_ref() {
        Some(store::Error::Missing { .. }) => return Some(Exit::NotFound),
        Some(
            store::Error::Marker { .. }
            | store::Error::Record { .. }
            | store::Error::Damaged { .. },
        ) => return Some(Exit::BadData),
        _ => {}
    }
    if is_damaged_at_start(cause) {
        return Some(Exit::BadData);
    }
    if let Some(error) = cause.downcast_ref::<backup::Error>() {
        return of_backup(error);
    }
    if cause.is::<Superseded>() {
        return Some(Exit::Refused);
    }
    if let Some(fault) = cause.downcast_ref::<promote::Fault>() {
        return of_promotion(fault);
    }
    match cause.downcast_ref::<census::Error>() {
        Some(census::Error::ShutOut { .. }) => return Some(Exit::Refused),
        Some(census::Error::Silent(_)) => return Some(Exit::TryLater),
        Some(census::Error::Stopped) => return Some(Exit::Interrupted),
        None => {}
    }
    let is_refused = matches!(
        cause.downcast_ref(),
        Some(
            RecoverError::OldOneLives(_) | RecoverError::Superseded(_) | RecoverError::Replaced(_)
        )
    );
    is_refused.then_some(Exit::Refused)
}

/// Whether a node does not start since a file of its data folder is damaged.
fn is_damaged_at_start(cause: &(dyn StdError + 'static)) -> bool {
    matches!(cause.downcast_ref(), Some(PrimaryError::RepositoryKey { .. }))
        || matches!(cause.downcast_ref(), Some(OpenError::Metadata(_) | OpenError::Lacking(_)))
}

/// What a cause says itself comes from the chain.
fn of_promotion(fault: &promote::Fault) -> Option<Exit> {
    use promote::Fault;
    match fault {
        Fault::NoPrimary(_) => Some(Exit::NotFound),
        Fault::Taken(_) => Some(Exit::Exists),
        Fault::List(_)
        | Fault::OtherMesh { .. }
        | Fault::OtherCa
        | Fault::OtherRepositoryKey(_)
        | Fault::RepositoryKey { .. } => Some(Exit::BadData),
        Fault::RootKeys { .. } | Fault::Offline(_) | Fault::Tree(_) => Some(Exit::Refused),
        _ => None,
    }
}

fn of_backup(error: &backup::Error) -> Option<Exit> {
    use backup::Error;
    match error {
        Error::Damaged { .. } | Error::SourceDamaged(_) | Error::Newer { .. } => {
            Some(Exit::BadData)
        }
        Error::NoFolder(_) | Error::None(_) | Error::Unknown { .. } => Some(Exit::NotFound),
        Error::Foreign { .. } | Error::Inside(_) => Some(Exit::Usage),
        Error::Busy(_) => Some(Exit::TryLater),
        // Its cause says more.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_that_is_damaged_is_bad_data() {
        let lacking = crate::daemon::Error::Open(OpenError::Lacking(3));
        assert_eq!(crate::terminal::exit::of(&lacking.into()), Exit::BadData);
        let marker = store::Error::Marker { path: "/srv/data/format".into() };
        let error = crate::daemon::Error::Store(marker);
        assert_eq!(crate::terminal::exit::of(&error.into()), Exit::BadData);
    }

    #[test]
    fn a_file_of_settings_that_is_not_there_is_wrong_usage() {
        let config = config::Error::Absent("x.toml".into());
        let error = anyhow::Error::new(config).context("cannot serve");
        assert_eq!(crate::terminal::exit::of(&error), Exit::Usage);
    }
}
