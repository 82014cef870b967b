//! `patchmesh link`: what lines between nodes may carry, and when.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::civil::DateTime;
use patchmesh_proto::{admin, convert};
use patchmesh_topology::link::Class;
use patchmesh_topology::link::hours::Hours;
use patchmesh_topology::link::profile::{Allowed, Limits, Profile, Rule, Way, forecast};
use patchmesh_topology::link::rate::Rate;
use patchmesh_topology::link::zone::Zone;
use patchmesh_topology::name::NodeName;
use serde::Serialize;

use super::exit::Exit;
use super::output::{Answer, fields, table};
use super::{Context, connect, grpc};

/// Changes to come that `link test` lists.
const CHANGES: usize = 8;

#[derive(Debug, Subcommand)]
pub(crate) enum Link {
    Set(Set),
    Show(Show),
    Unset(Unset),
    Test(Test),
}

/// Set what the line between a node and its parents may carry
///
/// The whole profile is set: what is not given is as on a line without one.
/// Both ends keep to it. A rate is written such as 10Mbit/s, 800kbit/s or
/// 1.5MB/s; hours such as `Mon-Fri 08:00-18:00` or `22:00-06:00`, by the clock
/// of --zone. Where rules overlap, the strictest holds. Documents, and content
/// that cannot wait, pass at any time.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh link set lyon --down 20Mbit/s --up 2Mbit/s
  patchmesh link set lyon --zone Europe/Paris --down 20Mbit/s \\
    --down-at 'Mon-Fri 08:00-18:00 4Mbit/s' --bulk '19:00-06:00'

JSON:
  {\"node\", \"generation\"}")]
pub(crate) struct Set {
    /// The node below: the line is the one to its parents
    #[arg(value_name = "NODE")]
    of: NodeName,
    /// The zone of all hours here
    #[arg(long, value_name = "ZONE", default_value_t = Zone::default())]
    zone: Zone,
    /// Limit towards the node
    #[arg(long, value_name = "RATE", default_value_t = Rate::UNLIMITED)]
    down: Rate,
    /// Limit from the node upward
    #[arg(long, value_name = "RATE", default_value_t = Rate::UNLIMITED)]
    up: Rate,
    /// Another limit towards the node at some hours; may be repeated
    #[arg(long, value_name = "HOURS RATE", value_parser = rule)]
    down_at: Vec<Rule>,
    /// Another limit upward at some hours; may be repeated
    #[arg(long, value_name = "HOURS RATE", value_parser = rule)]
    up_at: Vec<Rule>,
    /// Hours outside of which normal and background content waits; may be repeated
    #[arg(long, value_name = "HOURS")]
    bulk: Vec<Hours>,
    /// Let critical content wait for those hours too
    #[arg(long)]
    critical_waits: bool,
    /// Class of what is fetched ahead: normal, or background to yield to all else
    #[arg(long, value_name = "CLASS", default_value_t = Class::Normal)]
    ahead: Class,
}

/// Show the profiles of lines, and what holds now
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh link show
  patchmesh link show lyon --output json

JSON:
  {\"links\": [{\"node\", \"zone\", \"down\": LIMITS, \"up\": LIMITS, \"bulk\": [HOURS], \"critical_waits\",
   \"ahead\", \"now\": {\"at\", \"down\", \"up\", \"bulk_open\"}}]}
  LIMITS: {\"default\", \"rules\": [{\"hours\", \"rate\"}]}")]
pub(crate) struct Show {
    /// Only the line of this node
    #[arg(value_name = "NODE")]
    of: Option<NodeName>,
}

/// Take the profile of a line away: it carries anything
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh link unset lyon

JSON:
  {\"node\", \"generation\"}")]
pub(crate) struct Unset {
    /// The node below
    #[arg(value_name = "NODE")]
    of: NodeName,
}

/// Say what a line would carry at some time, and how long bytes would take
///
/// Nothing is sent: it is worked out from the profile.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh link test lyon
  patchmesh link test lyon --at 2026-03-29T01:30 --bytes 4000000000
  patchmesh link test lyon --class critical --at 2026-11-25T08:00:00Z

JSON:
  {\"node\", \"zone\", \"at\", \"down\", \"up\", \"class\", \"passes\", \"passes_from\", \"bytes\", \"done\",
   \"changes\": [{\"at\", \"down\", \"up\", \"bulk_open\"}]}")]
pub(crate) struct Test {
    /// The node below
    #[arg(value_name = "NODE")]
    of: NodeName,
    /// When: an instant, or the clock of the line's zone [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Of which class the content is
    #[arg(long, value_name = "CLASS", default_value_t = Class::Normal)]
    class: Class,
    /// How many bytes are to go to the node
    #[arg(long, value_name = "COUNT")]
    bytes: Option<u64>,
}

/// `Mon-Fri 08:00-18:00 4Mbit/s`.
fn rule(text: &str) -> Result<Rule, String> {
    let (hours, rate) = text.trim().rsplit_once(' ').ok_or("write hours and then a rate")?;
    let hours = hours.trim().parse().map_err(|error| format!("{error}"))?;
    Ok(Rule { hours, rate: rate.parse().map_err(|error| format!("{error}"))? })
}

#[derive(Debug, Serialize)]
struct Changed {
    node: String,
    generation: u64,
    #[serde(skip)]
    what: &'static str,
}

impl Answer for Changed {
    fn text(&self) -> String {
        format!("The line of {} {} from generation {} on.\n", self.node, self.what, self.generation)
    }
}

#[derive(Debug, Serialize)]
struct Shown {
    links: Vec<One>,
}

#[derive(Debug, Serialize)]
struct One {
    node: String,
    zone: String,
    down: Direction,
    up: Direction,
    bulk: Vec<String>,
    critical_waits: bool,
    ahead: &'static str,
    now: Moment,
}

/// One direction.
#[derive(Debug, Serialize)]
struct Direction {
    default: String,
    rules: Vec<Ruled>,
}

#[derive(Debug, Serialize)]
struct Ruled {
    hours: String,
    rate: String,
}

/// What holds from some instant on.
#[derive(Debug, Serialize)]
struct Moment {
    at: String,
    down: String,
    up: String,
    bulk_open: bool,
}

#[derive(Debug, Serialize)]
struct Tested {
    node: String,
    zone: String,
    at: String,
    down: String,
    up: String,
    class: &'static str,
    passes: bool,
    passes_from: Option<String>,
    bytes: Option<u64>,
    done: Option<String>,
    changes: Vec<Moment>,
    #[serde(skip)]
    rules: [String; 2],
}

impl From<&Limits> for Direction {
    fn from(limits: &Limits) -> Self {
        let ruled =
            |rule: &Rule| Ruled { hours: rule.hours.to_string(), rate: rule.rate.to_string() };
        Self {
            default: limits.default.to_string(),
            rules: limits.rules.iter().map(ruled).collect(),
        }
    }
}

impl Direction {
    fn line(&self) -> String {
        let rules = self.rules.iter().map(|rule| format!("{} {}", rule.hours, rule.rate));
        std::iter::once(self.default.clone()).chain(rules).collect::<Vec<_>>().join("; ")
    }
}

/// By the clock of a zone, and which zone it is.
fn local(zone: &Zone, at: Timestamp) -> String {
    format!("{} {zone}", zone.wall(at).strftime("%Y-%m-%dT%H:%M:%S"))
}

impl Moment {
    fn of(profile: &Profile, at: Timestamp) -> Self {
        let holds = profile.at(at);
        Self {
            at: local(&profile.zone, at),
            down: holds.down.rate.to_string(),
            up: holds.up.rate.to_string(),
            bulk_open: holds.bulk_open,
        }
    }

    fn row(&self) -> [String; 4] {
        let bulk = if self.bulk_open { "passes" } else { "waits" };
        [self.at.clone(), self.down.clone(), self.up.clone(), bulk.to_owned()]
    }
}

impl One {
    fn of(node: &NodeName, profile: &Profile, now: Timestamp) -> Self {
        Self {
            node: node.to_string(),
            zone: profile.zone.to_string(),
            down: (&profile.down).into(),
            up: (&profile.up).into(),
            bulk: profile.bulk.iter().map(ToString::to_string).collect(),
            critical_waits: profile.critical_waits,
            ahead: profile.ahead.as_str(),
            now: Moment::of(profile, now),
        }
    }
}

impl Answer for Shown {
    fn text(&self) -> String {
        if self.links.is_empty() {
            return "No line has a profile: all carry anything at any time.\n".to_owned();
        }
        let parts = self.links.iter().map(|one| {
            let bulk = match (one.bulk.is_empty(), one.critical_waits) {
                (true, _) => "at any time".to_owned(),
                (false, false) => one.bulk.join("; "),
                (false, true) => format!("{}; critical content too", one.bulk.join("; ")),
            };
            let open = if one.now.bulk_open { "bulk passes" } else { "bulk waits" };
            fields([
                ("line of", Some(one.node.clone())),
                ("down", Some(one.down.line())),
                ("up", Some(one.up.line())),
                ("bulk", Some(bulk)),
                ("fetched ahead as", Some(one.ahead.to_owned())),
                ("zone", Some(one.zone.clone())),
                ("now", Some(format!("down {}, up {}, {open}", one.now.down, one.now.up))),
            ])
        });
        parts.collect::<Vec<_>>().join("\n")
    }
}

impl Answer for Tested {
    fn text(&self) -> String {
        let passes = match (self.passes, &self.passes_from) {
            (true, _) => "passes".to_owned(),
            (false, Some(at)) => format!("waits until {at}"),
            (false, None) => "never passes".to_owned(),
        };
        let bytes = self.bytes.map(|bytes| match &self.done {
            Some(done) => format!("{bytes} bytes would be there by {done}"),
            None => format!("{bytes} bytes: nothing limits them, or it would take years"),
        });
        let facts = fields([
            ("line of", Some(self.node.clone())),
            ("at", Some(self.at.clone())),
            ("down", Some(format!("{} ({})", self.down, self.rules[0]))),
            ("up", Some(format!("{} ({})", self.up, self.rules[1]))),
            (self.class, Some(passes)),
            ("forecast", bytes),
        ]);
        if self.changes.is_empty() {
            return facts;
        }
        let rows = self.changes.iter().map(Moment::row);
        format!("{facts}\n{}", table(["from", "down", "up", "bulk"], rows))
    }
}

impl Link {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Set(command) => command.run(context).await,
            Self::Show(command) => command.run(context).await,
            Self::Unset(command) => command.run(context).await,
            Self::Test(command) => command.run(context).await,
        }
    }
}

impl Set {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let profile = Profile {
            zone: self.zone,
            down: Limits { default: self.down, rules: self.down_at },
            up: Limits { default: self.up, rules: self.up_at },
            bulk: self.bulk,
            critical_waits: self.critical_waits,
            ahead: self.ahead,
        };
        let link = Some(convert::link_to_wire(&self.of, &profile));
        let mut client = connect::links(&connect::Target::choose(&context.global)?)?;
        let answer = client.set_link(admin::SetLinkRequest { link }).await;
        let generation = answer.map_err(grpc::failure)?.into_inner().generation;
        let node = self.of.to_string();
        context.output.print(&Changed { node, generation, what: "has this profile" })
    }
}

impl Unset {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let node = self.of.to_string();
        let mut client = connect::links(&connect::Target::choose(&context.global)?)?;
        let answer = client.unset_link(admin::UnsetLinkRequest { node: node.clone() }).await;
        let generation = answer.map_err(grpc::failure)?.into_inner().generation;
        context.output.print(&Changed { node, generation, what: "carries anything" })
    }
}

/// The profiles that a node knows.
async fn profiles(context: &Context) -> anyhow::Result<Vec<(NodeName, Profile)>> {
    let mut client = connect::links(&connect::Target::choose(&context.global)?)?;
    let answer = client.list_links(admin::ListLinksRequest {}).await.map_err(grpc::failure)?;
    let links = answer.into_inner().links.into_iter().map(convert::link);
    Ok(links.collect::<Result<_, _>>()?)
}

/// The profile of one line.
async fn profile(context: &Context, node: &NodeName) -> anyhow::Result<Profile> {
    let found = profiles(context).await?.into_iter().find(|(name, _)| name == node);
    found.map(|(_, profile)| profile).ok_or_else(|| {
        Exit::NotFound.error(format!("the line of {node} has no profile; it carries anything"))
    })
}

impl Show {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let links = match self.of {
            Some(node) => vec![(node.clone(), profile(context, &node).await?)],
            None => profiles(context).await?,
        };
        let now = Timestamp::now();
        let links = links.iter().map(|(node, profile)| One::of(node, profile, now)).collect();
        context.output.print(&Shown { links })
    }
}

impl Test {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let profile = profile(context, &self.of).await?;
        let at = match &self.at {
            None => Timestamp::now(),
            Some(text) => instant(text, &profile.zone)?,
        };
        context.output.print(&self.tested(&profile, at))
    }

    fn tested(&self, profile: &Profile, at: Timestamp) -> Tested {
        let holds = profile.at(at);
        let opens = profile.opens(self.class, at);
        let done = self.bytes.and_then(|bytes| {
            forecast(profile, Way::Down, self.class, bytes, at, None, Rate::UNLIMITED)
        });
        let mut changes = Vec::new();
        let mut next = profile.next_change(at);
        while let Some(at) = next.filter(|_| changes.len() < CHANGES) {
            changes.push(Moment::of(profile, at));
            next = profile.next_change(at);
        }
        let rule = |allowed: Allowed| {
            allowed.rule.map_or_else(|| "at other hours".to_owned(), |hours| hours.to_string())
        };
        Tested {
            node: self.of.to_string(),
            zone: profile.zone.to_string(),
            at: local(&profile.zone, at),
            down: holds.down.rate.to_string(),
            up: holds.up.rate.to_string(),
            class: self.class.as_str(),
            passes: opens == Some(at),
            passes_from: opens.map(|at| local(&profile.zone, at)),
            bytes: self.bytes,
            done: done.map(|at| local(&profile.zone, at)),
            changes,
            rules: [rule(holds.down), rule(holds.up)],
        }
    }
}

/// An instant, or a time by the clock of a zone.
fn instant(text: &str, zone: &Zone) -> anyhow::Result<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let wall: Option<DateTime> = text.parse().ok();
    wall.and_then(|wall| zone.instant(wall)).ok_or_else(|| {
        Exit::Usage.error(format!(
            "{text:?} is not a time; write 2026-11-25T08:00 for the clock of {zone}, or 2026-11-25T08:00:00Z"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn office() -> Profile {
        let night: Hours = "19:00-06:00".parse().expect("hours");
        Profile {
            zone: "Europe/Paris".parse().expect("a zone"),
            down: Limits {
                default: "20Mbit/s".parse().expect("a rate"),
                rules: vec![rule("Mon-Fri 08:00-18:00 4Mbit/s").expect("a rule")],
            },
            bulk: vec![night],
            ..Profile::default()
        }
    }

    #[test]
    fn a_profile_reads_as_it_was_given() {
        let node: NodeName = "lyon".parse().expect("a name");
        let at = "2026-11-25T09:00:00Z".parse().expect("a time");
        let text = Shown { links: vec![One::of(&node, &office(), at)] }.text();
        assert!(text.contains("20Mbit/s; Mon-Fri 08:00-18:00 4Mbit/s"), "{text}");
        assert!(text.contains("down 4Mbit/s, up unlimited, bulk waits"), "{text}");
        for odd in ["", "4Mbit/s", "Mon 4Mbit/s", "08:00-18:00 fast"] {
            assert!(rule(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_test_says_when_it_would_be_there() {
        let test = Test {
            of: "lyon".parse().expect("a name"),
            at: None,
            class: Class::Normal,
            bytes: Some(25_000_000),
        };
        let profile = office();
        // Summer time begins in Paris that night: 02:30 is not shown.
        let at = instant("2026-03-28T12:00", &profile.zone).expect("a time");
        let tested = test.tested(&profile, at);
        assert!(
            !tested.passes && tested.done.as_deref() == Some("2026-03-28T19:00:10 Europe/Paris")
        );
        assert_eq!(tested.changes[0].at, "2026-03-28T19:00:00 Europe/Paris");
        assert_eq!(tested.changes[1].at, "2026-03-29T06:00:00 Europe/Paris");
        assert!(tested.text().contains("waits until 2026-03-28T19:00:00"), "{}", tested.text());
        assert!(instant("tomorrow", &profile.zone).is_err());
    }
}
