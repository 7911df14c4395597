//! `trace`: where a figure comes from, so that a person can add it up on paper.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::client::Client;
use super::output::{Answer, Failure, Grid, Look, Sheet, Show, alarm, strong};
use super::settings::Settings;
use super::view::cell_json;
use super::words::{as_of, grouped, hex, kind_code, kind_name, money, say, time_for_programs, written_scale};
use super::{Moment, Times, node_title};
use crate::budget::money::Money;
use crate::proto::ShownCell;
use crate::proto::api::{self, TraceElimination, TraceNode, TraceShare};
use crate::wording::{Language, label};

const PAGE_SHARES: u32 = 1_000;

/// What `trace` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    pub(super) node: String,
    #[arg(value_name = "TABLE/ROW/COLUMN")]
    pub(super) cell: String,
    #[arg(long = "reviewed")]
    pub(super) as_reviewed: bool,
    #[command(flatten)]
    pub(super) times: Times,
    #[command(flatten)]
    pub(super) moment: Moment,
    #[arg(long, value_name = "ID")]
    pub(super) form_set: Option<String>,
}

/// Runs `trace`.
///
/// # Errors
/// A refusal, or a server that can't be reached.
pub async fn run(args: Args, settings: &Settings) -> Result<Answer, Failure> {
    let client = Client::connect(settings).await?;
    let scope = args.moment.of(args.times.scope(&args.node, args.form_set.as_deref()));
    let mut shares = Vec::new();
    let mut eliminations = Vec::new();
    let mut nodes = BTreeMap::new();
    let mut page_token = String::new();
    loop {
        let request = api::TraceRequest {
            scope: Some(scope.clone()),
            cell: args.cell.clone(),
            page_size: PAGE_SHARES,
            page_token,
            reviewed: args.as_reviewed,
        };
        let page = client.consolidation().trace(request).await.map_err(|status| client.failure(&status))?.into_inner();
        shares.extend(page.shares);
        eliminations.extend(page.eliminations);
        nodes.extend(page.nodes.into_iter().map(|node| (node.code.clone(), node)));
        if page.next_page_token.is_empty() {
            let trace = Trace {
                node: args.node,
                cell: page.cell,
                title: [page.table_name, page.row_label, page.column_label],
                figure: page.figure.unwrap_or_default(),
                moment: as_of(page.position, page.time_ms, args.moment.as_of.is_some(), settings.language),
                position: page.position,
                reviewed: args.as_reviewed,
                shares,
                eliminations,
                nodes,
            };
            let code = u8::from(!trace.adds_up());
            return Ok(Answer { code, ..settings.answer(&trace) });
        }
        page_token = page.next_page_token;
    }
}

/// Where a figure comes from.
#[derive(Debug)]
pub(super) struct Trace {
    node: String,
    cell: String,
    /// Table, row and column for people.
    title: [String; 3],
    figure: ShownCell,
    position: u64,
    /// Whether it is shown as it was reviewed.
    reviewed: bool,
    /// The position in words.
    moment: String,
    shares: Vec<TraceShare>,
    eliminations: Vec<TraceElimination>,
    /// The nodes between, by code.
    nodes: BTreeMap<String, TraceNode>,
}

/// What an exact amount adds, or a count where there is none.
fn added(exact: &str, value: &str) -> Money {
    money(exact).or_else(|| money(&format!("{value}.00"))).unwrap_or(Money::ZERO)
}

impl Trace {
    /// What stands at or below a path adds up to: shares less eliminations.
    fn sum(&self, path: &[String]) -> Money {
        let shares = self.shares.iter().filter(|share| share.path.starts_with(path));
        let taken = self.eliminations.iter().filter(|eliminated| eliminated.path.starts_with(path));
        let shares: Money = shares.map(|share| added(&share.exact, &share.value)).sum();
        shares - taken.filter_map(|eliminated| money(&eliminated.amount)).sum()
    }

    /// The sum of a node between, at a path: of those below it and of what it filed itself, which stands beside them.
    fn whole(&self, node: &str, path: &[String]) -> Money {
        let own = self.shares.iter().filter(|share| share.unit == node && share.path == path);
        let own: Money = own.map(|share| added(&share.exact, &share.value)).sum();
        self.sum(&[path, &[node.to_owned()]].concat()) + own
    }

    /// Whether anything here can be added up: amounts and counts, not texts.
    fn is_sum(&self) -> bool {
        !self.figure.exact.is_empty() || money(&format!("{}.00", self.figure.value)).is_some()
    }

    /// Whether the shares are the figure, to the 分, and those below each node between are its figure. Not asked of what
    /// is no amount.
    fn adds_up(&self) -> bool {
        let is = |figure: &ShownCell, sum| added(&figure.exact, &figure.value) == sum;
        let node = |node: &TraceNode| {
            let path = self.shares.iter().map(|share| share.path.as_slice()).find(|path| path.contains(&node.code));
            let end = path.and_then(|path| path.iter().position(|code| *code == node.code));
            let (Some(path), Some(end), Some(figure)) = (path, end, &node.figure) else { return true };
            is(figure, self.whole(&node.code, &path[..end]))
        };
        !self.is_sum() || (is(&self.figure, self.sum(&[])) && self.nodes.values().all(node))
    }

    fn shares(&self, look: &Look) -> String {
        let language = look.language;
        let word = |key| label(key, language);
        let mut grid = Grid::new()
            .text("")
            .text(word("head-unit"))
            .text(word("head-kind"))
            .figures(word("head-version"))
            .figures(word("head-position"))
            .figures(self.head_of_figures(language))
            .text(word("head-scale"))
            .figures(word("head-exact"));
        self.below(&[], &mut grid, language);
        if self.is_sum() {
            grid.row(sum_row("=", word("head-sum"), &self.sum(&[]), self.figure.exact.is_empty()));
        }
        grid.draw(look)
    }

    fn head_of_figures(&self, language: Language) -> &'static str {
        label(if self.reviewed { "head-as-reviewed" } else { "head-as-written" }, language)
    }

    /// The shares at a path, then those below it, node by node with a subtotal each.
    fn below(&self, path: &[String], grid: &mut Grid, language: Language) {
        let word = |key| label(key, language);
        let inset = "  ".repeat(path.len());
        for share in self.shares.iter().filter(|share| share.path == path) {
            let version = share.version.clone().unwrap_or_default();
            let value = match (share.filed, share.value.is_empty()) {
                (false, _) => word("share-missing").to_owned(),
                (true, true) => word("share-blank").to_owned(),
                (true, false) => grouped(&share.value),
            };
            let as_filed = reviewed(share.as_filed.as_ref(), language);
            grid.row(vec![
                (if grid.is_empty() { "" } else { "+" }).to_owned(),
                format!("{inset}{}{}", node_title(&share.unit, &share.name), as_filed),
                kind_name(share.kind, language).to_owned(),
                version.version.to_string(),
                version.position.to_string(),
                value,
                if share.value.is_empty() { String::new() } else { share.scale.clone() },
                grouped(&share.exact),
            ]);
        }
        for eliminated in self.eliminations.iter().filter(|eliminated| eliminated.path == path) {
            let facts =
                [("unit", eliminated.unit.as_str()), ("title", &eliminated.title), ("other", &eliminated.counterparty)];
            let mut row = vec![String::new(); 8];
            "-".clone_into(&mut row[0]);
            row[1] = format!("{inset}{}", say(language, "trace-eliminated", &facts));
            row[7] = grouped(&eliminated.amount);
            grid.row(row);
        }
        let next = |share: &TraceShare| (share.path.starts_with(path)).then(|| share.path.get(path.len()).cloned());
        let mut nodes: Vec<String> = self.shares.iter().filter_map(next).flatten().collect();
        nodes.sort();
        nodes.dedup();
        for node in nodes {
            let below = [path, std::slice::from_ref(&node)].concat();
            self.below(&below, grid, language);
            let name = self.nodes.get(&node).map_or("", |node| node.name.as_str());
            let title = say(language, "trace-subtotal", &[("node", &node_title(&node, name))]);
            let mut row = sum_row("", &title, &self.whole(&node, path), self.figure.exact.is_empty());
            row[1] = format!("{inset}{title}");
            grid.row(row);
        }
    }

    /// How the figure is made of what was reported, adjusted and eliminated, and between what it lies.
    fn levels(&self, language: Language) -> String {
        let mut out = String::new();
        let figure = &self.figure;
        if !(figure.adjusted.is_empty() && figure.eliminated.is_empty()) {
            let shown = |text: &str| grouped(if text.is_empty() { "0.00" } else { text });
            let facts = [
                ("reported", shown(&figure.reported)),
                ("adjusted", shown(&figure.adjusted)),
                ("eliminated", shown(&figure.eliminated)),
                ("exact", shown(&figure.exact)),
            ];
            let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
            out.push_str(&format!("  {}\n", say(language, "trace-levels", &facts)));
        }
        if let (Some(exact), Some(slack)) = (money(&figure.exact), money(&figure.slack)) {
            let ends = [exact - slack, exact + slack].map(|end| grouped(&end.to_string()));
            let facts = [("low", ends[0].as_str()), ("high", &ends[1])];
            out.push_str(&format!("  {}\n", say(language, "trace-interval", &facts)));
        }
        out
    }

    /// How the rules of the row came out in each filing, where they did not plainly pass.
    fn verdicts(&self, look: &Look) -> String {
        let language = look.language;
        let mut grid = Grid::new()
            .text(label("head-unit", language))
            .text(label("head-rule", language))
            .text(label("head-cell", language))
            .text("");
        for share in &self.shares {
            for verdict in &share.verdicts {
                let place = [verdict.row.as_str(), &verdict.column].into_iter().filter(|part| !part.is_empty());
                grid.row(vec![
                    node_title(&share.unit, &share.name),
                    verdict.rule.clone(),
                    place.collect::<Vec<_>>().join("/"),
                    label(verdict_label(verdict.verdict), language).to_owned(),
                ]);
            }
        }
        if grid.is_empty() {
            return String::new();
        }
        format!("\n{}\n{}", strong(label("trace-verdicts", language)), grid.draw(look))
    }

    fn lines(&self, share: &TraceShare, look: &Look) -> String {
        let language = look.language;
        let word = |key| label(key, language);
        let title = node_title(&share.unit, &share.name);
        let mut out = format!("\n{}\n", strong(&say(language, "trace-lines", &[("unit", &title)])));
        let mut grid = Grid::new()
            .text("")
            .text(word("head-row"))
            .text(word("head-name"))
            .figures(self.head_of_figures(language))
            .figures(word("head-exact"));
        let mut sum = Money::ZERO;
        for (at, line) in share.lines.iter().enumerate() {
            let exact = money(&line.exact);
            match (exact, line.minus) {
                (Some(exact), true) => sum -= exact,
                (Some(exact), false) => sum += exact,
                (None, _) => {}
            }
            let sign = match (line.minus, at) {
                (true, _) => "-",
                (false, 0) => "",
                (false, _) => "+",
            };
            grid.row(vec![
                sign.to_owned(),
                line.row.clone(),
                line.label.clone() + &reviewed(line.as_filed.as_ref(), language),
                grouped(&line.value),
                grouped(&line.exact),
            ]);
        }
        if let Some(filed) = money(&share.exact) {
            let last = ["=".to_owned(), String::new(), word("head-sum").to_owned(), String::new()];
            grid.row(last.into_iter().chain([grouped(&sum.to_string())]).collect());
            out.push_str(&grid.draw(look));
            if sum != filed {
                let difference = grouped(&(sum - filed).to_string());
                let facts = [("filed", grouped(&share.exact)), ("difference", difference)];
                let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
                let key = if self.reviewed { "trace-lines-differ-reviewed" } else { "trace-lines-differ" };
                out.push_str(&format!("  {}\n", say(language, key, &facts)));
            }
            return out;
        }
        out + &grid.draw(look)
    }
}

/// What stands behind the name of a figure that was reviewed: what was filed.
fn reviewed(as_filed: Option<&String>, language: Language) -> String {
    let Some(filed) = as_filed else { return String::new() };
    let filed = if filed.is_empty() { label("share-blank", language).to_owned() } else { grouped(filed) };
    say(language, "share-reviewed", &[("filed", &filed)])
}

fn sum_row(sign: &str, title: &str, sum: &Money, count: bool) -> Vec<String> {
    let mut row = vec![String::new(); 8];
    sign.clone_into(&mut row[0]);
    title.clone_into(&mut row[1]);
    let text = sum.to_string();
    row[if count { 5 } else { 7 }] = grouped(if count { text.trim_end_matches(".00") } else { &text });
    row
}

fn verdict_label(verdict: i32) -> &'static str {
    match api::RuleVerdict::try_from(verdict) {
        Ok(api::RuleVerdict::PassByRounding) => "trace-verdict-rounding",
        Ok(api::RuleVerdict::Fail) => "trace-verdict-fail",
        Ok(api::RuleVerdict::NotEvaluable) => "trace-verdict-not-evaluable",
        Ok(api::RuleVerdict::Pass | api::RuleVerdict::Unspecified) | Err(_) => "trace-verdict-pass",
    }
}

fn verdict_code(verdict: i32) -> &'static str {
    match api::RuleVerdict::try_from(verdict) {
        Ok(api::RuleVerdict::PassByRounding) => "pass_by_rounding",
        Ok(api::RuleVerdict::Fail) => "fail",
        Ok(api::RuleVerdict::NotEvaluable) => "not_evaluable",
        Ok(api::RuleVerdict::Pass | api::RuleVerdict::Unspecified) | Err(_) => "pass",
    }
}

impl Show for Trace {
    fn text(&self, look: &Look) -> String {
        let language = look.language;
        let title: Vec<&str> = self.title.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        let facts = [("node", self.node.as_str()), ("title", &title.join(" · ")), ("cell", &self.cell)];
        let mut out = format!("{}\n", strong(&say(language, "trace-title", &facts)));
        out.push_str(&format!("  {}\n", printed(&self.figure, language)));
        out.push_str(&self.levels(language));
        if self.reviewed {
            out.push_str(&format!("  {}\n", strong(label("trace-reviewed", language))));
        }
        out.push_str(&format!("  {}\n", self.moment));
        if self.shares.is_empty() {
            out.push_str(&format!("  {}\n", label("trace-nothing", language)));
            return out;
        }
        out.push('\n');
        out.push_str(&self.shares(look));
        if !self.adds_up() {
            out.push_str(&format!("  {}\n", alarm(label("trace-does-not-add-up", language))));
        } else if !self.figure.exact.is_empty() {
            out.push_str(&format!("  {}\n", printed(&self.figure, language)));
        }
        for share in self.shares.iter().filter(|share| !share.lines.is_empty()) {
            out.push_str(&self.lines(share, look));
        }
        out.push_str(&self.verdicts(look));
        out
    }

    fn json(&self) -> Value {
        let [table, row, column] = &self.title;
        json!({
            "node": self.node,
            "cell": self.cell,
            "table_name": table,
            "row_label": row,
            "column_label": column,
            "figure": cell_json(&self.figure),
            "position": self.position,
            "reviewed": self.reviewed,
            "adds_up": self.adds_up(),
            "shares": self.shares.iter().map(share_json).collect::<Vec<_>>(),
            "eliminations": self.eliminations.iter().map(elimination_json).collect::<Vec<_>>(),
            "nodes": self.nodes.values().map(|node| json!({
                "node": node.code,
                "name": node.name,
                "figure": node.figure.as_ref().map(cell_json),
            })).collect::<Vec<_>>(),
        })
    }

    fn sheet(&self) -> Sheet {
        let columns = vec![
            "unit",
            "name",
            "kind",
            "version",
            "position",
            "row",
            "label",
            "minus",
            "value",
            "scale",
            "exact",
            "is",
            "counterparty",
            "as_filed",
        ];
        let mut rows = Vec::new();
        for share in &self.shares {
            let version = share.version.clone().unwrap_or_default();
            let head = [
                share.unit.clone(),
                share.name.clone(),
                kind_code(share.kind).to_owned(),
                version.version.to_string(),
                version.position.to_string(),
            ];
            let as_filed = share.as_filed.as_deref().unwrap_or_default();
            let own = ["", "", "", &share.value, &share.scale, &share.exact, "share", "", as_filed].map(str::to_owned);
            rows.push(head.iter().cloned().chain(own).collect());
            for line in &share.lines {
                let minus = if line.minus { "yes" } else { "no" };
                let as_filed = line.as_filed.as_deref().unwrap_or_default();
                let cells =
                    [&line.row, &line.label, minus, &line.value, &share.scale, &line.exact, "line", "", as_filed];
                rows.push(head.iter().cloned().chain(cells.map(str::to_owned)).collect());
            }
        }
        // With these the rows of `is` share add up on paper; the lines are below their share and already in it.
        for one in &self.eliminations {
            let cells = [&one.unit, "", "", "", "", "", &one.title, "yes", "", "", &one.amount, "elimination"];
            rows.push(cells.into_iter().chain([one.counterparty.as_str(), ""]).map(str::to_owned).collect());
        }
        if self.is_sum() {
            let ShownCell { value, exact, .. } = &self.figure;
            let cells = [&self.node, "", "", "", "", "", "", "", value.as_str(), "", exact.as_str(), "total", "", ""];
            rows.push(cells.map(str::to_owned).to_vec());
        }
        Sheet { columns, rows }
    }
}

/// `42,750.33 万元（427,503,300.00 元，误差不超过 50.00 元）`.
fn printed(figure: &ShownCell, language: Language) -> String {
    if figure.exact.is_empty() {
        let blank = label("share-blank", language).to_owned();
        return if figure.value.is_empty() { blank } else { figure.value.to_string() };
    }
    let unit = written_scale(&figure.value, &figure.exact, None).map_or("", |scale| scale.denomination.as_str());
    let facts =
        [("value", grouped(&figure.value)), ("exact", grouped(&figure.exact)), ("slack", grouped(&figure.slack))];
    let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
    let key = match (figure.slack.is_empty(), figure.value == figure.exact) {
        (true, true) => "trace-figure-exact",
        (true, false) => "trace-figure",
        (false, _) => "trace-figure-slack",
    };
    say(language, key, &[facts[0], facts[1], facts[2], ("unit", unit)])
}

fn elimination_json(eliminated: &TraceElimination) -> Value {
    json!({
        "unit": eliminated.unit,
        "counterparty": eliminated.counterparty,
        "title": eliminated.title,
        "amount": eliminated.amount,
        "path": eliminated.path,
    })
}

fn share_json(share: &TraceShare) -> Value {
    let version = share.version.clone().unwrap_or_default();
    let lines: Vec<Value> = share
        .lines
        .iter()
        .map(|line| {
            json!({ "row": line.row, "label": line.label, "value": line.value, "exact": line.exact, "minus": line.minus, "as_filed": line.as_filed })
        })
        .collect();
    json!({
        "unit": share.unit,
        "name": share.name,
        "kind": kind_code(share.kind),
        "version": version.version,
        "position": version.position,
        "time": time_for_programs(version.time_ms),
        "digest": hex(&version.digest),
        "filed": share.filed,
        "value": share.value,
        "as_filed": share.as_filed,
        "exact": share.exact,
        "scale": share.scale,
        "lines": lines,
        "path": share.path,
        "verdicts": share.verdicts.iter().map(|verdict| json!({
            "rule": verdict.rule,
            "row": verdict.row,
            "column": verdict.column,
            "verdict": verdict_code(verdict.verdict),
        })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(unit: &str, value: &str, exact: &str) -> TraceShare {
        let version = api::Version { version: 1, position: 5, ..api::Version::default() };
        TraceShare {
            unit: unit.into(),
            name: "中心".into(),
            kind: i32::from(api::Kind::Unit),
            version: Some(version),
            filed: true,
            value: value.into(),
            exact: exact.into(),
            scale: "万元.2".into(),
            ..TraceShare::default()
        }
    }

    fn trace(exact: &str) -> Trace {
        let line = |row: &str, value: &str, exact: &str| api::TraceLine {
            row: row.into(),
            label: "机构".into(),
            value: value.into(),
            exact: exact.into(),
            ..api::TraceLine::default()
        };
        let lines = vec![line("9010109", "1.00", "10000.00"), line("9010199", "1.50", "15000.00")];
        Trace {
            node: "407".into(),
            cell: "A1/合计/total".into(),
            title: ["甲表".into(), "合计".into(), "合计".into()],
            figure: ShownCell { value: "4.00".into(), exact: exact.into(), ..ShownCell::default() },
            position: 9,
            reviewed: false,
            moment: as_of(9, 0, false, Language::Chinese),
            nodes: BTreeMap::new(),
            shares: vec![
                share("407001", "1.50", "15000.00"),
                TraceShare { lines, ..share("407002", "2.50", "25000.00") },
            ],
            eliminations: Vec::new(),
        }
    }

    #[test]
    fn a_figure_can_be_added_up_on_paper() {
        let look = Look { language: Language::Chinese, width: None, colour: false };
        let text = super::super::output::finish(&trace("40000.00").text(&look), false);
        insta::assert_snapshot!(text, @r#"
        407 · 甲表 · 合计 · 合计（A1/合计/total）
          4.00 万元，即 40,000.00 元
          截至第 9 号记录

           单位         种类      版本  记录号  填报数  填报精度     折合元
        --------------------------------------------------------------------
           407001 中心  单位预算     1       5    1.50  万元.2    15,000.00
        +  407002 中心  单位预算     1       5    2.50  万元.2    25,000.00
        =  合计                                                   40,000.00
          4.00 万元，即 40,000.00 元

        407002 中心 的明细行
           行       名称  填报数     折合元
        ------------------------------------
           9010109  机构    1.00  10,000.00
        +  9010199  机构    1.50  15,000.00
        =           合计          25,000.00
        "#);
    }

    #[test]
    fn shares_that_do_not_add_up_are_said_so() {
        let look = Look { language: Language::English, width: None, colour: false };
        let wrong = trace("40000.01");
        assert!(!wrong.adds_up());
        assert!(wrong.text(&look).contains(label("trace-does-not-add-up", Language::English)));
        assert!(wrong.sheet().rows.iter().all(|row| row.len() == wrong.sheet().columns.len()));
    }

    #[test]
    fn a_sheet_adds_up_as_the_screen_does() {
        let eliminated = TraceElimination {
            unit: "407001".into(),
            counterparty: "407002".into(),
            title: "补助".into(),
            amount: "3000.00".into(),
            ..TraceElimination::default()
        };
        let trace = Trace { eliminations: vec![eliminated], ..trace("37000.00") };
        assert!(trace.adds_up());
        let Sheet { columns, rows } = trace.sheet();
        let of =
            |row: &Vec<String>, name: &str| row[columns.iter().position(|column| *column == name).unwrap()].clone();
        let is = |name: &str| rows.iter().filter(|row| of(row, "is") == name).collect::<Vec<_>>();
        let exact = |row: &&Vec<String>| money(&of(row, "exact")).unwrap();
        let (shares, taken): (Money, Money) =
            (is("share").iter().map(exact).sum(), is("elimination").iter().map(exact).sum());
        assert_eq!((is("line").len(), is("total").iter().map(exact).collect::<Vec<_>>()), (2, vec![shares - taken]));
        assert!(is("elimination").iter().all(|row| of(row, "minus") == "yes" && of(row, "counterparty") == "407002"));
        assert!(rows.iter().all(|row| row.len() == columns.len()), "{rows:?}");
    }
}
