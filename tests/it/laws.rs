//! Laws, by random commands on the pure ledger: whatever the order of filings, re-filings, moves of units,
//! difference forms, and of what is withdrawn, returned and opened again, the sums, eliminations with them, are what a model counts in whole 分, and the journal alone gives the same again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use budget_consolidator::budget::digest::Digest;
use budget_consolidator::budget::form_set::{FormFiles, FormSet};
use budget_consolidator::budget::intake::{Intake, Placed, TableHeader};
use budget_consolidator::budget::money::{Amount, Decimals, Denomination, Money, Scale};
use budget_consolidator::budget::reason::{Reason, Remark};
use budget_consolidator::budget::submission::{Kind, Round, Slot, Submission};
use budget_consolidator::budget::unit_tree::{BUREAU, Node, NodeRole};
use budget_consolidator::consolidator::record::{self, Packed, Record};
use budget_consolidator::ledger::actor::{Actor, Role};
use budget_consolidator::ledger::decide::{Action, Command, Decision, Filing, Target, VersionStep, decide};
use budget_consolidator::ledger::event::{Envelope, Event, Timestamp};
use budget_consolidator::ledger::review::{Move, VersionState};
use budget_consolidator::ledger::state::State;
use budget_consolidator::ledger::view::{Scope, view};
use budget_consolidator::ledger::{Contents, Position};
use proptest::prelude::*;

pub const YEAR: u16 = 2030;
pub const UNITS: [&str; 5] = ["11", "12", "13", "14", "15"];
const ROWS: [&str; 5] = ["和", "1", "11", "12", "2"];

pub fn form() -> FormSet {
    let forms = r#"
id = "laws"
year = 2030
amount = "元.2"
kinds = ["unit", "difference"]
[axis]
"码" = "上 1, 下 2"
"方" = ""
"类" = ""
[A]
name = "甲"
rows = "和 > 码"
columns = { x = "数", y = "另数" }
[M]
name = "往"
rows = "方 × 类"
rollup = "list"
transfer = { kinds = "kinds.csv", cells = "cells.csv", amount = "x", code = "c" }
columns = { x = "数", c = "码: text" }
"#;
    let files = FormFiles::from([
        ("forms.toml".to_owned(), forms.as_bytes().to_vec()),
        ("kinds.csv".to_owned(), "kind,opposite,side,title\nin,out,in,入\nout,in,out,出\n".as_bytes().to_vec()),
        ("cells.csv".to_owned(), "kind,table,row,column,when\nin,A,@code,x,\nout,A,和,y,\n".as_bytes().to_vec()),
    ]);
    FormSet::load(files).unwrap()
}

/// What one filing says: cells in 分 by row and column, and transfers by counterparty and kind.
#[derive(Clone, Debug, Default)]
pub struct Said {
    pub cells: BTreeMap<(usize, usize), i64>,
    pub transfers: BTreeMap<(usize, bool), i64>,
}

#[derive(Clone, Debug)]
pub enum Step {
    File(usize, Said),
    Differ(Said),
    /// A unit takes back what it filed last, it is given back to it, or that is undone; nothing happens where it can't.
    Review(usize, Move),
    /// For each unit, which of the others it stands below; itself for none.
    Move([usize; 5]),
}

pub fn said() -> impl Strategy<Value = Said> {
    let cells = prop::collection::btree_map((0..ROWS.len(), 0..2_usize), 0..1_000_000_i64, 0..8);
    // Few amounts, so that the two sides often agree.
    let transfers = prop::collection::btree_map((0..UNITS.len(), any::<bool>()), 1..3_i64, 0..3);
    (cells, transfers).prop_map(|(cells, transfers)| Said { cells, transfers })
}

pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..UNITS.len(), said()).prop_map(|(unit, said)| Step::File(unit, said)),
        1 => said().prop_map(|said| Step::Differ(Said { transfers: BTreeMap::new(), ..said })),
        2 => (0..UNITS.len(), prop_oneof![1 => Just(Move::Withdraw), 2 => Just(Move::Return), 2 => Just(Move::Reopen)])
            .prop_map(|(unit, step)| Step::Review(unit, step)),
        1 => prop::array::uniform5(0..UNITS.len()).prop_map(Step::Move),
    ]
}

fn fen(fen: i64) -> String {
    format!("{}.{:02}", fen / 100, fen % 100)
}

pub fn read(form: &FormSet, unit: &str, kind: Kind, said: &Said) -> Placed {
    read_into(form, Slot { unit: unit.into(), year: YEAR, round: Round::Second, kind }, said)
}

pub fn read_into(form: &FormSet, slot: Slot, said: &Said) -> Placed {
    let header = |id: &str, columns: [&str; 2]| TableHeader {
        id: id.into(),
        columns: columns.map(Into::into).to_vec(),
        ..TableHeader::default()
    };
    let headers = [header("A", ["x", "y"]), header("M", ["x", "c"])];
    let mut intake = Intake::new(form, slot, &headers);
    // Parents must stand above their codes, so a used code brings its row.
    let mut rows: BTreeSet<usize> = said.cells.keys().map(|(row, _)| *row).collect();
    if rows.iter().any(|row| ROWS[*row].len() == 2) {
        rows.insert(1);
    }
    for row in rows {
        let value = |column| said.cells.get(&(row, column)).map_or_else(String::new, |value| fen(*value));
        let (x, y) = (value(0), value(1));
        assert!(intake.row(0, ROWS[row], [x.as_str(), y.as_str()]));
    }
    for ((other, incoming), amount) in &said.transfers {
        let key = format!("{}/{}", UNITS[*other], if *incoming { "in" } else { "out" });
        assert!(intake.row(1, &key, [fen(*amount).as_str(), "12"]));
    }
    intake.place()
}

/// A journal in memory, and the state that it adds up to.
pub struct Ledger {
    pub form: Arc<FormSet>,
    pub state: State,
    pub past: Past,
    pub bytes: Vec<Vec<u8>>,
}

#[derive(Default)]
pub struct Past(BTreeMap<Position, Arc<Submission>>);

impl Contents for Past {
    fn submission(&self, position: Position) -> Result<Arc<Submission>, Remark> {
        self.0.get(&position).cloned().ok_or_else(|| Remark::new(Reason::UnknownPosition))
    }
}

impl Ledger {
    pub fn new(form: Arc<FormSet>) -> Ledger {
        let mut ledger =
            Ledger { form: form.clone(), state: State::default(), past: Past::default(), bytes: Vec::new() };
        ledger.act(Actor::service(), Action::PublishFormSet { form }, None);
        ledger.put([0, 1, 2, 3, 4]);
        ledger
    }

    fn act(&mut self, actor: Actor, action: Action, submission: Option<Arc<Submission>>) {
        let key = format!("k{}", self.state.position);
        let position = self.state.position + 1;
        let time = Timestamp(i64::try_from(position).unwrap());
        let fingerprint = Digest::of(key.as_bytes());
        let command = Command { actor: actor.clone(), key: key.as_str().into(), fingerprint, time, action };
        let Decision::Record(event, _) = decide(&self.state, &command, &self.past).unwrap() else { panic!("a repeat") };
        let envelope = Envelope {
            position,
            time,
            actor,
            key: key.as_str().into(),
            fingerprint: command.fingerprint,
            event: *event,
        };
        let packed = submission.map(|submission| {
            self.past.0.insert(position, submission.clone());
            Packed::new(&submission, &self.form).unwrap()
        });
        self.bytes.push(record::encode(&envelope, packed.as_ref()).unwrap());
        self.state.apply(&envelope, &self.past).unwrap();
    }

    pub fn file(&mut self, unit: &str, kind: Kind, said: &Said) {
        let reading = Arc::new(read(&self.form, unit, kind, said).sum_up(&self.form));
        assert!(reading.findings.is_empty(), "{:?}", reading.findings);
        let role = if kind == Kind::Unit { Role::Unit } else { Role::Department };
        let submission = reading.submission.clone();
        let action = Action::Submit(Filing { reading, version: None, ahead: None, adjustment: None });
        self.act(Actor { node: unit.into(), role }, action, Some(submission));
    }

    pub fn put(&mut self, parents: [usize; 5]) {
        self.act(Actor::service(), Action::ImportUnits { year: YEAR, nodes: nodes(parents) }, None);
    }

    pub fn take(&mut self, step: &Step) {
        match step {
            Step::File(unit, said) => self.file(UNITS[*unit], Kind::Unit, said),
            Step::Differ(said) => self.file("1", Kind::Difference, said),
            Step::Review(unit, step) => {
                if let Some((actor, order)) = review(&self.state, UNITS[*unit], *step) {
                    self.act(actor, Action::Step(order), None);
                }
            }
            Step::Move(parents) => self.put(*parents),
        }
    }

    /// Consolidated sums of every node that has others below it, in 分: node, row, column.
    fn sums(&self) -> BTreeMap<(String, String, usize), i128> {
        let mut sums = BTreeMap::new();
        for code in UNITS.into_iter().chain([BUREAU, "1", "9"]) {
            let scope = Scope { node: code.into(), year: YEAR, round: Round::Second, form_set: None, reviewed: false };
            let view = view(&self.state, &scope, &self.past).unwrap();
            for row in view.rows(0) {
                for (column, posted) in row.cells().enumerate() {
                    let sum = posted.consolidated();
                    if sum.parts > 0 {
                        sums.insert((code.to_owned(), row.key.to_string(), column), sum.value.money().fen());
                    }
                }
            }
        }
        sums
    }
}

/// Who takes that step on a unit's last version, if it can be taken.
pub fn review(state: &State, unit: &str, step: Move) -> Option<(Actor, VersionStep)> {
    let slot = Slot { unit: unit.into(), year: YEAR, round: Round::Second, kind: Kind::Unit };
    let last = state.filings(&slot)?.latest()?;
    let from = if step == Move::Reopen { VersionState::Returned } else { VersionState::Submitted };
    let actor = match step {
        Move::Withdraw => Actor { node: unit.into(), role: Role::Unit },
        _ => Actor { node: BUREAU.into(), role: Role::Bureau },
    };
    let (version, reason) = (last.version, "请核对".to_owned());
    let (target, lines, to_justify) = (Target { version, slot }, Vec::new(), Vec::new());
    (last.state() == from).then_some((actor, VersionStep { target, step, reason, lines, to_justify, reviewed: None }))
}

/// The unit tree with each unit below another, or below a department.
pub fn nodes(parents: [usize; 5]) -> Vec<Node> {
    let node = |code: &str, parent: &str, role| Node {
        code: code.into(),
        parent: parent.into(),
        name: code.to_owned(),
        role,
        unit_type: String::new(),
        funding: String::new(),
        division: String::new(),
        budgeted: role == NodeRole::Unit,
    };
    let mut nodes = vec![node("1", BUREAU, NodeRole::Department), node("9", "1", NodeRole::Department)];
    for (at, parent) in parents.into_iter().enumerate() {
        nodes.push(node(UNITS[at], above(at, parent), NodeRole::Unit));
    }
    nodes
}

/// The code above a unit: a lower-numbered unit, or the department. So there are no circles, and up to six levels.
fn above(at: usize, parent: usize) -> &'static str {
    match parent {
        parent if parent < at => UNITS[parent],
        parent if parent == at => "1",
        _ => "9",
    }
}

/// The same, counted from what was said and where units stand, and nothing else.
fn model(steps: &[Step]) -> BTreeMap<(String, String, usize), i128> {
    let mut parents = [0, 1, 2, 3, 4];
    let mut filed: BTreeMap<usize, &Said> = BTreeMap::new();
    let mut returned: BTreeMap<usize, &Said> = BTreeMap::new();
    let mut delta: Option<&Said> = None;
    for step in steps {
        match step {
            Step::File(unit, said) => {
                filed.insert(*unit, said);
                returned.remove(unit);
            }
            Step::Differ(said) => delta = Some(said),
            Step::Review(unit, Move::Return) => returned.extend(filed.remove(unit).map(|said| (*unit, said))),
            Step::Review(unit, Move::Reopen) => filed.extend(returned.remove(unit).map(|said| (*unit, said))),
            Step::Review(unit, _) => drop(filed.remove(unit)),
            Step::Move(to) => parents = *to,
        }
    }
    let path = |unit: usize| {
        let mut path = vec![UNITS[unit]];
        while let Some(at) = UNITS.iter().position(|code| code == path.last().unwrap()) {
            path.push(above(at, parents[at]));
        }
        path.extend(if *path.last().unwrap() == "9" { vec!["1", BUREAU] } else { vec![BUREAU] });
        path
    };
    let mut sums: BTreeMap<(String, String, usize), i128> = BTreeMap::new();
    let mut add = |node: &str, row: &str, column: usize, fen: i128| {
        *sums.entry((node.to_owned(), row.to_owned(), column)).or_default() += fen;
    };
    for (unit, said) in &filed {
        for node in path(*unit) {
            said.cells.iter().for_each(|((row, column), fen)| add(node, ROWS[*row], *column, i128::from(*fen)));
        }
        for ((other, incoming), amount) in &said.transfers {
            let agreed = filed.get(other).and_then(|other| other.transfers.get(&(*unit, !incoming))) == Some(amount);
            if other == unit || !agreed {
                continue;
            }
            let theirs = path(*other);
            let own = path(*unit);
            let meet = own.iter().position(|node| theirs.contains(node)).unwrap();
            for node in &own[meet..] {
                if *incoming {
                    ["12", "1", "和"].into_iter().for_each(|row| add(node, row, 0, -i128::from(*amount)));
                } else {
                    add(node, "和", 1, -i128::from(*amount));
                }
            }
        }
    }
    if let Some(said) = delta {
        for node in ["1", BUREAU] {
            said.cells.iter().for_each(|((row, column), fen)| add(node, ROWS[*row], *column, i128::from(*fen)));
        }
    }
    sums
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn law_sums_are_what_the_model_counts(steps in prop::collection::vec(step(), 1..14)) {
        let mut ledger = Ledger::new(Arc::new(form()));
        steps.iter().for_each(|step| ledger.take(step));
        let (mut sums, mut expected) = (ledger.sums(), model(&steps));
        // A cell that only an elimination touches is shown by the ledger as well; both may hold a plain zero.
        sums.retain(|_, fen| *fen != 0);
        expected.retain(|_, fen| *fen != 0);
        prop_assert_eq!(sums, expected);
    }

    #[test]
    fn law_the_order_of_arrival_does_not_matter(
        finals in prop::array::uniform5(said()),
        first in prop::collection::vec((0..5_usize, said()), 0..4),
        order in Just([0_usize, 1, 2, 3, 4]).prop_shuffle(),
    ) {
        let form = Arc::new(form());
        let mut straight = Ledger::new(form.clone());
        finals.iter().enumerate().for_each(|(unit, said)| straight.file(UNITS[unit], Kind::Unit, said));
        let mut shuffled = Ledger::new(form);
        first.iter().for_each(|(unit, said)| shuffled.file(UNITS[*unit], Kind::Unit, said));
        order.iter().for_each(|unit| shuffled.file(UNITS[*unit], Kind::Unit, &finals[*unit]));
        prop_assert_eq!(straight.sums(), shuffled.sums());
    }

    #[test]
    fn law_the_state_is_the_fold_of_the_stored_bytes(steps in prop::collection::vec(step(), 1..12)) {
        let mut ledger = Ledger::new(Arc::new(form()));
        steps.iter().for_each(|step| ledger.take(step));
        let (mut state, mut past) = (State::default(), Past::default());
        for (at, bytes) in ledger.bytes.iter().enumerate() {
            let position = at as u64 + 1;
            let record = Record::decode(position, bytes).unwrap();
            if matches!(record.envelope.event, Event::Submitted(_)) {
                let submission = Arc::new(record.submission(&ledger.form).unwrap());
                prop_assert_eq!(&submission, &ledger.past.0[&position]);
                past.0.insert(position, submission);
            }
            state.apply(&record.envelope, &past).unwrap();
        }
        let folded = Ledger { form: ledger.form.clone(), state, past, bytes: Vec::new() };
        prop_assert_eq!(folded.state.position, ledger.state.position);
        prop_assert_eq!(folded.sums(), ledger.sums());
    }

    #[test]
    fn law_the_digest_names_the_content_whatever_its_order(mine in said(), at in 0..8_usize, by in 1..1_000_i64) {
        let form = form();
        let reading = read(&form, "11", Kind::Unit, &mine).sum_up(&form);
        // The same rows the other way round, and the columns too.
        let slot = reading.submission.header.clone();
        let headers = [
            TableHeader { id: "M".into(), columns: vec!["c".into(), "x".into()], ..TableHeader::default() },
            TableHeader { id: "A".into(), columns: vec!["y".into(), "x".into()], ..TableHeader::default() },
        ];
        let mut intake = Intake::new(&form, slot, &headers);
        for (table, row) in reading.submission.rows().collect::<Vec<_>>().into_iter().rev() {
            let (first, second) = (row.cells[0].to_string(), row.cells[1].to_string());
            let _ = intake.row(1 - table, row.key, [second.as_str(), first.as_str()]);
        }
        prop_assert_eq!(intake.finish().digest, reading.digest);
        let mut other = mine.clone();
        if let Some(value) = other.cells.values_mut().nth(at) {
            *value += by;
            prop_assert_ne!(read(&form, "11", Kind::Unit, &other).sum_up(&form).digest, reading.digest);
        }
        prop_assert_ne!(read(&form, "12", Kind::Unit, &mine).sum_up(&form).digest, reading.digest);
    }

    #[test]
    fn law_money_never_loses_a_fen(fen in -99_999_999_999_999_i64..99_999_999_999_999, decimals in 0..=6_u8) {
        let money = Money::from_fen(fen);
        let text = money.to_string();
        let read = Amount::parse(&text, Denomination::Yuan, Decimals::Fixed(2)).unwrap();
        prop_assert_eq!(read.value, money);
        prop_assert_eq!(Money::parse_total(&text), Some(money));
        // Rounding to a printed digit, in whole numbers: half away from zero.
        let quantum = 10_i64.pow(u32::from(6 - decimals));
        let magnitude = (fen.abs() + quantum / 2) / quantum * quantum;
        let rounded = if fen < 0 { -magnitude } else { magnitude };
        let scale = Scale { denomination: Denomination::Wan, decimals };
        prop_assert_eq!(money.round_to(scale), Money::from_fen(rounded));
        let printed = Amount::parse(&money.print(scale), Denomination::Wan, Decimals::Fixed(decimals)).unwrap();
        prop_assert_eq!(printed.value, Money::from_fen(rounded));
        prop_assert_eq!(printed.to_string(), money.print(scale));
    }
}
