//! The unit tree of one year: who is below whom, and who files a budget.
//!
//! Versioned as a whole: an import replaces the year's tree, and a roll-up names the version that it used.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::reason::{Reason, Remark};
use super::submission::UnitCode;

/// The finance bureau's node, the root of every tree.
pub const BUREAU: &str = "0";

/// The longest name, type, funding and division of a node, in characters.
pub const NODE_TEXT_CHARS_MAX: usize = 200;
/// Bytes of the code of a node.
pub const CODE_BYTES_MAX: usize = 24;
/// The deepest tree that is taken.
pub const DEPTH_MAX: usize = 16;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeRole {
    /// 主管部门: sums up its units; its own body (本级) is a unit of its own below it.
    Department,
    /// 预算单位.
    Unit,
}

impl NodeRole {
    /// The name used in files and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            NodeRole::Department => "department",
            NodeRole::Unit => "unit",
        }
    }

    /// Reads that name.
    pub fn parse(text: &str) -> Option<NodeRole> {
        [NodeRole::Department, NodeRole::Unit].into_iter().find(|role| role.as_str() == text)
    }
}

/// One node as imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its code.
    pub code: UnitCode,
    /// The code above it; [`BUREAU`] for a department.
    pub parent: UnitCode,
    /// Its name.
    pub name: String,
    /// What it is.
    pub role: NodeRole,
    /// 单位类型: 行政, 参公, 事业; empty if it doesn't apply.
    pub unit_type: String,
    /// 经费形式: 全额, 差额, 自收自支; empty if it doesn't apply.
    pub funding: String,
    /// The bureau's responsible division.
    pub division: String,
    /// Whether it files a budget of its own and is expected to. If not, its money is in another filing.
    pub budgeted: bool,
}

/// The tree of one year.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitTree {
    /// Counts the imports of the year, from 1.
    pub version: u32,
    nodes: BTreeMap<UnitCode, Node>,
    children: BTreeMap<UnitCode, Vec<UnitCode>>,
    /// How many nodes at or below each file a budget.
    budgeted: BTreeMap<UnitCode, u32>,
}

/// Whether a text can be the code of a node: ASCII letters and digits.
pub fn is_code(text: &str) -> bool {
    !text.is_empty() && text.len() <= CODE_BYTES_MAX && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

impl UnitTree {
    /// Builds a tree from its nodes.
    ///
    /// # Errors
    /// `UNIT_TREE_INVALID` with the first node that is wrong: a code that is empty, too long, doubled or [`BUREAU`],
    /// a text that is missing, too long or has control characters, a parent that is not there, a circle, or more than
    /// [`DEPTH_MAX`] levels.
    pub fn new(version: u32, list: Vec<Node>) -> Result<UnitTree, Remark> {
        let invalid = |code: &str, problem: &str| {
            Remark::new(Reason::UnitTreeInvalid).with("code", code).with("problem", problem)
        };
        let mut nodes = BTreeMap::new();
        let mut children: BTreeMap<UnitCode, Vec<UnitCode>> = BTreeMap::new();
        if list.is_empty() {
            return Err(invalid("", "empty"));
        }
        for node in list {
            if !is_code(&node.code) || node.code == BUREAU {
                return Err(invalid(&node.code, "code"));
            }
            if node.name.trim().is_empty() {
                return Err(invalid(&node.code, "name"));
            }
            for text in [&node.name, &node.unit_type, &node.funding, &node.division] {
                if text.chars().count() > NODE_TEXT_CHARS_MAX || text.chars().any(char::is_control) {
                    return Err(invalid(&node.code, "text"));
                }
            }
            children.entry(node.parent.clone()).or_default().push(node.code.clone());
            let code = node.code.clone();
            if nodes.insert(code.clone(), node).is_some() {
                return Err(invalid(&code, "duplicate"));
            }
        }
        children.values_mut().for_each(|codes| codes.sort());
        let mut tree = UnitTree { version, nodes, children, budgeted: BTreeMap::new() };
        for node in tree.nodes.values() {
            if node.parent != BUREAU && !tree.nodes.contains_key(&node.parent) {
                return Err(invalid(&node.code, "parent").with("parent", &node.parent));
            }
            // A circle never reaches the root, so it shows as a path that is too deep.
            if tree.path(&node.code).len() > DEPTH_MAX {
                return Err(invalid(&node.code, "depth"));
            }
        }
        let mut budgeted: BTreeMap<UnitCode, u32> = BTreeMap::new();
        for node in tree.nodes.values().filter(|node| node.budgeted) {
            tree.path(&node.code).into_iter().for_each(|code| *budgeted.entry(code.into()).or_default() += 1);
        }
        tree.budgeted = budgeted;
        Ok(tree)
    }

    /// The node of that code.
    pub fn node(&self, code: &str) -> Option<&Node> {
        self.nodes.get(code)
    }

    /// Whether that code is in the tree; the bureau always is.
    pub fn contains(&self, code: &str) -> bool {
        code == BUREAU || self.nodes.contains_key(code)
    }

    /// The codes directly below, sorted.
    pub fn children(&self, code: &str) -> &[UnitCode] {
        self.children.get(code).map_or(&[], Vec::as_slice)
    }

    /// All nodes, sorted by code.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Node> {
        self.nodes.values()
    }

    /// The codes from `code` up to the bureau, both included.
    pub fn path<'t>(&'t self, code: &'t str) -> Vec<&'t str> {
        let mut path = vec![code];
        let mut at = code;
        while at != BUREAU && path.len() <= DEPTH_MAX {
            match self.nodes.get(at) {
                Some(node) => at = &node.parent,
                None => break,
            }
            path.push(at);
        }
        path
    }

    /// Whether `code` is `above` or stands below it.
    pub fn is_within(&self, code: &str, above: &str) -> bool {
        self.path(code).contains(&above)
    }

    /// The lowest node that both stand under.
    pub fn common_ancestor<'t>(&'t self, a: &'t str, b: &'t str) -> Option<&'t str> {
        let above_b: BTreeSet<&str> = self.path(b).into_iter().collect();
        self.path(a).into_iter().find(|code| above_b.contains(code))
    }

    /// How many nodes at or below `code` file a budget: kept, since every view says it.
    pub fn budgeted_count(&self, code: &str) -> u32 {
        self.budgeted.get(code).copied().unwrap_or(0)
    }

    /// The nodes at or below `code` that file a budget and come after the code `after`, in order, as they are asked for.
    pub fn budgeted_after<'t>(&'t self, code: &'t str, after: &str) -> impl Iterator<Item = &'t Node> + use<'t> {
        let rest = self.nodes.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        rest.map(|(_, node)| node).filter(move |node| node.budgeted && self.is_within(&node.code, code))
    }

    /// All nodes at or below `code` that file a budget, sorted by code.
    pub fn budgeted_below<'t>(&'t self, code: &str) -> Vec<&'t Node> {
        let mut found = Vec::new();
        let mut open: Vec<&str> = Vec::new();
        match self.nodes.get_key_value(code) {
            Some((code, _)) => open.push(code),
            None => open.extend(self.children(code).iter().map(UnitCode::as_str)),
        }
        while let Some(code) = open.pop() {
            found.extend(self.nodes.get(code).filter(|node| node.budgeted));
            open.extend(self.children(code).iter().map(UnitCode::as_str));
        }
        found.sort_by(|a, b| a.code.cmp(&b.code));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(code: &str, parent: &str) -> Node {
        Node {
            code: code.into(),
            parent: parent.into(),
            name: format!("单位{code}"),
            role: if parent == BUREAU { NodeRole::Department } else { NodeRole::Unit },
            unit_type: String::new(),
            funding: String::new(),
            division: String::new(),
            budgeted: parent != BUREAU,
        }
    }

    #[test]
    fn paths_lead_to_the_bureau() {
        let tree =
            UnitTree::new(1, vec![node("407002", "407"), node("407", "0"), node("407002001", "407002")]).unwrap();
        assert_eq!(tree.path("407002001"), ["407002001", "407002", "407", "0"]);
        assert_eq!(tree.common_ancestor("407002001", "407002"), Some("407002"));
        assert_eq!(tree.budgeted_below("0").len(), 2);
        for code in ["0", "407", "407002", "407002001", "9"] {
            let below: Vec<&Node> = tree.budgeted_after(code, "").collect();
            assert_eq!(
                (&below, below.len()),
                (&tree.budgeted_below(code), tree.budgeted_count(code) as usize),
                "{code}"
            );
        }
        assert_eq!(tree.budgeted_after("0", "407002").count(), 1);
        assert!(tree.is_within("407002001", "407") && !tree.is_within("407", "407002"));
    }

    #[test]
    fn wrong_trees_are_refused() {
        for (nodes, problem) in [
            (vec![], "empty"),
            (vec![node("407", "0"), node("407", "0")], "duplicate"),
            (vec![node("0", "0")], "code"),
            (vec![node("407001", "407")], "parent"),
            (vec![node("a", "b"), node("b", "a")], "depth"),
        ] {
            assert_eq!(UnitTree::new(1, nodes).unwrap_err().fact("problem"), Some(problem));
        }
    }
}
