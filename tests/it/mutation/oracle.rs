//! What an accountant with a sheet of paper would say: equations over printed figures, in whole 分.
//!
//! It shares nothing with the program: filings are read from their JSON, the types of columns from the text of
//! `forms.toml`, and the equations are written down in [`super::shanxi`] and [`super::linjiang`]. A printed figure is
//! every whole amount in 分 that prints so, and an equation fails if no such amounts satisfy it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::support::*;

// ── figures ──────────────────────────────────────────────────────────────────────────────

/// A printed amount.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// What is printed, in 分.
    pub fen: i128,
    /// One in the last printed decimal, in 分.
    pub unit: i128,
    /// `元.~`: who writes 4060 means it.
    pub exact: bool,
}

/// The least and the greatest of some amounts.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub low: i128,
    pub high: i128,
}

impl Figure {
    /// The amounts that print so, rounded half up; below zero half down, so that a sign changes nothing.
    pub fn span(self) -> Span {
        if self.exact || self.unit == 1 {
            return Span { low: self.fen, high: self.fen };
        }
        let half = self.unit / 2;
        match self.fen.signum() {
            1 => Span { low: self.fen - half, high: self.fen + half - 1 },
            -1 => Span { low: self.fen - half + 1, high: self.fen + half },
            _ => Span { low: 1 - half, high: half - 1 },
        }
    }

    /// Digits of an amount in 元 or 万元, with so many decimals or as many as are written.
    fn read(digits: &str, wan: bool, decimals: Option<usize>) -> Figure {
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let in_fen = if wan { 6 } else { 2 };
        let unit = 10_i128.pow(u32::try_from(in_fen - decimals.unwrap_or(fraction.len())).unwrap());
        let fen: i128 = format!("{whole}{fraction:0<in_fen$}").parse().unwrap();
        Figure { fen, unit, exact: decimals.is_none() && !wan }
    }
}

// ── filings ──────────────────────────────────────────────────────────────────────────────

/// A filing as its file has it: texts by cell, amounts by number.
pub struct Filing {
    texts: BTreeMap<String, String>,
    rows: BTreeMap<String, Vec<String>>,
    /// The amount columns of each table that are printed on the form, and those that are not.
    columns: BTreeMap<String, Vec<(String, bool)>>,
    numbers: HashMap<String, usize>,
    /// Cell and amount, in the order of the file.
    pub amounts: Vec<(String, Figure)>,
}

impl Filing {
    pub fn read(form_set: &str, file: &Value) -> Filing {
        let text = std::fs::read_to_string(project(&format!("forms/{form_set}/forms.toml"))).unwrap();
        let forms: toml::Table = toml::from_str(&text).unwrap();
        let (rows, columns) = Default::default();
        let mut filing = Filing { texts: BTreeMap::new(), rows, columns, numbers: HashMap::new(), amounts: Vec::new() };
        for (table, filed) in file["tables"].as_object().unwrap() {
            let types = types(&forms, table, filed);
            let columns = types.iter().map(|(id, kind)| ((*id).to_owned(), kind.assigned)).collect();
            filing.columns.insert(table.clone(), columns);
            let mut keys = Vec::new();
            for row in filed.get("rows").and_then(Value::as_array).into_iter().flatten() {
                let key = row["row"].as_str().unwrap();
                keys.push(key.to_owned());
                for (column, value) in row.as_object().unwrap() {
                    let value = value.as_str().filter(|value| column != "row" && !value.is_empty());
                    let Some(value) = value else { continue };
                    let cell = format!("{table}/{key}/{column}");
                    if let Some(kind) = types.get(column.as_str()) {
                        filing.numbers.insert(cell.clone(), filing.amounts.len());
                        filing.amounts.push((cell.clone(), Figure::read(value, kind.wan, kind.decimals)));
                    }
                    filing.texts.insert(cell, value.to_owned());
                }
            }
            keys.sort();
            filing.rows.insert(table.clone(), keys);
        }
        filing
    }

    /// The keys of a table's rows; none if it is empty.
    pub fn rows(&self, table: &str) -> &[String] {
        &self.rows[table]
    }

    /// What stands in a cell.
    pub fn text(&self, cell: &str) -> &str {
        self.texts.get(cell).map_or("", String::as_str)
    }

    /// Whether nothing at all is filled in in a table.
    pub fn is_blank(&self, table: &str) -> bool {
        !self.texts.keys().any(|cell| cell.starts_with(&format!("{table}/")))
    }

    /// The amount columns that the official form prints.
    pub fn printed_columns(&self, table: &str) -> Vec<String> {
        let printed = self.columns[table].iter().filter(|(_, assigned)| !assigned);
        printed.map(|(column, _)| column.clone()).collect()
    }

    /// The number of the amount in a cell; none if it is blank.
    fn number(&self, cell: &str) -> Option<usize> {
        let (table, column) = (cell.split('/').next().unwrap(), cell.rsplit('/').next().unwrap());
        let known = self.columns.get(table).is_some_and(|columns| columns.iter().any(|(id, _)| id == column));
        assert!(known, "{cell} is no amount of the form set");
        self.numbers.get(cell).copied()
    }
}

/// A column that holds amounts.
struct AmountColumn {
    /// In 万元, not in 元.
    wan: bool,
    /// None: as many as are written.
    decimals: Option<usize>,
    /// Not printed on the official form.
    assigned: bool,
}

/// The amount columns of a table; what the filing states of the table goes before what the column says.
fn types<'f>(forms: &'f toml::Table, table: &str, filed: &Value) -> BTreeMap<&'f str, AmountColumn> {
    let stated = filed.get("amount_unit").map(|unit| {
        let decimals = usize::try_from(filed["decimals"].as_u64().unwrap()).unwrap();
        (unit == "万元", Some(decimals))
    });
    let columns = forms[table]["columns"].as_table().unwrap().iter().filter_map(|(id, label)| {
        let kind = label.as_str().unwrap().split_once(": ").map_or("", |(_, kind)| kind);
        let flags = ["assigned", "grouped", "signed", "required"];
        let named = kind.split(' ').find(|word| !word.is_empty() && !flags.contains(word));
        let name = named.unwrap_or(forms["amount"].as_str().unwrap());
        let (unit, decimals) = name.split_once('.').unwrap_or((name, "2"));
        let wan = match unit {
            "元" => false,
            "万元" => true,
            _ => return None,
        };
        let decimals = if decimals == "~" { None } else { Some(decimals.parse().unwrap()) };
        let (wan, decimals) = stated.unwrap_or((wan, decimals));
        let assigned = kind.split(' ').any(|word| word == "assigned");
        Some((id.as_str(), AmountColumn { wan, decimals, assigned }))
    });
    columns.collect()
}

/// A table whose rows are codes under a total: which row stands above which.
pub struct Tree<'f> {
    pub filing: &'f Filing,
    pub table: &'static str,
    pub total: &'static str,
    /// How many digits the codes of each level have; none if the rows are a plain list.
    pub levels: &'static [usize],
}

impl<'f> Tree<'f> {
    pub fn rows(&self) -> &'f [String] {
        self.filing.rows(self.table)
    }

    fn above<'k>(&'k self, key: &'k str) -> &'k str {
        match self.levels.iter().position(|digits| *digits == key.len()) {
            None | Some(0) => self.total,
            Some(level) => &key[..self.levels[level - 1]],
        }
    }

    pub fn children(&self, row: &str) -> Vec<&'f str> {
        let rows = self.rows().iter().map(String::as_str);
        rows.filter(|key| *key != self.total && self.above(key) == row).collect()
    }

    pub fn is_leaf(&self, row: &str) -> bool {
        self.children(row).is_empty()
    }

    pub fn leaves(&self) -> Vec<&'f str> {
        self.rows().iter().map(String::as_str).filter(|row| *row != self.total && self.is_leaf(row)).collect()
    }

    /// `T03/208/total`, and the same column of these rows, added up.
    pub fn sum(&self, row: &str, column: &str, parts: &[&str]) -> String {
        let table = self.table;
        let parts: Vec<String> = parts.iter().map(|part| format!("{table}/{part}/{column}")).collect();
        format!("{table}/{row}/{column} = {}", parts.join(" + "))
    }
}

// ── figures in texts ─────────────────────────────────────────────────────────────────────

/// Wide letters as narrow ones, without spaces.
fn narrow(text: &str) -> String {
    let fold = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap(),
        other => other,
    };
    text.chars().filter(|c| !c.is_whitespace()).map(fold).collect()
}

/// Splits off digits with at most one point.
fn digits(text: &str) -> Option<(&str, &str)> {
    let end = text.char_indices().find(|(at, c)| {
        let inner = *c == '.' && text[at + 1..].starts_with(|next: char| next.is_ascii_digit());
        !c.is_ascii_digit() && !inner
    });
    let (digits, rest) = text.split_at(end.map_or(text.len(), |(at, _)| at));
    (!digits.is_empty()).then_some((digits, rest))
}

/// Digits and `元` or `万元` behind them; 万元 means two decimals.
fn amount(digits: &str, rest: &str) -> Option<Figure> {
    match rest.strip_prefix('万') {
        Some(rest) => rest.starts_with('元').then(|| Figure::read(digits, true, Some(2))),
        None => rest.starts_with('元').then(|| Figure::read(digits, false, None)),
    }
}

fn bare(text: &str) -> String {
    narrow(text).trim_start_matches(['≥', '≤', '<', '>', '=', '约']).to_owned()
}

/// The amount that a whole text is: `≥477.11万元`.
pub fn whole_amount(text: &str) -> Option<Figure> {
    let text = bare(text);
    let (digits, rest) = digits(&text)?;
    amount(digits, rest).filter(|_| rest == "元" || rest == "万元")
}

/// The amounts that a text mentions, but no rates such as `70元/人`.
pub fn mentioned_amounts(text: &str) -> Vec<Figure> {
    let text = narrow(text);
    let (mut found, mut rest) = (Vec::new(), text.as_str());
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (digits, behind) = digits(&rest[at..]).unwrap();
        let rate = behind.trim_start_matches('万').trim_start_matches('元').starts_with('/');
        found.extend(amount(digits, behind).filter(|_| !rate));
        rest = behind;
    }
    found
}

/// How many people a text says: `≥23.5万人`.
pub fn heads(text: &str) -> Option<i128> {
    let text = bare(text);
    let (digits, rest) = digits(&text)?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    match rest {
        "人" if fraction.is_empty() => whole.parse().ok(),
        "万人" => format!("{whole}{fraction:0<4}").parse().ok(),
        _ => None,
    }
}

/// How much for each a text says, in 分: `79.5元/人/年`.
pub fn rate(text: &str) -> Option<i128> {
    let text = bare(text);
    let (digits, rest) = digits(&text)?;
    let suffixes = ["", "年", "/年", "月", "/月", "·年", "·月"];
    let fits = rest.strip_prefix("元/人").is_some_and(|rest| suffixes.contains(&rest));
    fits.then(|| Figure::read(digits, false, None).fen)
}

// ── equations ────────────────────────────────────────────────────────────────────────────

/// One formula at one row: rule, formula, link of a chain, and the cell that it is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    pub rule: String,
    pub check: usize,
    pub link: usize,
    pub place: String,
}

#[derive(Clone, Copy, Debug)]
enum Relation {
    Equal,
    AtMost,
    AtLeast,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Cell(usize),
    Text(Span),
}

/// A figure, so many times.
#[derive(Clone, Copy, Debug)]
struct Term {
    times: i128,
    source: Source,
}

#[derive(Debug)]
enum Claim {
    Sums {
        left: Vec<Term>,
        relation: Relation,
        right: Vec<Term>,
    },
    /// A printed percentage is a part of a whole.
    Share {
        share: Percent,
        part: Vec<Term>,
        whole: Vec<Term>,
    },
    /// One of the amounts in a text is this one.
    Mentions {
        amounts: Vec<Figure>,
        amount: Vec<Term>,
    },
    /// Some figures may be zero exactly if something else is so.
    ZeroIff {
        cells: Vec<usize>,
        so: bool,
    },
}

/// A condition: these cells may all be zero, or not.
#[derive(Clone, Debug)]
pub struct When {
    cells: Vec<usize>,
    zero: bool,
}

#[derive(Debug)]
pub struct Equation {
    pub instance: Instance,
    when: Vec<When>,
    claim: Claim,
}

/// A printed percentage: the shares from `low` to `high`, in parts of `over`, that print so.
#[derive(Debug)]
struct Percent {
    low: i128,
    high: i128,
    over: i128,
    low_prints: bool,
    high_prints: bool,
}

impl Percent {
    fn read(digits: &str) -> Percent {
        let decimals = digits.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let printed: i128 = digits.replace('.', "").parse().unwrap();
        let over = 200 * 10_i128.pow(u32::try_from(decimals).unwrap());
        let (low, high) = (2 * printed - 1, 2 * printed + 1);
        Percent { low, high, over, low_prints: printed > 0, high_prints: printed < 0 }
    }
}

fn reach(terms: &[Term], amounts: &[Figure]) -> Span {
    terms.iter().fold(Span { low: 0, high: 0 }, |sum, term| {
        let Span { low, high } = match term.source {
            Source::Cell(number) => amounts[number].span(),
            Source::Text(span) => span,
        };
        let ends = (term.times * low, term.times * high);
        Span { low: sum.low + ends.0.min(ends.1), high: sum.high + ends.0.max(ends.1) }
    })
}

fn may_be_zero(cells: &[usize], amounts: &[Figure]) -> bool {
    cells.iter().map(|number| amounts[*number].span()).all(|span| span.low <= 0 && 0 <= span.high)
}

impl Equation {
    /// Whether its conditions hold, so that it is asked at all.
    pub fn applies(&self, amounts: &[Figure]) -> bool {
        self.when.iter().all(|when| may_be_zero(&when.cells, amounts) == when.zero)
    }

    /// Whether no amounts that print so satisfy it.
    pub fn fails(&self, amounts: &[Figure]) -> bool {
        if !self.applies(amounts) {
            return false;
        }
        match &self.claim {
            Claim::Sums { left, relation, right } => {
                let (left, right) = (reach(left, amounts), reach(right, amounts));
                let (at_most, at_least) = (left.low <= right.high, left.high >= right.low);
                match relation {
                    Relation::Equal => !(at_most && at_least),
                    Relation::AtMost => !at_most,
                    Relation::AtLeast => !at_least,
                }
            }
            Claim::Share { share, part, whole } => {
                let (part, whole) = (reach(part, amounts), reach(whole, amounts));
                assert!(whole.low > 0, "{:?}: a whole that may be nothing", self.instance);
                // part / whole reaches from its least over this to its greatest over that: compared crosswise.
                let least_over = if part.low >= 0 { whole.high } else { whole.low };
                let greatest_over = if part.high >= 0 { whole.low } else { whole.high };
                let (least, high) = (part.low * share.over, share.high * least_over);
                let (greatest, low) = (part.high * share.over, share.low * greatest_over);
                let below = least < high || least == high && share.high_prints;
                let above = greatest > low || greatest == low && share.low_prints;
                !(below && above)
            }
            Claim::Mentions { amounts: mentioned, amount } => {
                let amount = reach(amount, amounts);
                let meets = |one: Span| one.low <= amount.high && amount.low <= one.high;
                !mentioned.iter().any(|one| meets(one.span()))
            }
            Claim::ZeroIff { cells, so } => may_be_zero(cells, amounts) != *so,
        }
    }

    /// The amounts that it rests on.
    pub fn cells(&self) -> BTreeSet<usize> {
        let of_terms = |terms: &[Term]| {
            let cells = terms.iter().filter_map(|term| match term.source {
                Source::Cell(number) => Some(number),
                Source::Text(_) => None,
            });
            cells.collect::<Vec<_>>()
        };
        let mut cells: BTreeSet<usize> = self.when.iter().flat_map(|when| when.cells.clone()).collect();
        match &self.claim {
            Claim::Sums { left, right, .. } => cells.extend([of_terms(left), of_terms(right)].concat()),
            Claim::Share { part, whole, .. } => cells.extend([of_terms(part), of_terms(whole)].concat()),
            Claim::Mentions { amount, .. } => cells.extend(of_terms(amount)),
            Claim::ZeroIff { cells: zero, .. } => cells.extend(zero),
        }
        cells
    }
}

/// The equations of a filing, being written down.
pub struct Sheet<'f> {
    pub filing: &'f Filing,
    /// The formulas that have been written down, with or without a row that they hold for.
    pub checks: BTreeSet<(String, usize)>,
    pub equations: Vec<Equation>,
    at: (String, usize),
    when: Vec<When>,
}

impl<'f> Sheet<'f> {
    pub fn new(filing: &'f Filing) -> Sheet<'f> {
        let (checks, equations, at, when) = Default::default();
        Sheet { filing, checks, equations, at, when }
    }

    /// What follows is this formula of a rule.
    pub fn check(&mut self, rule: &str, check: usize) -> &mut Self {
        self.at = (rule.to_owned(), check);
        self.checks.insert(self.at.clone());
        self.when.clear();
        self
    }

    /// What follows of this formula holds only if these cells may all be zero.
    pub fn when_zero(&mut self, cells: &[&str]) -> &mut Self {
        self.guard(cells, true)
    }

    /// What follows of this formula holds only if one of these cells can't be zero.
    pub fn unless_zero(&mut self, cells: &[&str]) -> &mut Self {
        self.guard(cells, false)
    }

    fn guard(&mut self, cells: &[&str], zero: bool) -> &mut Self {
        let cells = cells.iter().filter_map(|cell| self.filing.number(cell)).collect();
        self.when.push(When { cells, zero });
        self
    }

    fn add(&mut self, link: usize, place: &str, claim: Claim) {
        let (rule, check) = self.at.clone();
        let instance = Instance { rule, check, link, place: place.to_owned() };
        self.equations.push(Equation { instance, when: self.when.clone(), claim });
    }

    /// `T03/208/total = T03/208/basic + T03/208/project`: cells, `2*` cells, relations and signs with spaces between.
    /// It is about its first cell. `A = B = C` holds A against each of the others.
    pub fn hold(&mut self, equation: &str) {
        let place = equation.split([' ', '*']).find(|word| word.contains('/')).unwrap().to_owned();
        self.hold_at(&place, equation);
    }

    pub fn hold_at(&mut self, place: &str, equation: &str) {
        let (mut sides, mut relations, mut sign) = (vec![Vec::new()], Vec::new(), 1);
        for word in equation.split(' ').filter(|word| !word.is_empty()) {
            let relation = match word {
                "=" => Relation::Equal,
                "≤" => Relation::AtMost,
                "≥" => Relation::AtLeast,
                "+" | "-" => {
                    sign = if word == "-" { -1 } else { 1 };
                    continue;
                }
                cell => {
                    let (times, cell) = cell.split_once('*').unwrap_or(("1", cell));
                    let times = sign * times.parse::<i128>().unwrap();
                    let source = self.filing.number(cell).map(Source::Cell);
                    sides.last_mut().unwrap().extend(source.map(|source| Term { times, source }));
                    continue;
                }
            };
            relations.push(relation);
            sides.push(Vec::new());
            sign = 1;
        }
        let left = sides.remove(0);
        for (link, (relation, right)) in relations.into_iter().zip(sides).enumerate() {
            self.add(link, place, Claim::Sums { left: left.clone(), relation, right });
        }
    }

    /// An amount from a text, less what stands in some cells, equals what stands in another.
    pub fn hold_text(&mut self, place: &str, text: Span, less: &[&str], cell: &str) {
        let mut left = vec![Term { times: 1, source: Source::Text(text) }];
        let less = less.iter().filter_map(|cell| self.filing.number(cell));
        left.extend(less.map(|number| Term { times: -1, source: Source::Cell(number) }));
        let right = self.terms(&[(1, cell)]);
        self.add(0, place, Claim::Sums { left, relation: Relation::Equal, right });
    }

    /// A percentage equals a part of a whole, if there are both.
    pub fn share(&mut self, share: &str, part: &str, whole: &[(i128, &str)]) {
        let (part, whole) = (self.terms(&[(1, part)]), self.terms(whole));
        if !part.is_empty() && !whole.is_empty() {
            let printed = Percent::read(self.filing.text(share));
            self.add(0, share, Claim::Share { share: printed, part, whole });
        }
    }

    pub fn mentions(&mut self, place: &str, amounts: Vec<Figure>, cell: &str) {
        let amount = self.terms(&[(1, cell)]);
        self.add(0, place, Claim::Mentions { amounts, amount });
    }

    pub fn zero_iff(&mut self, cell: &str, so: bool) {
        let cells = self.filing.number(cell).into_iter().collect();
        self.add(0, cell, Claim::ZeroIff { cells, so });
    }

    fn terms(&self, cells: &[(i128, &str)]) -> Vec<Term> {
        let terms = cells.iter().filter_map(|(times, cell)| {
            self.filing.number(cell).map(|number| Term { times: *times, source: Source::Cell(number) })
        });
        terms.collect()
    }
}
