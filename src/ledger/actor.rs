//! Who acts, and what they may do.
//!
//! An actor is a node of the unit tree with a role, written `budget://407002/unit`. How it is proved
//! (a header on loopback, a certificate) is the business of `grpc/identity.rs`.

use std::fmt;

use crate::budget::submission::UnitCode;
use crate::budget::unit_tree::{BUREAU, UnitTree};

/// In what capacity somebody acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Files for its own unit.
    Unit,
    /// Answers for a department: reads its subtree, files its own budget and difference forms.
    Department,
    /// The finance bureau's budget section: reads all, issues control figures.
    Bureau,
    /// Reads all, changes nothing.
    Auditor,
    /// Installs: unit trees and form sets.
    Administrator,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 5] = [Role::Unit, Role::Department, Role::Bureau, Role::Auditor, Role::Administrator];

    /// The name used in identities.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Unit => "unit",
            Role::Department => "department",
            Role::Bureau => "bureau",
            Role::Auditor => "auditor",
            Role::Administrator => "administrator",
        }
    }
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actor {
    /// The node that they belong to.
    pub node: UnitCode,
    /// In what capacity.
    pub role: Role,
}

impl Actor {
    /// Reads `budget://407002/unit`.
    pub fn parse(text: &str) -> Option<Actor> {
        let (node, role) = text.strip_prefix("budget://")?.split_once('/')?;
        let role = Role::ALL.into_iter().find(|known| known.as_str() == role)?;
        let fits = !node.is_empty() && node.len() <= 24 && node.bytes().all(|b| b.is_ascii_alphanumeric());
        fits.then(|| Actor { node: node.into(), role })
    }

    /// The service itself, which publishes the form sets that it brings along.
    pub fn service() -> Actor {
        Actor { node: BUREAU.into(), role: Role::Administrator }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "budget://{}/{}", self.node, self.role.as_str())
    }
}

/// What is done. Idempotency keys count per actor and operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// File or dry-run a submission.
    Submit,
    /// Issue control figures.
    IssueControl,
    /// Import a unit tree.
    ImportUnits,
    /// Publish a form set.
    PublishFormSet,
    /// Read anything about a node.
    Read,
    /// Take away a copy of the whole journal.
    Export,
    /// Say why rules fail.
    Justify,
}

impl Operation {
    /// All operations.
    pub const ALL: [Operation; 7] = [
        Operation::Submit,
        Operation::IssueControl,
        Operation::ImportUnits,
        Operation::PublishFormSet,
        Operation::Read,
        Operation::Export,
        Operation::Justify,
    ];
}

/// The one place that says who may do what: deny by default.
///
/// `node` is the node that it is done to; `tree` the tree of the year, if there is one.
pub fn may(actor: &Actor, operation: Operation, node: &str, tree: Option<&UnitTree>) -> bool {
    let own = actor.node == node;
    // Bureau, auditors and administrators are the bureau's own: no other node can give itself their powers.
    if matches!(actor.role, Role::Bureau | Role::Auditor | Role::Administrator) && actor.node != BUREAU {
        return false;
    }
    let within = own || tree.is_some_and(|tree| tree.is_within(node, &actor.node));
    match (operation, actor.role) {
        (Operation::Submit | Operation::Justify, Role::Unit | Role::Department) => own,
        (Operation::IssueControl, Role::Bureau) => true,
        (Operation::ImportUnits | Operation::PublishFormSet, Role::Administrator | Role::Bureau) => true,
        (Operation::Read, Role::Unit) => own,
        (Operation::Read, Role::Department) => within,
        (Operation::Read | Operation::Export, Role::Bureau | Role::Auditor | Role::Administrator) => true,
        (Operation::Export, Role::Unit | Role::Department) => false,
        (Operation::Submit | Operation::Justify, Role::Bureau | Role::Auditor | Role::Administrator)
        | (Operation::IssueControl, Role::Unit | Role::Department | Role::Auditor | Role::Administrator)
        | (Operation::ImportUnits | Operation::PublishFormSet, Role::Unit | Role::Department | Role::Auditor) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bureaus_own_node_has_the_bureaus_roles() {
        for role in [Role::Bureau, Role::Auditor, Role::Administrator] {
            for operation in Operation::ALL {
                assert!(
                    !may(&Actor { node: "407002".into(), role }, operation, "407002", None),
                    "{role:?} {operation:?}"
                );
            }
            assert!(may(&Actor { node: BUREAU.into(), role }, Operation::Read, "407002", None));
        }
    }

    #[test]
    fn actors_read_back() {
        for text in ["budget://407002/unit", "budget://0/bureau"] {
            assert_eq!(Actor::parse(text).unwrap().to_string(), text);
        }
        for text in ["407002/unit", "budget://407002", "budget://407002/king", "budget:///unit", "budget://40 7/unit"] {
            assert_eq!(Actor::parse(text), None, "{text}");
        }
    }
}
