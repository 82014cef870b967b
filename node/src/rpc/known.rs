//! Names that nobody has: questions and orders about them are refused, so that a mistyped
//! one is not taken for one where all is well.

use patchmesh_topology::compliance::Register;
use patchmesh_topology::name::{GroupName, MachineName, Site};
use patchmesh_topology::node::Mesh;
use patchmesh_topology::revision::RevisionId;
use patchmesh_topology::rollout::exception::Scope;
use patchmesh_topology::tally::{Area, Tallies};
use tonic::Status;

use super::context::Primary;

/// What there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unknown {
    /// Neither a node, a network nor a machine is there or below.
    #[error("there is no site {0}, and none below it; `patchmesh nodes` shows those there are")]
    Site(Site),
    /// Neither the mesh nor a machine has it.
    #[error("there is no group {0}; `patchmesh group list` shows those there are")]
    Group(GroupName),
    /// None of this name takes part: one that was shut out does not either.
    #[error("no machine {0} takes part; `patchmesh machine list` shows which do")]
    Machine(MachineName),
    /// Neither the catalogue has it, nor did a machine say anything about it.
    #[error("there is no revision {0}; `patchmesh update list` shows those there are")]
    Revision(RevisionId),
}

impl From<Unknown> for Status {
    fn from(unknown: Unknown) -> Self {
        Self::not_found(unknown.to_string())
    }
}

/// Refuses an area whose site or group there is not.
///
/// # Errors
/// Which of them.
pub(super) fn check_area(mesh: &Mesh, tallies: &Tallies, area: Area<'_>) -> Result<(), Unknown> {
    let has_machines = |area| tallies.known(area) > 0;
    if let Some(site) = area.site
        && !mesh.has_site(site)
        && !has_machines(Area { site: Some(site), group: None })
    {
        return Err(Unknown::Site(site.clone()));
    }
    if let Some(group) = area.group
        && mesh.group(group).is_none()
        && !has_machines(Area { site: None, group: Some(group) })
    {
        return Err(Unknown::Group(group.clone()));
    }
    Ok(())
}

/// Refuses a revision that is neither in the catalogue nor known to any machine.
///
/// # Errors
/// The first of them.
pub(super) fn check_revisions<'a>(
    in_catalogue: impl Fn(&RevisionId) -> bool,
    tallies: &Tallies,
    revisions: impl IntoIterator<Item = &'a RevisionId>,
) -> Result<(), Unknown> {
    let is_known = |one: &RevisionId| in_catalogue(one) || tallies.said(one).next().is_some();
    match revisions.into_iter().find(|one| !is_known(one)) {
        Some(one) => Err(Unknown::Revision(one.clone())),
        None => Ok(()),
    }
}

/// Refuses a machine that does not take part.
///
/// # Errors
/// That one.
fn check_machine(register: &Register, name: &MachineName) -> Result<(), Unknown> {
    match register.place(name) {
        Some(_) => Ok(()),
        None => Err(Unknown::Machine(name.clone())),
    }
}

/// Refuses an order for a machine, group or site that there is not.
///
/// # Errors
/// Which of them.
pub(super) fn check_scope(mesh: &Mesh, primary: &Primary, scope: &Scope) -> Result<(), Unknown> {
    let area = match scope {
        Scope::Machine(name) => return check_machine(&primary.ledger.register(), name),
        Scope::Group(group) => Area { site: None, group: Some(group) },
        Scope::Site(site) => Area { site: Some(site), group: None },
    };
    primary.ledger.read(|tallies| check_area(mesh, tallies, area))
}

#[cfg(test)]
mod tests {
    use patchmesh_topology::compliance::register::Told;
    use patchmesh_topology::tally::{Machine, Place};

    use super::*;
    use crate::primary::testing::TestPrimary;

    fn at(site: &str, group: &str) -> Machine {
        Machine::new(Place { site: site.parse().unwrap(), group: group.parse().unwrap() })
    }

    #[tokio::test]
    async fn a_place_that_neither_the_mesh_nor_a_machine_has_is_refused() {
        let primary = TestPrimary::start().await;
        let mesh = primary.current.get().mesh.clone();
        let mut tallies = Tallies::default();
        tallies.enter(&"pc-1".parse().unwrap(), &at("apac/jp/tokyo", "tills"));
        let check = |site: &str, group: &str| {
            let named = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let site: Option<Site> = named(site).map(|text| text.parse().unwrap());
            let group: Option<GroupName> = named(group).map(|text| text.parse().unwrap());
            check_area(&mesh, &tallies, Area { site: site.as_ref(), group: group.as_ref() })
        };
        let own = mesh.primary().unwrap().site.to_string();
        let group = mesh.groups.keys().next().unwrap().to_string();
        for (site, group) in [("", ""), (&own, ""), ("apac", "tills"), ("apac/jp/tokyo", &group)] {
            assert_eq!(check(site, group), Ok(()), "{site} {group}");
        }
        for site in ["apac/jp/tokyo/ginza", "apac/j", "emea/atlantis"] {
            let refused = check(site, "tills").unwrap_err();
            assert_eq!(refused, Unknown::Site(site.parse().unwrap()));
            let status = Status::from(refused);
            assert_eq!(status.code(), tonic::Code::NotFound);
            assert!(status.message().contains("`patchmesh nodes`"), "{status}");
        }
        assert_eq!(check("apac", "till"), Err(Unknown::Group("till".parse().unwrap())));
    }

    #[test]
    fn a_revision_that_nobody_has_heard_of_is_refused() {
        let known: RevisionId = "vendor:stable/app@1".parse().unwrap();
        let mistyped: RevisionId = "vendor:stable/app@2".parse().unwrap();
        let check = |ids: &[&RevisionId]| {
            let ids = ids.iter().copied();
            check_revisions(|one| *one == known, &Tallies::default(), ids)
        };
        assert_eq!(check(&[&known]), Ok(()));
        assert_eq!(check(&[&known, &mistyped]), Err(Unknown::Revision(mistyped.clone())));
    }

    #[test]
    fn a_machine_that_was_shut_out_takes_no_part() {
        let (mut register, name) = (Register::default(), "pc-1".parse().unwrap());
        register.put(&name, &at("emea", "tills"), Told::default());
        assert_eq!(check_machine(&register, &name), Ok(()));
        register.remove(&name);
        assert_eq!(check_machine(&register, &name), Err(Unknown::Machine(name)));
    }
}
