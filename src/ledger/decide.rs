//! Decide: a command, looked at in the light of the state, becomes an event, a repeat or a refusal.
//!
//! Nothing changes here. The writer applies what was decided before it decides the next command,
//! so two commands of one group can't both use the same headroom or version.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::actor::{Actor, Operation, may};
use super::checks::{self, Ahead, Grounds, Verdicts};
use super::control::ControlBook;
use super::event::{
    Attempt, ControlIssued, Event, FormSetPublished, IdempotencyKey, Justification, Justified, Refused, Submitted,
    UnitsImported,
};
use super::state::State;
use super::{Contents, Position, view};
use crate::budget::cell::CellAddress;
use crate::budget::control_figure::{CeilingStrength, ControlFigure, Judgement};
use crate::budget::digest::Digest;
use crate::budget::finding::{Finding, Place};
use crate::budget::form_set::{FormFiles, FormSet};
use crate::budget::intake::Reading;
use crate::budget::money::{Money, Scale};
use crate::budget::reason::{Reason, Remark};
use crate::budget::rule::Checked;
use crate::budget::submission::{FormSetVersion, Kind, Round, Slot, Submission, UnitCode};
use crate::budget::unit_tree::{BUREAU, Node, UnitTree};

/// A command with all that decides it besides the state.
#[derive(Debug)]
pub struct Command {
    /// Who asks.
    pub actor: Actor,
    /// The key of the request.
    pub key: IdempotencyKey,
    /// What the request says, as a digest.
    pub fingerprint: Digest,
    /// What is asked for.
    pub action: Action,
}

/// What is asked for.
#[derive(Debug)]
pub enum Action {
    /// Put a form set in force.
    PublishFormSet {
        /// Its files, loaded already.
        form: Arc<FormSet>,
    },
    /// Put a year's unit tree in force.
    ImportUnits {
        /// Budget year.
        year: u16,
        /// All nodes.
        nodes: Vec<Node>,
    },
    /// Issue control figures.
    IssueControl {
        /// Budget year.
        year: u16,
        /// Round.
        round: Round,
        /// The form set on whose cells they stand.
        form_set: String,
        /// The figures.
        figures: Vec<FigureOrder>,
    },
    /// File a submission.
    Submit(Filing),
    /// Say why rules fail.
    Justify {
        /// Whose submission.
        slot: Slot,
        /// The version or refused attempt whose findings they are.
        position: Position,
        /// What is said about findings that it has: whoever asks has looked them up.
        items: Vec<Justification>,
    },
}

impl Action {
    /// The operation that it is.
    pub fn operation(&self) -> Operation {
        match self {
            Action::PublishFormSet { .. } => Operation::PublishFormSet,
            Action::ImportUnits { .. } => Operation::ImportUnits,
            Action::IssueControl { .. } => Operation::IssueControl,
            Action::Submit(_) => Operation::Submit,
            Action::Justify { .. } => Operation::Justify,
        }
    }
}

/// A control figure as ordered: the strength may be left to the form set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FigureOrder {
    /// The unit.
    pub unit: UnitCode,
    /// The cell.
    pub cell: CellAddress,
    /// The ceiling.
    pub ceiling: Money,
    /// The scale that it is issued in.
    pub scale: Scale,
    /// Its strength, or the form set's default.
    pub strength: Option<CeilingStrength>,
}

/// A filing that was read, ready to be decided.
#[derive(Debug)]
pub struct Filing {
    /// What was read.
    pub reading: Arc<Reading>,
    /// The version that the sender means it to be; `None` for the next one, whichever that is.
    pub version: Option<u32>,
    /// What rules found before it was its turn.
    pub ahead: Option<Ahead>,
}

/// What became of a command.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// This happens; of a filing, with all that rules found.
    Record(Box<Event>, Option<Arc<Checked>>),
    /// It happened before, at that position: the same answer again.
    Repeat(Position),
}

/// Decides a command.
///
/// # Errors
/// The refusal, if it can't be done. Findings are no errors: a filing with refusing findings is a `Refused` event.
pub fn decide(state: &State, command: &Command, contents: &dyn Contents) -> Result<Decision, Remark> {
    let Command { actor, key, fingerprint, action } = command;
    if key.is_empty() || key.len() > 64 {
        return Err(Remark::new(Reason::BadRequest).with("field", "idempotency_key").with("expected", "1–64"));
    }
    if let Some(used) = state.key_use(actor, action.operation(), key) {
        if used.fingerprint == *fingerprint {
            return Ok(Decision::Repeat(used.position));
        }
        return Err(Remark::new(Reason::KeyReused).with("key", key).with("position", used.position));
    }
    let event = match action {
        Action::PublishFormSet { form } => {
            permit(actor, Operation::PublishFormSet, BUREAU, None)?;
            let form_set = FormSetVersion { id: form.id.clone(), digest: form.digest };
            let files: Arc<FormFiles> = form.files.clone();
            Event::FormSetPublished(FormSetPublished { form_set, files })
        }
        Action::ImportUnits { year, nodes } => {
            permit(actor, Operation::ImportUnits, BUREAU, None)?;
            import_units(state, *year, nodes)?
        }
        Action::IssueControl { year, round, form_set, figures } => {
            permit(actor, Operation::IssueControl, BUREAU, None)?;
            issue_control(state, *year, *round, form_set, figures)?
        }
        Action::Submit(filing) => {
            let judged = judge(state, actor, filing, contents)?;
            let checked = judged.checked.clone();
            return Ok(Decision::Record(Box::new(record(&filing.reading, judged)), Some(checked)));
        }
        Action::Justify { slot, position, items } => {
            permit(actor, Operation::Justify, &slot.unit, state.tree(slot.year).map(Arc::as_ref))?;
            justify(state, slot, *position, items)?
        }
    };
    Ok(Decision::Record(Box::new(event), None))
}

fn permit(actor: &Actor, operation: Operation, node: &str, tree: Option<&UnitTree>) -> Result<(), Remark> {
    if may(actor, operation, node, tree) {
        return Ok(());
    }
    Err(Remark::new(Reason::NotPermitted).with("actor", actor).with("node", node))
}

fn import_units(state: &State, year: u16, nodes: &[Node]) -> Result<Event, Remark> {
    if !(1949..=2999).contains(&year) {
        let remark = Remark::new(Reason::BadRequest).with("field", "year").with("found", year);
        return Err(remark.with("expected", "1949–2999"));
    }
    let version = state.tree(year).map_or(1, |tree| tree.version + 1);
    let tree = UnitTree::new(version, nodes.to_vec())?;
    for (slot, filings) in state.slots().filter(|(slot, _)| slot.year == year) {
        let stays = match slot.kind {
            Kind::Unit => tree.node(&slot.unit).is_some_and(|node| node.budgeted),
            Kind::Department | Kind::Difference => tree.node(&slot.unit).is_some(),
        };
        if filings.latest().is_some() && !stays {
            return Err(Remark::new(Reason::UnitHasSubmissions).with("unit", &slot.unit).with("year", year));
        }
    }
    Ok(Event::UnitsImported(UnitsImported { year, version, nodes: nodes.to_vec() }))
}

fn issue_control(
    state: &State,
    year: u16,
    round: Round,
    form_set: &str,
    orders: &[FigureOrder],
) -> Result<Event, Remark> {
    let tree = state.tree(year).ok_or_else(|| Remark::new(Reason::UnknownYear).with("year", year))?;
    let form = current_form(state, form_set, year)?;
    if orders.is_empty() {
        return Err(Remark::new(Reason::ControlInvalid).with("problem", "empty"));
    }
    let mut figures: Vec<ControlFigure> = Vec::with_capacity(orders.len());
    for order in orders {
        let node = tree
            .node(&order.unit)
            .ok_or_else(|| Remark::new(Reason::UnknownUnit).with("unit", &order.unit).with("year", year))?;
        if !node.budgeted && tree.children(&node.code).is_empty() {
            return Err(Remark::new(Reason::UnitNotBudgeted).with("unit", &order.unit));
        }
        if form.cell(&order.cell).is_none() {
            return Err(Remark::new(Reason::UnknownCell).with("cell", &order.cell).with("form_set", &form.id));
        }
        let default = ControlFigure::default_strength(form, &order.cell)
            .ok_or_else(|| Remark::new(Reason::NotControllable).with("cell", &order.cell))?;
        if order.ceiling.is_negative() {
            let remark = Remark::new(Reason::ControlInvalid).with("problem", "negative").with("unit", &order.unit);
            return Err(remark.with("cell", &order.cell).with("found", order.ceiling.print(order.scale)));
        }
        figures.push(ControlFigure {
            unit: order.unit.clone(),
            cell: order.cell.clone(),
            ceiling: order.ceiling,
            scale: order.scale,
            strength: order.strength.unwrap_or(default),
        });
    }
    figures.sort_by(|a, b| (&a.unit, &a.cell).cmp(&(&b.unit, &b.cell)));
    if let Some(pair) = figures.windows(2).find(|pair| (&pair[0].unit, &pair[0].cell) == (&pair[1].unit, &pair[1].cell))
    {
        let remark = Remark::new(Reason::ControlInvalid).with("problem", "duplicate");
        return Err(remark.with("unit", &pair[0].unit).with("cell", &pair[0].cell));
    }
    let version = state.control(year, round).map_or(0, |book| book.version) + 1;
    Ok(Event::ControlIssued(ControlIssued { year, round, version, figures }))
}

fn current_form<'s>(state: &'s State, id: &str, year: u16) -> Result<&'s Arc<FormSet>, Remark> {
    let form = state.form_set(id).ok_or_else(|| {
        let known: Vec<&str> = state.form_sets().map(|form| form.id.as_str()).collect();
        Remark::new(Reason::UnknownFormSet).with("found", id).with("expected", known.join(", "))
    })?;
    if form.year != year {
        return Err(Remark::new(Reason::YearDiffers)
            .with("year", year)
            .with("form_set", id)
            .with("expected", form.year));
    }
    Ok(form)
}

/// Whether a filing for `slot` can be taken at all, on the form set of that id.
///
/// Asked before the first row is read, so that a hopeless stream is answered early, and again when it is decided.
///
/// # Errors
/// The refusal.
pub fn admit<'s>(state: &'s State, actor: &Actor, slot: &Slot, form_set: &str) -> Result<&'s Arc<FormSet>, Remark> {
    let tree = state.tree(slot.year);
    permit(actor, Operation::Submit, &slot.unit, tree.map(Arc::as_ref))?;
    let tree = tree.ok_or_else(|| Remark::new(Reason::UnknownYear).with("year", slot.year))?;
    let node = tree
        .node(&slot.unit)
        .ok_or_else(|| Remark::new(Reason::UnknownUnit).with("unit", &slot.unit).with("year", slot.year))?;
    match slot.kind {
        Kind::Unit if !node.budgeted => return Err(Remark::new(Reason::UnitNotBudgeted).with("unit", &slot.unit)),
        Kind::Unit => {}
        // Only who has units below has a department budget, or something to adjust.
        Kind::Department | Kind::Difference if tree.children(&slot.unit).is_empty() => {
            return Err(Remark::new(Reason::KindNotTaken).with("kind", slot.kind).with("unit", &slot.unit));
        }
        Kind::Department | Kind::Difference => {}
    }
    let form = current_form(state, form_set, slot.year)?;
    if !form.kinds.contains(&slot.kind) {
        return Err(Remark::new(Reason::KindNotTaken).with("kind", slot.kind).with("form_set", form_set));
    }
    // Until rounds can be opened and closed, the second one counts as open.
    if slot.round != Round::Second {
        return Err(Remark::new(Reason::RoundClosed).with("round", slot.round).with("expected", Round::Second));
    }
    Ok(form)
}

/// A filing with everything that was found about it: what a dry run answers, and what an event records.
#[derive(Debug)]
pub struct Judged {
    /// Shape and ceilings, in a stable order.
    pub findings: Vec<Finding>,
    /// Check rules.
    pub checked: Arc<Checked>,
    /// What those looked at beside the filing.
    pub grounds: Grounds,
    /// Each control figure of the unit.
    pub judgements: Vec<Judgement>,
    /// The version of the control figures.
    pub control_version: u32,
    /// The version that it would be.
    pub version: u32,
}

impl Judged {
    /// Whether the filing is refused.
    pub fn is_refused(&self) -> bool {
        self.findings.iter().any(Finding::refuses) || self.checked.refuses()
    }

    /// The filing as judged.
    pub fn attempt(self, reading: &Reading) -> Attempt {
        Attempt {
            slot: reading.submission.header.clone(),
            form_set: reading.submission.form_set.clone(),
            digest: reading.digest,
            control_total: reading.control_total,
            row_count: reading.row_count,
            findings: self.findings,
            verdicts: Verdicts::new(&self.checked, self.grounds),
            judgements: self.judgements,
            control_version: self.control_version,
        }
    }
}

/// Judges a filing against the state, without changing anything.
///
/// # Errors
/// The refusal, if it can't be taken at all.
pub fn judge(state: &State, actor: &Actor, filing: &Filing, contents: &dyn Contents) -> Result<Judged, Remark> {
    let reading = &filing.reading;
    let slot = &reading.submission.header;
    let read_on = &reading.submission.form_set;
    let form = admit(state, actor, slot, &read_on.id)?;
    if form.digest != read_on.digest {
        let remark = Remark::new(Reason::FormSetOutdated).with("form_set", &form.id);
        return Err(remark.with("found", read_on.digest.short()).with("expected", form.digest.short()));
    }
    let version = state.filings(slot).and_then(|filings| filings.latest()).map_or(1, |latest| latest.version + 1);
    if let Some(meant) = filing.version.filter(|meant| *meant != version) {
        return Err(Remark::new(Reason::VersionConflict).with("found", meant).with("expected", version));
    }
    let mut findings = reading.findings.clone();
    let control = state.control(slot.year, slot.round);
    let mut judgements = Vec::new();
    // Ceilings cap what units spend; a department's own print and deltas have none.
    if slot.kind == Kind::Unit
        && let Some(book) = control
    {
        // Where units stand below, its ceilings cap them all together, itself included.
        let is_leaf = state.tree(slot.year).is_none_or(|tree| tree.children(&slot.unit).is_empty());
        for figure in book.of_unit(&slot.unit) {
            if is_leaf {
                judgements.push(capped(figure, form)?.judge(&reading.submission, form));
            }
            findings.extend(blank_under_ceiling(figure, &reading.submission, form));
        }
        judgements.extend(judge_pools(state, slot, book, reading, form, contents)?);
    }
    findings.extend(judgements.iter().filter_map(over_ceiling));
    let (grounds, checked) = checks::check(state, form, &reading.submission, filing.ahead.as_ref(), contents)?;
    let control_version = control.map_or(0, |book| book.version);
    Ok(Judged { findings, checked, grounds, judgements, control_version, version })
}

/// A control figure, if the form set has the cell that it caps. A filing on another form set can't slip by its ceiling.
fn capped<'b>(figure: &'b ControlFigure, form: &FormSet) -> Result<&'b ControlFigure, Remark> {
    if form.cell(&figure.cell).is_some() {
        return Ok(figure);
    }
    Err(Remark::new(Reason::CeilingElsewhere)
        .with("cell", &figure.cell)
        .with("form_set", &form.id)
        .with("unit", &figure.unit))
}

/// Judges the ceilings of the nodes that have this unit below them, or are it and have others below: what all their
/// units have filed, with this filing in place of its forerunner.
fn judge_pools(
    state: &State,
    slot: &Slot,
    book: &ControlBook,
    reading: &Reading,
    form: &FormSet,
    contents: &dyn Contents,
) -> Result<Vec<Judgement>, Remark> {
    let Some(tree) = state.tree(slot.year) else { return Ok(Vec::new()) };
    let is_leaf = tree.children(&slot.unit).is_empty();
    let pools: Vec<&str> = tree.path(&slot.unit).into_iter().skip(usize::from(is_leaf)).collect();
    if pools.iter().all(|node| book.of_unit(node).next().is_none()) {
        return Ok(Vec::new());
    }
    // The version before may stand on another version of the form set, with its tables elsewhere.
    let before = view::filing(state, slot, contents)?
        .and_then(|(version, submission)| Some((state.form_set_version(&version.form_set)?, submission)));
    let mut judgements = Vec::new();
    for node in pools {
        for figure in book.of_unit(node) {
            let capped = capped(figure, form)?;
            let at = Slot { unit: node.into(), ..slot.clone() };
            let others = view::reported(state, &at, &figure.cell).unwrap_or(Money::ZERO);
            let replaced = before.as_ref().map_or(Money::ZERO, |(form, submission)| capped.filed(submission, form));
            let filed = others - replaced + capped.filed(&reading.submission, form);
            judgements.push(figure.judge_filed(filed));
        }
    }
    Ok(judgements)
}

/// Nothing filed where a ceiling stands is not the same as 0: it counts as nothing, and is asked about.
fn blank_under_ceiling(figure: &ControlFigure, submission: &Submission, form: &FormSet) -> Option<Finding> {
    let filed = submission.cell(form, &figure.cell).is_some_and(|cell| !cell.is_blank());
    let remark = || {
        Remark::new(Reason::CappedCellBlank)
            .with("cell", &figure.cell)
            .with("ceiling", figure.ceiling.print(figure.scale))
            .with("amount_unit", figure.scale.denomination.as_str())
    };
    (!filed).then(|| Finding::verify(Place::address(&figure.cell), remark()))
}

fn over_ceiling(judgement: &Judgement) -> Option<Finding> {
    if !judgement.is_over() {
        return None;
    }
    let figure = &judgement.figure;
    let reason = if judgement.refuses() { Reason::OverCeiling } else { Reason::OverAdvisoryCeiling };
    let remark = Remark::new(reason)
        .with("unit", &figure.unit)
        .with("cell", &figure.cell)
        .with("ceiling", figure.ceiling.print(figure.scale))
        .with("filed", judgement.filed.print(figure.scale))
        .with("over", judgement.headroom.abs().print(figure.scale))
        .with("amount_unit", figure.scale.denomination.as_str());
    let place = Place::address(&figure.cell);
    Some(if judgement.refuses() { Finding::refusing(place, remark) } else { Finding::verify(place, remark) })
}

/// The longest justification, in characters.
pub const JUSTIFICATION_CHARS_MAX: usize = 2_000;
/// The most findings that are justified at once.
pub const JUSTIFICATIONS_MAX: usize = 1_000;

fn justify(state: &State, slot: &Slot, position: Position, items: &[Justification]) -> Result<Event, Remark> {
    let unknown = || Remark::new(Reason::UnknownSubmission).with("slot", slot).with("version", "");
    let filings = state.filings(slot).ok_or_else(unknown)?;
    let counts = filings.latest().map(|latest| latest.position);
    let refused = filings.refused_since(Position::MAX).map(|(position, _)| position);
    if ![counts, refused].contains(&Some(position)) {
        let last = refused.or(counts).ok_or_else(unknown)?;
        return Err(Remark::new(Reason::FindingsOutdated).with("found", position).with("expected", last));
    }
    let bad = |problem: &str| Remark::new(Reason::BadJustification).with("problem", problem);
    if items.is_empty() {
        return Err(bad("empty"));
    }
    if items.len() > JUSTIFICATIONS_MAX {
        return Err(bad("many").with("found", items.len()).with("allowed", JUSTIFICATIONS_MAX));
    }
    let mut said = BTreeSet::new();
    for item in items {
        let bad = |problem| bad(problem).with("rule", &item.rule).with("cell", &item.place);
        let length = item.text.chars().count();
        if item.text.trim().is_empty() {
            return Err(bad("blank"));
        }
        if length > JUSTIFICATION_CHARS_MAX {
            return Err(bad("long").with("found", length).with("allowed", JUSTIFICATION_CHARS_MAX));
        }
        if item.text.chars().any(|c| c.is_control() && c != '\n') {
            return Err(bad("control"));
        }
        if !said.insert(item.fingerprint) {
            return Err(bad("twice"));
        }
    }
    Ok(Event::Justified(Justified { slot: slot.clone(), position, items: items.to_vec() }))
}

fn record(reading: &Reading, judged: Judged) -> Event {
    let (refused, version) = (judged.is_refused(), judged.version);
    let attempt = judged.attempt(reading);
    if refused {
        Event::Refused(Box::new(Refused { attempt }))
    } else {
        Event::Submitted(Box::new(Submitted { attempt, version }))
    }
}
