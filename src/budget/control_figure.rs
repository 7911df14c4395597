//! Control figures (控制数): ceilings on cells, and how a filing is judged against them.
//!
//! Who issues them and when they apply is the ledger's business.

use super::cell::CellAddress;
use super::form_set::{Control, FormSet, RollUp};
use super::money::{Denomination, Money, Scale};
use super::submission::{Round, Submission, UnitCode};

/// How strictly a ceiling holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CeilingStrength {
    /// Above it a filing is refused.
    Hard,
    /// Above it a filing carries a finding.
    Advisory,
    /// Known and shown, and never judged.
    None,
}

impl CeilingStrength {
    /// All strengths, the strictest first.
    pub const ALL: [CeilingStrength; 3] = [CeilingStrength::Hard, CeilingStrength::Advisory, CeilingStrength::None];

    /// The name used in files and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            CeilingStrength::Hard => "hard",
            CeilingStrength::Advisory => "advisory",
            CeilingStrength::None => "none",
        }
    }

    /// Reads that name.
    pub fn parse(text: &str) -> Option<CeilingStrength> {
        CeilingStrength::ALL.into_iter().find(|strength| strength.as_str() == text)
    }

    /// How strictly it holds in a round: the figures of 一上 are there for orientation.
    pub fn in_round(self, round: Round) -> CeilingStrength {
        match (round, self) {
            (Round::First, CeilingStrength::Hard) => CeilingStrength::Advisory,
            _ => self,
        }
    }
}

/// One ceiling: on one cell of one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlFigure {
    /// The unit whose filing it caps, or the node above whose units it caps together.
    pub unit: UnitCode,
    /// The cell that it caps. A group of figures is capped by the row that adds it up.
    pub cell: CellAddress,
    /// The most that may be filed, exact 元.
    pub ceiling: Money,
    /// Issued in 元 it is compared exactly; issued in 万元, after rounding the filed figure once.
    pub scale: Scale,
    /// How strictly it holds.
    pub strength: CeilingStrength,
}

impl ControlFigure {
    /// The strength that the form set gives a ceiling on this cell. `None`: the cell can't carry one.
    pub fn default_strength(form: &FormSet, cell: &CellAddress) -> Option<CeilingStrength> {
        let (table, column) = form.cell(cell)?;
        match table.columns[column].control {
            Control::None => None,
            Control::Advisory => Some(CeilingStrength::Advisory),
            Control::Hard => Some(CeilingStrength::Hard),
        }
    }

    /// Whether filings are added up in this cell: only then can a node above units carry a ceiling on it. Rows of a
    /// list, such as one project, stand under their unit and are not added up; the list's total is.
    pub fn adds_up(form: &FormSet, cell: &CellAddress) -> bool {
        form.cell(cell).is_some_and(|(table, _)| match table.roll_up {
            RollUp::Sum => true,
            RollUp::List => table.total_row() == Some(&cell.row),
            RollUp::None => false,
        })
    }

    /// The scale of a ceiling issued in this denomination: 元 to the 分, 万元 to two decimals.
    pub fn scale_of(denomination: Denomination) -> Scale {
        Scale { denomination, decimals: 2 }
    }

    /// What a filing has in a cell. Missing or blank counts as nothing.
    pub fn filed(submission: &Submission, form: &FormSet, cell: &CellAddress) -> Money {
        submission.cell(form, cell).and_then(|cell| cell.amount()).map_or(Money::ZERO, |amount| amount.value)
    }

    /// What is left under the ceiling of a figure; below nothing it is the overshoot. A printed amount meets a ceiling
    /// as a point, and a ceiling in 万元 is compared after rounding once.
    pub fn left(&self, figure: Money) -> Money {
        self.ceiling
            - match self.scale.denomination {
                Denomination::Yuan => figure,
                Denomination::Wan => figure.round_to(self.scale),
            }
    }

    /// Judges what a unit files where others have `taken` something of the same ceiling.
    pub fn judge(&self, filed: Money, taken: Money) -> Judgement {
        Judgement { figure: self.clone(), filed, taken, headroom: self.left(taken + filed) }
    }
}

/// What became of one ceiling at one filing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The ceiling.
    pub figure: ControlFigure,
    /// What was filed, exact 元.
    pub filed: Money,
    /// What others have of a ceiling that several units share: their own ceilings, and what those without one have filed.
    pub taken: Money,
    /// What the ceiling leaves after this; below nothing it is the overshoot.
    pub headroom: Money,
}

impl Judgement {
    /// Whether the ceiling is exceeded. Whoever files nothing there exceeds nothing, whatever others did.
    pub fn is_over(&self) -> bool {
        self.headroom.is_negative() && self.filed > Money::ZERO
    }

    /// Whether that refuses the filing.
    pub fn refuses(&self) -> bool {
        self.is_over() && self.figure.strength == CeilingStrength::Hard
    }
}
