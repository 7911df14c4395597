//! Who acts, and what they may do.
//!
//! An actor is a node of the unit tree with a role, written `budget://407002/unit`. How it is proved
//! (a header on loopback, a certificate) is the business of `grpc/identity.rs`.

use std::fmt;

use super::review::{AggregateState, Move};
use crate::budget::submission::UnitCode;
use crate::budget::unit_tree::{BUREAU, Node, NodeRole, UnitTree, is_code};

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
        is_code(node).then(|| Actor { node: node.into(), role })
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
    /// Split one's own control figures among the nodes below.
    SplitControl,
    /// Go on without the lost end of the journal: by whoever starts the service, never by a request.
    GiveUpTail,
    /// Open a round, or move its deadline.
    OpenRound,
    /// Close a round.
    CloseRound,
    /// Take one's own submission back.
    Withdraw,
    /// Give a submission, or an aggregate, back.
    Return,
    /// Give an office's opinion.
    GiveOpinion,
    /// Set reviewed figures.
    ReviewFigures,
    /// Accept a submission.
    Accept,
    /// Seal a department's aggregate and send it to the bureau.
    Forward,
    /// Approve an aggregate or a submission.
    Approve,
    /// Undo the last step of review.
    Reopen,
    /// Change an approved budget.
    Adjust,
}

impl Operation {
    /// All operations.
    pub const ALL: [Operation; 20] = [
        Operation::Submit,
        Operation::IssueControl,
        Operation::ImportUnits,
        Operation::PublishFormSet,
        Operation::Read,
        Operation::Export,
        Operation::Justify,
        Operation::SplitControl,
        Operation::GiveUpTail,
        Operation::OpenRound,
        Operation::CloseRound,
        Operation::Withdraw,
        Operation::Return,
        Operation::GiveOpinion,
        Operation::ReviewFigures,
        Operation::Accept,
        Operation::Forward,
        Operation::Approve,
        Operation::Reopen,
        Operation::Adjust,
    ];

    /// The verb of the command line that does it.
    pub fn verb(self) -> &'static str {
        match self {
            Operation::Submit => "submit",
            Operation::IssueControl => "control issue",
            Operation::ImportUnits => "unit import",
            Operation::PublishFormSet => "form publish",
            Operation::Read => "view",
            Operation::Export => "backup",
            Operation::Justify => "justify",
            Operation::SplitControl => "control split",
            Operation::GiveUpTail => "serve",
            Operation::OpenRound => "round open",
            Operation::CloseRound => "round close",
            Operation::Withdraw => "withdraw",
            Operation::Return => "return",
            Operation::GiveOpinion => "opinion",
            Operation::ReviewFigures => "review",
            Operation::Accept => "accept",
            Operation::Forward => "forward",
            Operation::Approve => "approve",
            Operation::Reopen => "reopen",
            Operation::Adjust => "adjust",
        }
    }

    /// The step of review that it is, if it is one.
    pub fn step(self) -> Option<Move> {
        Move::ALL.iter().copied().find(|step| Operation::of_move(*step) == self)
    }

    /// The operation that a step of review is.
    pub fn of_move(step: Move) -> Operation {
        match step {
            Move::Withdraw => Operation::Withdraw,
            Move::Return => Operation::Return,
            Move::Accept => Operation::Accept,
            Move::Approve => Operation::Approve,
            Move::Reopen => Operation::Reopen,
        }
    }
}

/// How the node that something is done to lies to the actor's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Relation {
    /// It is the actor's own.
    Own,
    /// It stands below, however deep.
    Child,
    /// It stands above, however high.
    Parent,
    /// It stands beside: both have the same parent.
    Sibling,
    /// Anything else, nodes that don't exist included: nobody learns which of the two it is.
    Stranger,
}

impl Relation {
    /// All relations.
    pub const ALL: [Relation; 5] =
        [Relation::Own, Relation::Child, Relation::Parent, Relation::Sibling, Relation::Stranger];

    /// The name used in the table of who may do what.
    pub fn as_str(self) -> &'static str {
        match self {
            Relation::Own => "own",
            Relation::Child => "child",
            Relation::Parent => "parent",
            Relation::Sibling => "sibling",
            Relation::Stranger => "stranger",
        }
    }

    /// How `node` lies to `own` in the tree of the year, if there is one.
    pub fn of(own: &str, node: &str, tree: Option<&UnitTree>) -> Relation {
        if own == node {
            return Relation::Own;
        }
        let Some(tree) = tree else { return Relation::Stranger };
        let parent = |code: &str| tree.node(code).map(|node| &node.parent);
        if tree.contains(node) && tree.is_within(node, own) {
            Relation::Child
        } else if tree.contains(own) && tree.is_within(own, node) {
            Relation::Parent
        } else if parent(own).is_some_and(|above| parent(node) == Some(above)) {
            Relation::Sibling
        } else {
            Relation::Stranger
        }
    }
}

/// How far a role reaches with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nowhere: this role never does that.
    Nowhere,
    /// Its own node.
    Own,
    /// The nodes below its own, and not itself: what one's own filing must not be judged by.
    Below,
    /// Its own node and all below it.
    Subtree,
    /// Every node.
    Everywhere,
}

impl Reach {
    /// Whether it reaches nodes that lie so.
    pub fn covers(self, relation: Relation) -> bool {
        match self {
            Reach::Nowhere => false,
            Reach::Own => relation == Relation::Own,
            Reach::Below => relation == Relation::Child,
            Reach::Subtree => matches!(relation, Relation::Own | Relation::Child),
            Reach::Everywhere => true,
        }
    }
}

/// The table behind [`may`]: which role reaches how far with which operation.
///
/// Separation of duties is in here: who files (units, departments) never judges its own filing; the bureau judges, and files
/// nothing but additions to what is approved; auditors change nothing; administrators install, and look at anything.
pub fn reach(role: Role, operation: Operation) -> Reach {
    use Operation::{
        Accept, Adjust, Approve, CloseRound, Export, Forward, GiveOpinion, GiveUpTail, ImportUnits, IssueControl,
        Justify, OpenRound, PublishFormSet, Read, Reopen, Return, ReviewFigures, SplitControl, Submit, Withdraw,
    };
    use Role::{Administrator, Auditor, Bureau, Department, Unit};
    match (operation, role) {
        (GiveUpTail, _) => Reach::Nowhere,
        (Submit | Justify, Unit | Department) => Reach::Own,
        (Submit | Justify, Bureau | Auditor | Administrator) => Reach::Nowhere,
        (IssueControl, Bureau) => Reach::Everywhere,
        (IssueControl, Unit | Department | Auditor | Administrator) => Reach::Nowhere,
        // A unit with others below it splits too; one without finds nobody to give anything to.
        (SplitControl, Unit | Department) => Reach::Own,
        (SplitControl, Bureau | Auditor | Administrator) => Reach::Nowhere,
        (ImportUnits | PublishFormSet, Administrator | Bureau) => Reach::Everywhere,
        (ImportUnits | PublishFormSet, Unit | Department | Auditor) => Reach::Nowhere,
        // What stands below a unit is in its sums, and it answers for that as a department does.
        (Read, Unit | Department) => Reach::Subtree,
        (Read | Export, Bureau | Auditor | Administrator) => Reach::Everywhere,
        (Export, Unit | Department) => Reach::Nowhere,
        (OpenRound | CloseRound, Bureau) => Reach::Everywhere,
        (OpenRound | CloseRound, Unit | Department | Auditor | Administrator) => Reach::Nowhere,
        (Withdraw | Adjust, Unit | Department) | (Forward, Department) => Reach::Own,
        // An addition (追加) is the bureau's.
        (Adjust, Bureau) => Reach::Everywhere,
        // Nobody reviews what their own node filed.
        (Return | GiveOpinion | ReviewFigures | Accept | Approve, Department) => Reach::Below,
        // Which of these the bureau leaves to a department is decided with the step.
        (Return | GiveOpinion | ReviewFigures | Accept | Approve | Reopen, Bureau) => Reach::Everywhere,
        // Its own: the aggregate that it sealed.
        (Reopen, Department) => Reach::Subtree,
        (Return | GiveOpinion | ReviewFigures | Accept | Approve | Reopen | Forward, Unit)
        | (Withdraw | Forward, Bureau)
        | (
            Withdraw | Return | GiveOpinion | ReviewFigures | Accept | Forward | Approve | Reopen | Adjust,
            Auditor | Administrator,
        ) => Reach::Nowhere,
    }
}

/// Whether a role can be that of a node at all: bureau, auditors and administrators are the bureau's own, and nobody
/// else is; a department's node has no unit's role, and a department's role stands only where units are answered for.
pub fn fits(actor: &Actor, tree: Option<&UnitTree>) -> bool {
    let node = tree.and_then(|tree| tree.node(&actor.node));
    let meant = |node: &Node| match actor.role {
        Role::Bureau | Role::Auditor | Role::Administrator => false,
        Role::Unit => node.role == NodeRole::Unit,
        // A unit with units below it files their difference forms as a department does.
        Role::Department => {
            node.role == NodeRole::Department || tree.is_some_and(|tree| !tree.children(&node.code).is_empty())
        }
    };
    match actor.role {
        Role::Bureau | Role::Auditor | Role::Administrator => actor.node == BUREAU,
        Role::Unit | Role::Department => actor.node != BUREAU && node.is_none_or(meant),
    }
}

/// Who may do what: deny by default. Whose step of review it is, of those who may, say [`is_theirs`] and
/// [`is_theirs_whole`].
///
/// `node` is the node that it is done to; `tree` the tree of the year, if there is one.
pub fn may(actor: &Actor, operation: Operation, node: &str, tree: Option<&UnitTree>) -> bool {
    fits(actor, tree) && reach(actor.role, operation).covers(Relation::of(&actor.node, node, tree))
}

/// Whether there is any node that this actor may do it to: asked before a request is read.
pub fn may_somewhere(actor: &Actor, operation: Operation) -> bool {
    fits(actor, None) && reach(actor.role, operation) != Reach::Nowhere
}

/// A submission that a step of review is about, as far as that says whose step it is.
#[derive(Clone, Copy, Debug)]
pub struct Reviewed<'r> {
    /// Who filed it.
    pub unit: &'r str,
    /// Whether no department stands between who filed it and the bureau, which then does what a department would.
    pub next: bool,
    /// Whether it changes an approved version.
    pub adjusts: bool,
    /// Whether it is approved.
    pub approved: bool,
}

/// Whose step of review it is, of those whom [`may`] lets take it: nobody judges what their own node filed; a department
/// accepts and, once the bureau has approved the whole, approves its units; the bureau approves adjustments, and does both
/// where no department stands between. Who approved opens again.
pub fn is_theirs(actor: &Actor, step: Move, of: Reviewed<'_>) -> bool {
    let (bureau, own) = (actor.role == Role::Bureau, actor.node == of.unit);
    match step {
        Move::Withdraw => true,
        _ if own => false,
        Move::Return => true,
        Move::Accept => !bureau || of.next,
        Move::Approve => bureau == (of.adjusts || of.next),
        Move::Reopen => bureau || !of.approved || !(of.adjusts || of.next),
    }
}

/// How far a role reaches with a step of review on an aggregate (a whole department): the bureau decides upon all of
/// them, a department takes back its own.
pub fn reach_whole(role: Role, step: Move) -> Reach {
    match (step, role) {
        (Move::Return | Move::Approve | Move::Reopen, Role::Bureau) => Reach::Everywhere,
        (Move::Reopen, Role::Department) => Reach::Own,
        _ => Reach::Nowhere,
    }
}

/// [`may`], for a step on the aggregate of a department.
pub fn may_whole(actor: &Actor, step: Move, department: &str, tree: Option<&UnitTree>) -> bool {
    fits(actor, tree) && reach_whole(actor.role, step).covers(Relation::of(&actor.node, department, tree))
}

/// Whose step on an aggregate it is: the bureau decides upon it and opens again what it approved; until then the
/// department takes back what it sealed.
pub fn is_theirs_whole(actor: &Actor, step: Move, department: &str, from: AggregateState) -> bool {
    match (step, from) {
        (Move::Reopen, AggregateState::Forwarded) => actor.node == department,
        _ => actor.role == Role::Bureau,
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

    fn node(code: &str, parent: &str, role: NodeRole) -> crate::budget::unit_tree::Node {
        crate::budget::unit_tree::Node {
            code: code.into(),
            parent: parent.into(),
            name: code.to_owned(),
            role,
            unit_type: String::new(),
            funding: String::new(),
            division: String::new(),
            budgeted: true,
        }
    }

    #[test]
    fn nodes_lie_to_each_other_as_the_tree_has_them() {
        use NodeRole::{Department, Unit};
        let nodes = vec![
            node("407", "0", Department),
            node("407001", "407", Unit),
            node("407002", "407", Unit),
            node("407002001", "407002", Unit),
            node("508", "0", Department),
        ];
        let tree = UnitTree::new(1, nodes).unwrap();
        for (own, other, relation) in [
            ("407002", "407002", Relation::Own),
            ("407002", "407002001", Relation::Child),
            ("407", "407002001", Relation::Child),
            ("0", "508", Relation::Child),
            ("407002001", "407", Relation::Parent),
            ("407", "0", Relation::Parent),
            ("407002", "407001", Relation::Sibling),
            ("407", "508", Relation::Sibling),
            ("407002001", "407001", Relation::Stranger),
            ("407002", "508", Relation::Stranger),
            ("407002", "407999", Relation::Stranger),
            ("407999", "407002", Relation::Stranger),
            ("407999", "0", Relation::Stranger),
        ] {
            assert_eq!(Relation::of(own, other, Some(&tree)), relation, "{own} {other}");
            let blind = if own == other { Relation::Own } else { Relation::Stranger };
            assert_eq!(Relation::of(own, other, None), blind, "{own} {other}");
        }
        // A role that is not its node's is no role at all.
        for (text, fit) in [
            ("budget://407/department", true),
            ("budget://407002/unit", true),
            ("budget://407999/unit", true),
            // Only who has units below answers for any.
            ("budget://407002/department", true),
            ("budget://407001/department", false),
            ("budget://407/unit", false),
            ("budget://0/unit", false),
            ("budget://0/department", false),
            ("budget://0/auditor", true),
            ("budget://407/auditor", false),
        ] {
            let actor = Actor::parse(text).unwrap();
            assert_eq!(fits(&actor, Some(&tree)), fit, "{text}");
            assert_eq!(may(&actor, Operation::Read, &actor.node, Some(&tree)), fit, "{text}");
        }
    }

    #[test]
    fn duties_are_separate() {
        for operation in Operation::ALL {
            let changes = !matches!(operation, Operation::Read | Operation::Export);
            if changes {
                assert_eq!(reach(Role::Auditor, operation), Reach::Nowhere, "{operation:?}");
            }
            let installs = matches!(operation, Operation::ImportUnits | Operation::PublishFormSet);
            if changes && !installs {
                assert_eq!(reach(Role::Administrator, operation), Reach::Nowhere, "{operation:?}");
            }
            // Nobody reaches beside or above itself, except those whose node is above all.
            for role in [Role::Unit, Role::Department] {
                for relation in [Relation::Parent, Relation::Sibling, Relation::Stranger] {
                    assert!(!reach(role, operation).covers(relation), "{role:?} {operation:?} {relation:?}");
                }
            }
        }
        for role in [Role::Bureau, Role::Auditor, Role::Administrator] {
            assert_eq!(reach(role, Operation::Submit), Reach::Nowhere);
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
