//! What a node serves to machines, and what building it took.

use patchmesh_proto::admin;
use serde::Serialize;

use crate::cli::answer;

/// What a group is served.
#[derive(Debug, Serialize)]
pub(super) struct ServedView {
    stage: &'static str,
    group: String,
    /// Names what is open; null where nothing is served or an old primary built.
    set: Option<String>,
    signed_at: Option<String>,
    pub(super) fit: &'static str,
}

impl From<admin::ServedView> for ServedView {
    fn from(view: admin::ServedView) -> Self {
        let is_named = view.set.iter().any(|byte| *byte != 0);
        Self {
            stage: answer::stage(view.stage()),
            fit: match view.fit() {
                admin::ViewFit::Own => "own",
                admin::ViewFit::Unstated => "unstated",
                admin::ViewFit::Less => "less",
                admin::ViewFit::Refused => "refused",
                admin::ViewFit::None => "none",
                admin::ViewFit::Unspecified => "unknown",
            },
            group: view.group,
            set: is_named.then(|| hex::encode(&view.set)),
            signed_at: answer::time(view.signed_at.as_ref()),
        }
    }
}

impl ServedView {
    /// For a person.
    pub(super) fn cells(&self) -> [String; 4] {
        let is = match self.fit {
            "unstated" => "the one for every site, made by an older primary",
            "less" => "less than is open here: there is no view of all of it yet",
            "refused" => "an earlier one: the present one has files that are not open here",
            "none" => "nothing: no view has only what is open here",
            "own" => "what is open here",
            other => other,
        };
        let signed = answer::or_dash(self.signed_at.as_deref());
        [self.stage.to_owned(), self.group.clone(), signed, is.to_owned()]
    }
}

/// How views were built last.
#[derive(Debug, Serialize)]
pub(super) struct ViewBuilding {
    sets: u64,
    views: u64,
    most_sets: u64,
    built: u64,
    seconds: f64,
    at: Option<String>,
}

impl From<admin::ViewBuilding> for ViewBuilding {
    fn from(building: admin::ViewBuilding) -> Self {
        Self {
            sets: building.sets,
            views: building.views,
            most_sets: building.most_sets,
            built: building.built,
            seconds: building.seconds,
            at: answer::time(building.at.as_ref()),
        }
    }
}

impl ViewBuilding {
    /// For a person; nothing before there was any.
    pub(super) fn text(&self) -> Option<String> {
        let at = self.at.as_ref()?;
        let sets = match self.most_sets {
            0 | 1 => String::new(),
            most => format!(", up to {most} for a group"),
        };
        Some(format!(
            "{}{sets}; {} built in {:.2} s at {at}",
            answer::counted(self.views, "view"),
            self.built,
            self.seconds
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_and_their_building_are_told() {
        let at = Some(std::time::SystemTime::UNIX_EPOCH.into());
        let building =
            admin::ViewBuilding { sets: 9, views: 4, most_sets: 3, built: 2, seconds: 0.25, at };
        let text = ViewBuilding::from(building).text().expect("built");
        assert!(
            text.starts_with("4 views, up to 3 for a group; 2 built in 0.25 s at 1970"),
            "{text}"
        );
        assert_eq!(ViewBuilding::from(admin::ViewBuilding::default()).text(), None);
        let view = admin::ServedView {
            group: "servers".into(),
            set: vec![0; 32].into(),
            fit: admin::ViewFit::Less.into(),
            ..admin::ServedView::default()
        };
        let view = ServedView::from(view);
        assert_eq!((view.set.as_deref(), view.fit), (None, "less"));
        assert!(view.cells()[3].contains("no view of all of it yet"));
    }
}
