//! Laws of rounds and review on the pure state: whatever is opened, closed, filed, withdrawn, returned, explained, remarked
//! upon, accepted, forwarded, approved, reopened and adjusted, whatever ceilings are issued, cut, marked and lifted and
//! whichever unit changes its department meanwhile, by whomever and in whatever order, what is decided is what
//! [`crate::review_model`] says, what DESIGN holds still holds, the state is the fold of its events, and each operation
//! leads back. `REVIEW_CASES` for more of them.
//!
//! *Back* means: what counts and where it stands, what seals it, the sums above it, what its ceiling leaves, which rounds
//! take filings until when; and, where the version stayed the same, the last word of each office and on each figure. What
//! does not go back is the track: positions, numbers of versions and aggregates, and that it happened. Two operations have
//! no way back and say so (`proto/`): the first opening of a year's rounds, whom everybody counts on from then; and a
//! justification, which changes nothing but what is known of a finding, and can be followed by another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use budget_consolidator::budget::cell::CellAddress;
use budget_consolidator::budget::control_figure::ControlFigure;
use budget_consolidator::budget::digest::Digest;
use budget_consolidator::budget::form_set::{FormFiles, FormSet};
use budget_consolidator::budget::money::{Amount, Denomination, Money, Scale};
use budget_consolidator::budget::reason::{Reason, Remark};
use budget_consolidator::budget::submission::{Kind, Round, Slot, Submission};
use budget_consolidator::budget::unit_tree::{Node, NodeRole};
use budget_consolidator::ledger::actor::{Actor, Operation, Role};
use budget_consolidator::ledger::board::{Standing, Turn, board};
use budget_consolidator::ledger::control::Line;
use budget_consolidator::ledger::decide::{
    Action, AdjustmentOrder, AggregateStep, Command, ControlOrders, Decision, FigureOrder, FigureSet, Filing, Target,
    VersionStep, decide, legal, legal_for, legal_whole_for,
};
use budget_consolidator::ledger::event::{Envelope, Event, Justification, Timestamp};
use budget_consolidator::ledger::review::{AggregateState, Move, OpinionView, VersionState};
use budget_consolidator::ledger::state::State;
use budget_consolidator::ledger::view::{Scope, as_reviewed, view};
use budget_consolidator::ledger::{Contents, Position, image};
use budget_consolidator::submission_file::SubmissionFile;
use proptest::prelude::*;
use serde_json::json;

use crate::review_model::{Aggregate, At, Do, FILERS, Model, OFFICES, Open, Sealed, Version, Who, node_of};

const YEAR: u16 = 2031;
const ROUNDS: [Round; 2] = [Round::First, Round::Second];
const CELLS: [&str; 2] = ["x", "y"];
/// Everybody who might ask.
const WHO: [Who; 9] = [
    ("90001", "unit"),
    ("9000101", "unit"),
    ("90002", "unit"),
    ("700", "unit"),
    ("90001", "department"),
    ("900", "department"),
    ("0", "bureau"),
    ("0", "auditor"),
    ("800", "department"),
];
const CEILING: i64 = 200_000;

/// One row; the first figure has a ceiling and stays as it is in a reallocation.
fn form() -> FormSet {
    form_with("[adjust]\ntotal = [\"A/total/x\"]\n")
}

fn form_with(totals: &str) -> FormSet {
    let forms = format!(
        "id = \"way\"\ntitle = \"路\"\nyear = {YEAR}\namount = \"元.2\"\nkinds = [\"unit\", \"department\", \"difference\"]\n\
         [office]\nown = \"部门: department\"\nbudget = \"预算科: bureau\"\n\
         {totals}\
         [A]\nname = \"甲\"\nrows = [\"total 合计\"]\nrollup = \"sum\"\ncontrol = [\"x\"]\n\
         columns = {{ x = \"数\", y = \"另数\" }}\n"
    );
    FormSet::load(FormFiles::from([("forms.toml".to_owned(), forms.into_bytes())])).unwrap()
}

fn filing(unit: &str, round: usize, [x, y]: [i64; 2]) -> SubmissionFile {
    let text = |fen: i64| Money::from_fen(fen).to_string();
    let file = json!({
        "unit": node_of(unit), "year": YEAR, "round": ROUNDS[round].as_str(), "kind": kind(unit).as_str(), "form_set": "way",
        "tables": { "A": { "rows": [{ "row": "total", "x": text(x), "y": text(y) }] } },
    });
    SubmissionFile::read(&file.to_string()).unwrap()
}

/// What somebody asks for. Versions are meant by their distance from the last one.
#[derive(Clone, Debug)]
enum Step {
    Wait(i64),
    Open(usize, Option<i64>, bool),
    Close(usize),
    File(usize, usize, [i64; 2]),
    /// With a new ceiling above the one in force, or none.
    Adjust(usize, usize, [i64; 2], Option<i64>),
    Justify(usize, usize),
    Opine(usize, usize, i64, usize, OpinionView),
    Set(usize, usize, i64, usize, Option<i64>),
    Move(usize, usize, i64, Do, bool),
    Forward(usize),
    /// Another ceiling for the department, so much more or less than its units have filed; or none. Marked or not.
    Cap(Option<i64>, bool, bool),
    /// The second unit leaves the department, or comes back.
    Tree(bool),
    MoveAggregate(usize, i64, Do, bool),
}

/// The one who usually does it most of the time, anybody else now and then.
fn steps() -> impl Strategy<Value = Vec<(Option<usize>, Step)>> {
    // What is filed beside the units' budgets is rarer.
    let unit = || prop_oneof![9 => 0..4_usize, 1 => 4..FILERS.len()];
    // The second round is the one with a ceiling.
    let round = || prop_oneof![1 => Just(0_usize), 4 => Just(1_usize)];
    let behind = || prop_oneof![12 => Just(0_i64), 1 => Just(1_i64), 1 => Just(-1_i64)];
    let said = || prop_oneof![9 => Just(true), 1 => Just(false)];
    let figures = || [0_i64..90_000, 0_i64..8];
    let moves = || {
        prop_oneof![
            2 => Just(Do::Withdraw),
            3 => Just(Do::Return),
            9 => Just(Do::Accept),
            9 => Just(Do::Approve),
            3 => Just(Do::Reopen),
        ]
    };
    let until = prop_oneof![2 => Just(None), 3 => (-50_i64..400).prop_map(Some)];
    let view =
        prop_oneof![2 => Just(OpinionView::Agree), 1 => Just(OpinionView::Object), 2 => Just(OpinionView::TakenBack)];
    let step = prop_oneof![
        2 => (1_i64..60).prop_map(Step::Wait),
        3 => (round(), until, said()).prop_map(|(round, until, said)| Step::Open(round, until, said)),
        1 => round().prop_map(Step::Close),
        14 => (unit(), round(), figures()).prop_map(|(unit, round, figures)| Step::File(unit, round, figures)),
        5 => (unit(), round(), figures(), prop::option::of(1_i64..40_000))
            .prop_map(|(unit, round, figures, raised)| Step::Adjust(unit, round, figures, raised)),
        6 => (unit(), round()).prop_map(|(unit, round)| Step::Justify(unit, round)),
        3 => (unit(), round(), behind(), 0..OFFICES.len(), view)
            .prop_map(|(unit, round, behind, office, view)| Step::Opine(unit, round, behind, office, view)),
        3 => (unit(), round(), behind(), 0..CELLS.len(), prop::option::of(prop_oneof![3 => 0_i64..9_000, 1 => 0_i64..250_000]))
            .prop_map(|(unit, round, behind, cell, amount)| Step::Set(unit, round, behind, cell, amount)),
        30 => (unit(), round(), behind(), moves(), said())
            .prop_map(|(unit, round, behind, step, said)| Step::Move(unit, round, behind, step, said)),
        5 => round().prop_map(Step::Forward),
        4 => (prop::option::weighted(0.8, -40_000_i64..90_000), any::<bool>(), said())
            .prop_map(|(more, mark, said)| Step::Cap(more, mark, said)),
        2 => any::<bool>().prop_map(Step::Tree),
        9 => (round(), behind(), prop_oneof![1 => Just(Do::Return), 3 => Just(Do::Approve), 2 => Just(Do::Reopen)], said())
            .prop_map(|(round, behind, step, said)| Step::MoveAggregate(round, behind, step, said)),
    ];
    let who = prop_oneof![5 => Just(None), 1 => (0..WHO.len()).prop_map(Some)];
    let steps = prop::collection::vec((who, step), 1..60);
    (0..6_usize, round(), steps)
        .prop_map(|(stage, round, steps)| prologue(stage, round).into_iter().chain(steps).collect())
}

/// How far the year has come before anything else happens: nothing, all filed, accepted, forwarded, approved to the
/// department, and to its units.
fn prologue(stage: usize, round: usize) -> Vec<(Option<usize>, Step)> {
    let units = || 0..FILERS.len();
    let filed = std::iter::once(Step::Open(round, None, true))
        .chain(units().map(|unit| Step::File(unit, round, [20_000, 4])))
        .collect();
    let all = |step| units().map(|unit| Step::Move(unit, round, 0, step, true)).collect();
    let stages: [Vec<Step>; 5] = [
        filed,
        all(Do::Accept),
        vec![Step::Forward(round)],
        vec![Step::MoveAggregate(round, 0, Do::Approve, true)],
        all(Do::Approve),
    ];
    stages.into_iter().take(stage).flatten().map(|step| (None, step)).collect()
}

#[derive(Clone, Default)]
struct Past(BTreeMap<Position, Arc<Submission>>);

impl Contents for Past {
    fn submission(&self, position: Position) -> Result<Arc<Submission>, Remark> {
        self.0.get(&position).cloned().ok_or_else(|| Remark::new(Reason::UnknownPosition))
    }
}

#[derive(Clone)]
struct World {
    form: Arc<FormSet>,
    state: State,
    past: Past,
    events: Vec<Envelope>,
    now: i64,
    model: Model,
    /// How far the department is above its ceiling.
    over: i64,
}

fn scope(node: &str, round: Round) -> Scope {
    Scope { node: node.into(), year: YEAR, round, form_set: None, reviewed: false }
}

/// How a filer is called here.
fn slot_name(unit: &str, kind: Kind) -> String {
    if kind == Kind::Unit { unit.to_owned() } else { format!("{unit}/{kind}") }
}

fn actor((node, role): Who) -> Actor {
    let role = match role {
        "unit" => Role::Unit,
        "department" => Role::Department,
        "bureau" => Role::Bureau,
        _ => Role::Auditor,
    };
    Actor { node: node.into(), role }
}

fn kind(filer: &str) -> Kind {
    filer.split_once('/').map_or(Kind::Unit, |(_, kind)| Kind::parse(kind).unwrap())
}

fn slot(filer: &str, round: usize) -> Slot {
    Slot { unit: node_of(filer).into(), year: YEAR, round: ROUNDS[round], kind: kind(filer) }
}

fn cell(at: usize) -> CellAddress {
    CellAddress::new("A", "total", CELLS[at])
}

fn amount(fen: i64) -> Amount {
    Amount { value: Money::from_fen(fen), scale: Scale { denomination: Denomination::Yuan, decimals: 2 } }
}

/// Stands for the finding that rests on the second figure.
fn finding(figure: i64) -> Digest {
    Digest::of(&figure.to_be_bytes())
}

fn words(said: bool) -> String {
    if said { "因为".to_owned() } else { " ".to_owned() }
}

fn step_of(step: Do) -> Move {
    match step {
        Do::Withdraw => Move::Withdraw,
        Do::Return => Move::Return,
        Do::Accept => Move::Accept,
        Do::Approve => Move::Approve,
        Do::Reopen => Move::Reopen,
    }
}

fn at(state: VersionState) -> At {
    match state {
        VersionState::Submitted => At::Submitted,
        VersionState::Returned => At::Returned,
        VersionState::Accepted => At::Accepted,
        VersionState::Approved => At::Approved,
        VersionState::Withdrawn => At::Withdrawn,
    }
}

/// Who files it.
fn owner(filer: &'static str) -> Who {
    (node_of(filer), if node_of(filer) == "900" { "department" } else { "unit" })
}

impl World {
    fn new() -> World {
        World::on(form())
    }

    fn on(form: FormSet) -> World {
        let model = Model { now: 1_000, ceiling: Some(CEILING), ..Model::default() };
        let (form, state) = (Arc::new(form), State::default());
        let mut world = World { form, state, past: Past::default(), events: Vec::new(), now: 1_000, model, over: 0 };
        world.act(Actor::service(), Action::PublishFormSet { form: world.form.clone() }).unwrap();
        world.act(actor(("0", "bureau")), world.import(false)).unwrap();
        world.act(actor(("0", "bureau")), world.ceiling(Some(CEILING))).unwrap();
        world
    }

    /// Puts the tree in force in which the second unit has left the department, or hasn't.
    fn import(&self, moved: bool) -> Action {
        let node = |(code, parent): (&str, &str)| Node {
            code: code.into(),
            parent: parent.into(),
            name: code.to_owned(),
            role: if code == "900" { NodeRole::Department } else { NodeRole::Unit },
            unit_type: String::new(),
            funding: String::new(),
            division: String::new(),
            budgeted: code != "900",
        };
        Action::ImportUnits { year: YEAR, nodes: self.model.parents(moved).map(node).to_vec() }
    }

    fn figure(unit: &str, ceiling: Option<i64>) -> FigureOrder {
        let scale = Scale { denomination: Denomination::Yuan, decimals: 2 };
        FigureOrder {
            line: 1,
            unit: unit.into(),
            cell: cell(0),
            ceiling: ceiling.map(|ceiling| (Money::from_fen(ceiling), scale)),
            strength: None,
        }
    }

    fn orders(&self, by: &str, figure: FigureOrder, mark: bool, said: bool) -> Action {
        Action::Control(ControlOrders {
            by: by.into(),
            year: YEAR,
            round: Round::Second,
            form_set: "way".to_owned(),
            reason: words(said),
            mark,
            figures: vec![figure],
        })
    }

    /// Issues the department's ceiling, or lifts it.
    fn ceiling(&self, ceiling: Option<i64>) -> Action {
        self.orders("0", World::figure("900", ceiling), true, true)
    }

    /// The department splits a unit's ceiling off its own, or lifts it.
    fn split(&self, unit: &str, ceiling: Option<i64>) -> Action {
        self.orders("900", World::figure(unit, ceiling), true, true)
    }

    /// Who reviews it first.
    fn reviewer(&self, filer: &str) -> Who {
        if self.model.is_next(filer) { ("0", "bureau") } else { ("900", "department") }
    }

    fn command(&self, actor: Actor, action: Action) -> Command {
        let position = self.state.position + 1;
        let (key, fingerprint) = (format!("k{position}"), Digest::of(&position.to_be_bytes()));
        Command { actor, key: key.as_str().into(), fingerprint, time: Timestamp(self.now), action }
    }

    /// Decides, and folds in what comes of it.
    fn act(&mut self, actor: Actor, action: Action) -> Result<Event, Remark> {
        let submission = match &action {
            Action::Submit(filing) => Some(filing.reading.submission.clone()),
            _ => None,
        };
        let command = self.command(actor, action);
        let Decision::Record(event, _) = decide(&self.state, &command, &self.past)? else { panic!("a repeat") };
        let Command { actor, key, fingerprint, time, .. } = command;
        let envelope = Envelope { position: self.state.position + 1, time, actor, key, fingerprint, event: *event };
        if let Some(submission) = submission {
            self.past.0.insert(envelope.position, submission);
        }
        self.state.apply(&envelope, &self.past).unwrap();
        self.events.push(envelope.clone());
        Ok(envelope.event)
    }

    fn submit(&self, unit: &str, round: usize, figures: [i64; 2], adjustment: Option<AdjustmentOrder>) -> Action {
        let reading = Arc::new(filing(unit, round, figures).read_on(&self.form));
        Action::Submit(Filing { reading, version: None, ahead: None, adjustment })
    }

    fn order(&self, raised: Option<i64>) -> Option<AdjustmentOrder> {
        let raised = raised.map(|raised| World::figure("900", Some(raised))).into_iter().collect();
        Some(AdjustmentOrder { cause: words(true), raised })
    }

    fn version_step(&self, unit: &'static str, round: usize, meant: i64, step: Do, said: bool) -> Action {
        let last = self.model.slot(unit, round).latest().map_or(0, |last| last.figures[1]);
        let open = (last % 2 == 1).then(|| ("R-1".into(), cell(1), finding(last)));
        Action::Step(VersionStep {
            target: Target { slot: slot(unit, round), version: u32::try_from(meant).unwrap_or(0) },
            step: step_of(step),
            reason: words(said),
            lines: Vec::new(),
            to_justify: open.into_iter().collect(),
            reviewed: None,
        })
    }

    fn aggregate_step(&self, round: usize, meant: i64, step: Do, said: bool) -> Action {
        Action::StepAggregate(AggregateStep {
            department: "900".into(),
            year: YEAR,
            round: ROUNDS[round],
            version: u32::try_from(meant).unwrap_or(0),
            step: step_of(step),
            reason: words(said),
        })
    }

    fn justify(&self, unit: &'static str, round: usize) -> Action {
        let figure = self.model.slot(unit, round).latest().map_or(1, |last| last.figures[1]);
        let position =
            self.state.filings(&slot(unit, round)).and_then(|filings| filings.latest()).map_or(1, |v| v.position);
        let fingerprint = finding(figure);
        let items = vec![Justification { rule: "R-1".into(), place: cell(1), fingerprint, text: words(true) }];
        Action::Justify { slot: slot(unit, round), position, items }
    }

    fn opine(&self, unit: &str, round: usize, meant: i64, office: usize, view: OpinionView) -> Action {
        Action::GiveOpinion {
            target: Target { slot: slot(unit, round), version: u32::try_from(meant).unwrap_or(0) },
            office: OFFICES[office].0.to_owned(),
            view,
            text: words(true),
        }
    }

    fn set(&self, unit: &str, round: usize, meant: i64, at: usize, figure: Option<i64>) -> Action {
        Action::ReviewFigures {
            target: Target { slot: slot(unit, round), version: u32::try_from(meant).unwrap_or(0) },
            figures: vec![FigureSet { cell: cell(at), amount: figure.map(amount), reason: words(true) }],
        }
    }

    /// How many versions there are.
    fn count(&self, unit: &'static str, round: usize) -> i64 {
        i64::try_from(self.model.slot(unit, round).versions.len()).unwrap()
    }

    /// Asks, and holds what comes of it against the model's objections.
    fn ask(&mut self, who: Who, action: Action, objections: &BTreeSet<Reason>) -> Option<Event> {
        let told = format!("{who:?} {action:?}");
        match self.act(actor(who), action) {
            Ok(event) => {
                assert!(objections.is_empty(), "taken in spite of {objections:?}: {told}");
                Some(event)
            }
            Err(remark) => {
                assert!(objections.contains(&remark.reason), "{remark} is none of {objections:?}: {told}");
                None
            }
        }
    }

    fn take(&mut self, who: Option<usize>, step: &Step) {
        let who = |usual: Who| who.map_or(usual, |at| WHO[at]);
        match step.clone() {
            Step::Wait(ms) => {
                self.now += ms;
                self.model.now = self.now;
            }
            Step::Open(round, after, said) => {
                let (who, until) = (who(("0", "bureau")), after.map(|after| self.now + after));
                let objections = self.model.open(who, round, until, said);
                let (deadline, reason) = (until.map(Timestamp), words(said));
                let action = Action::OpenRound { year: YEAR, round: ROUNDS[round], deadline, reason };
                if self.ask(who, action, &objections).is_some() {
                    self.model.rounds[round] = Some(Open { open: true, until });
                }
            }
            Step::Close(round) => {
                let who = who(("0", "bureau"));
                let action = Action::CloseRound { year: YEAR, round: ROUNDS[round], reason: String::new() };
                let objections = self.model.close(who, round);
                if self.ask(who, action, &objections).is_some() {
                    self.model.rounds[round].as_mut().unwrap().open = false;
                }
            }
            Step::File(unit, round, figures) => {
                let unit = FILERS[unit];
                let who = who(owner(unit));
                let objections = self.model.file(who, unit, round);
                let event = self.ask(who, self.submit(unit, round, figures, None), &objections);
                let over = !self.model.fits(unit, round, figures[0], self.model.ceiling);
                self.filed(event, (unit, round), figures, (None, None), over);
            }
            Step::Adjust(unit, round, figures, more) => {
                let unit = FILERS[unit];
                let who = who(if more.is_some() { ("0", "bureau") } else { owner(unit) });
                let base = self.model.base(unit, round);
                // A reallocation usually keeps the total, or nearly all would be refused.
                let before = base.map(|base| self.model.slot(unit, round).versions[base].total());
                let keeps = more.is_none() && figures[1] != 0;
                let figures = [before.filter(|_| keeps).unwrap_or(figures[0]), figures[1]];
                let raised = more.map(|more| self.model.ceiling.unwrap_or(CEILING) + more - 5_000);
                let objections = self.model.adjust(who, unit, round, raised);
                let action = self.submit(unit, round, figures, self.order(raised));
                let event = self.ask(who, action, &objections);
                let ceiling = raised.or(self.model.ceiling);
                let over = !self.model.fits(unit, round, figures[0], ceiling);
                let moved = raised.is_none() && before.is_some_and(|before| before != figures[0]);
                self.filed(event, (unit, round), figures, (base, raised), over || moved);
            }
            Step::Justify(unit, round) => {
                let unit = FILERS[unit];
                let who = who(owner(unit));
                let objections = self.model.justify(who, unit, round);
                if self.ask(who, self.justify(unit, round), &objections).is_some() {
                    let slot = self.model.slots.get_mut(&(unit, round)).unwrap();
                    slot.explained.insert(slot.versions.last().unwrap().figures[1]);
                }
            }
            Step::Opine(unit, round, behind, office, view) => {
                let (unit, meant) = (FILERS[unit], self.count(FILERS[unit], round) - behind);
                let usual = if OFFICES[office].1 == "bureau" { ("0", "bureau") } else { ("900", "department") };
                let who = who(usual);
                let takes_back = view == OpinionView::TakenBack;
                let objections = self.model.opine(who, unit, round, meant, (office, takes_back));
                if self.ask(who, self.opine(unit, round, meant, office, view), &objections).is_some() {
                    self.last(unit, round).opinions.insert(OFFICES[office].0);
                }
            }
            Step::Set(unit, round, behind, at, figure) => {
                let (unit, meant) = (FILERS[unit], self.count(FILERS[unit], round) - behind);
                let who = who(self.reviewer(unit));
                let objections = self.model.set(who, unit, round, meant, (at, figure));
                if self.ask(who, self.set(unit, round, meant, at, figure), &objections).is_some() {
                    let reviewed = &mut self.last(unit, round).reviewed;
                    match figure {
                        Some(figure) => reviewed.insert(at, figure),
                        None => reviewed.remove(&at),
                    };
                }
            }
            Step::Move(unit, round, behind, step, said) => {
                let (unit, meant) = (FILERS[unit], self.count(FILERS[unit], round) - behind);
                let adjusts = self.model.slot(unit, round).latest().is_some_and(|last| last.adjusts.is_some());
                let usual = match step {
                    Do::Withdraw => owner(unit),
                    Do::Approve | Do::Reopen if adjusts => ("0", "bureau"),
                    _ => self.reviewer(unit),
                };
                let who = who(usual);
                let objections = self.model.step(who, unit, round, meant, step, said);
                let action = self.version_step(unit, round, meant, step, said);
                if let Some(event) = self.ask(who, action, &objections) {
                    let Event::VersionMoved(moved) = event else { panic!("{event:?}") };
                    let to = self.model.leads(step, self.model.slot(unit, round).latest().unwrap()).unwrap();
                    assert_eq!(at(moved.to), to);
                    let way = &mut self.last(unit, round).way;
                    // What is undone is gone from the stack; anything else comes on top.
                    match step {
                        Do::Reopen => way.truncate(way.len() - 1),
                        _ => way.push(to),
                    }
                    if let Some(last) = self.model.aggregates[round].last_mut() {
                        match (step, last.at) {
                            (Do::Approve, Sealed::Approved) if !adjusts => last.passed_on.insert(unit),
                            _ => !adjusts && last.passed_on.remove(unit),
                        };
                    }
                }
            }
            Step::Forward(round) => {
                let who = who(("900", "department"));
                let action = self.forward(round);
                let objections = self.model.forward(who, round);
                if let Some(event) = self.ask(who, action, &objections) {
                    let Event::Forwarded(forwarded) = event else { panic!("{event:?}") };
                    let members = self.model.what_counts(round);
                    let named = forwarded.members.iter().map(|m| (slot_name(&m.unit, m.kind), m.version as usize - 1));
                    let meant = members.iter().map(|(filer, version)| ((*filer).to_owned(), *version));
                    assert_eq!(named.collect::<BTreeMap<_, _>>(), meant.collect());
                    let (at, passed_on) = (Sealed::Forwarded, BTreeSet::new());
                    self.model.aggregates[round].push(Aggregate { at, members, passed_on });
                }
            }
            Step::Cap(more, mark, said) => {
                let who = who(("0", "bureau"));
                let ceiling = more.map(|more| (self.model.others("", 1) + more).max(0));
                let objections = self.model.cap(who, ceiling, mark, said);
                let action = self.orders("0", World::figure("900", ceiling), mark, said);
                if let Some(event) = self.ask(who, action, &objections) {
                    let Event::ControlIssued(issued) = event else { panic!("{event:?}") };
                    let more = self.model.overshoot(ceiling) > self.model.overshoot(self.model.ceiling);
                    assert_eq!(!issued.affected.is_empty(), more, "who is above it now is named");
                    self.model.ceiling = ceiling;
                    self.over = self.over.max(self.model.overshoot(ceiling));
                }
            }
            Step::Tree(moved) => {
                let who = who(("0", "bureau"));
                let objections = self.model.import(who, moved);
                if self.ask(who, self.import(moved), &objections).is_some() {
                    self.model.moved = moved;
                }
            }
            Step::MoveAggregate(round, behind, step, said) => {
                let count = i64::try_from(self.model.aggregates[round].len()).unwrap();
                let recalls = self.model.aggregates[round].last().is_some_and(|last| last.at == Sealed::Forwarded);
                let who = who(if step == Do::Reopen && recalls { ("900", "department") } else { ("0", "bureau") });
                let objections = self.model.step_aggregate(who, round, count - behind, step, said);
                if self.ask(who, self.aggregate_step(round, count - behind, step, said), &objections).is_some() {
                    let to = self.model.aggregate_leads(round, step).unwrap();
                    let last = self.model.aggregates[round].last_mut().unwrap();
                    last.at = to;
                    last.passed_on.clear();
                }
            }
        }
        let over = self.model.overshoot(self.model.ceiling);
        assert!(over <= self.over, "nothing but a cut that is marked puts more above a ceiling");
        self.over = over;
        self.compare();
    }

    fn forward(&self, round: usize) -> Action {
        Action::Forward { department: "900".into(), year: YEAR, round: ROUNDS[round], text: String::new() }
    }

    fn last(&mut self, unit: &'static str, round: usize) -> &mut Version {
        self.model.slots.get_mut(&(unit, round)).unwrap().versions.last_mut().unwrap()
    }

    fn filed(
        &mut self,
        event: Option<Event>,
        at: (&'static str, usize),
        figures: [i64; 2],
        (base, raised): (Option<usize>, Option<i64>),
        refused: bool,
    ) {
        let Some(event) = event else { return };
        let slot = self.model.slots.entry(at).or_default();
        match event {
            Event::Refused(_) => {
                assert!(refused, "{at:?} {figures:?}");
                slot.refused += 1;
            }
            Event::Submitted(submitted) => {
                assert!(!refused, "{at:?} {figures:?}");
                let way = vec![if raised.is_some() { At::Approved } else { At::Submitted }];
                let (opinions, reviewed) = (BTreeSet::new(), BTreeMap::new());
                slot.versions.push(Version { figures, adjusts: base, way, opinions, reviewed });
                assert_eq!(submitted.version as usize, slot.versions.len(), "1, 2, 3…");
                self.model.ceiling = raised.or(self.model.ceiling);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Everything that both know is the same, and what must always hold does.
    fn compare(&self) {
        for (round, name) in ROUNDS.into_iter().enumerate() {
            let found =
                self.state.round(YEAR, name).map(|found| Open { open: found.open, until: found.deadline.map(|d| d.0) });
            assert_eq!(found, self.model.rounds[round]);
            // As filed, and as reviewed.
            let (mut sums, mut reviewed) = ([0; 2], [0; 2]);
            for unit in FILERS {
                let slot = self.model.slot(unit, round);
                let filings = self.state.filings(&self::slot(unit, round)).cloned().unwrap_or_default();
                let states: Vec<At> = filings.versions.iter().map(|version| at(version.state())).collect();
                assert_eq!(states, slot.versions.iter().map(Version::at).collect::<Vec<_>>(), "{unit}");
                assert_eq!(filings.refused.len(), slot.refused, "a refused attempt is no version");
                let counting = filings.counting().map(|version| version.version as usize - 1);
                assert_eq!(counting, slot.counting(), "{unit}");
                if let (Some(counts), true) = (slot.counting(), self.model.in_department(unit)) {
                    let version = &slot.versions[counts];
                    for at in 0..2 {
                        sums[at] += version.figures[at];
                        reviewed[at] += version.as_reviewed(at);
                    }
                }
                if let (Some(ours), Some(theirs)) = (filings.latest(), slot.latest()) {
                    let set: BTreeMap<usize, Amount> =
                        theirs.reviewed.iter().map(|(at, fen)| (*at, amount(*fen))).collect();
                    let found =
                        (0..CELLS.len()).filter_map(|at| Some((at, ours.remarks.figures.get(&cell(at))?.amount?)));
                    assert_eq!(found.collect::<BTreeMap<_, _>>(), set);
                    let offices: BTreeSet<&str> = ours.remarks.opinions.keys().map(|office| office.as_str()).collect();
                    assert_eq!(offices, theirs.opinions.iter().copied().collect());
                }
                // What is sealed stands still, but for what the department passes on of an approved aggregate.
                if let Some((seal, member)) =
                    self.model.seal(unit, round).and_then(|seal| Some((seal, *seal.members.get(unit)?)))
                {
                    let sealed = slot.versions[member].at();
                    // What a department files for itself the bureau decides upon meanwhile. What a unit filed may have been
                    // approved before it was sealed, when it stood elsewhere.
                    let own = self.model.is_departments_own(unit);
                    let may = matches!(sealed, At::Accepted | At::Approved) || own && sealed == At::Submitted;
                    let adjusted = slot.versions.len() - 1 > member;
                    assert!(may || adjusted && sealed == At::Approved, "{unit} {seal:?} {slot:?}");
                }
                let sealed = self.state.seal(node_of(unit), YEAR, name).map(|(_, aggregate)| aggregate.state());
                let meant = self.model.seal(unit, round).map(|seal| match seal.at {
                    Sealed::Forwarded => AggregateState::Forwarded,
                    _ => AggregateState::Approved,
                });
                assert_eq!(sealed, meant);
            }
            for (at, sum) in sums.into_iter().enumerate() {
                let found = self.state.reported(YEAR, name, self.form.layout, "900", &cell(at));
                assert_eq!(found, Money::from_fen(sum), "the sum is that of what counts");
            }
            // What is adjusted stands beside it, and the view is both.
            let difference = self.model.slot("900/difference", round);
            let counting = difference.counting().map(|at| &difference.versions[at]);
            let adjusted = counting.map_or([0; 2], |version| version.figures);
            let adjusted_as_reviewed = counting.map_or([0; 2], |version| [0, 1].map(|at| version.as_reviewed(at)));
            for (basis, sums, adjusted) in [(false, sums, adjusted), (true, reviewed, adjusted_as_reviewed)] {
                let scope = Scope { reviewed: basis, ..scope("900", name) };
                let state = match basis {
                    true => as_reviewed(&self.state, &scope, &self.past).unwrap().0,
                    false => self.state.clone(),
                };
                let Ok(view) = view(&state, &scope, &self.past) else {
                    assert_eq!((sums, adjusted), ([0; 2], [0; 2]), "nothing counts");
                    continue;
                };
                let row = view.row(0, "total");
                for (at, (reported, adjusted)) in sums.into_iter().zip(adjusted).enumerate() {
                    let found = row.get(at).map(|posted| [posted.reported, posted.adjusted, posted.consolidated()]);
                    let fen = [reported, adjusted, reported + adjusted];
                    let found = found.map(|sums| sums.map(|sum| sum.value.money()));
                    assert_eq!(found, Some(fen.map(Money::from_fen)), "reviewed: {basis}");
                }
            }
            if round == 1 {
                let left = self.state.control(YEAR, name).unwrap().line("900", &cell(0)).and_then(|line| line.left());
                let drawn = self.model.others("", round);
                assert_eq!(left, self.model.ceiling.map(|ceiling| Money::from_fen(ceiling - drawn)));
                assert!(self.over > 0 || self.model.ceiling.is_none_or(|ceiling| drawn <= ceiling), "Σ ≤ ceiling");
            }
        }
    }

    /// Whether they could do it now; what only stands in the way for now (headroom, something to explain, a reviewed
    /// figure that moves the total, another unit of the department) does not make it illegal.
    fn possible(&self, who: Who, action: &Action) -> bool {
        let waits = [
            Reason::OverCeiling,
            Reason::ReviewedOverCeiling,
            Reason::ApprovalOverCeiling,
            Reason::FindingsUnjustified,
            Reason::AdjustmentMoved,
            Reason::DepartmentNotReady,
        ];
        match decide(&self.state, &self.command(actor(who), copy(action)), &self.past) {
            Ok(_) => true,
            // Nothing leads back behind what was adjusted.
            Err(remark) => waits.contains(&remark.reason) && remark.fact("problem") != Some("adjusted"),
        }
    }

    /// The same with both rounds open.
    fn opened(&self) -> World {
        let mut open = self.clone();
        for round in ROUNDS {
            // Refused if it is so already.
            let reason = words(true);
            let _ = open.act(actor(("0", "bureau")), Action::OpenRound { year: YEAR, round, deadline: None, reason });
        }
        open
    }

    /// What `legal` names is what somebody can do, word by word.
    fn legal_is_what_is_possible(&self) {
        for (round, name) in ROUNDS.into_iter().enumerate() {
            self.legal_is_what_is_possible_with_the_whole(round);
            for unit in FILERS {
                let slot = slot(unit, round);
                let meant = self.count(unit, round);
                let latest = self.state.filings(&slot).and_then(|filings| filings.latest());
                let said: BTreeSet<&str> = legal(&self.state, &slot, latest).into_iter().map(Operation::verb).collect();
                let base = self.model.base(unit, round).map(|base| self.model.slot(unit, round).versions[base].total());
                let figure = base.unwrap_or(5);
                let mut can = BTreeSet::new();
                let mut theirs: BTreeMap<Who, BTreeSet<&str>> = WHO.map(|who| (who, BTreeSet::new())).into();
                let mut try_out = |word: &'static str, action: &dyn Fn() -> Action| {
                    for who in WHO.into_iter().filter(|who| self.possible(*who, &action())) {
                        can.insert(word);
                        theirs.entry(who).or_default().insert(word);
                    }
                };
                try_out("submit", &|| self.submit(unit, round, [0, 0], None));
                try_out("adjust", &|| self.submit(unit, round, [figure, 0], self.order(None)));
                for (word, step) in [
                    ("withdraw", Do::Withdraw),
                    ("return", Do::Return),
                    ("accept", Do::Accept),
                    ("approve", Do::Approve),
                    ("reopen", Do::Reopen),
                ] {
                    try_out(word, &|| self.version_step(unit, round, meant, step, true));
                }
                for office in 0..OFFICES.len() {
                    try_out("opinion", &|| self.opine(unit, round, meant, office, OpinionView::Agree));
                }
                try_out("review", &|| self.set(unit, round, meant, 0, Some(1)));
                // Anything can be explained at any time; it is named where it leads on.
                if said.contains("justify") {
                    try_out("justify", &|| self.justify(unit, round));
                }
                if said.contains("forward") {
                    try_out("forward", &|| self.forward(round));
                }
                let seal = self.state.seal(node_of(unit), YEAR, name).map(|(_, aggregate)| aggregate.state());
                assert_eq!(said, can, "{unit} {round} {:?} {seal:?}", latest.map(|latest| latest.state()));
                if said.contains("adjust") {
                    // An addition is the bureau's; what can be added is not asked here.
                    theirs.entry(("0", "bureau")).or_default().insert("adjust");
                }
                for (who, can) in theirs {
                    let said = legal_for(&self.state, &actor(who), &slot, latest).into_iter().map(Operation::verb);
                    let state = latest.map(|latest| latest.state());
                    assert_eq!(said.collect::<BTreeSet<_>>(), can, "{who:?} {unit} {round} {state:?} {seal:?}");
                }
            }
        }
    }

    /// The same of the department's last aggregate.
    fn legal_is_what_is_possible_with_the_whole(&self, round: usize) {
        let within = (YEAR, ROUNDS[round]);
        let Some(last) = self.state.aggregate("900", YEAR, ROUNDS[round]) else { return };
        let count = i64::try_from(self.model.aggregates[round].len()).unwrap();
        for who in WHO {
            let mut can = BTreeSet::new();
            for (word, step) in [("return", Do::Return), ("approve", Do::Approve), ("reopen", Do::Reopen)] {
                if self.possible(who, &self.aggregate_step(round, count, step, true)) {
                    can.insert(word);
                }
            }
            if self.possible(who, &self.forward(round)) {
                can.insert("forward");
            }
            let said = legal_whole_for(&self.state, last, within, &actor(who), "900").into_iter().map(Operation::verb);
            assert_eq!(said.collect::<BTreeSet<_>>(), can, "{who:?} {round} {:?}", last.state());
        }
    }

    /// Whoever takes any step of review now, the model says what comes of it.
    fn everybody_is_judged(&self) {
        let judge = |who: Who, action: &Action, objections: BTreeSet<Reason>| match decide(
            &self.state,
            &self.command(actor(who), copy(action)),
            &self.past,
        ) {
            Ok(_) => assert!(objections.is_empty(), "taken in spite of {objections:?}: {who:?} {action:?}"),
            Err(remark) => {
                assert!(objections.contains(&remark.reason), "{remark} is none of {objections:?}: {who:?} {action:?}");
            }
        };
        for who in WHO {
            for round in 0..ROUNDS.len() {
                for unit in FILERS {
                    let meant = self.count(unit, round);
                    for step in [Do::Withdraw, Do::Return, Do::Accept, Do::Approve, Do::Reopen] {
                        let action = self.version_step(unit, round, meant, step, true);
                        judge(who, &action, self.model.step(who, unit, round, meant, step, true));
                    }
                    let (office, view) = (0, OpinionView::Agree);
                    let objections = self.model.opine(who, unit, round, meant, (office, false));
                    judge(who, &self.opine(unit, round, meant, office, view), objections);
                    let objections = self.model.set(who, unit, round, meant, (0, Some(1)));
                    judge(who, &self.set(unit, round, meant, 0, Some(1)), objections);
                }
                let count = i64::try_from(self.model.aggregates[round].len()).unwrap();
                for step in [Do::Return, Do::Approve, Do::Reopen] {
                    let action = self.aggregate_step(round, count, step, true);
                    judge(who, &action, self.model.step_aggregate(who, round, count, step, true));
                }
                judge(who, &self.forward(round), self.model.forward(who, round));
            }
        }
    }

    /// What reviewed figures in the department draw on the ceiling beyond what was filed.
    fn drawn_beyond(&self) -> Money {
        let tree = self.state.tree(YEAR).unwrap();
        let beyond = FILERS.into_iter().filter(|unit| tree.is_within(unit, "900")).filter_map(|unit| {
            let version = self.state.filings(&slot(unit, 1))?.counting()?;
            let submission = self.past.submission(version.position).unwrap();
            let drawn = version.drawn(&submission, &self.form, &cell(0));
            Some(drawn - ControlFigure::filed(&submission, &self.form, &cell(0)))
        });
        beyond.fold(Money::ZERO, |sum, more| sum + more)
    }

    /// What *back* means. `remarks` says whether those of the last versions are a part of it, `over` whether it is that
    /// somebody is above a ceiling.
    fn standing(&self, remarks: bool, over: bool) -> String {
        let mut said = Vec::new();
        for (round, name) in ROUNDS.into_iter().enumerate() {
            said.push(format!("{:?}", self.state.round(YEAR, name).map(|found| (found.open, found.deadline))));
            for unit in FILERS {
                let filings = self.state.filings(&slot(unit, round)).cloned().unwrap_or_default();
                let counts = filings
                    .counting()
                    .map(|version| (self.past.submission(version.position).unwrap().tables.clone(), version.state()));
                let seal = self
                    .state
                    .seal(node_of(unit), YEAR, name)
                    .map(|(_, aggregate)| (aggregate.state(), aggregate.members.clone()));
                said.push(format!("{unit} {counts:?} {seal:?}"));
                if let (Some(last), true) = (filings.latest(), remarks) {
                    for (office, positions) in &last.remarks.opinions {
                        let event = &self.events[usize::try_from(*positions.last().unwrap()).unwrap() - 1].event;
                        let Event::OpinionGiven(given) = event else { panic!("{event:?}") };
                        if given.view != OpinionView::TakenBack {
                            said.push(format!("{office} {:?}", given.view));
                        }
                    }
                    let set = last.remarks.figures.iter().filter_map(|(cell, set)| Some((cell, set.amount?)));
                    said.extend(set.map(|(cell, amount)| format!("{cell} {amount:?}")));
                }
            }
            for node in ["900", "0"] {
                let board = board(&self.state, &scope(node, name), Timestamp(self.now)).unwrap();
                said.extend(board.lines.iter().map(|line| {
                    let given_back = line.given_back().is_some();
                    let over = over && line.over_ceiling;
                    let (unit, late) = (&line.unit.code, line.late);
                    // That something was there and was taken back, or refused, belongs to the track.
                    let standing = match line.standing {
                        Standing::Withdrawn | Standing::Refused => Standing::Missing,
                        standing => standing,
                    };
                    format!("{unit} {standing:?} {:?} {:?} {given_back} {late} {over}", line.turn, line.waits_for)
                }));
            }
            for at in 0..CELLS.len() {
                said.push(self.state.reported(YEAR, name, self.form.layout, "900", &cell(at)).to_string());
            }
        }
        let tree = self.state.tree(YEAR).unwrap();
        // What reviewed figures draw beyond what was filed goes with them.
        let beyond = if remarks { Money::ZERO } else { self.drawn_beyond() };
        let book = self.state.control(YEAR, Round::Second).unwrap();
        let left = |line: &Line| line.left().map(|left| left + beyond);
        said.extend(book.all().map(|(unit, line)| format!("{unit} {:?} {:?}", line.ceiling, left(line))));
        said.extend(tree.nodes().map(|node| format!("{} {}", node.code, node.parent)));
        said.join("\n")
    }

    /// Whether a ceiling is what stands in the way.
    fn is_over(&self, action: &Action) -> bool {
        WHO.into_iter().any(|who| match decide(&self.state, &self.command(actor(who), copy(action)), &self.past) {
            Ok(Decision::Record(event, _)) => matches!(*event, Event::Refused(_)),
            Ok(Decision::Repeat(_)) => false,
            Err(remark) => match remark.reason {
                Reason::OverCeiling
                | Reason::ReviewedOverCeiling
                | Reason::ApprovalOverCeiling
                | Reason::TreeBreaksCeilings => true,
                Reason::DepartmentNotReady => remark.to_string().contains("above"),
                _ => false,
            },
        })
    }

    /// Does it by whoever may; none if nobody can, or it would be refused.
    fn done(&self, action: &Action) -> Option<World> {
        let taken = |who: &Who| {
            let decided = decide(&self.state, &self.command(actor(*who), copy(action)), &self.past);
            matches!(decided, Ok(Decision::Record(event, _)) if !matches!(*event, Event::Refused(_)))
        };
        let who = WHO.into_iter().find(taken)?;
        let mut after = self.clone();
        after.act(actor(who), copy(action)).unwrap();
        Some(after)
    }

    /// Does it if somebody can, does what leads back, and is back.
    fn leads_back(&self, what: &str, remarks: bool, action: &Action, back: &dyn Fn(&World) -> Vec<Action>) -> bool {
        let Some(mut after) = self.done(action) else { return false };
        for action in back(&after) {
            match after.done(&action) {
                Some(done) => after = done,
                // What a cut has put above its ceiling does not come back once it was given away.
                None if self.over > 0 && after.is_over(&action) => return false,
                None => panic!("{what}: nobody can lead back by {action:?}"),
            }
        }
        // Where reviewed figures that go were part of what is too much, it may be no longer.
        let over = remarks || self.drawn_beyond() == Money::ZERO;
        assert_eq!(after.standing(remarks, over), self.standing(remarks, over), "{what}");
        true
    }

    /// Every operation that somebody could do now, and what leads back from it. Says which were looked at.
    fn all_lead_back(&self) -> BTreeSet<&'static str> {
        let mut seen = BTreeSet::new();
        let mut look =
            |what: &'static str, remarks, action: &dyn Fn() -> Action, back: &dyn Fn(&World) -> Vec<Action>| {
                if self.leads_back(what, remarks, &action(), back) {
                    seen.insert(what);
                }
            };
        for (round, name) in ROUNDS.into_iter().enumerate() {
            if let Some(before) = self.model.rounds[round] {
                let open = |until: Option<i64>| Action::OpenRound {
                    year: YEAR,
                    round: name,
                    deadline: until.map(Timestamp),
                    reason: words(true),
                };
                let close = || Action::CloseRound { year: YEAR, round: name, reason: String::new() };
                let later = Some(self.now + 7_777);
                // A deadline that has passed can't be set again: whoever was late stays late.
                if before.until.is_none_or(|until| until > self.now) {
                    look("close", true, &close, &|_| vec![open(before.until)]);
                    look("deadline", true, &|| open(later), &|_| {
                        let closed = (!before.open).then(close);
                        std::iter::once(open(before.until)).chain(closed).collect()
                    });
                }
            }
            for unit in FILERS {
                let meant = self.count(unit, round);
                let slot = self.model.slot(unit, round);
                let last = slot.latest().map(|last| last.figures);
                let counts = slot.counting().map(|at| slot.versions[at].clone());
                let reopen = |world: &World| vec![world.version_step(unit, round, meant, Do::Reopen, true)];
                for (what, step) in [("accept", Do::Accept), ("return", Do::Return), ("approve", Do::Approve)] {
                    look(what, true, &|| self.version_step(unit, round, meant, step, true), &reopen);
                }
                // What was undone is done again.
                let undone = match slot.latest().map(Version::at) {
                    Some(At::Accepted) => Some(Do::Accept),
                    // If it was approved where it stood before, it goes the way of its department from then on.
                    Some(At::Approved) => Some(Do::Approve).filter(|_| {
                        let seal = self.model.seal(unit, round).filter(|seal| seal.at == Sealed::Approved);
                        let adjusts = slot.latest().is_some_and(|last| last.adjusts.is_some());
                        adjusts || self.model.is_next(unit) || seal.is_some_and(|seal| seal.members.contains_key(unit))
                    }),
                    Some(At::Returned) => Some(Do::Return),
                    _ => None,
                };
                if let Some(step) = undone {
                    look("reopen", true, &|| self.version_step(unit, round, meant, Do::Reopen, true), &|world| {
                        vec![world.version_step(unit, round, meant, step, true)]
                    });
                }
                let adjusts = slot.latest().is_some_and(|last| last.adjusts.is_some());
                let takes = self.model.takes(round).is_none();
                if let (Some(last), true) = (last, takes || adjusts) {
                    let again = |world: &World| {
                        vec![world.submit(unit, round, last, if adjusts { world.order(None) } else { None })]
                    };
                    look("withdraw", false, &|| self.version_step(unit, round, meant, Do::Withdraw, true), &again);
                }
                // A filing takes the place of one before it: what leads back is that one again, or to withdraw it.
                look("submit", false, &|| self.submit(unit, round, [1, 2], None), &|world| match &counts {
                    Some(before) => vec![world.submit(unit, round, before.figures, None)],
                    None => vec![world.version_step(unit, round, meant + 1, Do::Withdraw, true)],
                });
                if let Some(base) = self.model.base(unit, round) {
                    let total = slot.versions[base].total();
                    look("reallocate", false, &|| self.submit(unit, round, [total, 2], self.order(None)), &|world| {
                        vec![world.version_step(unit, round, meant + 1, Do::Withdraw, true)]
                    });
                    let (was, before) = (self.model.ceiling, slot.versions[base].figures);
                    // It answers a returned adjustment for good, also one whose answer was withdrawn.
                    let filings = self.state.filings(&self::slot(unit, round)).cloned().unwrap_or_default();
                    let returned = filings.standing().is_some_and(|last| last.state() == VersionState::Returned);
                    let more = |more| was.filter(|_| round == 1 && !returned).map(|was| was + more);
                    // An addition leads back by an adjustment to the figures before and the ceiling issued as it was.
                    look("add", false, &|| self.submit(unit, round, [total + 5, 2], self.order(more(5))), &|world| {
                        vec![world.submit(unit, round, before, world.order(more(6))), world.ceiling(was)]
                    });
                }
                let opinion = self.last_opinion(unit, round, 1);
                look("opinion", true, &|| self.opine(unit, round, meant, 1, OpinionView::Object), &|world| {
                    vec![world.opine(unit, round, meant, 1, opinion)]
                });
                let figure = slot.latest().and_then(|last| last.reviewed.get(&0).copied());
                look("review", true, &|| self.set(unit, round, meant, 0, Some(77)), &|world| {
                    vec![world.set(unit, round, meant, 0, figure)]
                });
            }
            let count = i64::try_from(self.model.aggregates[round].len()).unwrap();
            look("forward", true, &|| self.forward(round), &|world| {
                vec![world.aggregate_step(round, count + 1, Do::Reopen, true)]
            });
            look("approve aggregate", true, &|| self.aggregate_step(round, count, Do::Approve, true), &|world| {
                vec![world.aggregate_step(round, count, Do::Reopen, true)]
            });
            // It seals what counts then: what was filed beyond the seal, or moved with the tree, is in the next one.
            let last = self.model.aggregates[round].last();
            let same = last.is_some_and(|last| last.members == self.model.what_counts(round));
            if same {
                look("return aggregate", true, &|| self.aggregate_step(round, count, Do::Return, true), &|world| {
                    vec![world.forward(round)]
                });
            }
            match last.map(|last| last.at) {
                Some(Sealed::Forwarded) if same => {
                    look("recall aggregate", true, &|| self.aggregate_step(round, count, Do::Reopen, true), &|world| {
                        vec![world.forward(round)]
                    });
                }
                Some(Sealed::Approved) => {
                    look("reopen aggregate", true, &|| self.aggregate_step(round, count, Do::Reopen, true), &|world| {
                        vec![world.aggregate_step(round, count, Do::Approve, true)]
                    });
                }
                _ => {}
            }
        }
        let (was, filed) = (self.model.ceiling, self.model.others("", 1));
        match was {
            None => look("issue", true, &|| self.ceiling(Some(filed)), &|world| vec![world.ceiling(None)]),
            Some(_) => {
                look("raise", true, &|| self.ceiling(was.map(|was| was + 9)), &|world| vec![world.ceiling(was)]);
                look("cut", true, &|| self.ceiling(Some(filed / 2)), &|world| vec![world.ceiling(was)]);
                look("lift", true, &|| self.ceiling(None), &|world| vec![world.ceiling(was)]);
                let slot = self.model.slot("90002", 1);
                let figure = slot.counting().map_or(0, |at| slot.versions[at].figures[0]);
                look("split", true, &|| self.split("90002", Some(figure)), &|world| vec![world.split("90002", None)]);
            }
        }
        let moved = self.model.moved;
        look("import", true, &|| self.import(!moved), &|world| vec![world.import(moved)]);
        seen
    }

    /// The last word of an office on a version; that it was taken back if there is none.
    fn last_opinion(&self, unit: &str, round: usize, office: usize) -> OpinionView {
        let last = self.state.filings(&slot(unit, round)).and_then(|filings| filings.latest());
        let position = last.and_then(|last| last.remarks.opinions.get(OFFICES[office].0)?.last().copied());
        let event = position.map(|position| &self.events[usize::try_from(position).unwrap() - 1].event);
        match event {
            Some(Event::OpinionGiven(given)) => given.view,
            _ => OpinionView::TakenBack,
        }
    }

    /// The state is the fold of its events, and its image reads back.
    fn folds(&self) {
        let mut folded = State::default();
        self.events.iter().for_each(|event| folded.apply(event, &self.past).unwrap());
        let bytes = image::image(&self.state);
        assert_eq!(bytes, image::image(&folded));
        assert_eq!(bytes, image::image(&image::state(&bytes).unwrap()));
    }
}

/// The same action once more.
fn copy(action: &Action) -> Action {
    match action {
        Action::Submit(Filing { reading, adjustment, .. }) => {
            let (reading, adjustment) = (reading.clone(), adjustment.clone());
            Action::Submit(Filing { reading, version: None, ahead: None, adjustment })
        }
        Action::Step(step) => Action::Step(step.clone()),
        Action::StepAggregate(step) => Action::StepAggregate(step.clone()),
        Action::Forward { department, year, round, text } => {
            Action::Forward { department: department.clone(), year: *year, round: *round, text: text.clone() }
        }
        Action::GiveOpinion { target, office, view, text } => {
            Action::GiveOpinion { target: target.clone(), office: office.clone(), view: *view, text: text.clone() }
        }
        Action::ReviewFigures { target, figures } => {
            Action::ReviewFigures { target: target.clone(), figures: figures.clone() }
        }
        Action::OpenRound { year, round, deadline, reason } => {
            Action::OpenRound { year: *year, round: *round, deadline: *deadline, reason: reason.clone() }
        }
        Action::CloseRound { year, round, reason } => {
            Action::CloseRound { year: *year, round: *round, reason: reason.clone() }
        }
        Action::Justify { slot, position, items } => {
            Action::Justify { slot: slot.clone(), position: *position, items: items.clone() }
        }
        Action::Control(orders) => Action::Control(orders.clone()),
        Action::ImportUnits { year, nodes } => Action::ImportUnits { year: *year, nodes: nodes.clone() },
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn law_review_decides_as_the_model_and_names_what_is_legal(steps in steps()) {
        let mut world = World::new();
        for (at, (who, step)) in steps.iter().enumerate() {
            world.take(*who, step);
            if at % 16 == 15 {
                world.opened().legal_is_what_is_possible();
            }
        }
        world.opened().legal_is_what_is_possible();
        world.everybody_is_judged();
        world.folds();
    }

    #[test]
    fn law_every_operation_leads_back(steps in steps()) {
        let mut world = World::new();
        steps.iter().for_each(|(who, step)| world.take(*who, step));
        world.all_lead_back();
    }
}

/// The generator comes everywhere: a law about what never happens would hold.
#[test]
fn the_laws_see_every_operation_lead_back() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..200 {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        let mut world = World::new();
        steps.iter().for_each(|(who, step)| world.take(*who, step));
        seen.extend(world.all_lead_back());
        if seen.len() == 23 {
            return;
        }
    }
    panic!("only {seen:?}");
}

/// At each stage of a year, and of an adjustment behind it, everybody is judged as the model says, for every step.
#[test]
fn at_each_stage_everybody_may_what_the_model_says() {
    let mut world = World::new();
    for stage in 0..6 {
        world = World::new();
        prologue(stage, 1).into_iter().for_each(|(who, step)| world.take(who, &step));
        world.everybody_is_judged();
        world.opened().legal_is_what_is_possible();
    }
    let adjust = Step::Adjust(2, 1, [20_000, 6], None);
    for step in [adjust, Step::Move(2, 1, 0, Do::Accept, true), Step::Move(2, 1, 0, Do::Approve, true)] {
        let before = world.events.len();
        world.take(None, &step);
        assert_eq!(world.events.len(), before + 1, "{step:?}");
        world.everybody_is_judged();
        world.opened().legal_is_what_is_possible();
    }
}

/// What was approved is what a reallocation keeps: the reviewed figure, where there is one.
#[test]
fn a_reallocation_starts_from_what_was_approved() {
    let mut world = World::new();
    prologue(2, 1).into_iter().for_each(|(who, step)| world.take(who, &step));
    world.take(None, &Step::Set(2, 1, 0, 0, Some(15_000)));
    prologue(5, 1).into_iter().skip(15).for_each(|(who, step)| world.take(who, &step));
    for (total, taken) in [(20_000, false), (15_000, true)] {
        let (order, who) = (world.order(None), actor(owner("90002")));
        let event = world.act(who, world.submit("90002", 1, [total, 6], order)).unwrap();
        assert_eq!(matches!(event, Event::Submitted(_)), taken, "{total}: {event:?}");
    }
}

/// An adjustment is beyond the seal that was there before it. The next one seals it, and then it stands still too.
#[test]
fn an_adjustment_is_sealed_by_the_next_aggregate() {
    let mut world = World::new();
    prologue(3, 1).into_iter().for_each(|(who, step)| world.take(who, &step));
    let own = FILERS.iter().position(|filer| *filer == "900/department").unwrap();
    let next = [
        Step::Move(own, 1, 0, Do::Accept, true),
        Step::Move(own, 1, 0, Do::Approve, true),
        Step::Adjust(own, 1, [20_000, 6], None),
    ];
    next.iter().for_each(|step| world.take(None, step));
    let sealed = |world: &World| world.model.aggregates[1].last().unwrap().members["900/department"];
    assert_eq!((sealed(&world), world.count("900/department", 1)), (0, 2));
    world.everybody_is_judged();
    world.opened().legal_is_what_is_possible();
    for step in [Step::MoveAggregate(1, 0, Do::Return, true), Step::Forward(1)] {
        world.take(None, &step);
    }
    assert_eq!(sealed(&world), 1);
    // Whatever becomes of the whole, it can be brought into balance: the bureau decides it by itself.
    world.take(None, &Step::Set(own, 1, 0, 0, Some(19_999)));
    world.take(None, &Step::MoveAggregate(1, 0, Do::Approve, true));
    let before = world.events.len();
    world.take(None, &Step::Set(own, 1, 0, 0, None));
    assert_eq!(world.events.len(), before + 1);
    for stays in [Do::Withdraw, Do::Return] {
        let before = world.events.len();
        world.take(None, &Step::Move(own, 1, 0, stays, true));
        assert_eq!(world.events.len(), before, "{stays:?}");
    }
    world.everybody_is_judged();
    world.opened().legal_is_what_is_possible();
    for step in [Step::Move(own, 1, 0, Do::Accept, true), Step::Move(own, 1, 0, Do::Approve, true)] {
        let before = world.events.len();
        world.take(None, &step);
        assert_eq!(world.events.len(), before + 1, "{step:?}");
        world.everybody_is_judged();
        world.opened().legal_is_what_is_possible();
    }
}

/// What was taken back is as if it had not been filed: a unit that is approved already doesn't keep its department waiting.
#[test]
fn a_withdrawn_adjustment_keeps_nobody_from_forwarding() {
    let mut world = World::new();
    prologue(2, 1).into_iter().for_each(|(who, step)| world.take(who, &step));
    let unit = FILERS.iter().position(|filer| *filer == "90002").unwrap();
    // Approved by the bureau while it stood right below that.
    for step in [Step::Tree(true), Step::Move(unit, 1, 0, Do::Approve, true), Step::Tree(false)] {
        world.take(None, &step);
    }
    for step in [Step::Adjust(unit, 1, [20_000, 6], None), Step::Move(unit, 1, 0, Do::Withdraw, true)] {
        let before = world.events.len();
        world.take(None, &step);
        assert_eq!(world.events.len(), before + 1, "{step:?}");
        world.everybody_is_judged();
    }
    world.take(None, &Step::Forward(1));
    assert_eq!(world.model.aggregates[1].last().unwrap().members["90002"], 0);
    world.everybody_is_judged();
}

/// The approval of an adjustment that an aggregate holds is the bureau's: it doesn't pass the aggregate on.
#[test]
fn an_approved_adjustment_keeps_no_aggregate_from_being_reopened() {
    let mut world = World::new();
    prologue(2, 1).into_iter().for_each(|(who, step)| world.take(who, &step));
    let unit = FILERS.iter().position(|filer| *filer == "90002").unwrap();
    for step in [
        Step::Tree(true),
        Step::Move(unit, 1, 0, Do::Approve, true),
        Step::Tree(false),
        Step::Adjust(unit, 1, [20_000, 6], None),
        Step::Move(unit, 1, 0, Do::Accept, true),
        Step::Forward(1),
        Step::MoveAggregate(1, 0, Do::Approve, true),
        Step::Move(unit, 1, 0, Do::Approve, true),
        Step::MoveAggregate(1, 0, Do::Reopen, true),
    ] {
        let before = world.events.len();
        world.take(None, &step);
        assert_eq!(world.events.len(), before + 1, "{step:?}");
        world.everybody_is_judged();
    }
}

/// Whoever has a filing in a sealed aggregate stays where it is, and so does the department.
#[test]
fn nobody_leaves_a_sealed_aggregate() {
    let mut world = World::new();
    prologue(2, 1).into_iter().for_each(|(who, step)| world.take(who, &step));
    // Files no budget, only how what one unit files differs from what is budgeted.
    let tree = |world: &World, office: &str, department: &str| {
        let Action::ImportUnits { year, mut nodes } = world.import(false) else { panic!("a tree") };
        let below = Node { code: "90003".into(), parent: office.into(), budgeted: false, ..nodes[1].clone() };
        nodes.push(below);
        let above = if office == "900" { "90003" } else { "900" };
        nodes.iter_mut().filter(|node| node.code == "90002").for_each(|node| node.parent = above.into());
        nodes.iter_mut().filter(|node| node.code == "900").for_each(|node| node.parent = department.into());
        Action::ImportUnits { year, nodes }
    };
    let import = |world: &mut World, office: &str, department: &str| {
        let action = tree(world, office, department);
        let refusal = world.act(actor(("0", "bureau")), action).err();
        refusal.map(|remark| (remark.reason, remark.fact("unit").unwrap_or_default().to_owned()))
    };
    assert_eq!(import(&mut world, "900", "0"), None);
    let filer = "90003/difference";
    let file = world.submit(filer, 1, [1, 2], None);
    world.act(actor(("90003", "unit")), file).unwrap();
    let accept = world.version_step(filer, 1, 1, Do::Accept, true);
    world.act(actor(("900", "department")), accept).unwrap();
    assert_eq!(import(&mut world, "0", "0"), None, "nothing is sealed yet");
    assert_eq!(import(&mut world, "900", "0"), None);
    let forward = world.forward(1);
    world.act(actor(("900", "department")), forward).unwrap();
    assert_eq!(import(&mut world, "900", "0"), None, "the same tree");
    for (office, department, unit) in [("0", "0", "90003"), ("900", "700", "900")] {
        assert_eq!(import(&mut world, office, department), Some((Reason::UnitsSealed, unit.to_owned())));
    }
}

/// A department's own budget, which it has sealed with those of its units, is the bureau's to approve, before or after the
/// whole: nobody else stands above it.
#[test]
fn a_departments_own_budget_waits_for_the_bureau() {
    let mut world = World::new();
    let Action::ImportUnits { year, mut nodes } = world.import(false) else { panic!("a tree") };
    nodes.iter_mut().filter(|node| node.code == "900").for_each(|node| node.budgeted = true);
    nodes.retain(|node| !node.code.starts_with("9000"));
    let (bureau, department) = (|| actor(("0", "bureau")), || actor(("900", "department")));
    world.act(bureau(), Action::ImportUnits { year, nodes }).unwrap();
    let file = world.submit("900", 1, [5, 4], None);
    world.act(department(), file).unwrap();
    let step = |world: &World, step| world.version_step("900", 1, 1, step, true);
    let accept = step(&world, Do::Accept);
    world.act(bureau(), accept).unwrap();
    let forward = world.forward(1);
    world.act(department(), forward).unwrap();
    let look = |world: &World| {
        let board = board(&world.state, &scope("900", ROUNDS[1]), Timestamp(world.now)).unwrap();
        let line = board.lines.iter().find(|line| line.unit.code == "900").unwrap();
        let latest = world.state.filings(&slot("900", 1)).and_then(|filings| filings.latest());
        let somebody = |by| WHO.into_iter().any(|who| world.possible(who, &step(world, by)));
        let possible = |word: &'static str, by| somebody(by).then_some(word);
        let can = [("approve", Do::Approve), ("reopen", Do::Reopen), ("return", Do::Return)];
        let can: Vec<&str> = can.into_iter().filter_map(|(word, by)| possible(word, by)).collect();
        let said = legal(&world.state, &slot("900", 1), latest).into_iter().map(Operation::verb);
        let said: Vec<&str> = said.into_iter().filter(|word| !matches!(*word, "opinion" | "review")).collect();
        (line.standing, line.turn, line.waits_for.clone(), said == can, can)
    };
    let waits = (Standing::Forwarded, Turn::Bureau, Some("0".into()), true, vec!["approve"]);
    assert_eq!(look(&world), waits, "with the bureau");
    let approve = world.aggregate_step(1, 1, Do::Approve, true);
    world.act(bureau(), approve).unwrap();
    assert_eq!(look(&world), waits, "back from there");
    let approve = step(&world, Do::Approve);
    world.act(bureau(), approve).unwrap();
    assert_eq!(look(&world).1, Turn::Nobody);
}

/// Nor does a reviewer move the total of one that is to be approved.
#[test]
fn a_reallocation_keeps_its_total_until_it_is_approved() {
    let mut world = World::new();
    prologue(5, 1).into_iter().for_each(|(who, step)| world.take(who, &step));
    world.take(None, &Step::Adjust(2, 1, [20_000, 6], None));
    world.take(None, &Step::Set(2, 1, 0, 0, Some(19_999)));
    world.take(None, &Step::Move(2, 1, 0, Do::Accept, true));
    let before = world.events.len();
    world.take(None, &Step::Move(2, 1, 0, Do::Approve, true));
    assert_eq!(world.events.len(), before, "the total is another one");
    world.take(None, &Step::Set(2, 1, 0, 0, None));
    world.take(None, &Step::Move(2, 1, 0, Do::Approve, true));
    assert_eq!(world.events.len(), before + 2);
}

/// What is approved is what was reviewed, so a reviewed figure is held to the ceiling too, with what others have filed.
#[test]
fn a_reviewed_figure_is_within_the_ceiling() {
    let mut world = World::new();
    prologue(1, 1).into_iter().for_each(|(who, step)| world.take(who, &step));
    let before = world.events.len();
    world.take(None, &Step::Set(2, 1, 0, 0, Some(CEILING - 40_000 + 1)));
    assert_eq!(world.events.len(), before, "beyond it by one 分");
    world.take(None, &Step::Set(2, 1, 0, 0, Some(CEILING - 40_000)));
    assert_eq!(world.events.len(), before + 1);
    // It is set apart from then on: nobody files into it. Lowered again, it is free.
    world.take(None, &Step::File(0, 1, [20_001, 4]));
    assert_eq!(world.model.slot(FILERS[0], 1).refused, 1);
    world.take(None, &Step::Set(2, 1, 0, 0, Some(20_001)));
    world.take(None, &Step::File(0, 1, [20_001, 4]));
    assert_eq!(world.events.len(), before + 4);
}

/// What others have used meanwhile is not there any more for what was given back.
#[test]
fn what_is_reopened_must_still_fit() {
    let mut world = World::new();
    let all = [90_000, 100_000, 100_000];
    for (unit, figure) in [(2, all[0]), (0, all[1])] {
        world.take(None, &Step::File(unit, 1, [figure, 4]));
    }
    world.take(None, &Step::Move(2, 1, 0, Do::Return, true));
    world.take(None, &Step::File(1, 1, [all[2], 4]));
    let before = world.events.len();
    world.take(None, &Step::Move(2, 1, 0, Do::Reopen, true));
    assert_eq!(world.events.len(), before);
    world.take(None, &Step::Move(1, 1, 0, Do::Withdraw, true));
    world.take(None, &Step::Move(2, 1, 0, Do::Reopen, true));
    assert_eq!(world.events.len(), before + 2);
}

/// A department below a department sends nothing to the bureau, and a form set that names no totals knows no reallocation.
#[test]
fn what_the_tree_and_the_form_set_do_not_know_is_refused() {
    let approved = |form| {
        let mut world = World::on(form);
        prologue(5, 1).into_iter().for_each(|(who, step)| world.take(who, &step));
        world
    };
    let mut world = approved(form());
    let action = Action::Forward { department: "90001".into(), year: YEAR, round: Round::Second, text: String::new() };
    let refused = world.act(actor(("90001", "department")), action).unwrap_err();
    assert_eq!((refused.reason, refused.fact("problem")), (Reason::DepartmentNotReady, Some("below")));
    let mut world = approved(form_with(""));
    let action = world.submit("90002", 1, [20_000, 6], world.order(None));
    let refused = world.act(actor(("90002", "unit")), action).unwrap_err();
    assert_eq!((refused.reason, refused.fact("problem")), (Reason::AdjustmentInvalid, Some("no_total")));
}

/// As many as `REVIEW_CASES` says.
fn cases() -> u32 {
    std::env::var("REVIEW_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(40)
}
