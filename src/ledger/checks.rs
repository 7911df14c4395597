//! The check rules on a filing: which other filings they look at, what came out, and the same worked out again.
//!
//! An event keeps the verdicts as they fell and the [`Grounds`] on which they did. The figures behind a verdict follow
//! from the cells, so they are not kept twice: [`found_again`] has them whenever somebody asks. What rules are and how
//! they are judged is [`crate::budget::rule`]'s business.

use std::sync::Arc;

use compact_str::CompactString;

use super::event::Timestamp;
use super::state::{FormSetVersions, State};
use super::{Contents, Position};
use crate::budget::cell::{Cell, CellAddress, RECORD_ROW};
use crate::budget::form_set::{ColumnKind, FormSet, Rows};
use crate::budget::number::Number;
use crate::budget::reason::{Reason, Remark};
use crate::budget::rule::{Books, Checked, Counts, Filed, RuleFinding, Verdict, evaluate};
use crate::budget::submission::{Content, FiledRows, FiledTable, Kind, Slot, Submission};

/// The column of a table that nobody files in which the round says how many units are to file.
const EXPECTED_COLUMN: &str = "units";
/// The column of such a table in which it says until when.
const DEADLINE_COLUMN: &str = "deadline";

/// What a filing was judged by beside itself. The same grounds give the same verdicts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grounds {
    /// The unit's counting submission of the year before, if a rule asks for it.
    pub last: Option<Position>,
    /// The counting submissions of the units below, by their codes, if a rule asks for them.
    pub units: Vec<Position>,
    /// How many units below are to file, if a rule asks.
    pub expected: Option<u32>,
    /// The deadline of the round, if a rule asks and there is one.
    pub deadline: Option<Timestamp>,
}

impl Grounds {
    /// What there is in a state for the rules that look at this kind of filing.
    pub fn of(state: &State, slot: &Slot, form: &FormSet) -> Grounds {
        let needs = form.rules.needs(slot.kind);
        let latest = |slot: &Slot| state.filings(slot)?.counting().map(|version| version.position);
        let mut grounds = Grounds::default();
        if needs.last {
            grounds.last = slot.year.checked_sub(1).and_then(|year| latest(&Slot { year, ..slot.clone() }));
        }
        let Some(tree) = state.tree(slot.year) else { return grounds };
        if needs.units {
            let below = tree.budgeted_below(&slot.unit).into_iter();
            let slots = below.map(|node| Slot { unit: node.code.clone(), kind: Kind::Unit, ..slot.clone() });
            grounds.units = slots.filter_map(|slot| latest(&slot)).collect();
        }
        if needs.given {
            grounds.expected = Some(tree.budgeted_count(&slot.unit));
            grounds.deadline = state.round(slot.year, slot.round).and_then(|round| round.deadline);
        }
        grounds
    }

    /// What the round gives, as rules read it: the tables that nobody files.
    fn given(&self, filing: &Submission, form: &FormSet) -> Option<Submission> {
        let expected = self.expected?;
        let deadline = self.deadline.map(|deadline| Cell::Text(deadline.digits().into()));
        let fill = |(index, table): (usize, &crate::budget::form_set::Table)| {
            let known = table.filed_by.is_empty() && matches!(table.rows, Rows::Record);
            let is = |id: &str, kind| {
                table.column(id).filter(|at| table.columns.get(*at).is_some_and(|column| column.kind == kind))
            };
            let count = is(EXPECTED_COLUMN, ColumnKind::Count).filter(|_| known)?;
            let mut rows = FiledRows::with_capacity(1, table.columns.len());
            let cells = rows.push(RECORD_ROW.into(), table.columns.len());
            *cells.get_mut(count)? = Cell::Number(Number { mantissa: expected.into(), decimals: 0 });
            if let (Some(at), Some(deadline)) = (is(DEADLINE_COLUMN, ColumnKind::Time), &deadline) {
                *cells.get_mut(at)? = deadline.clone();
            }
            Some(FiledTable { table: index, denomination: None, decimals: None, content: Content::Rows(rows) })
        };
        let tables = form.tables.iter().enumerate().filter_map(fill).collect();
        Some(Submission { header: filing.header.clone(), form_set: filing.form_set.clone(), tables })
    }
}

/// How the rules of a filing's form set came out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// All of them, counted.
    pub counts: Counts,
    /// Everything but plain passes, in the order of the rules.
    pub listed: Vec<RuleVerdict>,
    /// What they looked at beside the filing.
    pub grounds: Grounds,
}

/// How one rule came out at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleVerdict {
    /// Id of the rule.
    pub rule: CompactString,
    /// Which formula of it, from 0.
    pub check: usize,
    /// Which link of a chain, from 0.
    pub link: usize,
    /// Where.
    pub place: CellAddress,
    /// How.
    pub verdict: Verdict,
}

impl RuleVerdict {
    fn of(finding: &RuleFinding) -> RuleVerdict {
        RuleVerdict {
            rule: finding.rule.clone(),
            check: finding.check,
            link: finding.link,
            place: finding.place.clone(),
            verdict: finding.verdict,
        }
    }

    fn is_of(&self, finding: &RuleFinding) -> bool {
        (self.verdict, self.check, self.link) == (finding.verdict, finding.check, finding.link)
            && self.rule == finding.rule
            && self.place == finding.place
    }
}

impl Verdicts {
    /// The verdicts of what was found on those grounds.
    pub fn new(checked: &Checked, grounds: Grounds) -> Verdicts {
        Verdicts { counts: checked.counts, listed: checked.findings.iter().map(RuleVerdict::of).collect(), grounds }
    }

    /// How many failed.
    pub fn failed(&self) -> usize {
        self.listed.iter().filter(|listed| listed.verdict == Verdict::Fail).count()
    }

    /// Whether these are the verdicts of what was found.
    pub fn are_of(&self, checked: &Checked) -> bool {
        self.counts == checked.counts
            && self.listed.len() == checked.findings.len()
            && self.listed.iter().zip(&checked.findings).all(|(verdict, finding)| verdict.is_of(finding))
    }
}

/// Rules that were run before their filing was decided.
#[derive(Debug)]
pub struct Ahead {
    /// What they looked at.
    pub grounds: Grounds,
    /// What they found.
    pub checked: Arc<Checked>,
}

/// Judges a filing by the rules of its form set, on the grounds of that state.
///
/// What was found `ahead` is as good, if it was found on the same grounds: so the one writer has nothing left to judge
/// unless something that a rule looks at was filed in the meantime.
///
/// # Errors
/// A fault of the journal.
pub fn check(
    state: &State,
    form: &FormSet,
    submission: &Submission,
    ahead: Option<&Ahead>,
    contents: &dyn Contents,
) -> Result<(Grounds, Arc<Checked>), Remark> {
    let grounds = Grounds::of(state, &submission.header, form);
    if let Some(ahead) = ahead.filter(|ahead| ahead.grounds == grounds) {
        return Ok((grounds, ahead.checked.clone()));
    }
    let checked = judge(&state.form_set_versions(), submission, &grounds, contents)?;
    Ok((grounds, Arc::new(checked)))
}

/// What rules found in a filing, worked out again from its cells and its grounds.
///
/// The verdicts are those that fell then. If this program would judge otherwise than the one that did, a verdict that
/// it doesn't reach comes without figures.
///
/// # Errors
/// A fault of the journal.
pub fn found_again(
    forms: &FormSetVersions,
    submission: &Submission,
    verdicts: &Verdicts,
    contents: &dyn Contents,
) -> Result<Checked, Remark> {
    let form = form_of(forms, submission)?;
    let again = judge(forms, submission, &verdicts.grounds, contents)?;
    if verdicts.are_of(&again) {
        return Ok(again);
    }
    let find = |verdict: &RuleVerdict| {
        let found = again.findings.iter().find(|finding| verdict.is_of(finding)).cloned();
        found.unwrap_or_else(|| bare(verdict, form))
    };
    Ok(Checked { findings: verdicts.listed.iter().map(find).collect(), counts: verdicts.counts })
}

/// What the rules of its form set find in a submission, on those grounds.
///
/// # Errors
/// A fault of the journal.
pub fn judge(
    forms: &FormSetVersions,
    submission: &Submission,
    grounds: &Grounds,
    contents: &dyn Contents,
) -> Result<Checked, Remark> {
    let form = form_of(forms, submission)?;
    let read = |position: Position| -> Result<(Arc<Submission>, Arc<FormSet>), Remark> {
        let filed = contents.submission(position)?;
        let form = form_of(forms, &filed)?.clone();
        Ok((filed, form))
    };
    let last = grounds.last.map(read).transpose()?;
    let units = grounds.units.iter().map(|position| read(*position)).collect::<Result<Vec<_>, Remark>>()?;
    let given = grounds.given(submission, form);
    let units: Vec<Filed<'_>> = units.iter().map(|(filed, form)| (filed.as_ref(), form.as_ref())).collect();
    let books = Books {
        filing: submission,
        last: last.as_ref().map(|(filed, form)| (filed.as_ref(), form.as_ref())),
        units: &units,
        given: given.as_ref(),
    };
    Ok(evaluate(form, &books, |_| true))
}

fn form_of<'f>(forms: &'f FormSetVersions, submission: &Submission) -> Result<&'f Arc<FormSet>, Remark> {
    let missing = || Remark::new(Reason::JournalDamaged).with("position", "").with("what", "form set");
    forms.get(&submission.form_set.digest).ok_or_else(missing)
}

/// A finding of which only the verdict is known.
fn bare(verdict: &RuleVerdict, form: &FormSet) -> RuleFinding {
    let strength = form.rules.rule(&verdict.rule).map(|(_, rule)| rule.strength);
    RuleFinding {
        rule: verdict.rule.clone(),
        strength: strength.unwrap_or(crate::budget::finding::Strength::Verify),
        check: verdict.check,
        link: verdict.link,
        place: verdict.place.clone(),
        row_title: CompactString::default(),
        verdict: verdict.verdict,
        cells: Vec::new(),
        left_cells: 0,
        looked: None,
        left: None,
        relation: "",
        right: None,
        difference: None,
        tolerance: None,
        cause: None,
        after: None,
    }
}
