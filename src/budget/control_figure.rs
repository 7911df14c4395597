//! Control figures (控制数): ceilings on cells, and how a filing is judged against them.
//!
//! Who issues them and when they apply is the ledger's business.

use super::cell::CellAddress;
use super::form_set::{Control, FormSet};
use super::money::{Denomination, Money, Scale};
use super::submission::{Submission, UnitCode};

/// How strictly a ceiling holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CeilingStrength {
    /// Above it a filing is refused.
    Hard,
    /// Above it a filing carries a finding.
    Advisory,
}

impl CeilingStrength {
    /// The name used in files and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            CeilingStrength::Hard => "hard",
            CeilingStrength::Advisory => "advisory",
        }
    }

    /// Reads that name.
    pub fn parse(text: &str) -> Option<CeilingStrength> {
        [CeilingStrength::Hard, CeilingStrength::Advisory].into_iter().find(|strength| strength.as_str() == text)
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

    /// The scale of a ceiling issued in this denomination: 元 to the 分, 万元 to two decimals.
    pub fn scale_of(denomination: Denomination) -> Scale {
        Scale { denomination, decimals: 2 }
    }

    /// What a filing has in the capped cell. Missing or blank counts as nothing.
    pub fn filed(&self, submission: &Submission, form: &FormSet) -> Money {
        submission.cell(form, &self.cell).and_then(|cell| cell.amount()).map_or(Money::ZERO, |amount| amount.value)
    }

    /// Judges a filing.
    pub fn judge(&self, submission: &Submission, form: &FormSet) -> Judgement {
        self.judge_filed(self.filed(submission, form))
    }

    /// Judges a figure. A printed amount meets a ceiling as a point.
    pub fn judge_filed(&self, filed: Money) -> Judgement {
        let compared = match self.scale.denomination {
            Denomination::Yuan => filed,
            Denomination::Wan => filed.round_to(self.scale),
        };
        Judgement { figure: self.clone(), filed, headroom: self.ceiling - compared }
    }
}

/// What became of one ceiling at one filing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The ceiling.
    pub figure: ControlFigure,
    /// What was filed, exact 元.
    pub filed: Money,
    /// Ceiling minus the filed figure as compared; below nothing it is the overshoot.
    pub headroom: Money,
}

impl Judgement {
    /// Whether the ceiling is exceeded.
    pub fn is_over(&self) -> bool {
        self.headroom.is_negative()
    }

    /// Whether that refuses the filing.
    pub fn refuses(&self) -> bool {
        self.is_over() && self.figure.strength == CeilingStrength::Hard
    }
}
