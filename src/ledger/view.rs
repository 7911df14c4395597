//! What readers ask of a state: sums of a node, where a figure comes from. Who has filed: `board.rs`.
//!
//! All of it is looked up or derived on the spot; nothing here changes anything.

use std::sync::Arc;

use super::Contents;
use super::state::{Book, BookKey, Filings, State, Version};
use crate::budget::cell::{CellAddress, RowKey};
use crate::budget::form_set::{FormSet, RollUp};
use crate::budget::money::Money;
use crate::budget::reason::{Reason, Remark};
use crate::budget::roll_up::{RowSums, Sum, TableTotals, Totals};
use crate::budget::rule::{Checked, Consolidated, SumRow};
use crate::budget::submission::{Kind, Round, Slot, Submission, UnitCode};
use crate::budget::unit_tree::UnitTree;

/// The figures of one node: its own filing, or the sums of those below it.
#[derive(Debug)]
pub struct NodeView {
    /// The form set that it is shown on.
    pub form: Arc<FormSet>,
    /// The version of the unit tree that it was summed by.
    pub tree_version: u32,
    /// What was reported, summed.
    pub reported: Arc<Totals>,
    /// What difference forms add, summed.
    pub adjusted: Option<Arc<Totals>>,
    /// What internal transfers take off, summed.
    pub eliminated: Option<Arc<Totals>>,
    /// For a node without units below it: its filing, as it was filed; or as it was reviewed, if that is asked for.
    pub filing: Option<(Version, Arc<Submission>)>,
}

/// One cell of a node by posting level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posted {
    /// As reported.
    pub reported: Sum,
    /// Added by difference forms.
    pub adjusted: Sum,
    /// Taken off because two units below booked the same money.
    pub eliminated: Sum,
}

impl Posted {
    /// Reported plus adjusted minus eliminated.
    pub fn consolidated(&self) -> Sum {
        Sum {
            value: self.reported.value + self.adjusted.value - self.eliminated.value,
            slack: self.reported.slack + self.adjusted.slack,
            parts: self.reported.parts + self.adjusted.parts + self.eliminated.parts,
        }
    }
}

impl NodeView {
    /// The figures of one filing, whether it counts or not.
    pub fn of_filing(form: Arc<FormSet>, tree_version: u32, version: Version, submission: Arc<Submission>) -> NodeView {
        let reported = Arc::new(Totals::of(&form, [submission.as_ref()]));
        NodeView { form, tree_version, reported, adjusted: None, eliminated: None, filing: Some((version, submission)) }
    }

    fn of_book(state: &State, book: &Book, tree_version: u32, node: &str) -> NodeView {
        // Versions under one layout add up: titles and rules are those in force.
        let in_force = state.form_set(&book.form.id).filter(|form| form.layout == book.form.layout);
        let form = in_force.unwrap_or(&book.form).clone();
        let reported = book.reported.get(node).cloned().unwrap_or_else(|| Arc::new(Totals::new(&book.form)));
        let adjusted = book.adjusted.get(node).cloned();
        let eliminated = book.eliminated.get(node).cloned();
        NodeView { form, tree_version, reported, adjusted, eliminated, filing: None }
    }

    fn of_nothing(form: Arc<FormSet>, tree_version: u32) -> NodeView {
        let reported = Arc::new(Totals::new(&form));
        NodeView { form, tree_version, reported, adjusted: None, eliminated: None, filing: None }
    }

    /// What the rules that look at sums find in these; nothing for a unit's own filing, which was judged when it came.
    pub fn check(&self, scope: &Scope) -> Checked {
        if self.filing.is_some() || self.reported.filings == 0 {
            return Checked::default();
        }
        let mut sums = Consolidated::new(&self.form, scope.slot(&scope.node, Kind::Department));
        for (table, definition) in self.form.tables.iter().enumerate() {
            let Some(totals) = self.reported.table(table).filter(|_| definition.roll_up == RollUp::Sum) else {
                continue;
            };
            let row = |row: PostedRow<'_>| SumRow {
                sums: row.cells().map(|posted| posted.consolidated()).collect(),
                filings: row.filings,
                key: row.key.clone(),
            };
            sums.add(&self.form, table, totals.filings, &self.rows(table).map(row).collect::<Vec<_>>());
        }
        sums.check(&self.form)
    }

    /// Posting level by posting level, the sums of a table.
    fn levels(&self, table: usize) -> [Option<&TableTotals>; 3] {
        let levels = [Some(&self.reported), self.adjusted.as_ref(), self.eliminated.as_ref()];
        levels.map(|totals| totals?.table(table))
    }

    /// The rows of a table, sorted by key.
    pub fn rows(&self, table: usize) -> impl Iterator<Item = PostedRow<'_>> {
        let width = self.form.tables[table].columns.len();
        let mut levels = self.levels(table).map(|totals| totals.into_iter().flat_map(TableTotals::rows).peekable());
        std::iter::from_fn(move || {
            let key = levels.iter_mut().filter_map(|level| level.peek().map(|(key, ..)| *key)).min()?;
            let rows = levels.each_mut().map(|level| level.next_if(|(at, ..)| *at == key));
            let filings = rows[0].map_or(0, |(_, filings, _)| filings);
            Some(PostedRow { key, filings, width, levels: rows.map(|row| row.map(|(.., sums)| sums)) })
        })
    }

    /// The same in print order.
    pub fn rows_in_print(&self, table: usize) -> Vec<PostedRow<'_>> {
        let mut rows: Vec<PostedRow<'_>> = self.rows(table).collect();
        self.form.sort_for_print(&self.form.tables[table], &mut rows, |row| row.key);
        rows
    }

    /// The cells of one row, by column.
    pub fn row(&self, table: usize, key: &str) -> Vec<Posted> {
        let width = self.form.tables[table].columns.len();
        let levels = self.levels(table).map(|totals| totals.and_then(|totals| totals.row(key)));
        posted(levels, width).collect()
    }
}

/// One row of a node.
#[derive(Clone, Copy, Debug)]
pub struct PostedRow<'v> {
    /// Its key.
    pub key: &'v RowKey,
    /// How many submissions have it.
    pub filings: u32,
    width: usize,
    levels: [Option<RowSums<'v>>; 3],
}

impl<'v> PostedRow<'v> {
    /// Its cells, by column.
    pub fn cells(&self) -> impl Iterator<Item = Posted> + use<'v> {
        posted(self.levels, self.width)
    }
}

/// Cells of a row by its sums on each level; without a row on a level, there is nothing.
fn posted(levels: [Option<RowSums<'_>>; 3], width: usize) -> impl Iterator<Item = Posted> {
    (0..width).map(move |at| {
        let sum = |level: &Option<RowSums<'_>>| level.map_or(Sum::BLANK, |sums| sums.column(at));
        let [reported, adjusted, eliminated] = &levels;
        Posted { reported: sum(reported), adjusted: sum(adjusted), eliminated: sum(eliminated) }
    })
}

/// Where in the years and rounds a reader looks.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The node.
    pub node: UnitCode,
    /// Budget year.
    pub year: u16,
    /// Round.
    pub round: Round,
    /// The form set, where submissions on more than one are there: its id, or id and layout as a refusal lists them.
    pub form_set: Option<String>,
    /// Whether filings are read as they were reviewed: what reviewers set (审核数) in place of what was filed (申报数). Sums are
    /// those of the state that is looked at, so that has to be one [`as_reviewed`].
    pub reviewed: bool,
}

impl Scope {
    /// Whether figures on a form set are meant.
    fn means(&self, form: &FormSet) -> bool {
        self.form_set.as_ref().is_none_or(|named| form.id == named || *named == layout_name(form))
    }

    pub(super) fn slot(&self, unit: &str, kind: Kind) -> Slot {
        Slot { unit: unit.into(), year: self.year, round: self.round, kind }
    }
}

/// How one layout of a form set is named apart from others.
fn layout_name(form: &FormSet) -> String {
    format!("{} {}", form.id, form.layout.short())
}

/// The tree of a scope, if its node is in it.
///
/// # Errors
/// `UNKNOWN_YEAR` or `UNKNOWN_UNIT`.
pub fn tree<'s>(state: &'s State, scope: &Scope) -> Result<&'s Arc<UnitTree>, Remark> {
    let tree = state.tree(scope.year).ok_or_else(|| Remark::new(Reason::UnknownYear).with("year", scope.year))?;
    if tree.contains(&scope.node) {
        return Ok(tree);
    }
    Err(Remark::new(Reason::UnknownUnit).with("unit", &scope.node).with("year", scope.year))
}

/// The figures of a node.
///
/// # Errors
/// `UNKNOWN_YEAR`, `UNKNOWN_UNIT`, `MIXED_FORM_SETS` if submissions under more than one layout stand below it and the
/// scope names none, `UNKNOWN_FORM_SET`; or a fault of the journal.
pub fn view(state: &State, scope: &Scope, contents: &dyn Contents) -> Result<NodeView, Remark> {
    let tree = tree(state, scope)?;
    let tree_version = tree.version;
    if tree.children(&scope.node).is_empty() {
        if let Some((version, submission)) = filing(state, scope, &scope.node, contents)? {
            let form = form_of(state, &version)?;
            if scope.means(&form) {
                return Ok(NodeView::of_filing(form, tree_version, version, submission));
            }
        }
        return Ok(NodeView::of_nothing(default_form(state, tree, scope)?, tree_version));
    }
    match books_at(state, scope, &scope.node).as_slice() {
        [] => Ok(NodeView::of_nothing(default_form(state, tree, scope)?, tree_version)),
        [book] => Ok(NodeView::of_book(state, book, tree_version, &scope.node)),
        several => {
            let filings = |node: &UnitCode, book: &Book| book.reported.get(node).map_or(0, |t| t.filings);
            let names: Vec<String> = several
                .iter()
                .map(|book| format!("{} ({})", layout_name(&book.form), filings(&scope.node, book)))
                .collect();
            Err(Remark::new(Reason::MixedFormSets).with("node", &scope.node).with_list("found", names))
        }
    }
}

/// The figures of a node to stand beside others that are shown on `form`: what it has under that layout and no other.
///
/// # Errors
/// `UNKNOWN_YEAR`, `UNKNOWN_UNIT`, or a fault of the journal.
pub fn view_beside(
    state: &State,
    scope: &Scope,
    form: &Arc<FormSet>,
    contents: &dyn Contents,
) -> Result<NodeView, Remark> {
    let tree = tree(state, scope)?;
    if tree.children(&scope.node).is_empty() {
        let own = own_beside(state, scope, form, contents)?;
        return Ok(own.unwrap_or_else(|| NodeView::of_nothing(form.clone(), tree.version)));
    }
    let key = BookKey { year: scope.year, round: scope.round, layout: form.layout };
    Ok(match state.books.get(&key) {
        Some(book) => NodeView::of_book(state, book, tree.version, &scope.node),
        None => NodeView::of_nothing(form.clone(), tree.version),
    })
}

/// What a node has filed itself, to stand beside what those below it have; none if nothing of it counts under that layout.
///
/// # Errors
/// `UNKNOWN_YEAR`, `UNKNOWN_UNIT`, or a fault of the journal.
pub fn own_beside(
    state: &State,
    scope: &Scope,
    form: &Arc<FormSet>,
    contents: &dyn Contents,
) -> Result<Option<NodeView>, Remark> {
    let tree_version = tree(state, scope)?.version;
    let Some((version, submission)) = filing(state, scope, &scope.node, contents)? else { return Ok(None) };
    let filed_on = form_of(state, &version)?;
    let alike = filed_on.layout == form.layout;
    Ok(alike.then(|| NodeView::of_filing(filed_on, tree_version, version, submission)))
}

/// The books with sums of a node, on the scope's form set if it names one.
fn books_at<'s>(state: &'s State, scope: &Scope, node: &str) -> Vec<&'s Book> {
    let books = state.books.iter().filter(|(key, _)| key.year == scope.year && key.round == scope.round);
    books
        .map(|(_, book)| book)
        .filter(|book| book.reported.contains_key(node) || book.adjusted.contains_key(node))
        .filter(|book| scope.means(&book.form))
        .collect()
}

/// The form set to show a node on where nothing was filed: the one that its neighbours have filed on, those below the
/// nearest node above with any, in this round or else in the other; else the named one, or the year's only one.
fn default_form(state: &State, tree: &UnitTree, scope: &Scope) -> Result<Arc<FormSet>, Remark> {
    let other = match scope.round {
        Round::First => Round::Second,
        Round::Second => Round::First,
    };
    for round in [scope.round, other] {
        let scope = Scope { round, ..scope.clone() };
        let mut above = tree.path(&scope.node).into_iter().map(|node| books_at(state, &scope, node));
        if let Some([book]) = above.find(|books| !books.is_empty()).as_deref() {
            return Ok(book.form.clone());
        }
    }
    let of_year: Vec<&Arc<FormSet>> = state.form_sets().filter(|form| form.year == scope.year).collect();
    let wanted = |form: &&&Arc<FormSet>| scope.means(form);
    match of_year.iter().filter(wanted).collect::<Vec<_>>().as_slice() {
        [form] => Ok(Arc::clone(form)),
        _ => {
            let known: Vec<&str> = of_year.iter().map(|form| form.id.as_str()).collect();
            let remark = match &scope.form_set {
                Some(found) => Remark::new(Reason::UnknownFormSet).with("found", found),
                None => Remark::new(Reason::FormSetNotNamed).with("year", scope.year),
            };
            Err(remark.with_list("expected", known))
        }
    }
}

pub(super) fn form_of(state: &State, version: &Version) -> Result<Arc<FormSet>, Remark> {
    state
        .form_set_version(&version.form_set)
        .cloned()
        .ok_or_else(|| Remark::new(Reason::JournalDamaged).with("position", version.position).with("what", "form set"))
}

/// A state in which everything that counts below a node adds up as it was reviewed: in sums and transfers what reviewers set
/// stands in place of what was filed. Versions and ceilings stay as they are. Each submission with reviewed figures is read
/// for it. Also says how many there are.
///
/// # Errors
/// `UNKNOWN_YEAR`, `UNKNOWN_UNIT`, or a fault of the journal.
pub fn as_reviewed(state: &State, scope: &Scope, contents: &dyn Contents) -> Result<(State, u32), Remark> {
    let tree = tree(state, scope)?;
    let (mut reviewed, mut count) = (state.clone(), 0);
    let is_below = |slot: &Slot| {
        // A department's own budget is no part of its sums.
        (slot.year, slot.round) == (scope.year, scope.round)
            && slot.kind != Kind::Department
            && tree.contains(&slot.unit)
            && tree.is_within(&slot.unit, &scope.node)
    };
    for (slot, filings) in state.slots().filter(|(slot, _)| is_below(slot)) {
        let Some(version) = filings.counting().filter(|version| version.remarks.has_figures()) else { continue };
        let filed = (version.clone(), contents.submission(version.position)?);
        let form = form_of(state, version)?;
        let after = (version.clone(), Arc::new(version.as_reviewed(Submission::clone(&filed.1), &form)));
        reviewed.repost(slot, Some(&filed), Some(&after))?;
        count += 1;
    }
    Ok((reviewed, count))
}

/// The unit's submission that counts, as the scope has it.
///
/// # Errors
/// A fault of the journal.
pub fn filing(
    state: &State,
    scope: &Scope,
    unit: &str,
    contents: &dyn Contents,
) -> Result<Option<(Version, Arc<Submission>)>, Remark> {
    let slot = scope.slot(unit, Kind::Unit);
    let Some(version) = state.filings(&slot).and_then(Filings::counting) else { return Ok(None) };
    let filed = contents.submission(version.position)?;
    Ok(Some((version.clone(), as_meant(state, scope, version, &filed)?)))
}

/// What was filed as a version, as the scope has it.
pub(super) fn as_meant(
    state: &State,
    scope: &Scope,
    version: &Version,
    filed: &Arc<Submission>,
) -> Result<Arc<Submission>, Remark> {
    if !scope.reviewed || !version.remarks.has_figures() {
        return Ok(filed.clone());
    }
    let form = form_of(state, version)?;
    Ok(Arc::new(version.as_reviewed(Submission::clone(filed), &form)))
}

/// What units at or below the slot's node have reported in a cell, over all layouts; `None` if nobody has filed.
pub fn reported(state: &State, slot: &Slot, cell: &CellAddress) -> Option<Money> {
    let books = state.books.iter().filter(|(key, _)| key.year == slot.year && key.round == slot.round);
    let sums = books.filter(|(_, book)| book.reported.contains_key(&slot.unit));
    let mut sums = sums.map(|(key, _)| state.reported(key.year, key.round, key.layout, &slot.unit, cell)).peekable();
    sums.peek()?;
    Some(sums.sum())
}

/// What became of an internal transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferStanding {
    /// Both sides agree: taken off.
    Eliminated,
    /// Both sides state it, with different amounts.
    Differs,
    /// The other side doesn't state it.
    OneSided,
}

/// An internal transfer between two units below a node, seen from the side that states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalTransfer {
    /// The unit that states it.
    pub unit: UnitCode,
    /// The other side.
    pub counterparty: UnitCode,
    /// What it is called.
    pub title: String,
    /// How much the unit states.
    pub amount: Money,
    /// How much the other side states, if it does.
    pub other: Option<Money>,
    /// What became of it.
    pub standing: TransferStanding,
}

/// The internal transfers between units below a node, sorted; pairs once, from the lesser code's side.
/// A counterparty outside the node's subtree is neither eliminated here nor an exception.
pub fn transfers(state: &State, scope: &Scope) -> Vec<InternalTransfer> {
    let Some(tree) = state.tree(scope.year) else { return Vec::new() };
    let inside = |code: &str| tree.contains(code) && tree.is_within(code, &scope.node);
    let mut found = Vec::new();
    for ((year, round, unit), stated) in &state.transfers {
        if (*year, *round) != (scope.year, scope.round) || !inside(unit) {
            continue;
        }
        for transfer in stated.transfers.iter().filter(|transfer| inside(&transfer.counterparty)) {
            let other = state.counterpart(*year, *round, unit, &stated.form, transfer);
            if other.is_some() && *unit > transfer.counterparty {
                continue;
            }
            let standing = match &other {
                Some(other) if other.amount == transfer.amount => TransferStanding::Eliminated,
                Some(_) => TransferStanding::Differs,
                None => TransferStanding::OneSided,
            };
            let rules = stated.form.transfers.as_ref();
            let title = rules.and_then(|rules| rules.kinds.get(&transfer.kind)).map(|kind| kind.title.clone());
            found.push(InternalTransfer {
                unit: unit.clone(),
                counterparty: transfer.counterparty.clone(),
                title: title.unwrap_or_else(|| transfer.kind.to_string()),
                amount: transfer.amount,
                other: other.map(|other| other.amount),
                standing,
            });
        }
    }
    found
}
