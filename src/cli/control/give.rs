//! `control issue` and `control split`: a list from a CSV, taken whole or not at all, and all that is wrong with it by line.

use std::path::Path;

use serde_json::{Value, json};

use super::super::attempt::Attempt;
use super::super::client::Client;
use super::super::node_title;
use super::super::notes::ceiling_strength;
use super::super::output::{Answer, Failure, Grid, Look, Sheet, Show, alarm};
use super::super::settings::Settings;
use super::super::table_file::{TableFile, receipt};
use super::super::words::{grouped, say};
use super::{GiveArgs, over_json};
use crate::budget::cell::CellAddress;
use crate::budget::reason::Reason;
use crate::proto::api::{self, ControlFigure, OnOverCeiling, OverCeiling, Round};
use crate::wording::{Language, label};

/// Whose figures they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The bureau's.
    Issue,
    /// Those of a node, split among the ones below.
    Split,
}

/// The columns of a list of control figures.
const COLUMNS: [&str; 7] = ["node", "table", "row", "column", "amount_unit", "ceiling", "strength"];

/// Reads a list.
pub(in crate::cli) fn read(csv: &Path, settings: &Settings) -> Result<TableFile<7>, Failure> {
    TableFile::read(csv, &COLUMNS, settings)
}

/// The control figures of a list.
pub(in crate::cli) fn figures_of(file: &TableFile<7>) -> Vec<ControlFigure> {
    let figure = |row: &[String; 7]| {
        let [unit, table, line, column, amount_unit, ceiling, strength] = row.each_ref().map(String::as_str);
        ControlFigure {
            unit: unit.to_owned(),
            cell: CellAddress::new(table, line, column).to_string(),
            ceiling: ceiling.to_owned(),
            amount_unit: amount_unit.to_owned(),
            strength: strength.to_owned(),
        }
    };
    file.rows.iter().map(figure).collect()
}

pub(super) async fn give(args: GiveArgs, way: Way, settings: &Settings) -> Result<Answer, Failure> {
    let file = read(&args.csv, settings)?;
    let Some(year) = args.times.year else { return Err(Failure::Usage(settings.label("year-needed").to_owned())) };
    let figures = figures_of(&file);
    let client = Client::connect(settings).await?;
    let round = args.times.round();
    let check = api::CheckControlFiguresRequest {
        year: u32::from(year),
        round: i32::from(round),
        form_set: args.form_set.clone(),
        figures: figures.clone(),
        reason: args.reason.clone(),
        node: String::new(),
    };
    if args.dry_run {
        return looked_at(check, &file.lines, args.mark_over, &client, settings).await;
    }
    let (actor, year_text, round_text) = (settings.actor_text(), year.to_string(), round.as_str_name());
    let name = if way == Way::Issue { "control" } else { "split" };
    let marks = if args.mark_over { "mark" } else { "refuse" };
    let request = [&settings.server, &actor, name, &args.form_set, &year_text, round_text, &args.reason, marks];
    let attempt = Attempt::open(&args.csv, &[&request.map(str::as_bytes)[..], &[&file.bytes[..]]].concat());
    let (idempotency_key, year, round_number) = (attempt.key().to_owned(), u32::from(year), i32::from(round));
    let on_over_ceiling = if args.mark_over { OnOverCeiling::Mark } else { OnOverCeiling::Refuse };
    let (form_set, reason, on_over_ceiling) = (args.form_set, args.reason, i32::from(on_over_ceiling));
    let mut service = client.control_figures();
    let answer = match way {
        Way::Issue => {
            let request = api::IssueControlFiguresRequest {
                idempotency_key,
                year,
                round: round_number,
                form_set,
                figures,
                reason,
                on_over_ceiling,
            };
            service.issue_control_figures(request).await
        }
        Way::Split => {
            let request = api::SplitControlFiguresRequest {
                idempotency_key,
                year,
                round: round_number,
                form_set,
                figures,
                reason,
                on_over_ceiling,
                node: String::new(),
            };
            service.split_control_figures(request).await.map(|answer| {
                answer.map(|answer| api::IssueControlFiguresResponse {
                    position: answer.position,
                    version: answer.version,
                    figures: answer.figures,
                    repeated: answer.repeated,
                    changed: answer.changed,
                    affected: answer.affected,
                })
            })
        }
    };
    match receipt(answer, attempt, &client) {
        Ok(answer) => Ok(settings.answer(&Given { way, round, answer })),
        // One refusal names one line; whoever wrote the list wants to see all of them.
        Err(Failure::Refused(remark))
            if remark.reason != Reason::NotPermitted && remark.reason != Reason::KeyReused =>
        {
            let all = looked_at(check, &file.lines, args.mark_over, &client, settings).await?;
            if all.code == 0 { Err(Failure::Refused(remark)) } else { Ok(all) }
        }
        Err(failure) => Err(failure),
    }
}

async fn looked_at(
    check: api::CheckControlFiguresRequest,
    lines: &[u64],
    mark: bool,
    client: &Client,
    settings: &Settings,
) -> Result<Answer, Failure> {
    let answer = client.control_figures().check_control_figures(check).await;
    let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
    let hard = answer.affected.iter().any(|over| over.strength == "hard");
    let put_over = hard && !mark;
    let code = u8::from(!answer.faults.is_empty() || put_over);
    Ok(Answer { code, ..settings.answer(&Looked { answer, lines: lines.to_vec(), put_over }) })
}

/// Figures that are in force now.
#[derive(Debug)]
struct Given {
    way: Way,
    round: Round,
    answer: api::IssueControlFiguresResponse,
}

impl Show for Given {
    fn text(&self, look: &Look) -> String {
        let language = look.language;
        let api::IssueControlFiguresResponse { position, version, figures, repeated, changed, affected } = &self.answer;
        let facts = [figures, changed, version].map(ToString::to_string);
        let facts =
            [("n", &facts[0]), ("changed", &facts[1]), ("version", &facts[2]), ("position", &position.to_string())]
                .map(|(name, fact)| (name, fact.to_owned()));
        let facts = facts.each_ref().map(|(name, fact)| (*name, fact.as_str()));
        let key = match self.way {
            _ if *changed == 0 => "control-unchanged",
            Way::Issue => "control-issued",
            Way::Split => "control-split",
        };
        let mut out = format!("{}\n", say(language, key, &facts));
        if self.round == Round::First {
            out.push_str(&format!("{}\n", label("control-first-round", language)));
        }
        if *repeated {
            out.push_str(&format!("{}\n", label("fact-repeated", language)));
        }
        out + &affected_text(affected, look)
    }

    fn json(&self) -> Value {
        json!({
            "figures": self.answer.figures,
            "changed": self.answer.changed,
            "version": self.answer.version,
            "position": self.answer.position,
            "repeated": self.answer.repeated,
            "affected": self.answer.affected.iter().map(over_json).collect::<Vec<_>>(),
        })
    }

    fn sheet(&self) -> Sheet {
        let columns = vec!["n", "changed", "version", "position", "affected"];
        let answer = &self.answer;
        let numbers = [answer.figures, answer.changed, answer.version].map(|number| number.to_string());
        let rest = [answer.position.to_string(), answer.affected.len().to_string()];
        Sheet { columns, rows: vec![numbers.into_iter().chain(rest).collect()] }
    }
}

/// What is wrong with a list, and what it would do.
#[derive(Debug)]
struct Looked {
    answer: api::CheckControlFiguresResponse,
    /// In which line of the file each figure stands.
    lines: Vec<u64>,
    /// A hard ceiling would be below what is filed, and nobody asked to mark that.
    put_over: bool,
}

impl Looked {
    /// The line of the file; of a fault that is about no line, the first one with a figure.
    fn line(&self, fault: &api::ControlFault) -> u64 {
        let at = usize::try_from(fault.line).unwrap_or(usize::MAX).saturating_sub(1);
        self.lines.get(at).copied().unwrap_or(2)
    }
}

impl Show for Looked {
    fn text(&self, look: &Look) -> String {
        let language = look.language;
        let mut out = String::new();
        for fault in &self.answer.faults {
            let sentence = if language == Language::Chinese { &fault.sentence_zh } else { &fault.sentence_en };
            let line = self.line(fault).to_string();
            let place = say(language, "control-fault-line", &[("line", &line)]);
            out.push_str(&format!("{} {} ({})\n", alarm(&place), sentence.replace('\n', " "), fault.reason));
        }
        let n = self.answer.faults.len().to_string();
        let changed = self.answer.changed.to_string();
        let facts = [("n", n.as_str()), ("changed", changed.as_str())];
        let key = match (self.answer.faults.is_empty(), self.put_over) {
            (false, _) => "control-faults",
            (true, true) => "control-puts-over",
            (true, false) if self.answer.changed == 0 => "control-same",
            (true, false) => "control-could",
        };
        out.push_str(&format!("{}\n", say(language, key, &facts)));
        out + &affected_text(&self.answer.affected, look)
    }

    fn json(&self) -> Value {
        let fault = |fault: &api::ControlFault| {
            json!({
                "line": self.line(fault),
                "reason": fault.reason,
                "sentence_zh": fault.sentence_zh,
                "sentence_en": fault.sentence_en,
            })
        };
        json!({
            "issued": false,
            "position": self.answer.position,
            "faults": self.answer.faults.iter().map(fault).collect::<Vec<_>>(),
            "changed": self.answer.changed,
            "affected": self.answer.affected.iter().map(over_json).collect::<Vec<_>>(),
        })
    }

    fn sheet(&self) -> Sheet {
        let row = |fault: &api::ControlFault| {
            vec![
                self.line(fault).to_string(),
                fault.reason.clone(),
                fault.sentence_zh.clone(),
                fault.sentence_en.clone(),
            ]
        };
        let columns = vec!["line", "reason", "sentence_zh", "sentence_en"];
        Sheet { columns, rows: self.answer.faults.iter().map(row).collect() }
    }
}

/// Whose versions are above a ceiling.
pub(super) fn affected_text(affected: &[OverCeiling], look: &Look) -> String {
    if affected.is_empty() {
        return String::new();
    }
    let language = look.language;
    let word = |key| label(key, language);
    let mut grid = Grid::new()
        .text(word("head-unit"))
        .text(word("head-version"))
        .text(word("head-cell"))
        .text(word("head-holder"))
        .figures(word("head-ceiling"))
        .figures(word("head-filed"))
        .figures(word("head-over"))
        .text(word("head-amount-unit"))
        .text(word("head-ceiling-strength"));
    for over in affected {
        grid.row(vec![
            node_title(&over.unit, &over.unit_name),
            over.version.to_string(),
            over.cell.clone(),
            over.holder.clone(),
            grouped(&over.ceiling),
            grouped(&over.filed),
            grouped(&over.over),
            over.amount_unit.clone(),
            ceiling_strength(&over.strength, language),
        ]);
    }
    let n = affected.len().to_string();
    format!("\n{}\n{}", say(language, "control-affected", &[("n", &n)]), grid.draw(look))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wording::Language;

    #[test]
    fn a_cut_that_is_refused_does_not_say_that_nothing_is_wrong() {
        let said = |put_over| {
            let answer = api::CheckControlFiguresResponse { changed: 1, ..Default::default() };
            let look = Look { language: Language::English, width: None, colour: false };
            Looked { answer, lines: vec![2], put_over }.text(&look)
        };
        assert!(said(true).starts_with("Refused, nothing was changed") && said(true).contains("--mark-over"));
        assert!(said(false).starts_with("Nothing is wrong"));
    }
}
