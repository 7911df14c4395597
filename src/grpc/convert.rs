//! Core values ⇄ wire messages.

use prost::Message;

use super::rule_finding;
use crate::budget::cell::{Cell, CellAddress};
use crate::budget::control_figure::{CeilingStrength, ControlFigure, Judgement};
use crate::budget::digest::Digest;
use crate::budget::finding::Finding;
use crate::budget::form_set::{ColumnKind, FormSet, RollUp};
use crate::budget::intake::TableHeader;
use crate::budget::money::{Amount, AmountError, Decimals, Denomination, Money};
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::{Content, Kind, Round, Slot, Submission};
use crate::consolidator::AsOf;
use crate::ledger::Position;
use crate::ledger::control::{Ceiling, ControlChange};
use crate::ledger::decide::{AdjustmentOrder, FigureOrder};
use crate::ledger::event::{Adjustment, Attempt, Timestamp};
use crate::ledger::review::{AggregateState, VersionState};
use crate::ledger::state::Version;
use crate::proto::{self, api};
use crate::wording::{self, Language};

/// A field that can't be read.
pub(super) fn bad(field: &str, found: impl std::fmt::Display) -> Remark {
    Remark::new(Reason::BadRequest).with("field", field).with("found", found)
}

pub(super) fn as_of(as_of: &api::AsOf) -> Result<AsOf, Remark> {
    match as_of.moment {
        Some(api::as_of::Moment::Position(position)) => Ok(AsOf::Position(position)),
        Some(api::as_of::Moment::TimeMs(ms)) => Ok(AsOf::Time(Timestamp(ms))),
        None => Err(bad("as_of", "")),
    }
}

pub(super) fn year(year: u32) -> Result<u16, Remark> {
    u16::try_from(year).map_err(|_| bad("year", year))
}

/// The round of a write: it must be said.
pub(super) fn round(round: i32) -> Result<Round, Remark> {
    match api::Round::try_from(round) {
        Ok(api::Round::First) => Ok(Round::First),
        Ok(api::Round::Second) => Ok(Round::Second),
        Ok(api::Round::Unspecified) | Err(_) => Err(bad("round", round)),
    }
}

pub(super) fn round_out(round: Round) -> i32 {
    match round {
        Round::First => api::Round::First,
        Round::Second => api::Round::Second,
    }
    .into()
}

pub(super) fn kind(kind: i32) -> Result<Kind, Remark> {
    match api::Kind::try_from(kind) {
        Ok(api::Kind::Unspecified | api::Kind::Unit) => Ok(Kind::Unit),
        Ok(api::Kind::Department) => Ok(Kind::Department),
        Ok(api::Kind::Difference) => Ok(Kind::Difference),
        Err(_) => Err(bad("kind", kind)),
    }
}

pub(super) fn kind_out(kind: Kind) -> i32 {
    match kind {
        Kind::Unit => api::Kind::Unit,
        Kind::Department => api::Kind::Department,
        Kind::Difference => api::Kind::Difference,
    }
    .into()
}

pub(super) fn slot(slot: Option<api::Slot>) -> Result<Slot, Remark> {
    let slot = slot.ok_or_else(|| bad("slot", ""))?;
    Ok(Slot { unit: slot.unit.into(), year: year(slot.year)?, round: round(slot.round)?, kind: kind(slot.kind)? })
}

pub(super) fn slot_out(slot: &Slot) -> api::Slot {
    api::Slot {
        unit: slot.unit.to_string(),
        year: slot.year.into(),
        round: round_out(slot.round),
        kind: kind_out(slot.kind),
    }
}

/// The digest of a field that may be empty.
pub(super) fn digest(field: &str, bytes: &[u8]) -> Result<Option<Digest>, Remark> {
    if bytes.is_empty() {
        return Ok(None);
    }
    Digest::from_bytes(bytes).map(Some).ok_or_else(|| bad(field, format!("{} bytes", bytes.len())))
}

/// What a request says, as a digest: for its idempotency key.
pub(super) fn fingerprint(request: &impl Message) -> Digest {
    Digest::of(&request.encode_to_vec())
}

pub(super) fn table_header(header: proto::TableHeader) -> TableHeader {
    TableHeader {
        id: header.id,
        empty: header.empty,
        amount_unit: header.amount_unit,
        decimals: header.decimals,
        columns: header.columns,
    }
}

pub(super) fn finding_out(finding: &Finding) -> api::Finding {
    api::Finding {
        strength: rule_finding::strength(finding.strength),
        reason: finding.remark.reason.code().to_owned(),
        table: finding.place.table.to_string(),
        line: finding.place.line,
        row: finding.place.row.to_string(),
        column: finding.place.column.to_string(),
        facts: finding
            .remark
            .facts
            .iter()
            .map(|(name, value)| api::Fact { name: name.clone(), value: value.clone() })
            .collect(),
        sentence_zh: wording::sentence(&finding.remark, Language::Chinese),
        sentence_en: wording::sentence(&finding.remark, Language::English),
    }
}

pub(super) fn judgement_out(judgement: &Judgement) -> api::Judgement {
    let figure = &judgement.figure;
    let print = |money: Money| money.print(figure.scale);
    api::Judgement {
        unit: figure.unit.to_string(),
        cell: figure.cell.to_string(),
        ceiling: print(figure.ceiling),
        filed: print(judgement.filed),
        headroom: print(judgement.headroom),
        amount_unit: figure.scale.denomination.as_str().to_owned(),
        strength: figure.strength.as_str().to_owned(),
        over: judgement.is_over(),
        taken: print(judgement.taken),
    }
}

/// How a filing was judged, as its unit may see it; what rules found, only counted.
pub(super) fn verdict(attempt: &Attempt, refused: bool) -> api::Verdict {
    let outcome = if refused { api::Outcome::Refused } else { api::Outcome::Submitted };
    api::Verdict {
        outcome: outcome.into(),
        findings: attempt.findings.iter().map(finding_out).collect(),
        judgements: attempt.judgements.iter().map(judgement_out).collect(),
        control_version: attempt.control_version,
        row_count: attempt.row_count,
        control_total: attempt.control_total.to_string(),
        digest: attempt.digest.0.to_vec(),
        form_set_digest: attempt.form_set.digest.0.to_vec(),
        rule_counts: Some(rule_finding::counts(attempt.verdicts.counts)),
        rule_findings: Vec::new(),
        rule_findings_left_out: 0,
        justified: 0,
    }
}

pub(super) fn version_out(version: &Version) -> api::Version {
    api::Version {
        version: version.version,
        position: version.position,
        time_ms: version.time.0,
        digest: version.digest.0.to_vec(),
        form_set_digest: version.form_set.0.to_vec(),
        findings: version.findings,
        state: state_out(version.state()),
        adjusts: version.adjusts.unwrap_or(0),
    }
}

pub(super) fn state_out(state: VersionState) -> i32 {
    match state {
        VersionState::Submitted => api::VersionState::Submitted,
        VersionState::Returned => api::VersionState::Returned,
        VersionState::Accepted => api::VersionState::Accepted,
        VersionState::Approved => api::VersionState::Approved,
        VersionState::Withdrawn => api::VersionState::Withdrawn,
    }
    .into()
}

pub(super) fn aggregate_state_out(state: AggregateState) -> i32 {
    match state {
        AggregateState::Forwarded => api::AggregateState::Forwarded,
        AggregateState::Returned => api::AggregateState::Returned,
        AggregateState::Approved => api::AggregateState::Approved,
        AggregateState::Recalled => api::AggregateState::Recalled,
    }
    .into()
}

pub(super) fn adjustment_order(adjustment: api::Adjustment) -> Result<AdjustmentOrder, Remark> {
    let raised =
        (1..).zip(adjustment.raised).map(|(line, raised)| figure(line, raised)).collect::<Result<_, Remark>>()?;
    Ok(AdjustmentOrder { cause: adjustment.cause, raised })
}

pub(super) fn adjustment_out(adjustment: &Adjustment) -> api::Adjustment {
    let changes = adjustment.raised.iter().flat_map(|issued| &issued.changes);
    let raised = changes.map(|change| ceiling_out(&change.unit, &change.cell, change.after.as_ref()));
    api::Adjustment { cause: adjustment.cause.clone(), raised: raised.collect() }
}

pub(super) fn figure(line: u32, figure: api::ControlFigure) -> Result<FigureOrder, Remark> {
    // In a list of thousands, the field alone would not say which figure is meant.
    let bad = |field, found: &str| bad(field, found).with("unit", &figure.unit).with("cell", &figure.cell);
    let cell = CellAddress::parse(&figure.cell).ok_or_else(|| bad_cell(&figure.cell).with("unit", &figure.unit))?;
    let (strength, ceiling) = match figure.strength.as_str() {
        LIFTED if figure.ceiling.is_empty() => (None, None),
        LIFTED => return Err(bad("ceiling", &figure.ceiling).with("expected", "blank, for lifted")),
        text => {
            let denomination = Denomination::parse(&figure.amount_unit)
                .ok_or_else(|| bad("amount_unit", &figure.amount_unit).with("expected", "元, 万元"))?;
            let strength = match text {
                "" => None,
                text => Some(
                    CeilingStrength::parse(text)
                        .ok_or_else(|| bad("strength", text).with("expected", "hard, advisory, none, lifted"))?,
                ),
            };
            let amount = Amount::parse(&figure.ceiling, denomination, Decimals::Fixed(2));
            let amount =
                amount.map_err(|error| bad("ceiling", &figure.ceiling).with("expected", amount_like(error)))?;
            let amount = amount.value;
            (strength, Some((amount, ControlFigure::scale_of(denomination))))
        }
    };
    Ok(FigureOrder { line, unit: figure.unit.into(), cell, ceiling, strength })
}

/// What an amount that can't be read should have been like.
pub(super) fn amount_like(error: AmountError) -> &'static str {
    match error {
        AmountError::TooLarge => "smaller",
        _ => "1234.56",
    }
}

/// What stands for a strength where a ceiling is taken away.
const LIFTED: &str = "lifted";

/// A ceiling on a cell of a node; none was lifted.
pub(super) fn ceiling_out(unit: &str, cell: &CellAddress, ceiling: Option<&Ceiling>) -> api::ControlFigure {
    let figure = api::ControlFigure { unit: unit.to_owned(), cell: cell.to_string(), ..Default::default() };
    match ceiling {
        Some(ceiling) => api::ControlFigure {
            ceiling: ceiling.amount.print(ceiling.scale),
            amount_unit: ceiling.scale.denomination.as_str().to_owned(),
            strength: ceiling.strength.as_str().to_owned(),
            ..figure
        },
        None => api::ControlFigure { strength: LIFTED.to_owned(), ..figure },
    }
}

/// What became of a ceiling, with the name of its node.
pub(super) fn change_out(change: &ControlChange, unit_name: String) -> api::ControlChange {
    let out = |ceiling| ceiling_out(&change.unit, &change.cell, Some(ceiling));
    api::ControlChange {
        unit: change.unit.to_string(),
        unit_name,
        cell: change.cell.to_string(),
        before: change.before.as_ref().map(out),
        after: change.after.as_ref().map(out),
    }
}

/// A submission as it was filed: headers and rows, sorted by table and key.
pub(super) fn submission_out(submission: &Submission, form: &FormSet) -> (Vec<proto::TableHeader>, Vec<api::Row>) {
    let mut headers = Vec::new();
    let mut rows = Vec::new();
    for (at, filed) in submission.tables.iter().enumerate() {
        let table = &form.tables[filed.table];
        headers.push(proto::TableHeader {
            id: table.id.clone(),
            empty: filed.content == Content::Empty,
            amount_unit: filed.denomination.map_or("", Denomination::as_str).into(),
            decimals: filed.decimals.map(u32::from),
            columns: table.columns.iter().map(|column| column.id.clone()).collect(),
        });
        rows.extend(filed.rows().iter().map(|row| api::Row {
            table: u32::try_from(at).unwrap_or(u32::MAX),
            key: row.key.to_string(),
            values: row.cells.iter().map(Cell::to_string).collect(),
        }));
    }
    (headers, rows)
}

/// The type of a column as it is written in a form set.
pub(super) fn column_type(kind: ColumnKind) -> String {
    let digits = |decimals: Decimals| match decimals {
        Decimals::Fixed(decimals) => decimals.to_string(),
        Decimals::AsWritten => "~".to_owned(),
    };
    match kind {
        ColumnKind::Amount { denomination, decimals } => format!("{}.{}", denomination.as_str(), digits(decimals)),
        ColumnKind::Percent { decimals } => format!("%.{}", digits(decimals)),
        ColumnKind::Count => "count".to_owned(),
        ColumnKind::Year => "year".to_owned(),
        ColumnKind::Time => "time".to_owned(),
        ColumnKind::Text => "text".to_owned(),
        ColumnKind::Calculation => "calculation".to_owned(),
        ColumnKind::Name => "name".to_owned(),
    }
}

pub(super) fn roll_up_name(roll_up: RollUp) -> String {
    match roll_up {
        RollUp::Sum => "sum",
        RollUp::List => "list",
        RollUp::None => "none",
    }
    .to_owned()
}

/// What is no address of a cell.
pub(super) fn bad_cell(found: &str) -> Remark {
    bad("cell", found).with("expected", "TABLE/ROW/COLUMN")
}

/// The moment behind a position.
pub(super) fn moment(position: Position) -> api::AsOf {
    api::AsOf { moment: Some(api::as_of::Moment::Position(position)) }
}

/// A page token that begins with the position that the first page showed, so that all pages show the same; `behind` reads what
/// the page begins behind. None for the first page.
pub(super) fn token_of<T>(
    token: &str,
    behind: impl FnOnce(&str, Position) -> Option<T>,
) -> Result<Option<(Position, T)>, Remark> {
    if token.is_empty() {
        return Ok(None);
    }
    let read = || {
        let (shown, after) = token.split_once('.')?;
        let shown = shown.parse().ok().filter(|shown| *shown > 0)?;
        Some((shown, behind(after, shown)?))
    };
    read().map(Some).ok_or_else(|| bad("page_token", token))
}

/// The same where a page begins behind a position.
pub(super) fn page_token(token: &str) -> Result<Option<(Position, Position)>, Remark> {
    token_of(token, |after, shown| after.parse().ok().filter(|after| (1..=shown).contains(after)))
}

/// A page token that is a position; empty is 0.
pub(super) fn position_token(token: &str) -> Result<u64, Remark> {
    if token.is_empty() {
        return Ok(0);
    }
    token.parse().map_err(|_| bad("page_token", token))
}
