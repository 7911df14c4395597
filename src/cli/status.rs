//! `status`: who was expected to file, and where each stands. Kept current (`--watch`): `watch.rs`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use serde_json::{Value, json};

use super::client::Client;
use super::output::{Answer, Failure, Grid, Look, Sheet, Show, strong};
use super::returned::line_text;
use super::settings::Settings;
use super::words::{hex, round_code, round_name, say, time, time_for_programs, who};
use super::{Moment, Times, node_title, review_events, watch};
use crate::budget::form_set::FormSet;
use crate::proto::api::{
    self, BoardChange, DepartmentLine, GetStatusBoardResponse, Standing, StandingCounts, StatusLine, Turn,
};
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
    let mut board = Board { answer: answer.into_inner(), ..Board::default() };
    board.learn_names(&client).await?;
    Ok(settings.answer(&board))
}

/// The status board.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) answer: GetStatusBoardResponse,
    /// By digest: the form sets that returned versions were filed on, for the names on their sheets.
    forms: BTreeMap<Vec<u8>, Option<Arc<FormSet>>>,
}

impl Board {
    /// Another answer in place of the one before.
    pub(super) fn renew(&mut self, answer: GetStatusBoardResponse) {
        self.answer = answer;
    }

    /// Asks for the form sets of returned lines that it doesn't know yet.
    ///
    /// # Errors
    /// A refusal, or a server that can't be reached.
    pub(super) async fn learn_names(&mut self, client: &Client) -> Result<(), Failure> {
        let named = |line: &&StatusLine| line.given_back.as_ref().is_some_and(|said| !said.lines.is_empty());
        for line in self.answer.lines.iter().filter(named) {
            let digest = line.version.as_ref().map(|version| version.form_set_digest.clone()).unwrap_or_default();
            if let Entry::Vacant(unknown) = self.forms.entry(digest) {
                let form = client.form_set_in_force(unknown.key()).await?;
                unknown.insert(form);
            }
        }
        Ok(())
    }

    /// What those are to do to whom something was given back.
    fn to_do(&self, language: Language) -> String {
        let mut out = String::new();
        let departments = self.answer.departments.iter().filter_map(|line| {
            let said = line.given_back.as_ref()?;
            Some((&line.node, &line.name, said, None))
        });
        let units = self.answer.lines.iter().filter_map(|line| {
            let digest = line.version.as_ref().map(|version| &version.form_set_digest);
            let form = digest.and_then(|digest| self.forms.get(digest)).and_then(Option::as_deref);
            Some((&line.unit, &line.name, line.given_back.as_ref()?, form))
        });
        for (node, name, said, form) in departments.chain(units) {
            let facts = [
                ("unit", node_title(node, name)),
                ("reason", said.reason.clone()),
                ("actor", who(&said.actor)),
                ("time", time(said.time_ms)),
            ];
            let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
            out.push_str(&format!("  {}\n", say(language, "status-to-do", &facts)));
            let lines = said.lines.iter().map(|line| line_text(line, form, language));
            lines.for_each(|line| out.push_str(&format!("    {line}\n")));
            let more = u64::from(said.line_count).saturating_sub(said.lines.len() as u64);
            if more > 0 {
                let facts = [("n", more.to_string()), ("unit", node.clone())];
                let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
                out.push_str(&format!("    {}\n", say(language, "status-to-do-more", &facts)));
            }
        }
        match out.as_str() {
            "" => out,
            list => format!("\n{}\n{list}", strong(label("status-to-do-title", language))),
        }
    }

    /// Puts changed lines in; says where each stood before, and how it is now.
    pub(super) fn change(&mut self, change: BoardChange) -> Vec<(Option<Standing>, StatusLine)> {
        let mut changed = Vec::with_capacity(change.lines.len());
        for line in change.lines {
            let lines = &mut self.answer.lines;
            let before = match lines.binary_search_by(|known| known.unit.cmp(&line.unit)) {
                Ok(at) => Some(std::mem::replace(&mut lines[at], line.clone())),
                Err(at) => {
                    lines.insert(at, line.clone());
                    None
                }
            };
            changed.push((before.as_ref().map(standing), line));
        }
        for department in change.departments {
            let known = self.answer.departments.iter_mut().find(|known| known.node == department.node);
            if let Some(known) = known {
                *known = department;
            }
        }
        if change.counts.is_some() {
            self.answer.counts = change.counts;
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
    let what = say(language, key, &facts);
    match &line.given_back {
        Some(said) => say(language, "watch-line-said", &[("what", &what), ("reason", &said.reason)]),
        None => what,
    }
}

fn standing(line: &StatusLine) -> Standing {
    Standing::try_from(line.standing).unwrap_or(Standing::Unspecified)
}

fn standing_name(standing: Standing, language: Language) -> &'static str {
    match STANDINGS.iter().find(|known| known.0 == standing) {
        Some((_, _, key, _)) => label(key, language),
        None => "",
    }
}

fn standing_code(standing: Standing) -> &'static str {
    STANDINGS.iter().find(|known| known.0 == standing).map_or("", |known| known.1)
}

/// Where a unit can stand, in the order in which it comes there: for programs, for people, and how many do.
type Known = (Standing, &'static str, &'static str, fn(&StandingCounts) -> u32);
const STANDINGS: [Known; 8] = [
    (Standing::Missing, "missing", "state-missing", |counts| counts.missing),
    (Standing::Refused, "refused", "state-refused", |counts| counts.refused),
    (Standing::Withdrawn, "withdrawn", "state-withdrawn", |counts| counts.withdrawn),
    (Standing::Returned, "returned", "state-returned", |counts| counts.returned),
    (Standing::Submitted, "submitted", "state-submitted", |counts| counts.submitted),
    (Standing::Accepted, "accepted", "state-accepted", |counts| counts.accepted),
    (Standing::Forwarded, "forwarded", "state-forwarded", |counts| counts.forwarded),
    (Standing::Approved, "approved", "state-approved", |counts| counts.approved),
];

/// A label and what it counts.
type Counter = (&'static str, fn(&StandingCounts) -> u32);

/// Who is waited for, how many times, and what is out of order; each with its label.
const WAITING: [Counter; 5] = [
    ("waits-for-unit", |counts| counts.wait_for_unit),
    ("waits-for-department", |counts| counts.wait_for_department),
    ("waits-for-bureau", |counts| counts.wait_for_bureau),
    ("mark-late", |counts| counts.late),
    ("mark-over", |counts| counts.over_ceiling),
];

/// Labels with their counts, those that are nothing left out: 未报 1，已报 3.
fn counted(counts: impl Iterator<Item = (&'static str, u32)>, language: Language) -> String {
    let some = counts.filter(|(_, count)| *count > 0);
    let some: Vec<String> = some.map(|(key, count)| format!("{} {count}", label(key, language))).collect();
    some.join(label("list-comma", language))
}

fn waits_for(line: &StatusLine, language: Language) -> String {
    match Turn::try_from(line.turn) {
        Ok(Turn::Unit) => label("turn-unit", language).to_owned(),
        Ok(Turn::Department) => format!("{} {}", label("turn-department", language), line.waits_for),
        Ok(Turn::Bureau) => label("turn-bureau", language).to_owned(),
        Ok(Turn::Nobody | Turn::Unspecified) | Err(_) => String::new(),
    }
}

/// What is out of order with a line.
fn remarks(line: &StatusLine, language: Language) -> String {
    let mut remarks = Vec::new();
    if line.late {
        remarks.push(label("mark-late", language).to_owned());
    }
    if line.over_ceiling {
        remarks.push(label("mark-over", language).to_owned());
    }
    if line.refused > 0 {
        let (count, when) = (line.refused.to_string(), time(line.refused_time_ms));
        let key = if line.refused_position == 0 { "mark-refused" } else { "mark-refused-since" };
        remarks.push(say(language, key, &[("n", &count), ("time", &when)]));
    }
    remarks.join(label("list-comma", language))
}

impl Show for Board {
    fn text(&self, look: &Look) -> String {
        let language = look.language;
        let board = &self.answer;
        let word = |key| label(key, language);
        let counts = board.counts.unwrap_or_default();
        let facts = [
            ("node", node_title(&board.node, &board.name)),
            ("year", board.year.to_string()),
            ("round", round_name(board.round, language).to_owned()),
            ("n", board.position.to_string()),
            ("expected", counts.expected.to_string()),
            ("counts", counted(STANDINGS.iter().map(|known| (known.2, known.3(&counts))), language)),
        ];
        let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
        let mut grid = Grid::new()
            .text(word("head-unit"))
            .text(word("head-standing"))
            .text(word("head-waits-for"))
            .figures(word("head-version"))
            .figures(word("head-position"))
            .text(word("head-time"))
            .figures(word("head-findings"))
            .text(word("head-remarks"));
        for line in &board.lines {
            let version = line.version.clone().unwrap_or_default();
            let known = |text: String| if line.version.is_some() { text } else { String::new() };
            grid.row(vec![
                node_title(&line.unit, &line.name),
                standing_name(standing(line), language).to_owned(),
                waits_for(line, language),
                known(version.version.to_string()),
                known(version.position.to_string()),
                known(time(version.time_ms)),
                known(version.findings.to_string()),
                remarks(line, language),
            ]);
        }
        let mut out =
            format!("{}\n  {}\n", strong(&say(language, "status-title", &facts)), say(language, "status-sum", &facts));
        let waiting = counted(WAITING.iter().map(|(key, count)| (*key, count(&counts))), language);
        if !waiting.is_empty() {
            out.push_str(&format!("  {waiting}\n"));
        }
        out.push_str(&format!("  {}\n\n", say(language, "as-of", &facts)));
        // Of a department's own board the heading says it.
        if board.departments.iter().any(|line| line.node != board.node) {
            out.push_str(&format!("{}\n", departments(&board.departments, look)));
        }
        out.push_str(&grid.draw(look));
        out.push_str(&self.to_do(language));
        out
    }

    fn json(&self) -> Value {
        board_json(&self.answer)
    }

    fn sheet(&self) -> Sheet {
        let columns = vec![
            "unit",
            "name",
            "standing",
            "waits_for",
            "late",
            "over_ceiling",
            "version",
            "position",
            "time",
            "findings",
            "refused",
            "given_back",
        ];
        let row = |line: &StatusLine| {
            let version = line.version.as_ref();
            let known = |text: Option<String>| text.unwrap_or_default();
            vec![
                line.unit.clone(),
                line.name.clone(),
                standing_code(standing(line)).to_owned(),
                line.waits_for.clone(),
                line.late.to_string(),
                line.over_ceiling.to_string(),
                known(version.map(|version| version.version.to_string())),
                known(version.map(|version| version.position.to_string())),
                known(version.map(|version| time_for_programs(version.time_ms))),
                known(version.map(|version| version.findings.to_string())),
                line.refused.to_string(),
                known(line.given_back.as_ref().map(|said| said.reason.clone())),
            ]
        };
        Sheet { columns, rows: self.answer.lines.iter().map(row).collect() }
    }
}

/// Departments, and how many of their units stand where.
fn departments(lines: &[DepartmentLine], look: &Look) -> String {
    let word = |key| label(key, look.language);
    let mut grid = Grid::new().text(word("head-department")).figures(word("head-expected"));
    grid = STANDINGS.iter().fold(grid, |grid, known| grid.figures(word(known.2)));
    grid = grid.text(word("head-waits-for"));
    for line in lines {
        let counts = line.counts.unwrap_or_default();
        let number = |count: u32| if count == 0 { String::new() } else { count.to_string() };
        let mut row = vec![node_title(&line.node, &line.name), number(counts.expected)];
        row.extend(STANDINGS.iter().map(|known| number(known.3(&counts))));
        row.push(counted(WAITING.iter().take(3).map(|(key, count)| (*key, count(&counts))), look.language));
        grid.row(row);
    }
    grid.draw(look)
}

/// A board for programs.
pub(super) fn board_json(board: &GetStatusBoardResponse) -> Value {
    json!({
        "node": board.node,
        "name": board.name,
        "year": board.year,
        "round": round_code(board.round),
        "position": board.position,
        "counts": board.counts.as_ref().map(counts_json),
        "departments": board.departments.iter().map(department_json).collect::<Vec<_>>(),
        "lines": board.lines.iter().map(line_json).collect::<Vec<_>>(),
    })
}

/// A line for programs.
pub(super) fn line_json(line: &StatusLine) -> Value {
    json!({
        "unit": line.unit,
        "name": line.name,
        "standing": standing_code(standing(line)),
        "waits_for": line.waits_for,
        "late": line.late,
        "over_ceiling": line.over_ceiling,
        "version": line.version.as_ref().map(version_json),
        "refused": line.refused,
        "refused_position": line.refused_position,
        "given_back": line.given_back.as_ref().map(given_back_json),
    })
}

/// A department for programs.
pub(super) fn department_json(line: &DepartmentLine) -> Value {
    json!({ "node": line.node, "name": line.name, "counts": line.counts.as_ref().map(counts_json),
        "given_back": line.given_back.as_ref().map(given_back_json) })
}

fn given_back_json(said: &api::GivenBack) -> Value {
    json!({
        "position": said.position,
        "time": time_for_programs(said.time_ms),
        "actor": said.actor,
        "reason": said.reason,
        "lines": said.lines.iter().map(review_events::line_json).collect::<Vec<_>>(),
        "line_count": said.line_count,
    })
}

/// Counts for programs.
pub(super) fn counts_json(counts: &StandingCounts) -> Value {
    let mut object = serde_json::Map::from_iter([("expected".to_owned(), json!(counts.expected))]);
    object.extend(STANDINGS.iter().map(|known| (known.1.to_owned(), json!(known.3(counts)))));
    object.extend([
        ("wait_for_unit".to_owned(), json!(counts.wait_for_unit)),
        ("wait_for_department".to_owned(), json!(counts.wait_for_department)),
        ("wait_for_bureau".to_owned(), json!(counts.wait_for_bureau)),
        ("late".to_owned(), json!(counts.late)),
        ("over_ceiling".to_owned(), json!(counts.over_ceiling)),
    ]);
    Value::Object(object)
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
            turn: i32::from(if standing == Standing::Missing { Turn::Unit } else { Turn::Department }),
            waits_for: if standing == Standing::Missing { unit.into() } else { "407".into() },
            ..StatusLine::default()
        };
        let version = api::Version { version: 2, position: 8, time_ms: 1_705_482_904_000, ..api::Version::default() };
        let filed = StatusLine { version: Some(version), refused: 1, ..line("407001", Standing::Submitted) };
        let answer = GetStatusBoardResponse {
            node: "407".into(),
            name: "人社局".into(),
            year: 2024,
            round: 2,
            lines: vec![filed, StatusLine { late: true, ..line("407005", Standing::Missing) }],
            counts: Some(StandingCounts {
                expected: 2,
                submitted: 1,
                missing: 1,
                wait_for_unit: 1,
                wait_for_department: 1,
                late: 1,
                ..StandingCounts::default()
            }),
            position: 9,
            ..GetStatusBoardResponse::default()
        };
        let board = Board { answer, ..Board::default() };
        let look = Look { language: Language::Chinese, width: None, colour: false };
        insta::assert_snapshot!(super::super::output::finish(&board.text(&look), false), @r#"
        407 人社局 · 2024 年二上 · 报送情况
          应报 2：未报 1，已报 1
          等单位 1，等部门 1，逾期 1
          截至第 9 号记录

        单位         情况  等谁      版本  记录号  时间                 发现  备注
        ------------------------------------------------------------------------------------
        407001 中心  已报  部门 407     2       8  2024-01-17 17:15:04     0  被拒绝过 1 次
        407005 中心  未报  单位                                               逾期
        "#);
        assert_eq!(board.json()["lines"][1]["standing"], "missing");
        assert!(board.sheet().rows.iter().all(|row| row.len() == board.sheet().columns.len()));
    }
}
