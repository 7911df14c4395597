//! What a rule finds: which line, at which row and column, from which cells, and by how much it is off.
//!
//! A finding is data and stands by itself: it can be stored, sent, and compared with one of another version.
//! What it says to a person is made by [`crate::wording`].

use std::fmt;

use compact_str::CompactString;
use sha2::{Digest as _, Sha256};

use crate::budget::cell::{Cell, CellAddress};
use crate::budget::digest::Digest;
use crate::budget::finding::Strength;
use crate::budget::money::{Amount, Denomination};
use crate::budget::number::Number;
use crate::budget::submission::UnitCode;

/// How a line came out at one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It holds as printed, or with the one rounding of the coarser side.
    Pass,
    /// It holds for some amounts that print so, with more than one rounding.
    PassByRounding,
    /// No amounts that print so make it hold.
    Fail,
    /// Something that it needs is not there.
    NotEvaluable,
}

impl Verdict {
    /// All of them, in the order of their numbers, which are stored.
    pub const ALL: [Verdict; 4] = [Verdict::Pass, Verdict::PassByRounding, Verdict::Fail, Verdict::NotEvaluable];

    /// The name used in files and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::PassByRounding => "pass_by_rounding",
            Verdict::Fail => "fail",
            Verdict::NotEvaluable => "not_evaluable",
        }
    }
}

/// How many instances came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Held.
    pub pass: u64,
    /// Held by rounding.
    pub pass_by_rounding: u64,
    /// Failed.
    pub fail: u64,
    /// Could not be judged.
    pub not_evaluable: u64,
}

impl Counts {
    /// One more.
    pub fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Pass => self.pass += 1,
            Verdict::PassByRounding => self.pass_by_rounding += 1,
            Verdict::Fail => self.fail += 1,
            Verdict::NotEvaluable => self.not_evaluable += 1,
        }
    }
}

/// Which filing a cell was read in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The filing that is judged.
    This,
    /// The one of the year before.
    Last,
    /// One of the units below.
    Unit(UnitCode),
    /// What the round gives.
    Round,
}

/// A cell that was read, and what stood in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellSeen {
    /// Where it was read.
    pub source: Source,
    /// Its address.
    pub address: CellAddress,
    /// What stood there; nothing if its table has no such row, which is as good as blank there.
    pub value: Option<Cell>,
}

/// One side of a comparison, a difference, or a tolerance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Money, to be printed at its scale.
    Amount(Amount),
    /// A percentage.
    Percent(Number),
    /// A count, year or plain number.
    Number(Number),
    /// A text.
    Text(CompactString),
    /// Nothing was filled in.
    Blank,
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Quantity::Amount(amount) => amount.fmt(f),
            Quantity::Percent(number) => write!(f, "{number}%"),
            Quantity::Number(number) => number.fmt(f),
            Quantity::Text(text) => f.write_str(text),
            Quantity::Blank => Ok(()),
        }
    }
}

/// Why something can't be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The table was not filed.
    TableMissing(CompactString),
    /// A unit below, whose filing is looked at, did not file the table.
    UnitTableMissing(UnitCode, CompactString),
    /// The table has no such row.
    RowMissing(CompactString, CompactString),
    /// There is no filing of the year before.
    NoLastYear,
    /// There are no filings of units below.
    NoUnits,
    /// The round doesn't say.
    NotGiven(CompactString),
    /// A text that can't be read as what it should be.
    Unreadable(CellAddress),
    /// A blank where a factor or divisor was needed.
    BlankFactor(CellAddress),
    /// A blank that a condition holds against something.
    BlankCondition(CellAddress),
    /// A written sum that comes to another result than stands behind it.
    OtherResult(CellAddress),
    /// The divisor can be zero.
    DivisionByZero,
    /// A figure that is too large to reckon with.
    TooLarge,
    /// There are too many rows to hold each of them against each of others.
    TooLong,
    /// Units file that table, or its codes, to different depth: their sums don't say what each of them says.
    FiledUnevenly(CompactString),
}

impl Cause {
    /// The names of all of them.
    pub const CODES: [&str; 14] = [
        "table_missing",
        "unit_table_missing",
        "row_missing",
        "no_last_year",
        "no_units",
        "not_given",
        "unreadable",
        "blank_factor",
        "blank_condition",
        "other_result",
        "division_by_zero",
        "too_large",
        "too_long",
        "filed_unevenly",
    ];

    /// The name used in files and answers.
    pub fn as_str(&self) -> &'static str {
        match self {
            Cause::TableMissing(_) => "table_missing",
            Cause::UnitTableMissing(..) => "unit_table_missing",
            Cause::RowMissing(..) => "row_missing",
            Cause::NoLastYear => "no_last_year",
            Cause::NoUnits => "no_units",
            Cause::NotGiven(_) => "not_given",
            Cause::Unreadable(_) => "unreadable",
            Cause::BlankFactor(_) => "blank_factor",
            Cause::BlankCondition(_) => "blank_condition",
            Cause::OtherResult(_) => "other_result",
            Cause::DivisionByZero => "division_by_zero",
            Cause::TooLarge => "too_large",
            Cause::TooLong => "too_long",
            Cause::FiledUnevenly(_) => "filed_unevenly",
        }
    }

    /// Whether it is the same for every formula of a rule that looks there: another filing that there isn't.
    pub(super) fn is_of_rule(&self) -> bool {
        matches!(self, Cause::NoLastYear | Cause::NoUnits)
    }

    /// Whether it is the same for every row of a line, and so said once.
    pub(super) fn is_of_line(&self) -> bool {
        match self {
            Cause::TableMissing(_) | Cause::NoLastYear | Cause::NoUnits | Cause::NotGiven(_) => true,
            Cause::UnitTableMissing(..) | Cause::RowMissing(..) | Cause::TooLong => true,
            Cause::Unreadable(_)
            | Cause::BlankFactor(_)
            | Cause::BlankCondition(_)
            | Cause::OtherResult(_)
            | Cause::DivisionByZero
            | Cause::TooLarge
            | Cause::FiledUnevenly(_) => false,
        }
    }
}

/// What a rule found at one row: everything but a plain pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFinding {
    /// Id of the rule.
    pub rule: CompactString,
    /// What follows from it.
    pub strength: Strength,
    /// Which formula of the rule, from 0.
    pub check: usize,
    /// Which link of a chain `a = b = c`, from 0.
    pub link: usize,
    /// The row and column that it is about; empty parts mean no one row or column.
    pub place: CellAddress,
    /// What a listed row calls itself, such as the name of a project.
    pub row_title: CompactString,
    /// How it came out.
    pub verdict: Verdict,
    /// The cells that it rests on, in the order of reading: the left side's first.
    pub cells: Vec<CellSeen>,
    /// How many of them are the left side's.
    pub left_cells: usize,
    /// Names the cells of rows that were looked through to see whether they are meant: too many to tell, but a failure
    /// rests on them too. None if there were none.
    pub looked: Option<Digest>,
    /// The left side; none of a condition, nor of a figure that is too large to be told. So for the three below.
    pub left: Option<Quantity>,
    /// How the two should lie: `=`, `≤` and so on.
    pub relation: &'static str,
    /// The right side.
    pub right: Option<Quantity>,
    /// Left minus right.
    pub difference: Option<Quantity>,
    /// The largest difference that rounding explains.
    pub tolerance: Option<Quantity>,
    /// Why it can't be judged.
    pub cause: Option<Cause>,
    /// An earlier rule that one of these cells has failed: that comes first.
    pub after: Option<CompactString>,
}

/// Names a finding and the figures that it rests on: what a justification is bound to.
pub type Fingerprint = Digest;

impl RuleFinding {
    /// Whether it is a failure. Only those can be justified, and go by their fingerprints.
    pub fn failed(&self) -> bool {
        self.verdict == Verdict::Fail
    }

    /// Whether its unit has to explain it before it can be accepted: a logic rule that failed.
    pub fn must_be_justified(&self) -> bool {
        self.failed() && self.strength == Strength::Logic
    }

    /// The name of this finding with these figures. A re-filing in which they are unchanged finds the same name again;
    /// one changed figure, or a rule that says something else, makes it another.
    pub(super) fn fingerprint(&self, formula: &str) -> Fingerprint {
        // One text, hashed at once: every filing has dozens of findings.
        let mut said = Vec::with_capacity(64 + formula.len() + 96 * self.cells.len());
        let place = [&self.rule, &self.place.table, &self.place.row, &self.place.column];
        put(&mut said, "rule-finding-1");
        place.into_iter().for_each(|part| put(&mut said, part));
        put(&mut said, formula);
        said.extend([self.check, self.link].map(|number| number as u64).map(u64::to_be_bytes).concat());
        self.cells.iter().for_each(|cell| cell.put(&mut said));
        if let Some(looked) = &self.looked {
            put(&mut said, "looked");
            said.extend(looked.0);
        }
        // What was counted stands in no cell.
        for counted in [&self.left, &self.right].into_iter().flatten() {
            if let Quantity::Number(number) = counted {
                put_cell(&mut said, Some(&Cell::Number(*number)));
            }
        }
        Digest(Sha256::digest(&said).into())
    }

    /// Whether a filing with it is refused.
    pub fn refuses(&self) -> bool {
        self.failed() && self.strength == Strength::Balance
    }
}

impl CellSeen {
    /// Where it is and what stands there, as a name is made of it.
    pub(super) fn put(&self, said: &mut Vec<u8>) {
        match &self.source {
            Source::This => put(said, "this"),
            Source::Last => put(said, "last"),
            Source::Round => put(said, "round"),
            Source::Unit(code) => {
                put(said, "unit");
                put(said, code);
            }
        }
        let address = [&self.address.table, &self.address.row, &self.address.column];
        address.into_iter().for_each(|part| put(said, part));
        put_cell(said, self.value.as_ref());
    }
}

fn put(said: &mut Vec<u8>, text: &str) {
    said.extend((text.len() as u64).to_be_bytes());
    said.extend(text.as_bytes());
}

/// What stands in a cell, each state apart; the scale counts, because it says how exact a figure is.
fn put_cell(said: &mut Vec<u8>, value: Option<&Cell>) {
    match value {
        // A code that is not listed and one that is listed blank say the same.
        None | Some(Cell::Blank) => said.push(b'B'),
        Some(Cell::Amount(amount)) => {
            said.push(match amount.scale.denomination {
                Denomination::Yuan => b'Y',
                Denomination::Wan => b'W',
            });
            said.push(amount.scale.decimals);
            said.extend(amount.value.fen().to_be_bytes());
        }
        Some(Cell::Number(number)) => {
            said.extend([b'N', number.decimals]);
            said.extend(number.mantissa.to_be_bytes());
        }
        Some(Cell::Text(text)) => {
            said.push(b'T');
            put(said, text);
        }
        Some(Cell::Unreadable(text)) => {
            said.push(b'U');
            put(said, text);
        }
    }
}
