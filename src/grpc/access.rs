//! Who may call what: the list of all methods. What isn't listed is refused.
//!
//! A new RPC gets a line here: its operation, and where its request names the node that it is done to. Who may do an
//! operation to which node is `ledger/actor.rs`'s business alone. The list is asked twice: the gate (`gate.rs`) lets
//! nobody in whose role never does this operation, before anything of the request is read; the service judges by the
//! node, once it is known. Tests walk the list: each method of `proto/` stands here, `ARCHITECTURE.md` shows the table
//! that [`table`] makes of it, and each of its cells is tried over a socket.

use std::fmt::Write as _;

use crate::ledger::actor::{Operation, Reach, Role, reach, reach_whole};
use crate::ledger::review::Move;

/// The package that all our services are in.
const PACKAGE: &str = "/budget.consolidation.v1.";

/// Who may call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Whoever reaches the port, without saying who they are: health and reflection, which tell nothing of any budget.
    Open,
    /// Whoever says who they are: form sets belong to nobody.
    Known,
    /// Whoever may do this to the node.
    May(Operation),
}

/// A method and who may call it.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// `SubmissionService/Submit`; of services that aren't ours, with the package.
    pub name: &'static str,
    /// Who may.
    pub guard: Guard,
    /// The field of the request that names the node that it is done to, from the outside in: `scope.node`. An empty
    /// node there is the asker's own. [`ITS_EVENTS`] stands for whose event it is. Without a field it is done to the bureau's
    /// node: to the service as a whole.
    pub node: &'static str,
}

const fn may(name: &'static str, operation: Operation, node: &'static str) -> Method {
    Method { name, guard: Guard::May(operation), node }
}

const fn known(name: &'static str) -> Method {
    Method { name, guard: Guard::Known, node: "" }
}

const fn open(name: &'static str) -> Method {
    Method { name, guard: Guard::Open, node: "" }
}

/// All methods.
pub const METHODS: &[Method] = &[
    may("SubmissionService/Submit", Operation::Submit, "header.slot.unit"),
    // Of a filing or of an adjustment, and who may file may adjust; which of them it is its header says.
    may("SubmissionService/DryRun", Operation::Adjust, "header.slot.unit"),
    may("SubmissionService/Adjust", Operation::Adjust, "header.slot.unit"),
    may("SubmissionService/Justify", Operation::Justify, "slot.unit"),
    may("SubmissionService/GetSubmission", Operation::Read, "slot.unit"),
    may("SubmissionService/ListSubmissions", Operation::Read, "node"),
    may("ControlFigureService/IssueControlFigures", Operation::IssueControl, ""),
    may("ControlFigureService/SplitControlFigures", Operation::SplitControl, "node"),
    may("ControlFigureService/CheckControlFigures", Operation::Read, "node"),
    may("ControlFigureService/ListControlFigures", Operation::Read, "node"),
    may("ControlFigureService/ListControlChanges", Operation::Read, "node"),
    may("ControlFigureService/GetHeadroom", Operation::Read, "node"),
    may("ConsolidationService/View", Operation::Read, "scope.node"),
    may("ConsolidationService/ListRows", Operation::Read, "scope.node"),
    may("ConsolidationService/Trace", Operation::Read, "scope.node"),
    may("ConsolidationService/Diff", Operation::Read, "node"),
    may("ConsolidationService/GetStatusBoard", Operation::Read, "scope.node"),
    may("ConsolidationService/Watch", Operation::Read, "scope.node"),
    may("RegistryService/ImportUnits", Operation::ImportUnits, ""),
    may("RegistryService/ListUnits", Operation::Read, "node"),
    may("RegistryService/PublishFormSet", Operation::PublishFormSet, ""),
    known("RegistryService/CheckFormSet"),
    known("RegistryService/ListFormSets"),
    known("RegistryService/GetFormSet"),
    may("ReviewService/OpenRound", Operation::OpenRound, ""),
    may("ReviewService/CloseRound", Operation::CloseRound, ""),
    known("ReviewService/ListRounds"),
    may("ReviewService/Withdraw", Operation::Withdraw, "target.slot.unit"),
    may("ReviewService/Return", Operation::Return, "submission.slot.unit"),
    may("ReviewService/GiveOpinion", Operation::GiveOpinion, "target.slot.unit"),
    may("ReviewService/ReviewFigures", Operation::ReviewFigures, "target.slot.unit"),
    may("ReviewService/Accept", Operation::Accept, "target.slot.unit"),
    may("ReviewService/Forward", Operation::Forward, "department"),
    may("ReviewService/Approve", Operation::Approve, "submission.slot.unit"),
    may("ReviewService/Reopen", Operation::Reopen, "submission.slot.unit"),
    may("ReviewService/GetReview", Operation::Read, "slot.unit"),
    may("AuditService/GetHistory", Operation::Read, "unit"),
    may("AuditService/GetCellHistory", Operation::Read, "node"),
    may("AuditService/ListFindings", Operation::Read, "node"),
    may("AuditService/ListEvents", Operation::Read, ""),
    may("AuditService/ExportJournal", Operation::Export, ""),
    may("AuditService/GetReceipt", Operation::Read, ITS_EVENTS),
    // A hash tells nothing of what is filed.
    known("AuditService/GetCheckpoint"),
    known("AuditService/GetInclusionProof"),
    known("AuditService/GetConsistencyProof"),
    known("AuditService/GetPublicKey"),
    // Load balancers and supervisors ask without a name; what the API looks like is no secret.
    open("/grpc.health.v1.Health/Check"),
    open("/grpc.health.v1.Health/Watch"),
    open("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"),
    open("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"),
];

/// Steps of review whose request may be about a department's aggregate instead: to that, another row of the table.
pub const OF_AGGREGATES: &[(&str, Move)] = &[
    ("ReviewService/Return", Move::Return),
    ("ReviewService/Approve", Move::Approve),
    ("ReviewService/Reopen", Move::Reopen),
];
/// The field of such a request that names the department.
pub const AGGREGATE_NODE: &str = "aggregate.department";

/// In place of a field: the request names an event, and the node is whose that is. The bureau's, if it is no unit's.
pub const ITS_EVENTS: &str = "position";

impl Method {
    /// Its path on the wire.
    pub fn path(&self) -> String {
        if self.name.starts_with('/') { self.name.to_owned() } else { format!("{PACKAGE}{}", self.name) }
    }
}

/// The method of a path, if it is listed.
pub(super) fn method(path: &str) -> Option<&'static Method> {
    let (ours, name) = path.strip_prefix(PACKAGE).map_or((false, path), |name| (true, name));
    METHODS.iter().find(|method| method.name == name && ours != name.starts_with('/'))
}

/// Who may call what, as a table for `ARCHITECTURE.md`: which nodes each role reaches by each method.
pub fn table() -> String {
    let mut text = String::from("| method | node |");
    for role in Role::ALL {
        let _ = write!(text, " {} |", role.as_str());
    }
    text.push_str("\n|---|---|");
    text.push_str(&"---|".repeat(Role::ALL.len()));
    text.push('\n');
    for method in METHODS {
        let node = match (method.guard, method.node) {
            (Guard::Open | Guard::Known, _) => "–".to_owned(),
            (Guard::May(_), "") => "bureau".to_owned(),
            (Guard::May(_), ITS_EVENTS) => "whose event it is".to_owned(),
            (Guard::May(_), field) => format!("`{field}`"),
        };
        let name = method.name.trim_start_matches('/');
        let _ = write!(text, "| `{name}` | {node} |");
        for role in Role::ALL {
            let reaches = match method.guard {
                Guard::Open => "open",
                Guard::Known => "all",
                Guard::May(operation) => match reach(role, operation) {
                    Reach::Own | Reach::Subtree if method.node.is_empty() => "–",
                    reach => reaches(reach),
                },
            };
            let _ = write!(text, " {reaches} |");
        }
        text.push('\n');
        for (_, step) in OF_AGGREGATES.iter().filter(|(of, _)| *of == method.name) {
            let _ = write!(text, "| `{name}/aggregate` | `{AGGREGATE_NODE}` |");
            for role in Role::ALL {
                let _ = write!(text, " {} |", reaches(reach_whole(role, *step)));
            }
            text.push('\n');
        }
    }
    text
}

fn reaches(reach: Reach) -> &'static str {
    match reach {
        Reach::Nowhere => "–",
        Reach::Own => "own",
        Reach::Below => "child",
        Reach::Subtree => "own, child",
        Reach::Everywhere => "all",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_has_no_method() {
        for method in METHODS {
            assert_eq!(super::method(&method.path()).map(|found| found.name), Some(method.name));
        }
        for path in [
            "",
            "/",
            "SubmissionService/Submit",
            "/SubmissionService/Submit",
            "/budget.consolidation.v1.SubmissionService/Submit/",
            "/budget.consolidation.v1./grpc.health.v1.Health/Check",
            "/budget.consolidation.v1.SubmissionService/Sub",
            "/budget.consolidation.v2.SubmissionService/Submit",
        ] {
            assert!(super::method(path).is_none(), "{path}");
        }
    }
}
