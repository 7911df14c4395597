//! `unit`: imports a year's unit tree from a CSV, and lists it.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::attempt::Attempt;
use super::client::Client;
use super::output::{Answer, Failure, Grid, Look, Sheet, Show, strong};
use super::settings::Settings;
use super::table_file::{TableFile, receipt};
use super::words::{as_of, say, time_for_programs};
use super::{Done, Moment};
use crate::proto::api::{self, ListUnitsResponse, UnitNode};
use crate::wording::{Language, label};

/// How far ahead of the clock a tree may be: it makes its year the one that everybody looks at, and can't be taken back.
const YEARS_AHEAD: i32 = 2;

/// What `unit` is told.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Verb {
    /// Puts the tree of a CSV in force.
    Import(ImportArgs),
    /// Lists the tree.
    List(ListArgs),
}

/// What `unit import` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct ImportArgs {
    #[arg(value_name = "FILE.csv")]
    pub(super) csv: PathBuf,
    #[arg(long)]
    pub(super) year: u16,
}

/// What `unit list` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct ListArgs {
    #[arg(default_value = "", hide_default_value = true)]
    pub(super) node: String,
    #[arg(long)]
    pub(super) year: Option<u16>,
    #[command(flatten)]
    pub(super) moment: Moment,
}

/// Runs `unit`.
///
/// # Errors
/// A file that can't be read, a refusal, or a server that can't be reached.
pub async fn run(verb: Verb, settings: &Settings) -> Result<Answer, Failure> {
    match verb {
        Verb::Import(args) => import(args, settings).await,
        Verb::List(args) => list(args, settings).await,
    }
}

async fn import(args: ImportArgs, settings: &Settings) -> Result<Answer, Failure> {
    let columns = ["code", "parent", "name", "role", "type", "funding", "division", "budgeted"];
    let this = jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::now()).year();
    if i32::from(args.year) > i32::from(this) + YEARS_AHEAD {
        let facts = [("year", args.year.to_string()), ("this", this.to_string())];
        let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
        return Err(Failure::Usage(settings.say("year-far-ahead", &facts)));
    }
    let file = TableFile::read(&args.csv, &columns, settings)?;
    let mut nodes = Vec::with_capacity(file.rows.len());
    for row in &file.rows {
        let [code, parent, name, role, unit_type, funding, division, budgeted] = row.each_ref().map(String::clone);
        let budgeted = match budgeted.as_str() {
            "yes" => true,
            "no" => false,
            other => return Err(Failure::Usage(settings.say("yes-or-no", &[("code", &code), ("found", other)]))),
        };
        nodes.push(UnitNode { code, parent, name, role, unit_type, funding, division, budgeted });
    }
    let client = Client::connect(settings).await?;
    let (actor, year) = (settings.actor_text(), args.year.to_string());
    let request = [&settings.server, &actor, "units", &year].map(str::as_bytes);
    let attempt = Attempt::open(&args.csv, &[&request[..], &[&file.bytes[..]]].concat());
    let request =
        api::ImportUnitsRequest { idempotency_key: attempt.key().to_owned(), year: u32::from(args.year), nodes };
    let answer = client.registry().import_units(request).await;
    let answer = receipt(answer, attempt, &client)?;
    let facts = [
        ("year", year),
        ("n", answer.nodes.to_string()),
        ("version", answer.version.to_string()),
        ("position", answer.position.to_string()),
    ];
    let json = json!({
        "year": args.year,
        "nodes": answer.nodes,
        "version": answer.version,
        "position": answer.position,
        "repeated": answer.repeated,
    });
    Ok(settings.answer(&Done::new("units-imported", &facts, answer.repeated, json)))
}

async fn list(args: ListArgs, settings: &Settings) -> Result<Answer, Failure> {
    let client = Client::connect(settings).await?;
    let as_of = args.moment.as_of;
    let request = api::ListUnitsRequest { node: args.node, year: args.year.map_or(0, u32::from), as_of };
    let answer = client.registry().list_units(request).await.map_err(|status| client.failure(&status))?;
    Ok(settings.answer(&Units { answer: answer.into_inner(), past: as_of.is_some() }))
}

/// The units of a year.
#[derive(Debug)]
struct Units {
    answer: ListUnitsResponse,
    /// Whether a moment was asked for.
    past: bool,
}

impl Units {
    /// The nodes as a tree in reading order, each with its depth.
    fn in_order(&self) -> Vec<(usize, &UnitNode)> {
        let mut below: HashMap<&str, Vec<&UnitNode>> = HashMap::new();
        let known: HashMap<&str, &UnitNode> = self.answer.nodes.iter().map(|node| (node.code.as_str(), node)).collect();
        let mut open: Vec<(usize, &UnitNode)> = Vec::new();
        for node in self.answer.nodes.iter().rev() {
            if known.contains_key(node.parent.as_str()) {
                below.entry(&node.parent).or_default().push(node);
            } else {
                open.push((0, node));
            }
        }
        let mut found = Vec::with_capacity(self.answer.nodes.len());
        while let Some((depth, node)) = open.pop() {
            found.push((depth, node));
            open.extend(below.remove(node.code.as_str()).into_iter().flatten().map(|node| (depth + 1, node)));
        }
        found
    }
}

fn role(code: &str, language: Language) -> &str {
    match code {
        "department" => label("role-department", language),
        "unit" => label("role-unit", language),
        other => other,
    }
}

impl Show for Units {
    fn text(&self, look: &Look) -> String {
        let language = look.language;
        let word = |key| label(key, language);
        let facts = [
            ("year", self.answer.year.to_string()),
            ("version", self.answer.version.to_string()),
            ("n", self.answer.nodes.len().to_string()),
            ("budgeted", self.answer.nodes.iter().filter(|node| node.budgeted).count().to_string()),
        ];
        let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
        let mut grid = Grid::new()
            .text(word("head-code"))
            .text(word("head-name"))
            .text(word("head-role"))
            .text(word("head-unit-type"))
            .text(word("head-funding"))
            .text(word("head-division"))
            .text(word("head-budgeted"));
        for (depth, node) in self.in_order() {
            grid.row(vec![
                node.code.clone(),
                "\u{3000}".repeat(depth) + &node.name,
                role(&node.role, language).to_owned(),
                node.unit_type.clone(),
                node.funding.clone(),
                node.division.clone(),
                word(if node.budgeted { "yes" } else { "no" }).to_owned(),
            ]);
        }
        let moment = as_of(self.answer.position, self.answer.time_ms, self.past, language);
        format!("{}\n  {moment}\n\n{}", strong(&say(language, "units-title", &facts)), grid.draw(look))
    }

    fn json(&self) -> Value {
        let nodes: Vec<Value> = self
            .answer
            .nodes
            .iter()
            .map(|node| {
                json!({
                    "code": node.code,
                    "parent": node.parent,
                    "name": node.name,
                    "role": node.role,
                    "type": node.unit_type,
                    "funding": node.funding,
                    "division": node.division,
                    "budgeted": node.budgeted,
                })
            })
            .collect();
        json!({
            "year": self.answer.year,
            "version": self.answer.version,
            "position": self.answer.position,
            "time": time_for_programs(self.answer.time_ms),
            "nodes": nodes,
        })
    }

    /// As `unit import` reads it.
    fn sheet(&self) -> Sheet {
        let columns = vec!["code", "parent", "name", "role", "type", "funding", "division", "budgeted"];
        let row = |node: &UnitNode| {
            vec![
                node.code.clone(),
                node.parent.clone(),
                node.name.clone(),
                node.role.clone(),
                node.unit_type.clone(),
                node.funding.clone(),
                node.division.clone(),
                (if node.budgeted { "yes" } else { "no" }).to_owned(),
            ]
        };
        Sheet { columns, rows: self.answer.nodes.iter().map(row).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_stand_below_their_parents() {
        let node = |code: &str, parent: &str| UnitNode {
            code: code.into(),
            parent: parent.into(),
            name: code.into(),
            ..UnitNode::default()
        };
        let nodes = vec![node("407", "0"), node("407001", "407"), node("508", "0"), node("508001", "508")];
        let answer = ListUnitsResponse { year: 2024, version: 1, nodes, ..ListUnitsResponse::default() };
        let units = Units { answer, past: false };
        let order: Vec<(usize, &str)> =
            units.in_order().into_iter().map(|(depth, n)| (depth, n.code.as_str())).collect();
        assert_eq!(order, [(0, "407"), (1, "407001"), (0, "508"), (1, "508001")]);
    }
}
