//! Where a wave goes: sites with all below them, and named groups of such.
//!
//! Groups of sites stand beside the plans in the set that operators sign, so
//! nobody else can widen a wave by changing one. A plan keeps the names, and
//! what they stand for is looked up whenever a set is read or changed
//! ([`RolloutSet::resolve`]): whoever asks a plan sees places alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{MAX_LIST, Rollout, RolloutSet};
use crate::name::{RolloutName, Site, SiteGroupName};

/// The most groups of sites of a mesh.
pub const MAX_SITE_GROUPS: usize = 256;

/// The most places that the geographies of a wave come to.
pub const MAX_PLACES: usize = 5000;

/// Sites by the name of their group; none is empty.
pub type SiteGroups = BTreeMap<SiteGroupName, BTreeSet<Site>>;

/// The geographies of a wave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Geographies {
    sites: Vec<Site>,
    groups: BTreeSet<SiteGroupName>,
    /// All of it, as far as the names were looked up: first the sites, as they
    /// are written, then those of groups, by name.
    places: Vec<Site>,
}

/// A group of sites cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// There is none of this name.
    #[error("there is no group of sites {0}; `patchmesh site-group list` shows those there are")]
    Unknown(SiteGroupName),
    /// Together it is too much.
    #[error("its geographies come to more than {MAX_PLACES} places")]
    TooMany,
}

/// Why a group of sites is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It would stand for nothing.
    #[error("a group of sites has 1 to {MAX_LIST} sites, and this one would have {0}")]
    Size(usize),
    /// No such group.
    #[error("there is no group of sites {0}; `patchmesh site-group list` shows those there are")]
    Unknown(SiteGroupName),
    /// A plan names it.
    #[error("rollout {rollout} goes to group of sites {group}; it stays as long as the plan does")]
    Used {
        /// The group.
        group: SiteGroupName,
        /// The first plan that names it.
        rollout: RolloutName,
    },
    /// A plan that names it would become too large.
    #[error("rollout {0} cannot go there")]
    Wave(RolloutName, #[source] Unresolved),
    /// More than a mesh can have.
    #[error("the mesh has {MAX_SITE_GROUPS} groups of sites already; remove one first")]
    TooMany,
}

impl Geographies {
    /// These sites, and groups whose names are not looked up yet. Without any:
    /// everywhere.
    #[must_use]
    pub const fn new(sites: Vec<Site>, groups: BTreeSet<SiteGroupName>) -> Self {
        Self { sites, groups, places: Vec::new() }
    }

    /// The sites that are written out.
    #[must_use]
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The groups that are named.
    #[must_use]
    pub const fn groups(&self) -> &BTreeSet<SiteGroupName> {
        &self.groups
    }

    /// Everywhere.
    #[must_use]
    pub fn is_everywhere(&self) -> bool {
        self.sites.is_empty() && self.groups.is_empty()
    }

    /// All places it goes to; none: everywhere. Of a value whose names were not
    /// looked up, those written out.
    #[must_use]
    pub fn places(&self) -> &[Site] {
        if self.groups.is_empty() { &self.sites } else { &self.places }
    }

    /// Whether it goes to a site (`None`: to every one). Names that were not
    /// looked up go nowhere.
    #[must_use]
    pub fn hold(&self, site: Option<&Site>) -> bool {
        let is_there = |site: &Site| self.places().iter().any(|place| site.is_within(place));
        self.is_everywhere() || site.is_some_and(is_there)
    }

    /// Looks up what the names stand for.
    ///
    /// # Errors
    /// A group is not there, or all of it is too much; nothing is looked up then.
    pub fn resolve(&mut self, known: &SiteGroups) -> Result<(), Unresolved> {
        if self.groups.is_empty() {
            return Ok(());
        }
        self.places.clear();
        let mut named: BTreeSet<&Site> = BTreeSet::new();
        for name in &self.groups {
            named.extend(known.get(name).ok_or_else(|| Unresolved::Unknown(name.clone()))?);
        }
        if self.sites.len() + named.len() > MAX_PLACES {
            return Err(Unresolved::TooMany);
        }
        self.places = self.sites.iter().chain(named).cloned().collect();
        Ok(())
    }
}

impl From<Vec<Site>> for Geographies {
    fn from(sites: Vec<Site>) -> Self {
        Self::new(sites, BTreeSet::new())
    }
}

impl fmt::Display for Geographies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_everywhere() {
            return f.write_str("everywhere");
        }
        let groups = self.groups.iter().map(|group| format!("@{group}"));
        let said: Vec<String> = self.sites.iter().map(ToString::to_string).chain(groups).collect();
        f.write_str(&said.join(","))
    }
}

impl Rollout {
    /// Looks up what the names of its waves stand for.
    ///
    /// # Errors
    /// The name of the first wave that cannot go where it says.
    pub fn resolve(&mut self, known: &SiteGroups) -> Result<(), (String, Unresolved)> {
        for wave in &mut self.waves {
            wave.geographies.resolve(known).map_err(|fault| (wave.name.clone(), fault))?;
        }
        Ok(())
    }
}

impl RolloutSet {
    /// Looks up what the names of all plans stand for.
    ///
    /// # Errors
    /// The first plan that cannot go where it says.
    pub fn resolve(&mut self) -> Result<(), (RolloutName, Unresolved)> {
        for (name, rollout) in &mut self.rollouts {
            let resolved = rollout.resolve(&self.site_groups);
            resolved.map_err(|(_, fault)| (name.clone(), fault))?;
        }
        Ok(())
    }

    /// Lets a group stand for these sites. Plans that name it go there from now
    /// on.
    ///
    /// # Errors
    /// See [`Rejection`]; the set is not to be used then.
    pub fn set_site_group(
        &mut self,
        name: SiteGroupName,
        sites: BTreeSet<Site>,
    ) -> Result<(), Rejection> {
        if sites.is_empty() || sites.len() > MAX_LIST {
            return Err(Rejection::Size(sites.len()));
        }
        if !self.site_groups.contains_key(&name) && self.site_groups.len() >= MAX_SITE_GROUPS {
            return Err(Rejection::TooMany);
        }
        self.site_groups.insert(name, sites);
        self.resolve().map_err(|(rollout, fault)| Rejection::Wave(rollout, fault))
    }

    /// Forgets a group.
    ///
    /// # Errors
    /// There is none, or a plan names it.
    pub fn remove_site_group(&mut self, name: &SiteGroupName) -> Result<(), Rejection> {
        let names = |rollout: &&super::Rollout| {
            rollout.waves.iter().any(|wave| wave.geographies.groups.contains(name))
        };
        if let Some(rollout) = self.rollouts.values().find(names) {
            return Err(Rejection::Used { group: name.clone(), rollout: rollout.name.clone() });
        }
        let removed = self.site_groups.remove(name);
        removed.map(|_| ()).ok_or_else(|| Rejection::Unknown(name.clone()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::{Strategy, prop_assert_eq, proptest};
    use proptest::sample::select;

    use super::*;
    use crate::node::Stage;
    use crate::rollout::{Place, Rollout, Wave};

    const PLACES: [&str; 6] = ["emea", "emea/fr", "emea/fr/paris", "emea/de", "apac", "apac/jp"];

    fn site(text: &str) -> Site {
        text.parse().expect("a site")
    }

    fn name(text: &str) -> SiteGroupName {
        text.parse().expect("a name")
    }

    fn sites() -> impl Strategy<Value = BTreeSet<Site>> {
        btree_set(select(&PLACES[..]).prop_map(site), 1..4)
    }

    fn set_of(waves: Vec<Wave>) -> RolloutSet {
        let rollout: RolloutName = "spring".parse().expect("a name");
        let plan = Rollout::running(rollout.clone(), Stage::Production, waves);
        RolloutSet { rollouts: [(rollout, plan)].into(), ..RolloutSet::default() }
    }

    proptest! {
        /// A name is as good as what it stands for, written out.
        #[test]
        fn a_name_goes_where_its_sites_go(
            written in vec(select(&PLACES[..]).prop_map(site), 0..3),
            groups in vec(sites(), 1..3),
        ) {
            let names: Vec<_> = (0..groups.len()).map(|one| name(&format!("g{one}"))).collect();
            let mut wave = Wave::plain("all", Vec::new());
            wave.geographies = Geographies::new(written.clone(), names.iter().cloned().collect());
            prop_assert_eq!(wave.geographies.hold(Some(&site("emea"))), false, "not looked up");
            let mut set = set_of(Vec::new());
            for (name, sites) in names.iter().zip(&groups) {
                set.set_site_group(name.clone(), sites.clone()).expect("a group");
            }
            set.rollouts.values_mut().for_each(|plan| plan.waves.push(wave.clone()));
            set.resolve().expect("resolved");
            let plan = set.rollouts.values().next().expect("a plan");
            let all = written.iter().chain(groups.iter().flatten()).cloned().collect();
            let plain = Wave::plain("all", all);
            for place in PLACES.map(site) {
                let of = Place { site: Some(&place), ..Place::default() };
                prop_assert_eq!(plan.waves[0].covers(&plan.name, of), plain.covers(&plan.name, of));
            }
            prop_assert_eq!(plan.waves[0].covers(&plan.name, Place::default()), false);
        }
    }

    #[test]
    fn what_is_not_there_goes_nowhere_and_what_is_used_stays() {
        let mut wave = Wave::plain("all", Vec::new());
        wave.geographies = Geographies::new(Vec::new(), [name("plants")].into());
        let mut set = set_of(vec![wave]);
        let (rollout, fault) = set.resolve().expect_err("unknown");
        assert_eq!((rollout.as_str(), fault), ("spring", Unresolved::Unknown(name("plants"))));
        let wave = &set.rollouts[&rollout].waves[0];
        let somewhere = site("emea");
        assert!(!wave.geographies.hold(Some(&somewhere)) && !wave.geographies.hold(None));
        assert_eq!(wave.geographies.to_string(), "@plants");

        assert_eq!(set.set_site_group(name("plants"), [].into()), Err(Rejection::Size(0)));
        set.set_site_group(name("plants"), [site("apac")].into()).expect("a group");
        set.set_site_group(name("plants"), [site("emea")].into()).expect("another meaning");
        assert!(set.rollouts[&rollout].waves[0].geographies.hold(Some(&site("emea/fr"))));
        assert!(!set.rollouts[&rollout].waves[0].geographies.hold(Some(&site("apac"))));
        let used = Rejection::Used { group: name("plants"), rollout: rollout.clone() };
        assert_eq!(set.remove_site_group(&name("plants")), Err(used));
        set.rollouts.clear();
        assert_eq!(set.remove_site_group(&name("plants")), Ok(()));
        let unknown = Rejection::Unknown(name("plants"));
        assert_eq!(set.remove_site_group(&name("plants")), Err(unknown));
    }
}
