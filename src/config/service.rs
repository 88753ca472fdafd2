//! `[[service]]`: resources that only make sense together.

use super::problem::Report;
use super::section::Section;
use crate::model::ResourceName;

/// Resources recovered to one point, with one RTO and one RPO: the strictest of their policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    /// At least one, each once, each a resource of the configuration.
    pub resources: Vec<ResourceName>,
}

/// Reads one service; `resources` are the names that the file declares.
pub(super) fn read(
    section: &Section<'_>,
    resources: &[&str],
    report: &Report<'_>,
) -> Option<Service> {
    section.refuse_unknown();
    let name: Option<ResourceName> = section.required("name");
    let members: Option<Vec<ResourceName>> = section.required("resources");
    section.demand(
        "resources",
        members.as_ref().is_none_or(|members| !members.is_empty()),
        || "the service has no resources".to_owned(),
        "Name at least one resource.",
    );
    let members = members?;
    for (at, member) in members.iter().enumerate() {
        let place = section.place_in("resources", at);
        if !resources.contains(&member.as_str()) {
            let hint = super::nearest::suggestion(member.as_str(), resources);
            report.missing(place, format!("there is no resource `{member}`"), hint);
        } else if members[..at].contains(member) {
            let what = format!("`{member}` stands twice in the service");
            report.wrong(place, what, "Keep one of them.");
        }
    }
    Some(Service { name: name?.to_string(), resources: members })
}
