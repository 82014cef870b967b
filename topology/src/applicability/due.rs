//! By when a machine goes on with what it has chosen.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{Choice, Standing};
use crate::revision::{RevisionId, UpdateId};

/// By when each choice is due, by its place: the earliest of its own deadline, of those of
/// what it replaces on this machine, and of those of what cannot go without it or asks for it
/// as a prerequisite. So what is replaced again and again before its deadline is due all the same.
///
/// `own` says the deadline of a revision by itself; it is asked for what the machine needs.
#[must_use]
pub fn due(
    choices: &[Choice<'_>],
    own: impl Fn(&RevisionId) -> Option<Timestamp>,
) -> Vec<Option<Timestamp>> {
    let mut dues: Vec<Option<Timestamp>> = choices
        .iter()
        .map(|choice| match choice.standing {
            Standing::Chosen | Standing::NotOffered | Standing::Superseded(_) => {
                own(&choice.revision.id)
            }
            Standing::TemporarilyUnavailable(_)
            | Standing::Held(_)
            | Standing::Taken(_)
            | Standing::Settled => None,
        })
        .collect();
    let places: HashMap<&RevisionId, usize> =
        (0..).zip(choices).map(|(place, choice)| (&choice.revision.id, place)).collect();
    let mut waiting: Vec<(Timestamp, usize)> =
        (0..).zip(&dues).filter_map(|(place, due)| Some(((*due)?, place))).collect();
    waiting.sort_unstable();
    let updates = match waiting.is_empty() {
        true => HashMap::new(),
        false => asked_for(choices),
    };
    // Whatever is due takes along what has to go with it, the earliest first: each place is
    // looked at once.
    let mut is_seen = vec![false; choices.len()];
    for (at, first) in waiting {
        let mut together = vec![first];
        while let Some(place) = together.pop() {
            if std::mem::replace(&mut is_seen[place], true) {
                continue;
            }
            dues[place] = dues[place].map_or(Some(at), |own| Some(own.min(at)));
            match choices[place].standing {
                Standing::Superseded(by) => together.extend(places.get(by)),
                Standing::Chosen => {
                    together.extend(&choices[place].needs);
                    for asked in &choices[place].revision.facts.prerequisites {
                        let named = updates.get(&asked.update).into_iter().flatten().copied();
                        together
                            .extend(named.filter(|one| asked.matches(&choices[*one].revision.id)));
                    }
                }
                _ => {}
            }
        }
    }
    dues
}

/// What would be installed or is replaced by it, by the updates that prerequisites name.
fn asked_for<'a>(choices: &'a [Choice<'_>]) -> HashMap<&'a UpdateId, Vec<usize>> {
    let all = choices.iter().flat_map(|choice| &choice.revision.facts.prerequisites);
    let mut updates: HashMap<&UpdateId, Vec<usize>> =
        all.map(|asked| (&asked.update, Vec::new())).collect();
    for (place, choice) in choices.iter().enumerate() {
        if matches!(choice.standing, Standing::Chosen | Standing::Superseded(_))
            && let Some(named) = updates.get_mut(&choice.revision.id.update)
        {
            named.push(place);
        }
    }
    updates
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::applicability::{State, Verdict};
    use crate::revision::{Facts, Reference, Revision};

    fn revision(id: &str) -> Revision {
        Revision {
            id: id.parse().unwrap(),
            title: String::new(),
            description: String::new(),
            architectures: Vec::new(),
            payloads: Vec::new(),
            facts: Facts::default(),
        }
    }

    fn choice<'a>(revision: &'a Revision, standing: Standing<'a>, needs: Vec<usize>) -> Choice<'a> {
        let verdict = Verdict { state: State::Applicable, reason: String::new() };
        Choice { revision, verdict, standing, parts: Vec::new(), needs }
    }

    fn at(second: i64) -> Option<Timestamp> {
        Some(Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn what_replaces_or_goes_with_something_is_due_with_it() {
        let ids = ["v:s/app@1", "v:s/app@2", "v:s/app@3", "v:s/lib@1", "v:s/base@1", "v:s/tool@1"];
        let revisions = ids.map(revision);
        let [app1, app2, app3, lib, base, tool] = &revisions;
        let choices = [
            choice(app1, Standing::Superseded(&app2.id), vec![]),
            choice(app2, Standing::Superseded(&app3.id), vec![]),
            choice(app3, Standing::Chosen, vec![3]),
            choice(lib, Standing::Chosen, vec![4]),
            choice(base, Standing::Chosen, vec![3]),
            choice(tool, Standing::Chosen, vec![]),
        ];
        let own = |id: &RevisionId| match id.to_string().as_str() {
            "v:s/app@1" => at(10),
            "v:s/app@3" => at(90),
            "v:s/base@1" => at(5),
            _ => None,
        };
        // `base` and `lib` need each other; `lib` is due with the earliest that needs it.
        assert_eq!(due(&choices, own), [at(10), at(10), at(10), at(5), at(5), None]);
        assert_eq!(due(&choices, |_| None), [None; 6]);
    }

    #[test]
    fn a_prerequisite_is_due_with_what_asks_for_it() {
        let mut revisions = ["v:s/stack@1", "v:s/stack@2", "v:s/app@1"].map(revision);
        let update = revisions[0].id.update.clone();
        revisions[2].facts.prerequisites = vec![Reference { update, version: None }];
        let [stack1, stack2, app] = &revisions;
        let choices = [
            choice(stack1, Standing::Superseded(&stack2.id), vec![]),
            choice(stack2, Standing::Chosen, vec![]),
            choice(app, Standing::Chosen, vec![]),
        ];
        let own = |id: &RevisionId| if *id == app.id { at(7) } else { None };
        assert_eq!(due(&choices, own), [at(7); 3]);
    }

    #[test]
    fn what_cannot_go_is_not_due() {
        let revisions = ["v:s/app@1", "v:s/tool@1", "v:s/other@1"].map(revision);
        let [app, tool, other] = &revisions;
        let choices = [
            choice(app, Standing::Held(vec!["app"]), vec![]),
            choice(tool, Standing::Settled, vec![]),
            choice(other, Standing::NotOffered, vec![]),
        ];
        assert_eq!(due(&choices, |_| at(7)), [None, None, at(7)]);
    }
}
