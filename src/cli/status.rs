//! `status`: who was expected to file, and where each stands. Kept current (`--watch`): `watch.rs`.

use serde_json::{Value, json};

use super::client::Client;
use super::output::{Answer, Failure, Grid, Look, Sheet, Show, strong};
use super::settings::Settings;
use super::words::{hex, round_code, round_name, say, time, time_for_programs};
use super::{Moment, Times, node_title, watch};
use crate::proto::api::{self, BoardChange, GetStatusBoardResponse, Standing, StandingCounts, StatusLine};
use crate::wording::{Language, label};

/// What `status` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[arg(default_value = "", hide_default_value = true)]
    pub(super) node: String,
    #[command(flatten)]
    pub(super) times: Times,
    #[command(flatten)]
    pub(super) moment: Moment,
    #[arg(long, conflicts_with = "as_of")]
    pub(super) watch: bool,
}

/// Runs `status`.
///
/// # Errors
/// A refusal, or a server that can't be reached.
pub async fn run(args: Args, settings: &Settings) -> Result<Answer, Failure> {
    if args.watch {
        return watch::run(&args.node, &args.times, settings).await;
    }
    let client = Client::connect(settings).await?;
    let scope = args.moment.of(args.times.scope(&args.node, None));
    let request = api::GetStatusBoardRequest { scope: Some(scope) };
    let answer = client.consolidation().get_status_board(request).await.map_err(|status| client.failure(&status))?;
    Ok(settings.answer(&Board(answer.into_inner())))
}

/// The status board.
#[derive(Debug, Default)]
pub(super) struct Board(pub(super) GetStatusBoardResponse);

impl Board {
    /// Puts changed lines in; says where each stood before, and how it is now.
    pub(super) fn change(&mut self, change: BoardChange) -> Vec<(Option<Standing>, StatusLine)> {
        let mut changed = Vec::with_capacity(change.lines.len());
        for line in change.lines {
            let lines = &mut self.0.lines;
            let before = match lines.binary_search_by(|known| known.unit.cmp(&line.unit)) {
                Ok(at) => Some(std::mem::replace(&mut lines[at], line.clone())),
                Err(at) => {
                    lines.insert(at, line.clone());
                    None
                }
            };
            changed.push((before.as_ref().map(standing), line));
        }
        if change.counts.is_some() {
            self.0.counts = change.counts;
        }
        changed
    }
}

/// What became of a unit, `407004 中心：未报 → 被退回`.
pub(super) fn change_text(before: Option<Standing>, line: &StatusLine, language: Language) -> String {
    let now = standing(line);
    let before = before.filter(|before| *before != now).map(|before| standing_name(before, language));
    let facts = [
        ("unit", node_title(&line.unit, &line.name)),
        ("from", before.map(|before| format!("{before} → ")).unwrap_or_default()),
        ("to", standing_name(now, language).to_owned()),
        ("version", line.version.as_ref().map(|version| version.version.to_string()).unwrap_or_default()),
    ];
    let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
    let key = if line.version.is_some() { "watch-line-version" } else { "watch-line" };
    say(language, key, &facts)
}

fn standing(line: &StatusLine) -> Standing {
    Standing::try_from(line.standing).unwrap_or(Standing::Unspecified)
}

fn standing_name(standing: Standing, language: Language) -> &'static str {
    match standing {
        Standing::Submitted => label("standing-submitted", language),
        Standing::Refused => label("standing-refused", language),
        Standing::Missing => label("standing-missing", language),
        Standing::Unspecified => "",
    }
}

fn standing_code(standing: Standing) -> &'static str {
    match standing {
        Standing::Submitted => "submitted",
        Standing::Refused => "refused",
        Standing::Missing => "missing",
        Standing::Unspecified => "",
    }
}

impl Show for Board {
    fn text(&self, look: &Look) -> String {
        let language = look.language;
        let board = &self.0;
        let word = |key| label(key, language);
        let counts = board.counts.unwrap_or_default();
        let facts = [
            ("node", node_title(&board.node, &board.name)),
            ("year", board.year.to_string()),
            ("round", round_name(board.round, language).to_owned()),
            ("n", board.position.to_string()),
            ("expected", counts.expected.to_string()),
            ("submitted", counts.submitted.to_string()),
            ("refused", counts.refused.to_string()),
            ("missing", counts.missing.to_string()),
        ];
        let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
        let mut grid = Grid::new()
            .text(word("head-unit"))
            .text(word("head-standing"))
            .figures(word("head-version"))
            .figures(word("head-position"))
            .text(word("head-time"))
            .figures(word("head-findings"))
            .figures(word("head-attempts-refused"))
            .text(word("head-refused-since"));
        for line in &board.lines {
            let version = line.version.clone().unwrap_or_default();
            let known = |text: String| if line.version.is_some() { text } else { String::new() };
            grid.row(vec![
                node_title(&line.unit, &line.name),
                standing_name(standing(line), language).to_owned(),
                known(version.version.to_string()),
                known(version.position.to_string()),
                known(time(version.time_ms)),
                known(version.findings.to_string()),
                if line.refused == 0 { String::new() } else { line.refused.to_string() },
                if line.refused_position == 0 { String::new() } else { time(line.refused_time_ms) },
            ]);
        }
        format!(
            "{}\n  {}\n  {}\n\n{}",
            strong(&say(language, "status-title", &facts)),
            say(language, "status-sum", &facts),
            say(language, "as-of", &facts),
            grid.draw(look)
        )
    }

    fn json(&self) -> Value {
        let board = &self.0;
        let lines: Vec<Value> = board.lines.iter().map(line_json).collect();
        json!({
            "node": board.node,
            "name": board.name,
            "year": board.year,
            "round": round_code(board.round),
            "position": board.position,
            "counts": board.counts.as_ref().map(counts_json),
            "lines": lines,
        })
    }

    fn sheet(&self) -> Sheet {
        let columns = vec!["unit", "name", "standing", "version", "position", "time", "findings", "refused"];
        let row = |line: &StatusLine| {
            let version = line.version.as_ref();
            let known = |text: Option<String>| text.unwrap_or_default();
            vec![
                line.unit.clone(),
                line.name.clone(),
                standing_code(standing(line)).to_owned(),
                known(version.map(|version| version.version.to_string())),
                known(version.map(|version| version.position.to_string())),
                known(version.map(|version| time_for_programs(version.time_ms))),
                known(version.map(|version| version.findings.to_string())),
                line.refused.to_string(),
            ]
        };
        Sheet { columns, rows: self.0.lines.iter().map(row).collect() }
    }
}

/// A line for programs.
pub(super) fn line_json(line: &StatusLine) -> Value {
    json!({
        "unit": line.unit,
        "name": line.name,
        "standing": standing_code(standing(line)),
        "version": line.version.as_ref().map(version_json),
        "refused": line.refused,
        "refused_position": line.refused_position,
    })
}

/// Counts for programs.
pub(super) fn counts_json(counts: &StandingCounts) -> Value {
    json!({
        "expected": counts.expected,
        "missing": counts.missing,
        "refused": counts.refused,
        "submitted": counts.submitted,
    })
}

fn version_json(version: &api::Version) -> Value {
    json!({
        "version": version.version,
        "position": version.position,
        "time": time_for_programs(version.time_ms),
        "digest": hex(&version.digest),
        "form_set_digest": hex(&version.form_set_digest),
        "findings": version.findings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_board_names_who_is_missing() {
        let line = |unit: &str, standing: Standing| StatusLine {
            unit: unit.into(),
            name: "中心".into(),
            standing: i32::from(standing),
            ..StatusLine::default()
        };
        let version = api::Version { version: 2, position: 8, time_ms: 1_705_482_904_000, ..api::Version::default() };
        let filed = StatusLine { version: Some(version), refused: 1, ..line("407001", Standing::Submitted) };
        let board = Board(GetStatusBoardResponse {
            node: "407".into(),
            name: "人社局".into(),
            year: 2024,
            round: 2,
            lines: vec![filed, line("407005", Standing::Missing)],
            counts: Some(StandingCounts { expected: 2, submitted: 1, missing: 1, ..StandingCounts::default() }),
            position: 9,
            ..GetStatusBoardResponse::default()
        });
        let look = Look { language: Language::Chinese, width: None, colour: false };
        insta::assert_snapshot!(super::super::output::finish(&board.text(&look), false), @r#"
        407 人社局 · 2024 年二上 · 报送情况
          应报 2：已报 1，被退回 0，未报 1
          截至第 9 号记录

        单位         情况  版本  记录号  时间                 发现  被拒次数  之后又被拒
        ---------------------------------------------------------------------------------
        407001 中心  已报     2       8  2024-01-17 17:15:04     0         1
        407005 中心  未报
        "#);
        assert_eq!(board.json()["lines"][1]["standing"], "missing");
        assert!(board.sheet().rows.iter().all(|row| row.len() == board.sheet().columns.len()));
    }
}
