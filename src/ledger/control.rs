//! The control figures in force of one year and round, what units have filed under them, and what is left.
//!
//! Each node has a line per cell. What a node *demands* of a cell is what it files itself and what the nodes below claim; what
//! it *claims* of the node above is its ceiling if that is hard, the greater of ceiling and demand if it isn't, and its
//! demand if it has none. So one sum, `demand ≤ ceiling`, holds both that units' ceilings never exceed their department's
//! and that filings don't, and a unit without a ceiling of its own draws on what the others leave. Sums are kept by
//! difference from the filer up to the highest ceiling: a filing costs its own path, not the book.
//!
//! A line is there only for cells that some node at or above has a ceiling on. Who may change what: `decide/control.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use imbl::{OrdMap, Vector};

use super::Position;
use crate::budget::cell::CellAddress;
use crate::budget::control_figure::{CeilingStrength, ControlFigure, Judgement};
use crate::budget::money::{Money, Scale};
use crate::budget::reason::Remark;
use crate::budget::submission::UnitCode;
use crate::budget::unit_tree::UnitTree;

/// A ceiling as a node holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// The most that may be filed, exact 元.
    pub amount: Money,
    /// The scale that it was issued in.
    pub scale: Scale,
    /// How strictly it holds.
    pub strength: CeilingStrength,
    /// Who gave it: the bureau, or the node that split its own. Who stands above may change it, and it stays theirs.
    pub by: UnitCode,
}

/// One entry of the change track (修订轨迹): what a ceiling was and what it is now; `None` where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlChange {
    /// The node.
    pub unit: UnitCode,
    /// The cell.
    pub cell: CellAddress,
    /// What was in force.
    pub before: Option<Ceiling>,
    /// What is in force from now on.
    pub after: Option<Ceiling>,
}

/// A version that is above a ceiling because that was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverCeiling {
    /// Who filed it.
    pub unit: UnitCode,
    /// What it has in the capped cell.
    pub filed: Money,
    /// The ceiling; of the unit, or of a node above that it draws on.
    pub figure: ControlFigure,
    /// How far all that is filed and promised under that ceiling exceeds it.
    pub over: Money,
}

/// A cell of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The cell.
    pub cell: CellAddress,
    /// The node's ceiling on it.
    pub ceiling: Option<Ceiling>,
    /// What the node files itself, or what was set in its place by review if that is more.
    own: Money,
    /// What the nodes below claim.
    below: Money,
    /// The ceilings of the nearest nodes below that have one.
    split: Money,
}

impl Line {
    fn new(cell: &CellAddress) -> Line {
        Line { cell: cell.clone(), ceiling: None, own: Money::ZERO, below: Money::ZERO, split: Money::ZERO }
    }

    fn is_blank(&self) -> bool {
        self.ceiling.is_none() && self.own.is_zero() && self.below.is_zero() && self.split.is_zero()
    }

    /// What the node files itself, or what was set in its place by review if that is more.
    pub fn own(&self) -> Money {
        self.own
    }

    /// The ceilings that the nodes below have out of this one.
    pub fn split(&self) -> Money {
        self.split
    }

    /// What is filed and promised under it.
    pub fn demand(&self) -> Money {
        self.own + self.below
    }

    fn is_hard(&self) -> bool {
        self.ceiling.as_ref().is_some_and(|ceiling| ceiling.strength == CeilingStrength::Hard)
    }

    /// Whether the node claims no more than its ceiling, so that it doesn't draw on the nodes above.
    fn is_kept(&self) -> bool {
        self.is_hard() || self.ceiling.as_ref().is_some_and(|ceiling| self.demand() <= ceiling.amount)
    }

    /// What the node takes of the one above if it demands so much.
    fn claim(&self, demand: Money) -> Money {
        match &self.ceiling {
            None => demand,
            Some(ceiling) if ceiling.strength == CeilingStrength::Hard => ceiling.amount,
            Some(ceiling) => ceiling.amount.max(demand),
        }
    }

    /// What the node adds to the split of the one above.
    fn share(&self) -> Money {
        self.ceiling.as_ref().map_or(self.split, |ceiling| ceiling.amount)
    }

    /// The control figure of the node whose line it is.
    pub fn figure(&self, unit: &str) -> Option<ControlFigure> {
        self.ceiling.as_ref().map(|ceiling| ControlFigure {
            unit: unit.into(),
            cell: self.cell.clone(),
            ceiling: ceiling.amount,
            scale: ceiling.scale,
            strength: ceiling.strength,
        })
    }

    /// What the ceiling leaves after all that is filed and promised; below nothing it is the overshoot.
    pub fn left(&self) -> Option<Money> {
        self.figure("").map(|figure| figure.left(self.demand()))
    }
}

/// What a node files in some cells: asked for where a cell is capped for the first time.
pub type Own<'o> = dyn FnMut(&str, &[&CellAddress]) -> Result<Vec<Money>, Remark> + 'o;

/// The control figures of one year and round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlBook {
    /// Counts the changes.
    pub version: u32,
    /// Where its changes stand in the journal.
    pub(super) changed_at: Vector<Position>,
    nodes: OrdMap<UnitCode, Arc<Vec<Line>>>,
}

impl ControlBook {
    /// The lines of a node, sorted by cell.
    pub fn lines(&self, unit: &str) -> &[Line] {
        self.nodes.get(unit).map_or(&[], |lines| lines.as_slice())
    }

    /// The line of a node and cell, if anything stands in it.
    pub fn line(&self, unit: &str, cell: &CellAddress) -> Option<&Line> {
        let lines = self.lines(unit);
        lines.binary_search_by(|line| line.cell.cmp(cell)).ok().and_then(|at| lines.get(at))
    }

    /// The ceiling of a node on a cell.
    pub fn ceiling(&self, unit: &str, cell: &CellAddress) -> Option<&Ceiling> {
        self.line(unit, cell)?.ceiling.as_ref()
    }

    /// The control figures of one node, sorted by cell.
    pub fn of_unit<'b>(&'b self, unit: &'b str) -> impl Iterator<Item = ControlFigure> + use<'b> {
        self.lines(unit).iter().filter_map(|line| line.figure(unit))
    }

    /// All lines with a ceiling, sorted by unit and cell.
    pub fn all(&self) -> impl Iterator<Item = (&UnitCode, &Line)> {
        self.nodes
            .iter()
            .flat_map(|(unit, lines)| lines.iter().map(move |line| (unit, line)))
            .filter(|(_, line)| line.ceiling.is_some())
    }

    /// What nodes file themselves, sorted by unit and cell, where it is not nothing.
    pub(super) fn owns(&self) -> impl Iterator<Item = (&UnitCode, &Line)> {
        self.nodes
            .iter()
            .flat_map(|(unit, lines)| lines.iter().map(move |line| (unit, line)))
            .filter(|(_, line)| !line.own.is_zero())
    }

    /// Where its changes stand in the journal, oldest first.
    pub fn changed_at(&self) -> impl DoubleEndedIterator<Item = Position> + ExactSizeIterator {
        self.changed_at.iter().copied()
    }

    /// Judges what a unit would file: under its own ceilings, and under those above as far as it draws on them.
    pub fn judge(&self, tree: &UnitTree, unit: &str, filed: impl Fn(&CellAddress) -> Money) -> Vec<Judgement> {
        let mut judgements = Vec::new();
        for cell in self.cells(tree, unit) {
            let filed = filed(cell);
            let mut more = filed - self.line(unit, cell).map_or(Money::ZERO, Line::own);
            for node in self.reach(tree, unit, cell) {
                let nothing = Line::new(cell);
                let line = self.line(node, cell).unwrap_or(&nothing);
                let demand = line.demand() + more;
                let figure = line.figure(node);
                if let Some(figure) = figure.as_ref().filter(|figure| figure.strength != CeilingStrength::None) {
                    judgements.push(figure.judge(filed, demand - filed));
                }
                more = line.claim(demand) - line.claim(line.demand());
                // Within a ceiling of its own it takes no more of those above than was set apart for it.
                if line.is_hard() || figure.is_some() && more.is_zero() {
                    break;
                }
            }
        }
        judgements
    }

    /// The ceilings that a node is held by, cell by cell: its own, else the next one above, and from one that doesn't hold
    /// it, the next above that.
    pub fn holders<'b>(&'b self, tree: &'b UnitTree, node: &'b str) -> Vec<(&'b CellAddress, &'b str)> {
        let mut holders = Vec::new();
        for cell in self.cells(tree, node) {
            for at in self.reach(tree, node, cell) {
                let Some(line) = self.line(at, cell).filter(|line| line.ceiling.is_some()) else { continue };
                holders.push((cell, at));
                if line.is_kept() {
                    break;
                }
            }
        }
        holders
    }

    /// Whether what a unit has filed is above a hard ceiling: its own, or one above that it draws on.
    pub fn is_over(&self, tree: &UnitTree, unit: &str) -> bool {
        let above = |line: &Line| {
            let mut nodes = self.reach(tree, unit, &line.cell).into_iter();
            let kept = nodes.find_map(|node| self.line(node, &line.cell).filter(|line| line.is_kept()));
            kept.and_then(Line::left).is_some_and(Money::is_negative)
        };
        self.lines(unit).iter().filter(|line| line.own > Money::ZERO).any(above)
    }

    /// Who is above the ceiling of a node on a cell: itself, or those below that draw on it. Empty if it is kept, or
    /// never judged.
    pub fn over(&self, tree: &UnitTree, node: &str, cell: &CellAddress) -> Vec<OverCeiling> {
        let Some(line) = self.line(node, cell) else { return Vec::new() };
        let Some(figure) = line.figure(node).filter(|figure| figure.strength != CeilingStrength::None) else {
            return Vec::new();
        };
        let left = figure.left(line.demand());
        if !left.is_negative() {
            return Vec::new();
        }
        let mut found = Vec::new();
        let mut open = vec![node];
        while let Some(at) = open.pop() {
            let Some(line) = self.line(at, cell).filter(|line| at == node || !line.is_kept()) else { continue };
            if line.own > Money::ZERO {
                let figure = figure.clone();
                found.push(OverCeiling { unit: at.into(), filed: line.own, figure, over: left.abs() });
            }
            open.extend(tree.children(at).iter().map(UnitCode::as_str));
        }
        found.sort_by(|a, b| a.unit.cmp(&b.unit));
        found
    }

    /// The ceilings that what a unit has filed is above: its own, or those above that it draws on.
    pub fn over_of(&self, tree: &UnitTree, unit: &str) -> Vec<OverCeiling> {
        let holders = self.holders(tree, unit).into_iter();
        holders.flat_map(|(cell, holder)| self.over(tree, holder, cell)).filter(|over| over.unit == unit).collect()
    }

    /// The units that are above a ceiling in this book or in a later one and may not be in the other. Costs what differs.
    pub(super) fn over_changed(&self, later: &ControlBook, tree: &UnitTree) -> BTreeSet<UnitCode> {
        let mut units = BTreeSet::new();
        for item in self.nodes.diff(&later.nodes) {
            let (node, lines) = match item {
                DiffItem::Add(node, lines) | DiffItem::Remove(node, lines) => (node, [Some(lines), None]),
                DiffItem::Update { old: (node, old), new: (_, new) } => (node, [Some(old), Some(new)]),
            };
            for line in lines.into_iter().flatten().flat_map(|lines| lines.iter()) {
                let over = [self, later].map(|book| book.over(tree, node, &line.cell));
                units.extend(over.into_iter().flatten().map(|over| over.unit));
            }
        }
        units
    }

    /// Puts changed ceilings in force.
    pub(super) fn change(
        &mut self,
        tree: &UnitTree,
        changes: &[ControlChange],
        own: &mut Own<'_>,
    ) -> Result<(), Remark> {
        // From the top down, so that a cell is looked up once in what each unit has filed.
        let mut nodes: BTreeMap<(usize, &UnitCode), Vec<&ControlChange>> = BTreeMap::new();
        for change in changes {
            nodes.entry((tree.path(&change.unit).len(), &change.unit)).or_default().push(change);
        }
        for ((_, node), changes) in nodes {
            let first = changes.iter().filter(|c| c.after.is_some() && self.reach(tree, node, &c.cell).is_empty());
            let first: Vec<&CellAddress> = first.map(|change| &change.cell).collect();
            self.track(tree, node, &first, own)?;
            for change in changes {
                self.set(tree, node, &change.cell, change.after.clone());
            }
        }
        Ok(())
    }

    /// The same figures under another tree than the one that they stand under.
    pub(super) fn replanted(&self, old: &UnitTree, tree: &UnitTree, own: &mut Own<'_>) -> Result<ControlBook, Remark> {
        let mut book = ControlBook { version: self.version, changed_at: self.changed_at.clone(), nodes: OrdMap::new() };
        let figure = |(unit, line): (&UnitCode, &Line)| ControlChange {
            unit: unit.clone(),
            cell: line.cell.clone(),
            before: None,
            after: line.ceiling.clone(),
        };
        // What is kept already needs no look into what was filed.
        let mut known = |unit: &str, cells: &[&CellAddress]| {
            if cells.iter().all(|cell| self.is_tracked(old, unit, cell)) {
                return Ok(cells.iter().map(|cell| self.line(unit, cell).map_or(Money::ZERO, Line::own)).collect());
            }
            own(unit, cells)
        };
        book.change(tree, &self.all().map(figure).collect::<Vec<_>>(), &mut known)?;
        Ok(book)
    }

    /// The book of a saved state: its figures, and what nodes file under them.
    pub(super) fn restored(
        tree: &UnitTree,
        version: u32,
        changed_at: Vector<Position>,
        figures: &[ControlChange],
        owns: &OrdMap<(UnitCode, CellAddress), Money>,
    ) -> Option<ControlBook> {
        let mut book = ControlBook { version, changed_at, nodes: OrdMap::new() };
        let mut own = |unit: &str, cells: &[&CellAddress]| {
            let own = |cell: &&CellAddress| owns.get(&(unit.into(), (*cell).clone())).copied();
            Ok(cells.iter().map(|cell| own(cell).unwrap_or(Money::ZERO)).collect())
        };
        book.change(tree, figures, &mut own).ok()?;
        Some(book)
    }

    /// Puts what a unit files in the place of what it had filed.
    pub(super) fn file(&mut self, tree: &UnitTree, unit: &str, filed: impl Fn(&CellAddress) -> Money) {
        let cells: Vec<CellAddress> = self.cells(tree, unit).into_iter().cloned().collect();
        for cell in cells {
            let filed = filed(&cell);
            if self.line(unit, &cell).map_or(Money::ZERO, Line::own) == filed {
                continue;
            }
            let mut claimed = Money::ZERO;
            self.edit(unit, &cell, |line| {
                let before = line.claim(line.demand());
                line.own = filed;
                claimed = line.claim(line.demand()) - before;
            });
            self.carry(tree, unit, &cell, claimed, Money::ZERO);
        }
    }

    /// Whether a ceiling on the cell stands at or above a node: then its lines are kept.
    pub(super) fn is_tracked(&self, tree: &UnitTree, unit: &str, cell: &CellAddress) -> bool {
        !self.reach(tree, unit, cell).is_empty()
    }

    /// The nodes from one up to the highest that has a ceiling on a cell; none if none has.
    pub(super) fn reach<'t>(&self, tree: &'t UnitTree, unit: &'t str, cell: &CellAddress) -> Vec<&'t str> {
        let mut path = tree.path(unit);
        let top = path.iter().rposition(|node| self.ceiling(node, cell).is_some());
        path.truncate(top.map_or(0, |top| top + 1));
        path
    }

    /// The cells that a unit's filing is kept in: those with a ceiling at it or above.
    fn cells(&self, tree: &UnitTree, unit: &str) -> Vec<&CellAddress> {
        let capped = |node| self.lines(node).iter().filter(|line| line.ceiling.is_some()).map(|line| &line.cell);
        let mut cells: Vec<&CellAddress> = tree.path(unit).into_iter().flat_map(capped).collect();
        cells.sort();
        cells.dedup();
        cells
    }

    fn set(&mut self, tree: &UnitTree, node: &str, cell: &CellAddress, ceiling: Option<Ceiling>) {
        let lifted = ceiling.is_none();
        let (mut claimed, mut split) = (Money::ZERO, Money::ZERO);
        self.edit(node, cell, |line| {
            let before = (line.claim(line.demand()), line.share());
            line.ceiling = ceiling;
            (claimed, split) = (line.claim(line.demand()) - before.0, line.share() - before.1);
        });
        self.carry(tree, node, cell, claimed, split);
        if lifted && !self.is_tracked(tree, node, cell) {
            self.forget(tree, node, cell);
        }
    }

    /// Carries what a node claims more, and has more in ceilings, to those above it.
    fn carry(&mut self, tree: &UnitTree, node: &str, cell: &CellAddress, mut claimed: Money, mut split: Money) {
        for above in self.reach(tree, node, cell).into_iter().skip(1) {
            if claimed.is_zero() && split.is_zero() {
                return;
            }
            self.edit(above, cell, |line| {
                let before = (line.claim(line.demand()), line.share());
                line.below += claimed;
                line.split += split;
                (claimed, split) = (line.claim(line.demand()) - before.0, line.share() - before.1);
            });
        }
    }

    /// Begins to keep cells for a node and all below it: what each claims, and what it adds to the split above.
    fn track(
        &mut self,
        tree: &UnitTree,
        node: &str,
        cells: &[&CellAddress],
        own: &mut Own<'_>,
    ) -> Result<Vec<(Money, Money)>, Remark> {
        let capped = |book: &ControlBook, cell: &CellAddress| book.ceiling(node, cell).is_some();
        let open: Vec<&CellAddress> = cells.iter().copied().filter(|cell| !capped(self, cell)).collect();
        if !open.is_empty() {
            let owns = own(node, &open)?;
            let mut sums = vec![(Money::ZERO, Money::ZERO); open.len()];
            for child in tree.children(node) {
                for (sum, (claim, share)) in sums.iter_mut().zip(self.track(tree, child, &open, own)?) {
                    *sum = (sum.0 + claim, sum.1 + share);
                }
            }
            for ((cell, own), (below, split)) in open.iter().zip(owns).zip(sums) {
                self.edit(node, cell, |line| (line.own, line.below, line.split) = (own, below, split));
            }
        }
        let part = |line: &Line| (line.claim(line.demand()), line.share());
        Ok(cells.iter().map(|cell| self.line(node, cell).map_or((Money::ZERO, Money::ZERO), part)).collect())
    }

    /// Keeps a cell no longer for a node and those below, down to the next ceilings.
    fn forget(&mut self, tree: &UnitTree, node: &str, cell: &CellAddress) {
        let mut open = vec![node];
        while let Some(at) = open.pop() {
            if self.line(at, cell).is_some_and(|line| line.ceiling.is_none()) {
                self.edit(at, cell, |line| *line = Line::new(cell));
                open.extend(tree.children(at).iter().map(UnitCode::as_str));
            }
        }
    }

    fn edit(&mut self, unit: &str, cell: &CellAddress, change: impl FnOnce(&mut Line)) {
        let lines = Arc::make_mut(self.nodes.entry(unit.into()).or_default());
        let at = match lines.binary_search_by(|line| line.cell.cmp(cell)) {
            Ok(at) => at,
            Err(at) => {
                lines.insert(at, Line::new(cell));
                at
            }
        };
        change(&mut lines[at]);
        if lines[at].is_blank() {
            lines.remove(at);
        }
        if lines.is_empty() {
            self.nodes.remove(unit);
        }
    }
}
