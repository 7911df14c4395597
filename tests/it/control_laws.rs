//! Laws of control figures on the pure state: whatever is issued, split, cut, lifted, moved and filed in whatever order,
//! decisions and sums are those of [`crate::control_model`], and the state is the fold of its events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use budget_consolidator::budget::cell::CellAddress;
use budget_consolidator::budget::control_figure::CeilingStrength;
use budget_consolidator::budget::digest::Digest;
use budget_consolidator::budget::form_set::{FormFiles, FormSet};
use budget_consolidator::budget::money::{Denomination, Money, Scale};
use budget_consolidator::budget::reason::{Reason, Remark};
use budget_consolidator::budget::submission::{Round, Submission};
use budget_consolidator::budget::unit_tree::{BUREAU, Node, NodeRole};
use budget_consolidator::ledger::actor::{Actor, Role};
use budget_consolidator::ledger::decide::{Action, Command, ControlOrders, Decision, FigureOrder, Filing, decide};
use budget_consolidator::ledger::event::{Envelope, Event, Timestamp};
use budget_consolidator::ledger::state::State;
use budget_consolidator::ledger::{Contents, Position, image};
use budget_consolidator::submission_file::SubmissionFile;
use proptest::prelude::*;
use serde_json::json;

use crate::control_model::{Ceiling, Model, Strength};

const YEAR: u16 = 2030;
/// A department, a unit with others below it, and units at two depths.
const NODES: [&str; 8] = ["900", "90001", "9000101", "9000102", "90002", "90003", "800", "80001"];
const CELLS: [&str; 2] = ["x", "y"];

/// A form set of one table with one row, and two columns that can be controlled.
pub fn form(year: u16) -> FormSet {
    FormSet::load(form_files(year)).unwrap()
}

pub fn form_files(year: u16) -> FormFiles {
    let forms = format!(
        "id = \"pool\"\ntitle = \"池\"\nyear = {year}\namount = \"元.2\"\nkinds = [\"unit\"]\n[A]\nname = \"甲\"\n\
         rows = [\"total 合计\"]\nrollup = \"sum\"\ncontrol = [\"x\", \"y\"]\ncolumns = {{ x = \"数\", y = \"另数\" }}\n"
    );
    FormFiles::from([("forms.toml".to_owned(), forms.into_bytes())])
}

/// A filing of that form set, in 分.
pub fn filing(unit: &str, year: u16, [x, y]: [i64; 2]) -> SubmissionFile {
    let text = |fen: i64| Money::from_fen(fen).to_string();
    let file = json!({
        "unit": unit, "year": year, "round": "second", "kind": "unit", "form_set": "pool",
        "tables": { "A": { "rows": [{ "row": "total", "x": text(x), "y": text(y) }] } },
    });
    SubmissionFile::read(&file.to_string()).unwrap()
}

#[derive(Default)]
struct Past(BTreeMap<Position, Arc<Submission>>);

impl Contents for Past {
    fn submission(&self, position: Position) -> Result<Arc<Submission>, Remark> {
        self.0.get(&position).cloned().ok_or_else(|| Remark::new(Reason::UnknownPosition))
    }
}

/// One order: a node, a cell, a ceiling in 分 or none, whether it is in 万元, and how strict.
type Order = (usize, usize, Option<i64>, bool, Option<Strength>);

#[derive(Clone, Debug)]
enum Step {
    /// Who gives it, whether it marks, and what.
    Give(usize, bool, Vec<Order>),
    File(usize, [i64; 2]),
    /// A unit gets another parent.
    Move(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let strength = prop_oneof![
        3 => Just(None),
        2 => Just(Some(Strength::Hard)),
        1 => Just(Some(Strength::Advisory)),
        1 => Just(Some(Strength::None)),
    ];
    let ceiling = prop_oneof![1 => Just(None), 9 => (0_i64..4_000_000).prop_map(Some)];
    let order = (0..NODES.len(), 0..CELLS.len(), ceiling, any::<bool>(), strength);
    // The bureau three times as often as each of those who can split.
    let by = prop_oneof![3 => Just(NODES.len()), 1 => Just(0), 1 => Just(1), 1 => Just(6)];
    let step = prop_oneof![
        3 => (by, any::<bool>(), prop::collection::vec(order, 1..4)).prop_map(|(by, mark, list)| Step::Give(by, mark, list)),
        4 => (1..NODES.len(), [-20_000_i64..1_500_000, 0..900_000]).prop_map(|(unit, fen)| Step::File(unit, fen)),
        1 => (1..NODES.len(), 0..NODES.len()).prop_map(|(unit, parent)| Step::Move(unit, parent)),
    ];
    prop::collection::vec(step, 1..40)
}

struct World {
    form: Arc<FormSet>,
    state: State,
    past: Past,
    events: Vec<Envelope>,
    models: [Model; 2],
    /// Whose each ceiling is.
    owners: BTreeMap<(usize, String), String>,
}

impl World {
    fn new() -> World {
        let parents = [
            ("900", BUREAU),
            ("90001", "900"),
            ("9000101", "90001"),
            ("9000102", "90001"),
            ("90002", "900"),
            ("90003", "900"),
            ("800", BUREAU),
            ("80001", "800"),
        ];
        let parents: BTreeMap<String, String> = parents.map(|(node, above)| (node.into(), above.into())).into();
        let model = Model { parents, ..Model::default() };
        let mut world = World {
            form: Arc::new(form(YEAR)),
            state: State::default(),
            past: Past::default(),
            events: Vec::new(),
            models: [model.clone(), model],
            owners: BTreeMap::new(),
        };
        world.act(Actor::service(), Action::PublishFormSet { form: world.form.clone() }, None).unwrap();
        world.import(&world.models[0].parents.clone()).unwrap();
        world
    }

    fn act(&mut self, actor: Actor, action: Action, submission: Option<Arc<Submission>>) -> Result<Event, Remark> {
        let position = self.state.position + 1;
        let (key, fingerprint) = (format!("k{position}"), Digest::of(&position.to_be_bytes()));
        let time = Timestamp(i64::try_from(position).unwrap());
        let command = Command { actor: actor.clone(), key: key.as_str().into(), fingerprint, time, action };
        let Decision::Record(event, _) = decide(&self.state, &command, &self.past)? else { panic!("a repeat") };
        let envelope = Envelope { position, time, actor, key: key.as_str().into(), fingerprint, event: *event };
        if let Some(submission) = submission {
            self.past.0.insert(position, submission);
        }
        self.state.apply(&envelope, &self.past).unwrap();
        self.events.push(envelope.clone());
        Ok(envelope.event)
    }

    fn import(&mut self, parents: &BTreeMap<String, String>) -> Result<Event, Remark> {
        let node = |(code, parent): (&String, &String)| Node {
            code: code.as_str().into(),
            parent: parent.as_str().into(),
            name: code.clone(),
            role: if parent == BUREAU { NodeRole::Department } else { NodeRole::Unit },
            unit_type: String::new(),
            funding: String::new(),
            division: String::new(),
            budgeted: parent != BUREAU,
        };
        let nodes = parents.iter().map(node).collect();
        self.act(Actor::service(), Action::ImportUnits { year: YEAR, nodes }, None)
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Give(by, mark, list) => self.give(NODES.get(*by).copied().unwrap_or(BUREAU), *mark, list),
            Step::File(unit, fen) => self.file(NODES[*unit], *fen),
            Step::Move(unit, parent) => self.shift(NODES[*unit], NODES[*parent]),
        }
        self.compare();
    }

    /// What one order is refused for by itself.
    fn wrong(&self, by: &str, (node, cell, ceiling, ..): &Order, seen: bool) -> Option<&'static str> {
        let (model, node) = (&self.models[*cell], NODES[*node]);
        let within = |node: &str, above: &str| model.path(node).iter().any(|at| at == above);
        let owner = self.owners.get(&(*cell, node.to_owned()));
        if seen {
            Some("duplicate")
        } else if node == by || by != BUREAU && !within(node, by) {
            Some("outside")
        } else if model.parents[node] == BUREAU && !model.parents.values().any(|parent| parent == node) {
            // UNIT_NOT_BUDGETED, which is about no problem of the list.
            Some("")
        } else if owner.is_some_and(|owner| by != BUREAU && !within(owner, by)) {
            Some("above")
        } else if ceiling.is_none() {
            owner.is_none().then_some("nothing_to_lift")
        } else if by != BUREAU && !model.ceilings.contains_key(by) {
            Some("nothing_to_split")
        } else {
            None
        }
    }

    fn give(&mut self, by: &str, mark: bool, list: &[Order]) {
        let mut after = self.models.clone();
        let mut owners = self.owners.clone();
        let mut wrong = None;
        let mut figures = Vec::new();
        let mut seen = BTreeSet::new();
        for (line, order) in (1..).zip(list) {
            let (node, cell, ceiling, wan, strength) = order;
            let denomination = if *wan { Denomination::Wan } else { Denomination::Yuan };
            // What is issued in 万元 has two decimals of it.
            let fen = ceiling.map(|fen| if *wan { fen / 10_000 * 10_000 } else { fen });
            figures.push(FigureOrder {
                line,
                unit: NODES[*node].into(),
                cell: CellAddress::new("A", "total", CELLS[*cell]),
                ceiling: fen.map(|fen| (Money::from_fen(fen), Scale { denomination, decimals: 2 })),
                strength: strength.map(|strength| match strength {
                    Strength::Hard => CeilingStrength::Hard,
                    Strength::Advisory => CeilingStrength::Advisory,
                    Strength::None => CeilingStrength::None,
                }),
            });
            wrong = wrong.or(self.wrong(by, order, !seen.insert((*node, *cell))));
            let node = NODES[*node].to_owned();
            match fen {
                Some(fen) => {
                    let strength = strength.unwrap_or(Strength::Hard);
                    after[*cell].ceilings.insert(node.clone(), Ceiling { fen: fen.into(), wan: *wan, strength });
                    owners.entry((*cell, node)).or_insert_with(|| by.to_owned());
                }
                None => {
                    after[*cell].ceilings.remove(&node);
                    owners.remove(&(*cell, node));
                }
            }
        }
        let orders = ControlOrders {
            by: by.into(),
            year: YEAR,
            round: Round::Second,
            form_set: "pool".to_owned(),
            reason: "law".to_owned(),
            mark,
            figures,
        };
        let role = match by {
            BUREAU => Role::Bureau,
            _ if self.models[0].parents[by] == BUREAU => Role::Department,
            _ => Role::Unit,
        };
        let answer = self.act(Actor { node: by.into(), role }, Action::Control(orders), None);
        let beyond = after.iter().any(|model| !model.beyond().is_empty());
        let over: Vec<Vec<String>> = after.iter().zip(&self.models).map(|(a, b)| a.newly_over(b)).collect();
        let refused = answer.as_ref().err().map(|remark| remark.reason);
        let expected = match wrong {
            Some(problem) => {
                assert_eq!(answer.unwrap_err().fact("problem").unwrap_or(""), problem, "{list:?}");
                return;
            }
            None if beyond => Some(Reason::SplitBeyondCeiling),
            None if !mark && over.iter().any(|over| !over.is_empty()) => Some(Reason::CeilingBelowFiled),
            None => None,
        };
        assert_eq!(refused, expected, "{by} {list:?}");
        if let Ok(event) = answer {
            let Event::ControlIssued(issued) = event else { panic!("{event:?}") };
            let affected = issued.affected.iter().filter(|affected| affected.is_hard());
            let named: BTreeSet<(String, String)> = affected
                .map(|affected| (affected.over.figure.cell.column.to_string(), affected.over.figure.unit.to_string()))
                .collect();
            let meant =
                over.iter().zip(CELLS).flat_map(|(over, cell)| over.iter().map(move |n| (cell.to_owned(), n.clone())));
            assert_eq!(named, meant.collect(), "who is affected");
            (self.models, self.owners) = (after, owners);
        }
    }

    fn file(&mut self, unit: &str, fen: [i64; 2]) {
        if self.models[0].parents[unit] == BUREAU {
            return;
        }
        let fen = fen.map(|fen| fen.max(0));
        let reading = Arc::new(filing(unit, YEAR, fen).read_on(&self.form));
        let submission = reading.submission.clone();
        let actor = Actor { node: unit.into(), role: Role::Unit };
        let event = self.act(
            actor,
            Action::Submit(Filing { reading, version: None, ahead: None, adjustment: None }),
            Some(submission),
        );
        let refuses = self.models.iter().zip(fen).any(|(model, fen)| model.refuses(unit, fen.into()));
        match event.unwrap() {
            Event::Refused(refused) => assert!(refuses, "{refused:?}"),
            Event::Submitted(submitted) => {
                assert!(!refuses, "{submitted:?} {:?}", self.models);
                for (cell, (model, fen)) in self.models.iter_mut().zip(fen).enumerate() {
                    let judged = submitted.attempt.judgements.iter().filter(|j| j.figure.cell.column == CELLS[cell]);
                    let judged: Vec<(String, i128)> =
                        judged.map(|judgement| (judgement.figure.unit.to_string(), judgement.headroom.fen())).collect();
                    let meant = model.judge(unit, fen.into()).into_iter().map(|(node, _, left)| (node, left));
                    assert_eq!(judged, meant.collect::<Vec<_>>(), "headroom of {unit} {}", CELLS[cell]);
                    model.own.insert(unit.to_owned(), fen.into());
                }
            }
            other => panic!("{other:?}"),
        }
    }

    fn shift(&mut self, unit: &str, parent: &str) {
        if self.models[0].parents[unit] == BUREAU || self.models[0].path(parent).iter().any(|at| at == unit) {
            return;
        }
        let mut after = self.models.clone();
        after.iter_mut().for_each(|model| drop(model.parents.insert(unit.to_owned(), parent.to_owned())));
        let breaks = after.iter().zip(&self.models).any(|(after, before)| {
            let hard = |node: &&String| after.ceilings[*node].strength == Strength::Hard;
            let over = |node: &String| after.overshoot(node) > before.overshoot(node);
            !after.beyond().is_empty() || after.ceilings.keys().filter(hard).any(over)
        });
        match self.import(&after[0].parents) {
            Ok(_) => {
                assert!(!breaks, "{unit} to {parent}");
                self.models = after;
            }
            Err(remark) => assert!(breaks && remark.reason == Reason::TreeBreaksCeilings, "{remark}"),
        }
    }

    /// Every sum of the book is the model's, and the invariants hold.
    fn compare(&self) {
        let Some(book) = self.state.control(YEAR, Round::Second) else { return };
        for (cell, model) in CELLS.iter().zip(&self.models) {
            let cell = CellAddress::new("A", "total", cell);
            assert_eq!(model.beyond(), [""; 0], "Σ units ≤ department");
            let with: Vec<&str> = book.all().filter(|(_, l)| l.cell == cell).map(|(unit, _)| unit.as_str()).collect();
            assert_eq!(with, model.ceilings.keys().collect::<Vec<_>>());
            for (node, ceiling) in &model.ceilings {
                let line = book.line(node, &cell).unwrap();
                assert_eq!(line.split().fen(), model.split(node), "split of {node}");
                assert_eq!(line.demand().fen(), model.demand(node), "demand of {node}");
                assert_eq!(line.left().unwrap().fen(), ceiling.left(model.demand(node)), "left of {node}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn law_ceilings_hold_and_every_sum_is_the_plain_one(steps in steps()) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.take(step));
        // The state is the fold of its events, and its image reads back.
        let mut folded = State::default();
        world.events.iter().for_each(|event| folded.apply(event, &world.past).unwrap());
        let bytes = image::image(&world.state);
        prop_assert_eq!(&bytes, &image::image(&folded));
        let again = image::state(&bytes).unwrap();
        prop_assert_eq!(&bytes, &image::image(&again));
        prop_assert_eq!(again.control(YEAR, Round::Second), world.state.control(YEAR, Round::Second));
    }

    /// What lifts a list of new ceilings again leads back to the book that was there before.
    #[test]
    fn law_what_was_issued_can_be_lifted(steps in steps()) {
        let mut world = World::new();
        steps.iter().filter(|step| matches!(step, Step::File(..))).for_each(|step| world.take(step));
        let list: Vec<Order> = [(0, 0), (2, 0), (4, 1)].map(|(n, c)| (n, c, Some(3_900_000), false, None)).into();
        world.take(&Step::Give(NODES.len(), true, list.clone()));
        prop_assert_eq!(world.state.control(YEAR, Round::Second).unwrap().all().count(), 3);
        world.take(&Step::Give(NODES.len(), true, list.iter().map(|(n, c, ..)| (*n, *c, None, false, None)).collect()));
        let book = world.state.control(YEAR, Round::Second).unwrap();
        prop_assert!(NODES.iter().all(|node| book.lines(node).is_empty()), "nothing is kept any more");
    }
}

/// Who is named above a ceiling: who draws on it, not who keeps to their own, and not again by a list that makes nothing
/// worse. And whoever files nothing exceeds nothing, however far others are above.
#[test]
fn only_who_draws_on_a_ceiling_is_named_above_it_and_only_once() {
    let (bureau, hard) = (NODES.len(), Some(Strength::Hard));
    let mut world = World::new();
    let give = |world: &mut World, mark, list: &[(usize, i64)]| -> Vec<String> {
        let list = list.iter().map(|(node, fen)| (*node, 0, Some(*fen), false, hard)).collect();
        let before = world.events.len();
        world.take(&Step::Give(bureau, mark, list));
        assert_eq!(world.events.len(), before + 1, "taken");
        let Some(Event::ControlIssued(issued)) = world.events.last().map(|last| &last.event) else { panic!("issued") };
        issued.affected.iter().map(|affected| affected.over.unit.to_string()).collect()
    };
    assert_eq!(give(&mut world, false, &[(0, 10_000), (1, 6_000)]), [""; 0]);
    world.take(&Step::File(1, [5_000, 0]));
    world.take(&Step::File(4, [4_000, 0]));
    assert_eq!(give(&mut world, true, &[(0, 7_000)]), ["90002"], "90001 keeps to its own");
    assert_eq!(give(&mut world, false, &[(0, 8_000)]), [""; 0], "less far above than before");
    world.take(&Step::File(5, [0, 0]));
    let last = world.events.last().map(|last| &last.event);
    assert!(matches!(last, Some(Event::Submitted(_))), "nothing exceeds nothing: {last:?}");
}

/// As many as `CONTROL_CASES` says.
fn cases() -> u32 {
    std::env::var("CONTROL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(96)
}
