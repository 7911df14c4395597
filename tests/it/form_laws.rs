//! Laws again, on form sets of random shapes: every type and denomination, lists, records, ceilings, refused attempts,
//! units that move. What the ledger keeps by difference is what the model adds up from the files, in whole 分.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use budget_consolidator::budget::cell::{Cell, CellAddress};
use budget_consolidator::budget::digest::Digest;
use budget_consolidator::budget::form_set::FormSet;
use budget_consolidator::budget::money::{Amount, Decimals, Denomination, Money, Scale};
use budget_consolidator::budget::reason::{Reason, Remark};
use budget_consolidator::budget::roll_up::SUBTOTAL_ROW;
use budget_consolidator::budget::submission::{Kind, Round, Slot, Submission};
use budget_consolidator::budget::unit_tree::{BUREAU, Node, NodeRole};
use budget_consolidator::consolidator::fold;
use budget_consolidator::consolidator::record::{self, Packed, Record};
use budget_consolidator::ledger::actor::{Actor, Role};
use budget_consolidator::ledger::decide::{Action, Command, ControlOrders, Decision, FigureOrder, Filing, decide};
use budget_consolidator::ledger::event::{Envelope, Event, Timestamp};
use budget_consolidator::ledger::image;
use budget_consolidator::ledger::state::State;
use budget_consolidator::ledger::trace::{After, Traced, eliminations, shares};
use budget_consolidator::ledger::view::{NodeView, Posted, Scope, view};
use budget_consolidator::ledger::{Contents, Position};
use budget_consolidator::store::{Journal, MemoryJournal};
use budget_consolidator::submission_file::{self, SubmissionFile};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::control_model::{Ceiling, Model, Strength};
use crate::generator::{FORM_YEAR, Generated, Names, Random, Rows, filing, generate};
use crate::model::{self, Layout, Sum, Sums};

const UNITS: [&str; 6] = ["U0", "U1", "U2", "U3", "U4", "U5"];
const DEPARTMENTS: [&str; 2] = ["D1", "D2"];

// ── what happens ─────────────────────────────────────────────────────────────────────────

#[derive(Clone, Debug)]
enum Step {
    /// A unit files what comes from this seed; as often as it likes.
    File(usize, u64),
    /// A node files a difference form, if it has units below.
    Differ(usize, u64),
    /// A unit files something that is refused for its shape.
    Refused(usize, u64),
    /// The tree is imported again, with units in other places.
    Move(u64),
    /// The bureau caps a cell of a node.
    Cap(usize, u64),
}

fn step(caps: bool) -> impl Strategy<Value = Step> {
    let nodes = UNITS.len() + DEPARTMENTS.len();
    prop_oneof![
        8 => (0..UNITS.len(), any::<u64>()).prop_map(|(unit, seed)| Step::File(unit, seed)),
        2 => (0..nodes, any::<u64>()).prop_map(|(node, seed)| Step::Differ(node, seed)),
        1 => (0..UNITS.len(), any::<u64>()).prop_map(|(unit, seed)| Step::Refused(unit, seed)),
        2 => any::<u64>().prop_map(Step::Move),
        if caps { 4 } else { 0 } => (0..nodes, any::<u64>()).prop_map(|(node, seed)| Step::Cap(node, seed)),
    ]
}

fn node_of(at: usize) -> &'static str {
    UNITS.iter().chain(&DEPARTMENTS).nth(at).unwrap()
}

/// Each node's parent: a unit stands below a department, or below a unit before it.
fn tree_of(seed: u64) -> BTreeMap<String, String> {
    let mut random = Random(seed);
    let mut parents: BTreeMap<String, String> = DEPARTMENTS.map(|code| (code.to_owned(), BUREAU.to_owned())).into();
    for (at, unit) in UNITS.iter().enumerate() {
        let above = if at > 0 && random.often(6) { UNITS[random.below(at)] } else { DEPARTMENTS[random.below(2)] };
        parents.insert((*unit).to_owned(), above.to_owned());
    }
    parents
}

#[derive(Default)]
struct Past(BTreeMap<Position, Arc<Submission>>);

impl Contents for Past {
    fn submission(&self, position: Position) -> Result<Arc<Submission>, Remark> {
        self.0.get(&position).cloned().ok_or_else(|| Remark::new(Reason::UnknownPosition))
    }
}

/// The ledger, and beside it what the model needs: files, tree, ceilings.
struct World {
    generated: Arc<Generated>,
    form: Arc<FormSet>,
    layout: Layout,
    state: State,
    past: Past,
    commands: Vec<Command>,
    records: Vec<Vec<u8>>,
    filed: BTreeMap<(String, String), Value>,
    parents: BTreeMap<String, String>,
    ceilings: BTreeMap<(String, [String; 3]), Ceiling>,
}

impl World {
    fn new(seed: u64) -> World {
        let generated = Arc::new(generate(&mut Names::new(seed)));
        World::on(generated, tree_of(seed))
    }

    fn on(generated: Arc<Generated>, parents: BTreeMap<String, String>) -> World {
        let form = Arc::new(FormSet::load(generated.files.clone()).unwrap());
        let mut world = World {
            layout: Layout::read(&generated.files),
            generated,
            form: form.clone(),
            state: State::default(),
            past: Past::default(),
            commands: Vec::new(),
            records: Vec::new(),
            filed: BTreeMap::new(),
            parents: BTreeMap::new(),
            ceilings: BTreeMap::new(),
        };
        world.act(Actor::service(), Action::PublishFormSet { form }, None).unwrap();
        world.import(parents);
        world
    }

    fn act(&mut self, actor: Actor, action: Action, submission: Option<Arc<Submission>>) -> Result<Event, Remark> {
        let position = self.state.position + 1;
        let (key, fingerprint) = (format!("k{position}"), Digest::of(&position.to_be_bytes()));
        let time = Timestamp(i64::try_from(position).unwrap());
        let command = Command { actor: actor.clone(), key: key.as_str().into(), fingerprint, time, action };
        let Decision::Record(event, _) = decide(&self.state, &command, &self.past)? else { panic!("a repeat") };
        let envelope = Envelope { position, time, actor, key: key.as_str().into(), fingerprint, event: *event };
        let packed = submission.filter(|_| matches!(envelope.event, Event::Submitted(_))).map(|submission| {
            self.past.0.insert(position, submission.clone());
            Packed::new(&submission, &self.form).unwrap()
        });
        self.state.apply(&envelope, &self.past).unwrap();
        let bytes = record::encode(&envelope, packed.as_ref()).unwrap();
        assert_eq!(Record::decode(position, &bytes).unwrap().envelope, envelope, "a record reads back");
        self.records.push(bytes);
        self.commands.push(command);
        Ok(envelope.event)
    }

    fn import(&mut self, parents: BTreeMap<String, String>) {
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
        let answer = self.act(Actor::service(), Action::ImportUnits { year: FORM_YEAR, nodes }, None);
        let cells: BTreeSet<&[String; 3]> = self.ceilings.keys().map(|(_, cell)| cell).collect();
        let breaks = |cell: &&[String; 3]| {
            let before = self.control_model(cell, None);
            let after = Model { parents: parents.clone(), ..before.clone() };
            let over = |node: &String| after.overshoot(node) > before.overshoot(node);
            !after.beyond().is_empty() || after.ceilings.keys().any(over)
        };
        if cells.iter().any(breaks) {
            assert_eq!(answer.unwrap_err().reason, Reason::TreeBreaksCeilings);
        } else {
            answer.unwrap();
            self.parents = parents;
        }
    }

    fn file(&mut self, text: &Value) -> Result<Event, Remark> {
        let file = SubmissionFile::read(&text.to_string()).unwrap();
        let reading = Arc::new(file.read_on(&self.form));
        let role = if file.slot.kind == Kind::Unit { Role::Unit } else { Role::Department };
        let actor = Actor { node: file.slot.unit.clone(), role };
        let submission = reading.submission.clone();
        let event = self.act(
            actor,
            Action::Submit(Filing { reading, version: None, ahead: None, adjustment: None }),
            Some(submission),
        )?;
        if matches!(event, Event::Submitted(_)) {
            self.filed.insert((file.slot.unit.to_string(), file.slot.kind.to_string()), text.clone());
        }
        Ok(event)
    }

    fn text(&self, node: &str, kind: &str, seed: u64) -> Value {
        let mut random = Random(seed);
        let rows = if kind == "unit" { transfers(&mut random, &self.generated) } else { Vec::new() };
        filing(&mut random, &self.generated, node, kind, rows)
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::File(unit, seed) => {
                let text = self.text(UNITS[*unit], "unit", *seed);
                let over = self.is_refused_with(&text);
                let event = self.file(&text).unwrap();
                assert_eq!(
                    matches!(event, Event::Refused(_)),
                    over,
                    "refused exactly above a ceiling, or where it is left out: {event:#?}"
                );
            }
            Step::Differ(node, seed) => {
                let text = self.text(node_of(*node), "difference", *seed);
                match self.file(&text) {
                    Ok(event) => assert!(matches!(event, Event::Submitted(_)), "{event:#?}"),
                    // Of a node without units below it; who has none isn't a department either.
                    Err(remark) => assert!(matches!(remark.reason, Reason::KindNotTaken | Reason::NotPermitted)),
                }
            }
            Step::Refused(unit, seed) => {
                let mut text = self.text(UNITS[*unit], "unit", *seed);
                text["tables"]["no_such_table"] = json!({ "empty": true });
                assert!(matches!(self.file(&text).unwrap(), Event::Refused(_)));
            }
            Step::Move(seed) => self.import(tree_of(*seed)),
            Step::Cap(node, seed) => self.cap(node_of(*node), *seed),
        }
    }

    // ── ceilings ─────────────────────────────────────────────────────────────────────────

    fn cap(&mut self, node: &str, seed: u64) {
        let mut random = Random(seed);
        let tables: Vec<_> = self.generated.tables.iter().filter(|table| table.rollup == "sum").collect();
        let table = random.pick(&tables);
        let row = match &table.rows {
            Rows::Record | Rows::Listed => "-".to_owned(),
            Rows::Fixed(keys) => random.pick(keys).clone(),
            Rows::Coded(total) => total.clone(),
        };
        let cell = [table.id.clone(), row, table.columns[0].0.clone()];
        let wan = random.often(5);
        let length = 3 + random.below(11);
        let fen =
            random.digits(length).parse::<i64>().unwrap() / if wan { 10_000 } else { 1 } * if wan { 10_000 } else { 1 };
        let mark = random.often(2);
        // What must come of it is looked at there.
        let _ = self.cap_at(node, cell, (fen, wan), mark);
    }

    fn cap_at(&mut self, node: &str, cell: [String; 3], (fen, wan): (i64, bool), mark: bool) -> Result<Event, Remark> {
        let scale = Scale { denomination: if wan { Denomination::Wan } else { Denomination::Yuan }, decimals: 2 };
        let order = FigureOrder {
            line: 1,
            unit: node.into(),
            cell: CellAddress::new(&cell[0], &cell[1], &cell[2]),
            ceiling: Some((Money::from_fen(fen), scale)),
            strength: None,
        };
        let orders = ControlOrders {
            by: BUREAU.into(),
            year: FORM_YEAR,
            round: Round::Second,
            form_set: self.form.id.to_string(),
            reason: "so it is".to_owned(),
            mark,
            figures: vec![order],
        };
        let before = self.control_model(&cell, None);
        let mut after = before.clone();
        after.ceilings.insert(node.to_owned(), Ceiling { fen: fen.into(), wan, strength: Strength::Hard });
        let answer = self.act(Actor { node: BUREAU.into(), role: Role::Bureau }, Action::Control(orders), None);
        let refused = match &answer {
            Err(remark) if remark.reason == Reason::UnitNotBudgeted => return answer,
            Err(remark) => Some(remark.reason),
            Ok(_) => None,
        };
        let expected = if !after.beyond().is_empty() {
            Some(Reason::SplitBeyondCeiling)
        } else if !mark && !after.newly_over(&before).is_empty() {
            Some(Reason::CeilingBelowFiled)
        } else {
            None
        };
        assert_eq!(refused, expected, "{before:?} {after:?}");
        if refused.is_none() {
            self.ceilings.insert((node.to_owned(), cell), after.ceilings[node]);
        }
        answer
    }

    /// One cell for the model of control figures; with a filing that is not there yet.
    fn control_model(&self, cell: &[String; 3], more: Option<&Value>) -> Model {
        let [table, row, column] = cell;
        let own = |text: &Value| {
            let sums = Sums::of(&self.layout, std::slice::from_ref(text));
            let sum = sums.0.get(&(table.clone(), row.clone())).and_then(|row| row.get(column)).cloned();
            sum.unwrap_or_default().reported
        };
        let filed = self.filed.iter().filter(|((_, kind), _)| kind == "unit").map(|((unit, _), text)| (unit, text));
        let mut model = Model {
            parents: self.parents.clone(),
            ceilings: self
                .ceilings
                .iter()
                .filter(|((_, of), _)| of == cell)
                .map(|((n, _), c)| (n.clone(), *c))
                .collect(),
            own: filed.map(|(unit, text)| (unit.clone(), own(text))).collect(),
        };
        if let Some(text) = more {
            model.own.insert(text["unit"].as_str().unwrap().to_owned(), own(text));
        }
        model
    }

    /// Whether a unit's filing would be above a ceiling of its own, or of a node above that it draws on.
    fn is_refused_with(&self, text: &Value) -> bool {
        let unit = text["unit"].as_str().unwrap();
        let cells: BTreeSet<&[String; 3]> = self.ceilings.keys().map(|(_, cell)| cell).collect();
        let refuses = |cell: &[String; 3]| {
            let filed = self.control_model(cell, Some(text)).own[unit];
            self.control_model(cell, None).refuses(unit, filed)
        };
        // A table that is left out doesn't slip by a hard ceiling, the unit's own or one that it shares.
        let mut held = self.ceilings.keys().filter(|(node, _)| self.is_below(unit, node));
        cells.into_iter().any(refuses) || held.any(|(_, cell)| text["tables"].get(&cell[0]).is_none())
    }

    fn is_below(&self, code: &str, above: &str) -> bool {
        code == above || self.parents.get(code).is_some_and(|parent| self.is_below(parent, above))
    }

    // ── what is seen ─────────────────────────────────────────────────────────────────────

    fn nodes(&self) -> Vec<String> {
        [BUREAU.to_owned()].into_iter().chain(self.parents.keys().cloned()).collect()
    }

    fn view(&self, node: &str) -> NodeView {
        let form_set = Some(self.form.id.to_string());
        let scope = Scope { node: node.into(), year: FORM_YEAR, round: Round::Second, form_set, reviewed: false };
        view(&self.state, &scope, &self.past).unwrap()
    }

    /// Compares the view of every node with the model; says how many cells.
    fn compare(&self) -> usize {
        self.nodes().iter().map(|node| self.compare_node(node)).sum()
    }

    fn compare_node(&self, node: &str) -> usize {
        let is_leaf = !self.parents.values().any(|parent| parent == node);
        let below = |((unit, kind), _): &(&(String, String), &Value)| {
            if is_leaf { unit == node && kind == "unit" } else { self.is_below(unit, node) }
        };
        let files: Vec<Value> = self.filed.iter().filter(below).map(|(_, text)| text.clone()).collect();
        let sums = Sums::of(&self.layout, &files);
        let view = self.view(node);
        let of_units: Vec<&Value> = files.iter().filter(|file| file["kind"] == "unit").collect();
        assert_eq!(view.reported.filings as usize, of_units.len(), "filings of {node}");
        let mut cells = 0;
        for (index, table) in self.layout.tables.iter().enumerate() {
            let at = format!("{node} {}", table.id);
            let filed: Vec<&Value> = of_units.iter().filter_map(|file| file["tables"].get(&table.id)).collect();
            let empty = filed.iter().filter(|filed| filed["empty"] == true).count();
            let rows = filed.iter().flat_map(|filed| filed["rows"].as_array().into_iter().flatten());
            let listed =
                rows.filter(|row| table.roll_up == "list" && row["row"].as_str() != table.total.as_deref()).count();
            let counted = view.reported.table(index).map_or((0, 0, 0), |t| (t.filings, t.empty, t.listed));
            assert_eq!(counted, (filed.len() as u32, empty as u32, listed as u64), "counts of {at}");

            let rows: Vec<_> = view.rows_in_print(index);
            let keys: BTreeSet<String> = rows.iter().map(|row| row.key.to_string()).collect();
            let expected = sums.0.keys().filter(|(id, _)| *id == table.id).map(|(_, row)| row.clone());
            assert_eq!(keys, expected.collect(), "rows of {at}");
            for row in rows {
                let key = row.key;
                let expected = &sums.0[&(table.id.clone(), key.to_string())];
                assert_eq!(
                    row.cells().collect::<Vec<_>>(),
                    view.row(index, key),
                    "the one row and all rows: {at}/{key}"
                );
                for (column, posted) in table.columns.iter().zip(row.cells()) {
                    let sum = expected.get(&column.id);
                    let parts = posted.reported.parts + posted.adjusted.parts + posted.eliminated.parts;
                    assert_eq!(sum.is_none(), parts == 0, "blank or not: {at}/{key}/{}", column.id);
                    let seen = Sum {
                        reported: posted.reported.value.money().fen(),
                        adjusted: posted.adjusted.value.money().fen(),
                        eliminated: posted.eliminated.value.money().fen(),
                        slack: posted.consolidated().slack.money().fen(),
                    };
                    assert_eq!(seen, sum.cloned().unwrap_or_default(), "{at}/{key}/{}", column.id);
                    assert_eq!(posted.consolidated().value.money().fen(), seen.consolidated());
                    cells += 1;
                }
            }
        }
        cells
    }
}

/// Transfers that a unit states, with so few amounts that the other side often says the same.
fn transfers(random: &mut Random, form: &Generated) -> Vec<Value> {
    let rules = &form.transfers;
    let mut rows = Vec::new();
    for (other, (a, b)) in UNITS.iter().flat_map(|other| rules.kinds.iter().map(move |kinds| (other, kinds))) {
        for kind in [a, b].into_iter().filter(|_| random.often(3)) {
            let amount = ["100", "100", "250.05"][rows.len() % 3];
            let codes: Vec<&String> = form.codes.keys().collect();
            rows.push(
                json!({ "row": format!("{other}/{kind}"), &rules.amount: amount, &rules.code: codes[rows.len()] }),
            );
        }
    }
    rows
}

fn few(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() }
}

// ── the ledger ───────────────────────────────────────────────────────────────────────────

proptest! {
    #![proptest_config(few(48))]

    #[test]
    fn law_by_difference_is_recomputed(seed: u64, steps in prop::collection::vec(step(true), 1..16)) {
        let mut world = World::new(seed);
        for step in &steps {
            world.take(step);
        }
        world.compare();
    }

    #[test]
    fn law_only_the_last_versions_count_in_any_order(
        seed: u64,
        steps in prop::collection::vec(step(false), 1..16),
        shuffle: u64,
    ) {
        let mut world = World::new(seed);
        steps.iter().for_each(|step| world.take(step));
        // Under every node stands a helper, so that each may file a difference form; at last the tree is as it was.
        let helpers = world.parents.keys().map(|code| (format!("Z{code}"), code.clone()));
        let mut again = World::on(world.generated.clone(), world.parents.clone().into_iter().chain(helpers).collect());
        let mut last: Vec<&Value> = world.filed.values().collect();
        let mut random = Random(shuffle);
        for at in (1..last.len()).rev() {
            last.swap(at, random.below(at + 1));
        }
        for text in last {
            prop_assert!(matches!(again.file(text).unwrap(), Event::Submitted(_)));
        }
        again.import(world.parents.clone());
        for node in world.nodes() {
            let (one, other) = (world.view(&node), again.view(&node));
            prop_assert_eq!(&one.reported, &other.reported, "{}", node);
            prop_assert_eq!(&one.adjusted, &other.adjusted, "{}", node);
            prop_assert_eq!(&one.eliminated, &other.eliminated, "{}", node);
        }
    }

    #[test]
    fn law_the_state_is_the_fold_of_the_journal(seed: u64, steps in prop::collection::vec(step(true), 1..16)) {
        let mut world = World::new(seed);
        steps.iter().for_each(|step| world.take(step));
        let journal = MemoryJournal::new();
        for (at, bytes) in world.records.iter().enumerate() {
            journal.append(at as u64, std::slice::from_ref(bytes)).unwrap();
        }
        let folded = fold(&journal).unwrap();
        // However the state came about, its image is the same, and reads back.
        let bytes = image::image(&folded);
        prop_assert_eq!(&bytes, &image::image(&world.state));
        prop_assert_eq!(&bytes, &image::image(&image::state(&bytes).unwrap()));
        let slots = |state: &State| state.slots().map(|(slot, filings)| (slot.clone(), filings.clone())).collect::<Vec<_>>();
        prop_assert_eq!(slots(&folded), slots(&world.state));
        let book = |state: &State| state.control(FORM_YEAR, Round::Second).cloned();
        prop_assert_eq!(book(&folded), book(&world.state));
        prop_assert_eq!(folded.tree(FORM_YEAR), world.state.tree(FORM_YEAR));
        for node in world.nodes() {
            prop_assert_eq!(folded.history(&node), world.state.history(&node));
        }
        let before: Vec<NodeView> = world.nodes().iter().map(|node| world.view(node)).collect();
        world.state = folded;
        for (node, before) in world.nodes().iter().zip(before) {
            let after = world.view(node);
            prop_assert_eq!(&before.reported, &after.reported);
            prop_assert_eq!(&before.adjusted, &after.adjusted);
            prop_assert_eq!(&before.eliminated, &after.eliminated);
            prop_assert_eq!(before.filing, after.filing);
        }
        // Every key gives its first answer again, and no other content can use it.
        for (at, command) in world.commands.iter_mut().enumerate() {
            let first = decide(&world.state, command, &world.past).unwrap();
            prop_assert_eq!(first, Decision::Repeat(at as u64 + 1));
            command.fingerprint = Digest::default();
            prop_assert_eq!(decide(&world.state, command, &world.past).unwrap_err().reason, Reason::KeyReused);
        }
    }
}

/// The 分 of what was filed in a cell, or hundredths of a count: counted here, not by the program's sums.
fn hundredths(cell: &Cell) -> i128 {
    match cell {
        Cell::Amount(amount) => amount.value.fen(),
        Cell::Number(number) if number.decimals == 0 => i128::from(number.mantissa) * 100,
        _ => 0,
    }
}

impl World {
    /// For every cell that any node shows: its leaves add up to it, on each level. Says how many cells that were.
    fn traces_add_up(&self) -> usize {
        let mut traced = 0;
        for node in self.nodes() {
            let view = self.view(&node);
            let scope = Scope {
                node: node.as_str().into(),
                year: FORM_YEAR,
                round: Round::Second,
                form_set: None,
                reviewed: false,
            };
            for (index, table) in view.form.tables.iter().enumerate() {
                for row in view.rows_in_print(index) {
                    for (column, posted) in table.columns.iter().zip(row.cells()) {
                        if column.kind.adds_up() {
                            let address = CellAddress::new(&table.id, row.key, &column.id);
                            self.trace_adds_up(&scope, address, &posted, &view);
                            traced += 1;
                        }
                    }
                }
            }
        }
        traced
    }

    fn trace_adds_up(&self, scope: &Scope, address: CellAddress, posted: &Posted, view: &NodeView) {
        let at = format!("{} {address} at {}", scope.node, self.state.position);
        let traced = match Traced::find(&self.state, scope, address.clone(), &self.past) {
            Ok(traced) => traced,
            // Lists of a leaf show a subtotal that stands in none of its cells.
            Err(remark) => return assert_eq!(remark.reason, Reason::UnknownCell, "{at}"),
        };
        let (mut reported, mut adjusted) = (0, 0);
        let mut after = None;
        loop {
            // Two at a time, so that pages are put together too.
            let (page, more) = shares(&self.state, scope, &traced, after.as_ref(), 2, &self.past).unwrap();
            for share in &page {
                let own: i128 = match &share.cell {
                    Some(cell) => hundredths(cell),
                    None if address.row == SUBTOTAL_ROW => share.lines.iter().map(|line| hundredths(&line.cell)).sum(),
                    None => 0,
                };
                assert_eq!(share.sum.value.money().fen(), own, "{at}: {share:?}");
                let side = if share.kind == Kind::Unit { &mut reported } else { &mut adjusted };
                *side += own;
            }
            let last =
                page.last().map(|last| After { unit: last.unit.clone(), difference: last.kind == Kind::Difference });
            if !more {
                break;
            }
            after = last;
        }
        let eliminations = eliminations(&self.state, scope, &traced);
        let eliminated: i128 = eliminations.iter().map(|eliminated| eliminated.amount.fen()).sum();
        assert_eq!(reported, posted.reported.value.money().fen(), "{at}: reported");
        if view.filing.is_none() {
            assert_eq!(adjusted, posted.adjusted.value.money().fen(), "{at}: adjusted");
            assert_eq!(eliminated, posted.eliminated.value.money().fen(), "{at}: eliminated");
        }
        let figure = posted.consolidated().value.money().fen();
        assert_eq!(reported + adjusted - eliminated, figure, "{at}: consolidated");
    }
}

proptest! {
    #![proptest_config(few(24))]

    /// At every position that the steps lead through, with units that move and file again, difference forms,
    /// eliminations, lists and records.
    #[test]
    fn law_a_traces_leaves_add_up_to_every_cell(seed: u64, steps in prop::collection::vec(step(false), 1..12)) {
        let mut world = World::new(seed);
        for step in &steps {
            world.take(step);
            world.traces_add_up();
        }
    }
}

#[test]
fn traces_of_many_cells_were_added_up() {
    let mut world = World::new(7);
    (0..UNITS.len()).for_each(|unit| world.take(&Step::File(unit, unit as u64)));
    let traced = world.traces_add_up();
    assert!(traced > 100, "only {traced}");
}

/// A new version of the form set may have its tables elsewhere: what was filed on the old one is still found.
#[test]
fn a_version_filed_on_another_layout_makes_room_for_the_next() {
    let mut world = World::new(7);
    let parents = [("D1", BUREAU), ("U0", "D1"), ("U1", "D1")];
    world.import(parents.map(|(code, parent)| (code.to_owned(), parent.to_owned())).into());
    let generated = world.generated.clone();
    let table = generated.tables.iter().find(|table| matches!(table.rows, Rows::Fixed(_))).unwrap();
    let (Rows::Fixed(keys), (column, _)) = (&table.rows, &table.columns[0]) else { unreachable!() };
    let text = json!({
        "form_set": generated.id, "unit": "U0", "year": FORM_YEAR, "round": "second",
        "tables": { &table.id: { "amount_unit": "元", "rows": [{ "row": keys[0], column: "100" }] } },
    });
    assert!(matches!(world.file(&text).unwrap(), Event::Submitted(_)));
    world.cap_at("D1", [table.id.clone(), keys[0].clone(), column.clone()], (10_000, false), false).unwrap();

    let mut files = generated.files.clone();
    let forms = String::from_utf8(files["forms.toml"].clone()).unwrap();
    let first = format!("[{}]", generated.tables[0].id);
    let forms = forms.replacen(&first, &format!("[NEW]\nname = \"新\"\ncolumns = {{ new = \"新\" }}\n\n{first}"), 1);
    files.insert("forms.toml".to_owned(), forms.into_bytes());
    let form = Arc::new(FormSet::load(files).unwrap());
    assert_ne!(form.layout, world.form.layout);
    world.form = form.clone();
    world.act(Actor::service(), Action::PublishFormSet { form }, None).unwrap();
    assert!(matches!(world.file(&text).unwrap(), Event::Submitted(_)), "the version before was not taken off");
}

// ── files and digests ────────────────────────────────────────────────────────────────────

proptest! {
    #![proptest_config(few(64))]

    #[test]
    fn law_a_file_written_reads_back(seed: u64, note in "\\PC{0,20}") {
        let world = World::new(seed);
        let text = world.text("U0", "unit", seed);
        let reading = SubmissionFile::read(&text.to_string()).unwrap().read_on(&world.form);
        prop_assert!(!reading.is_refused(), "{:?}", reading.findings);
        let written = submission_file::write(&reading.submission, &world.form, &note);
        let file = SubmissionFile::read(&written).unwrap();
        prop_assert_eq!(&file.note, &note);
        let again = file.read_on(&world.form);
        prop_assert_eq!(&again.submission, &reading.submission);
        prop_assert_eq!(again.digest, reading.digest);
        prop_assert_eq!(again.control_total.fen(), control_total(&world.layout, &text));
    }

    #[test]
    fn law_the_digest_names_the_content_and_nothing_else(seed: u64, choices: u64) {
        let world = World::new(seed);
        let file = SubmissionFile::read(&world.text("U0", "unit", seed).to_string()).unwrap();
        let digest = file.read_on(&world.form).digest;
        let mut random = Random(choices);
        prop_assert_eq!(shuffled(&mut random, &file).read_on(&world.form).digest, digest);
        for _ in 0..8 {
            let mut other = file.clone();
            if let Some(what) = change_one_thing(&mut random, &mut other) {
                prop_assert_ne!(other.read_on(&world.form).digest, digest, "{}", what);
            }
        }
    }
}

/// All amounts of a filing added up by the model.
fn control_total(layout: &Layout, text: &Value) -> i128 {
    let mut total = 0;
    for table in &layout.tables {
        let filed = &text["tables"][table.id.as_str()];
        for row in filed["rows"].as_array().into_iter().flatten() {
            for column in table.columns.iter().filter(|column| ["元", "万元"].contains(&column.unit.as_str())) {
                let unit = filed["amount_unit"].as_str().unwrap_or(&column.unit);
                total +=
                    row[column.id.as_str()].as_str().filter(|text| !text.is_empty()).map_or(0, |t| model::fen(t, unit));
            }
        }
    }
    total
}

fn shuffle<T>(random: &mut Random, list: &mut [T]) {
    for at in (1..list.len()).rev() {
        list.swap(at, random.below(at + 1));
    }
}

/// The same filing with its tables, rows and columns in another order.
fn shuffled(random: &mut Random, file: &SubmissionFile) -> SubmissionFile {
    let mut file = file.clone();
    shuffle(random, &mut file.tables);
    for table in &mut file.tables {
        shuffle(random, &mut table.rows);
        let mut order: Vec<usize> = (0..table.header.columns.len()).collect();
        shuffle(random, &mut order);
        table.header.columns = order.iter().map(|at| table.header.columns[*at].clone()).collect();
        for (_, values) in &mut table.rows {
            *values = order.iter().map(|at| values.get(*at).cloned().unwrap_or_default()).collect();
        }
    }
    file
}

/// Changes one thing that a digest has to name; says what, or nothing if the file has no such thing.
fn change_one_thing(random: &mut Random, file: &mut SubmissionFile) -> Option<&'static str> {
    let Slot { unit, year, round, kind } = &mut file.slot;
    let choice = random.below(11);
    match choice {
        0 => *unit = "U1".into(),
        1 => *year += 1,
        2 => *round = Round::First,
        3 => *kind = Kind::Difference,
        _ => {}
    }
    if choice < 4 {
        return Some("the slot");
    }
    let at = random.below(file.tables.len());
    let table = &mut file.tables[at];
    let header = &mut table.header;
    match choice {
        4 if !header.empty => {
            header.amount_unit = if header.amount_unit == "元" { "万元" } else { "元" }.into();
            Some("the denomination")
        }
        5 if !header.empty => {
            header.decimals = Some(u32::from(header.decimals == Some(0)));
            Some("the decimals")
        }
        6 if table.rows.is_empty() => {
            header.empty = !header.empty;
            Some("empty on purpose")
        }
        7 => {
            file.tables.remove(at);
            Some("a table")
        }
        _ if table.rows.is_empty() || table.header.columns.is_empty() => None,
        8 => {
            table.rows.remove(random.below(table.rows.len()));
            Some("a row")
        }
        _ => {
            let row = random.below(table.rows.len());
            table.rows[row].1.resize(table.header.columns.len(), String::new());
            change_value(random, &mut table.rows[row].1);
            Some("a cell")
        }
    }
}

fn change_value(random: &mut Random, values: &mut [String]) {
    let at = random.below(values.len());
    let value = &mut values[at];
    match value.pop() {
        Some(digit) if digit.is_ascii_digit() => value.push(if digit == '9' { '8' } else { (digit as u8 + 1) as char }),
        Some(_) => value.push('另'),
        None => value.push('1'),
    }
}

// ── money ────────────────────────────────────────────────────────────────────────────────

fn scale() -> impl Strategy<Value = (Scale, &'static str)> {
    prop_oneof![
        (0..=2_u8).prop_map(|decimals| (Scale { denomination: Denomination::Yuan, decimals }, "元")),
        (0..=6_u8).prop_map(|decimals| (Scale { denomination: Denomination::Wan, decimals }, "万元")),
    ]
}

proptest! {
    #![proptest_config(few(2_000))]

    #[test]
    fn law_sums_of_any_size_print_as_whole_numbers_do(
        fen in -(10_i128.pow(26))..10_i128.pow(26),
        small in -20_000_i128..20_000,
        (scale, unit) in scale(),
    ) {
        for fen in [fen, small, fen / 10_000 * 10_000 + small.signum() * 5_000] {
            let money = Money::from_total_fen(fen).unwrap();
            let printed = model::print(fen, unit, scale.decimals.into());
            prop_assert_eq!(money.print(scale), printed.clone());
            prop_assert_eq!(money.round_to(scale).fen(), model::fen(&printed, unit));
            prop_assert!((money.fen() - money.round_to(scale).fen()).abs() <= scale.half_quantum().fen());
            prop_assert_eq!(Money::parse_total(&money.to_string()), Some(money));
            prop_assert_eq!(money.fen(), fen);
        }
    }

    #[test]
    fn law_amounts_keep_what_was_written(text in "-?(0|[1-9][0-9]{0,7})(\\.[0-9]{1,6})?", wan: bool) {
        let (denomination, unit) = if wan { (Denomination::Wan, "万元") } else { (Denomination::Yuan, "元") };
        let decimals = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let minus_zero = text.starts_with('-') && !text.bytes().any(|b| (b'1'..=b'9').contains(&b));
        match Amount::parse(&text, denomination, Decimals::AsWritten) {
            Ok(amount) => {
                prop_assert_eq!(amount.value.fen(), model::fen(&text, unit));
                prop_assert_eq!(amount.to_string(), text);
            }
            Err(_) => prop_assert!(minus_zero || decimals > usize::from(denomination.decimals_max())),
        }
    }

    #[test]
    fn law_nothing_but_the_grammar_is_an_amount(text in "[-+0-9.,_eE 　０-９]{0,12}|\\PC{0,8}") {
        let body = text.strip_prefix('-').unwrap_or(&text);
        let (whole, fraction) = body.split_once('.').map_or((body, None), |(whole, rest)| (whole, Some(rest)));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let fits = digits(whole) && (whole == "0" || !whole.starts_with('0')) && fraction.is_none_or(digits);
        let read = Amount::parse(&text, Denomination::Wan, Decimals::AsWritten);
        prop_assert!(fits || read.is_err(), "{:?}", text);
    }

    #[test]
    fn law_addition_loses_nothing(parts in prop::collection::vec(-999_999_999_999_999_i64..=999_999_999_999_999, 0..200)) {
        let sum: Money = parts.iter().map(|fen| Money::from_fen(*fen)).sum();
        prop_assert_eq!(sum.fen(), parts.iter().map(|fen| i128::from(*fen)).sum::<i128>());
        let back = parts.iter().fold(sum, |sum, fen| sum - Money::from_fen(*fen));
        prop_assert!(back.is_zero() && back == Money::ZERO && back.to_string() == "0.00");
    }
}
