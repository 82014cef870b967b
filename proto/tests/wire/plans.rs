//! Strategies for plans and how far they have come.

use jiff::SignedDuration;
use patchmesh_topology::name::SiteGroupName;
use patchmesh_topology::node::UnknownWord;
use patchmesh_topology::revision::Severity;
use patchmesh_topology::rollout::brake::ask::{Ask, Asks, Whom};
use patchmesh_topology::rollout::deadline::Times;
use patchmesh_topology::rollout::exception::{Exceptions, Scope, Subject};
use patchmesh_topology::rollout::freeze::Freezes;
use patchmesh_topology::rollout::gate::{AtLeast, AtMost, Gate, OnBreach, Unreachable};
use patchmesh_topology::rollout::go_ahead::{GoAhead, GoAheads};
use patchmesh_topology::rollout::{
    Action, Admission, Control, Cycle, Exception, Freeze, Geographies, Limit, OnEmpty, Order,
    Policy, Priority, Progress, Rollout, RolloutSet, RolloutState, Share, Stop, StopKind, Wave,
    WaveState, WaveStateSet, What,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;

use super::models::{group, hours, revision_id, rollout_name, site, stage, time};

fn word<T: Copy + std::fmt::Debug + std::str::FromStr<Err = UnknownWord>>(
    all: &'static [T],
) -> impl Strategy<Value = T> {
    select(all)
}

fn share() -> impl Strategy<Value = Share> {
    (0..=10_000_u16).prop_map(|parts| Share::from_ten_thousandths(parts).expect("a share"))
}

fn duration() -> impl Strategy<Value = SignedDuration> {
    (0..1_000_000_i64, 0..1_000_000_000_i32)
        .prop_map(|(seconds, nanos)| SignedDuration::new(seconds, nanos))
}

fn gate() -> impl Strategy<Value = Gate> {
    let least = || {
        let least = (share(), any::<u64>());
        option::of(least.prop_map(|(share, min_sample)| AtLeast { share, min_sample }))
    };
    let most = (option::of(share()), option::of(any::<u64>()), any::<u64>())
        .prop_map(|(share, count, min_sample)| AtMost { share, count, min_sample });
    let unreachable = prop_oneof![
        Just(Unreachable::Block),
        duration().prop_map(Unreachable::Ignore),
        duration().prop_map(Unreachable::Fail),
    ];
    let ends = (duration(), any::<bool>(), unreachable, word(OnBreach::ALL));
    (least(), least(), option::of(most), ends).prop_map(
        |(min_reached, min_success, max_failed, (soak, operator, unreachable, on_breach))| Gate {
            min_reached,
            min_success,
            max_failed,
            soak,
            operator,
            unreachable,
            on_breach,
        },
    )
}

/// The groups of sites there are.
const SITE_GROUPS: [&str; 3] = ["harbours", "plants", "shops"];

fn site_group() -> impl Strategy<Value = SiteGroupName> {
    select(&SITE_GROUPS[..]).prop_map(|name| name.parse().expect("a name"))
}

fn wave() -> impl Strategy<Value = Wave> {
    let named = btree_set(site_group(), 0..3);
    let places = (vec(site(), 0..3), named, btree_set(group(), 0..3), 1..=10_000_u16);
    let times = (option::of(time()), vec(hours(), 0..3), vec(hours(), 0..3), option::of(time()));
    let rest = (gate(), word(OnEmpty::ALL), option::of(any::<u32>()), option::of(any::<u64>()));
    ("[a-z]{1,8}", places, times, rest).prop_map(|(name, places, times, rest)| {
        let (gate, on_empty, sites, machines) = rest;
        let (geographies, site_groups, groups, share) = places;
        let share = Share::from_ten_thousandths(share).expect("a share");
        let (not_before, windows, blackouts, released) = times;
        Wave {
            name,
            geographies: Geographies::new(geographies, site_groups),
            groups,
            share,
            not_before,
            limit: Limit { sites, machines },
            windows,
            blackouts,
            gate,
            released,
            on_empty,
        }
    })
}

fn what() -> impl Strategy<Value = What> {
    let severity = option::of(select(Severity::ALL));
    (btree_set(revision_id(), 0..3), severity, btree_set("[a-z]{1,9}", 0..3))
        .prop_map(|(revisions, severity, products)| What { revisions, severity, products })
}

fn deadline() -> impl Strategy<Value = Policy> {
    let time = || option::of(duration());
    let custom =
        (time(), time(), time(), time()).prop_map(|(critical, important, moderate, low)| {
            Policy::Custom(Times { critical, important, moderate, low })
        });
    prop_oneof![Just(Policy::Severity2004), Just(Policy::CisaBod2604), custom]
}

fn cycle() -> impl Strategy<Value = Cycle> {
    let nth = select(vec!["first", "second", "third", "fourth"]);
    let day = select(vec!["Monday", "Tuesday", "Sunday"]);
    (nth, day, 0..28_u8)
        .prop_map(|(nth, day, days)| format!("{nth} {day} + {days} days").parse().expect("a cycle"))
}

fn control() -> impl Strategy<Value = Control> {
    (word(Order::ALL), option::of(time()), time(), "[a-z]{0,9}", ".{0,20}")
        .prop_map(|(order, started, at, by, reason)| Control { order, started, at, by, reason })
}

fn rollout() -> impl Strategy<Value = Rollout> {
    let words = (word(Action::ALL), word(Priority::ALL), deadline(), option::of(cycle()));
    let rest = (any::<bool>(), vec(wave(), 1..4), control());
    (rollout_name(), stage(), what(), words, rest).prop_map(|(name, stage, what, words, rest)| {
        let ((action, priority, deadline, cycle), (offline, waves, control)) = (words, rest);
        Rollout { name, stage, what, action, priority, deadline, cycle, offline, waves, control }
    })
}

fn freezes() -> impl Strategy<Value = Freezes> {
    let freeze = (vec(site(), 0..3), time(), time(), ".{0,9}", any::<bool>()).prop_map(
        |(geographies, from, until, reason, spares_urgent)| Freeze {
            geographies,
            from,
            until,
            reason,
            spares_urgent,
        },
    );
    btree_map("[a-z]{1,9}".prop_map(|name| name.parse().expect("a name")), freeze, 0..3)
}

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        "[a-z]{1,9}".prop_map(|name| Scope::Machine(name.parse().expect("a name"))),
        group().prop_map(Scope::Group),
        site().prop_map(Scope::Site),
    ]
}

fn subject() -> impl Strategy<Value = Subject> {
    prop_oneof![
        Just(Subject::All),
        revision_id().prop_map(|id| Subject::Update(id.update.clone())),
        revision_id().prop_map(Subject::Revision),
    ]
}

fn exceptions() -> impl Strategy<Value = Exceptions> {
    let texts = (".{0,9}", ".{0,9}", ".{0,9}");
    let one = (scope(), subject(), texts, time(), time()).prop_map(
        |(scope, subject, (reason, workaround, owner), since, until)| Exception {
            scope,
            subject,
            reason,
            workaround,
            owner,
            since,
            until,
        },
    );
    btree_map("[a-z]{1,9}".prop_map(|name| name.parse().expect("a name")), one, 0..3)
}

fn go_aheads() -> impl Strategy<Value = GoAheads> {
    let one = (".{0,9}", time(), time()).prop_map(|(by, at, until)| GoAhead { by, at, until });
    btree_map((scope(), subject()), one, 0..3)
}

fn brake_asks() -> impl Strategy<Value = Asks> {
    let whom = prop_oneof![
        "[a-z]{1,9}".prop_map(|name| Whom::Node(name.parse().expect("a name"))),
        site().prop_map(Whom::Site),
    ];
    let ask = (".{0,9}", ".{0,9}", time()).prop_map(|(reason, by, at)| Ask { reason, by, at });
    btree_map(whom, ask, 0..3)
}

pub(crate) fn rollouts() -> impl Strategy<Value = RolloutSet> {
    let named = (any::<u64>(), vec(rollout(), 0..5), freezes(), exceptions());
    let places = vec(btree_set(site(), 1..3), SITE_GROUPS.len());
    let all = (named, places, brake_asks(), go_aheads());
    all.prop_map(|((version, rollouts, freezes, exceptions), places, brake_asks, go_aheads)| {
        let names = SITE_GROUPS.iter().map(|name| name.parse().expect("a name"));
        let mut set = RolloutSet {
            version,
            rollouts: rollouts.into_iter().map(|one| (one.name.clone(), one)).collect(),
            freezes,
            exceptions,
            brake_asks,
            go_aheads,
            site_groups: names.zip(places).collect(),
        };
        set.resolve().expect("every name is there");
        set
    })
}

pub(crate) fn wave_states() -> impl Strategy<Value = WaveStateSet> {
    let progress = prop_oneof![
        Just(Progress::Pending),
        time().prop_map(|since| Progress::Open { since }),
        (time(), time()).prop_map(|(since, at)| Progress::Passed { since, at }),
        time().prop_map(|at| Progress::Skipped { at }),
    ];
    let stop = || {
        let kind = select(StopKind::ALL);
        option::of((kind, time(), ".{0,9}").prop_map(|(kind, at, reason)| Stop {
            kind,
            at,
            reason,
        }))
    };
    let admission = (time(), option::of(time())).prop_map(|(at, finished)| Admission {
        at,
        finished: finished.map(|finished| finished.max(at)),
    });
    let wave = (progress, stop(), any::<u64>(), btree_map(site(), admission, 0..4)).prop_map(
        |(progress, paused, acknowledged, admitted)| WaveState {
            progress,
            paused,
            acknowledged,
            admitted,
        },
    );
    let state = (stop(), vec(wave, 0..4)).prop_map(|(stop, waves)| RolloutState { stop, waves });
    (any::<u64>(), btree_map(rollout_name(), state, 0..5))
        .prop_map(|(version, states)| WaveStateSet { version, states })
}
