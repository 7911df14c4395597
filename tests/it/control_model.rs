//! Control figures once more, the plain way: whole 分, every sum made anew from who is below whom.

use std::collections::BTreeMap;

/// A ceiling in 分, and how it is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling {
    pub fen: i128,
    pub wan: bool,
    pub strength: Strength,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    Hard,
    Advisory,
    None,
}

/// One cell of a tree of nodes.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Who stands above each node.
    pub parents: BTreeMap<String, String>,
    /// The ceilings of nodes.
    pub ceilings: BTreeMap<String, Ceiling>,
    /// What nodes file themselves, in 分.
    pub own: BTreeMap<String, i128>,
}

impl Ceiling {
    /// What it leaves of a figure; 万元 round half away from nothing, once.
    pub fn left(&self, fen: i128) -> i128 {
        let (quantum, sign) = (if self.wan { 10_000 } else { 1 }, fen.signum());
        self.fen - sign * ((fen.abs() + quantum / 2) / quantum * quantum)
    }
}

impl Model {
    fn children(&self, node: &str) -> Vec<&String> {
        self.parents.iter().filter(|(_, parent)| *parent == node).map(|(child, _)| child).collect()
    }

    /// The node and all above it.
    pub fn path(&self, node: &str) -> Vec<String> {
        let mut path = vec![node.to_owned()];
        while let Some(parent) = path.last().and_then(|last| self.parents.get(last)) {
            path.push(parent.clone());
        }
        path
    }

    /// What a node files and those below it claim.
    pub fn demand(&self, node: &str) -> i128 {
        let below: i128 = self.children(node).into_iter().map(|child| self.claim(child)).sum();
        self.own.get(node).copied().unwrap_or(0) + below
    }

    fn claim(&self, node: &str) -> i128 {
        match self.ceilings.get(node) {
            None => self.demand(node),
            Some(Ceiling { fen, strength: Strength::Hard, .. }) => *fen,
            Some(Ceiling { fen, .. }) => self.demand(node).max(*fen),
        }
    }

    /// The ceilings of the nearest nodes below that have one.
    pub fn split(&self, node: &str) -> i128 {
        let share = |child: &String| self.ceilings.get(child).map_or_else(|| self.split(child), |ceiling| ceiling.fen);
        self.children(node).into_iter().map(share).sum()
    }

    /// Whether a node claims its ceiling and no more.
    fn is_kept(&self, node: &str) -> bool {
        self.ceilings
            .get(node)
            .is_some_and(|ceiling| ceiling.strength == Strength::Hard || self.demand(node) <= ceiling.fen)
    }

    /// How far a node is above its ceiling.
    pub fn overshoot(&self, node: &str) -> i128 {
        self.ceilings.get(node).map_or(0, |ceiling| (-ceiling.left(self.demand(node))).max(0))
    }

    /// Who files under a node's ceiling.
    pub fn drawers(&self, node: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![node.to_owned()];
        while let Some(at) = open.pop() {
            if at != node && self.is_kept(&at) {
                continue;
            }
            open.extend(self.children(&at).into_iter().cloned());
            if self.own.get(&at).copied().unwrap_or(0) > 0 {
                found.push(at);
            }
        }
        found.sort();
        found
    }

    /// What is left to a unit that files so much, under each ceiling that judges it.
    pub fn judge(&self, unit: &str, fen: i128) -> Vec<(String, Strength, i128)> {
        let mut after = self.clone();
        after.own.insert(unit.to_owned(), fen);
        let mut found = Vec::new();
        for node in self.path(unit) {
            let Some(ceiling) = after.ceilings.get(&node) else { continue };
            found.push((node.clone(), ceiling.strength, ceiling.left(after.demand(&node))));
            if ceiling.strength == Strength::Hard || after.claim(&node) == self.claim(&node) {
                break;
            }
        }
        found.retain(|(_, strength, _)| *strength != Strength::None);
        found
    }

    /// Whether a filing of so much is refused.
    pub fn refuses(&self, unit: &str, fen: i128) -> bool {
        let over = |(_, strength, left): &(String, Strength, i128)| *strength == Strength::Hard && *left < 0;
        fen > 0 && self.judge(unit, fen).iter().any(over)
    }

    /// The nodes with a ceiling that split more than they have.
    pub fn beyond(&self) -> Vec<String> {
        let beyond = |(node, ceiling): &(&String, &Ceiling)| self.split(node) > ceiling.fen;
        self.ceilings.iter().filter(beyond).map(|(node, _)| node.clone()).collect()
    }

    /// The nodes with a hard ceiling that are further above it than they were, and have somebody to name.
    pub fn newly_over(&self, before: &Model) -> Vec<String> {
        let hard = |node: &&String| self.ceilings.get(*node).is_some_and(|ceiling| ceiling.strength == Strength::Hard);
        let over = |node: &&String| self.overshoot(node) > before.overshoot(node) && !self.drawers(node).is_empty();
        self.ceilings.keys().filter(hard).filter(over).cloned().collect()
    }
}
