//! The equations of `shanxi-2024`, written down once more from the sheets: which cells add up to which.

use std::collections::BTreeSet;

use super::oracle::{Filing, Sheet, Tree, heads, mentioned_amounts, rate, whole_amount};
use crate::support::*;

const FUNCTIONS: &[usize] = &[3, 5, 7];
const ECONOMIC: &[usize] = &[3, 5];
const REVENUE: &[usize] = &[3, 5, 7, 9];

/// The tables of the official form, and the performance forms.
pub const PRINTED: [&str; 17] = [
    "T01A", "T01B", "T02", "T03", "T04A", "T04B", "T05", "T06", "T07", "T08", "T09A", "T09B", "T10", "T11", "T12",
    "T13", "PF",
];

/// Formulas that no change of an amount can reach, and why. An amount that changes is still an amount.
pub const UNTOUCHED: &[(&str, &[usize], &str)] = &[
    ("P-05", &[0, 1], "which projects have a form"),
    ("P-06", &[0], "names"),
    ("P-08", &[0], "texts of indicators"),
    ("P-10", &[0], "texts of indicators"),
    ("P-12", &[0], "a date"),
    ("A-01", &[0], "a written sum against a text"),
    ("N-03", &[8, 11], "percentages alone"),
    ("N-07", &[0, 2, 4, 6, 7, 10, 12, 13], "counts"),
    ("N-08", &[1, 2], "which projects a goal means"),
    ("N-09", &[0], "names"),
    ("N-11", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "vehicles and years"),
    ("N-12", &[0, 1], "whether a table is blank"),
    ("N-13", &[0, 1], "whether something is filled in"),
    ("U-01", &[0], "people"),
    ("U-02", &[0, 1, 2], "names and codes"),
    ("E-01", &[0], "names of economic items"),
    ("E-02", &[0], "whether a table is blank"),
];

/// Rows of the fixed tables that add up others.
const ADDED: &[(&str, &str, &str)] = &[
    ("T01A", "year", "general fund capital special own"),
    ("T01A", "total", "year carry"),
    ("T01B", "total", "year ending"),
    ("T04A", "year", "general fund capital"),
    ("T04A", "carry", "carry_general carry_fund carry_capital"),
    ("T04A", "total", "year carry"),
    ("T04B", "total", "year ending"),
];

const CARRIED: [&str; 2] = ["T01A/carry/amount", "T01B/ending/total"];
const NOT_GRANTED: [&str; 2] = ["T01A/special/amount", "T01A/own/amount"];
const NOT_GENERAL: [&str; 6] = [
    "T01A/special/amount",
    "T01A/own/amount",
    "T01A/carry/amount",
    "T01B/ending/total",
    "T01A/fund/amount",
    "T01A/capital/amount",
];

pub fn sheet(filing: &Filing) -> Sheet<'_> {
    let mut sheet = Sheet::new(filing);
    vertical(&mut sheet);
    horizontal(&mut sheet);
    between_tables(&mut sheet);
    by_code(&mut sheet);
    projects(&mut sheet);
    notes(&mut sheet);
    sheet
}

fn functions<'f>(filing: &'f Filing, table: &'static str) -> Tree<'f> {
    Tree { filing, table, total: "合计", levels: FUNCTIONS }
}

fn economic(filing: &Filing) -> Tree<'_> {
    Tree { filing, table: "T06", total: "合计", levels: ECONOMIC }
}

fn list<'f>(filing: &'f Filing, table: &'static str) -> Tree<'f> {
    let total = if table == "T11" { "部门合计" } else { "单位合计" };
    Tree { filing, table, total, levels: &[] }
}

/// Each row equals the rows below it.
fn children(sheet: &mut Sheet<'_>, tree: &Tree<'_>, rows: impl Fn(&str) -> bool) {
    for row in tree.rows().iter().filter(|row| rows(row) && !tree.is_leaf(row)) {
        for column in sheet.filing.printed_columns(tree.table) {
            sheet.hold(&tree.sum(row, &column, &tree.children(row)));
        }
    }
}

/// The total equals the lowest rows. It is called by its name, so it is there in an empty table too, and blank.
fn leaves(sheet: &mut Sheet<'_>, tree: &Tree<'_>) {
    for column in sheet.filing.printed_columns(tree.table) {
        sheet.hold(&tree.sum(tree.total, &column, &tree.leaves()));
    }
}

fn added(sheet: &mut Sheet<'_>, table: &str, row: &str, parts: &[&str]) {
    for column in sheet.filing.printed_columns(table) {
        let parts: Vec<String> = parts.iter().map(|part| format!("{table}/{part}/{column}")).collect();
        sheet.hold(&format!("{table}/{row}/{column} = {}", parts.join(" + ")));
    }
}

/// Three digits, as a class has.
fn is_class(key: &str) -> bool {
    key.len() == 3 && key.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_item(key: &str) -> bool {
    key.len() == 7 && key.bytes().all(|byte| byte.is_ascii_digit())
}

/// Rows that are in either table.
fn either<'f>(filing: &'f Filing, a: &str, b: &str) -> BTreeSet<&'f str> {
    filing.rows(a).iter().chain(filing.rows(b)).map(String::as_str).collect()
}

fn vertical(sheet: &mut Sheet<'_>) {
    let filing = sheet.filing;
    for (check, tables) in [(0, &["T02", "T03", "T05"][..]), (1, &["T08", "T09B"])] {
        sheet.check("V-01", check);
        tables.iter().for_each(|table| children(sheet, &functions(filing, table), |_| true));
    }
    for table in ["T07", "T09A"] {
        children(sheet, &Tree { filing, table, total: "合计", levels: REVENUE }, |_| true);
    }
    sheet.check("V-02", 0);
    for table in ["T02", "T03", "T05", "T08", "T09B"] {
        leaves(sheet, &functions(filing, table));
    }
    let items = economic(filing);
    sheet.check("V-03", 0);
    children(sheet, &items, is_class);
    sheet.check("V-04", 0);
    children(sheet, &items, |row| row == "合计");
    sheet.check("V-04", 1);
    leaves(sheet, &items);
    sheet.check("V-05", 0);
    for (table, row, parts) in ADDED {
        added(sheet, table, row, &parts.split(' ').collect::<Vec<_>>());
    }
    for table in ["T01B", "T04B"] {
        let classes: Vec<&str> = filing.rows(table).iter().map(String::as_str).filter(|row| is_class(row)).collect();
        added(sheet, table, "year", &classes);
    }
    sheet.check("V-05", 1);
    if !filing.rows("T10").is_empty() {
        added(sheet, "T10", "vehicle", &["vehicle_purchase", "vehicle_running"]);
        added(sheet, "T10", "total", &["abroad", "reception", "vehicle"]);
    }
    sheet.check("V-05", 2);
    if !filing.rows("OWN").is_empty() {
        let parts = ["business", "operating", "superior", "subordinate", "other"];
        sheet.hold(&format!("OWN/total/amount = {}", parts.map(|part| format!("OWN/{part}/amount")).join(" + ")));
    }
    sheet.check("V-06", 0);
    for table in ["T11", "T12", "T13"] {
        children(sheet, &list(filing, table), |_| true);
    }
}

fn horizontal(sheet: &mut Sheet<'_>) {
    let sources = "general fund capital special own";
    for (rule, check, tables, parts) in [
        ("H-01", 0, "T03 T05 T08 T09B", "basic project"),
        ("H-02", 0, "T02", sources),
        ("H-03", 0, "T06", "personnel public"),
        ("H-04", 0, "T12", sources),
        ("H-04", 1, "T10 T11 T13", "general fund capital"),
        ("H-05", 0, "T01B", "current carry"),
        ("H-05", 1, "T04B", "general fund capital"),
    ] {
        sheet.check(rule, check);
        for table in tables.split(' ') {
            for row in sheet.filing.rows(table) {
                let parts: Vec<String> = parts.split(' ').map(|part| format!("{table}/{row}/{part}")).collect();
                sheet.hold(&format!("{table}/{row}/total = {}", parts.join(" + ")));
            }
        }
    }
}

fn between_tables(sheet: &mut Sheet<'_>) {
    for (check, equation) in [
        "T01A/total/amount = T01B/total/total",
        "T01A/total/amount = T02/合计/total + T02/合计/carry",
        "T01A/year/amount = T02/合计/total",
        "T01A/general/amount = T02/合计/general = T04A/general/amount",
        "T01A/fund/amount = T02/合计/fund = T04A/fund/amount",
        "T01A/capital/amount = T02/合计/capital = T04A/capital/amount",
        "T01A/special/amount = T02/合计/special",
        "T01A/own/amount = T02/合计/own",
        "T01A/carry/amount = T02/合计/carry",
        "T01B/year/total = T03/合计/total",
        "T04A/total/amount = T04B/total/total",
    ]
    .into_iter()
    .enumerate()
    {
        sheet.check("T-01", check).hold(equation);
    }
    sheet.check("T-01", 11).when_zero(&NOT_GRANTED).hold("T01A/total/amount = T04A/total/amount = T04B/total/total");
    sheet.check("T-05", 0).hold("T06/合计/total = T05/合计/basic");
    sheet.check("T-06", 0).hold("T12/单位合计/total + T13/单位合计/total = T03/合计/project");
}

fn by_code(sheet: &mut Sheet<'_>) {
    let filing = sheet.filing;
    sheet.check("T-02", 0).when_zero(&CARRIED);
    for code in either(filing, "T02", "T03") {
        sheet.hold(&format!("T02/{code}/total = T03/{code}/total"));
    }
    for (check, relation) in [(0, "="), (1, "≥")] {
        match check {
            0 => sheet.check("T-03", 0).when_zero(&NOT_GENERAL),
            _ => sheet.check("T-03", 1).unless_zero(&NOT_GENERAL),
        };
        for code in either(filing, "T03", "T05") {
            for column in ["total", "basic", "project"] {
                sheet.hold(&format!("T03/{code}/{column} {relation} T05/{code}/{column}"));
            }
        }
    }
    for (check, overview, column, detail) in [
        (0, "T01B", "total", "T03"),
        (1, "T04B", "general", "T05"),
        (2, "T04B", "fund", "T08"),
        (3, "T04B", "capital", "T09B"),
    ] {
        sheet.check("T-04", check);
        if check > 0 {
            sheet.when_zero(&CARRIED);
        }
        for class in either(filing, overview, detail).into_iter().filter(|code| is_class(code)) {
            sheet.hold(&format!("{overview}/{class}/{column} = {detail}/{class}/total"));
        }
    }
    fixed_items(sheet);
    sheet.check("T-09", 0).when_zero(&CARRIED);
    let of_projects = |wanted: &dyn Fn(&str, &str) -> bool| {
        let rows = filing.rows("PFUNC").iter().filter(|key| key.split_once('/').is_some_and(|(a, b)| wanted(a, b)));
        rows.map(|key| format!("PFUNC/{key}/amount")).collect::<Vec<_>>().join(" + ")
    };
    for item in filing.rows("T03").iter().filter(|code| is_item(code)) {
        sheet.hold(&format!("T03/{item}/project = {}", of_projects(&|_, code| code == item)));
    }
    sheet.check("T-09", 1);
    for project in list(filing, "T12").leaves() {
        sheet.hold(&format!("T12/{project}/total = {}", of_projects(&|of, _| of == project)));
    }
    for (check, relation) in [(2, "="), (3, "≤")] {
        match check {
            2 => sheet.check("T-09", 2).when_zero(&NOT_GENERAL),
            _ => sheet.check("T-09", 3).unless_zero(&NOT_GENERAL),
        };
        for item in filing.rows("T05").iter().filter(|code| is_item(code)) {
            sheet.hold(&format!("T05/{item}/project {relation} {}", of_projects(&|_, code| code == item)));
        }
    }
}

/// In a public institution some function codes fix the economic item.
fn fixed_items(sheet: &mut Sheet<'_>) {
    let filing = sheet.filing;
    let pairs = std::fs::read_to_string(project("forms/shanxi-2024/function_economic.csv")).unwrap();
    let pairs: Vec<Vec<&str>> = pairs.lines().skip(1).map(|line| line.splitn(3, ',').collect()).collect();
    let institution = filing.text("UNIT/-/type") == "事业";
    sheet.check("T-07", 0);
    for pair in pairs.iter().filter(|_| institution) {
        sheet.hold(&format!("T05/{}/basic = T06/{}/total", pair[0], pair[1]));
    }
    sheet.check("T-08", 0);
    if institution {
        let rest = |tree: &Tree<'_>, column: &str, part: usize| {
            let free = |code: &&str| !pairs.iter().any(|pair| pair[part] == *code);
            let cells = tree.leaves().into_iter().filter(free).map(|code| format!("{}/{code}/{column}", tree.table));
            cells.collect::<Vec<_>>().join(" + ")
        };
        let (by_function, by_item) = (rest(&functions(filing, "T05"), "basic", 0), rest(&economic(filing), "total", 1));
        sheet.hold(&format!("{by_function} = {by_item}"));
    }
    sheet.check("U-03", 0);
    let has = |item: &str| filing.rows("T06").iter().any(|row| row == item);
    if has("30108") && has("30109") {
        sheet.hold("T06/30108/total = 2*T06/30109/total");
    }
    sheet.check("U-03", 1);
    if has("30229") && has("30228") {
        sheet.hold("4*T06/30229/total = 7*T06/30228/total");
    }
}

const LEVELS: [&str; 5] = ["central", "provincial", "local", "self", "other"];

fn projects(sheet: &mut Sheet<'_>) {
    let filing = sheet.filing;
    let one_year = |project: &str| filing.text(&format!("PF/{project}/period")) == "1";
    for project in filing.rows("PF") {
        let pf = format!("PF/{project}");
        sheet.check("P-01", 0).hold(&format!("{pf}/annual_total = T12/{project}/total"));
        for (check, time) in ["impl", "annual"].into_iter().enumerate() {
            let levels = LEVELS.map(|level| format!("{pf}/{time}_{level}")).join(" + ");
            sheet.check("P-02", check).hold(&format!("{pf}/{time}_total = {levels}"));
        }
        sheet.check("P-03", 0);
        if one_year(project) {
            sheet.hold(&format!("{pf}/impl_total = {pf}/annual_total"));
        }
        for (check, level) in LEVELS.into_iter().enumerate() {
            sheet.check("P-04", check);
            if one_year(project) {
                sheet.hold(&format!("{pf}/impl_{level} = {pf}/annual_{level}"));
            }
        }
        sheet.check("P-09", 0);
        let mentioned = mentioned_amounts(filing.text(&format!("{pf}/overview")));
        if !mentioned.is_empty() {
            sheet.mentions(&format!("{pf}/overview"), mentioned, &format!("{pf}/annual_total"));
        }
        heads_times_rate(sheet, project);
    }
    for (check, time) in ["annual", "impl"].into_iter().enumerate() {
        sheet.check("P-07", check);
        for row in filing.rows("PI") {
            let text = |column: &str| filing.text(&format!("PI/{row}/{time}_{column}"));
            let costs = text("class") == "成本指标" || text("name") == "拨付补助金额";
            if let Some(amount) = whole_amount(text("value")).filter(|_| costs) {
                let project = row.split_once('/').unwrap().0;
                sheet.hold_text(
                    &format!("PI/{row}/{time}_value"),
                    amount.span(),
                    &[],
                    &format!("PF/{project}/{time}_total"),
                );
            }
        }
    }
}

/// A rate is for so many months; if the form doesn't say how many, for twelve if it is one a month, else for one time.
fn heads_times_rate(sheet: &mut Sheet<'_>, project: &str) {
    let filing = sheet.filing;
    let rows = filing.rows("PI").iter().filter(|row| row.split_once('/').unwrap().0 == project);
    let values: Vec<&str> = rows.map(|row| filing.text(&format!("PI/{row}/annual_value"))).collect();
    let people: Vec<i128> = values.iter().filter_map(|value| heads(value)).collect();
    let rates: Vec<(i128, bool)> =
        values.iter().filter_map(|value| Some((rate(value)?, value.contains('月')))).collect();
    let months = filing.text(&format!("PF/{project}/months"));
    for check in 0..3 {
        sheet.check("P-13", check);
        let ([(rate, monthly)], false) = (&rates[..], people.is_empty()) else { continue };
        let times = match (months, monthly) {
            ("", false) => (1, 1),
            ("", true) => (2, 12),
            (months, _) => (0, months.parse::<i128>().unwrap()),
        };
        if times.0 == check {
            let product = people.iter().sum::<i128>() * rate * times.1;
            let (opening, total) = (format!("PF/{project}/opening"), format!("PF/{project}/annual_total"));
            let exactly = super::oracle::Span { low: product, high: product };
            sheet.hold_text(&format!("PF/{project}/"), exactly, &[&opening], &total);
        }
    }
}

/// Notes that quote a table: the column of the notes, and what it is held against.
const QUOTED: &[(&str, &[&str])] = &[
    (
        "N-01",
        &[
            "income_total = T01A/total/amount",
            "income_budget = T01A/total/amount",
            "income_year = T01A/year/amount",
            "income_carry = T01A/carry/amount = NOTE/-/carry",
            "expense_total = T01B/total/total = NOTE/-/expense_budget",
            "expense_year = T01B/year/current",
            "expense_carry = T01B/year/carry",
            "grant_total = T04A/total/amount",
            "general_scale = T05/合计/total = NOTE/-/general_expense",
        ],
    ),
    (
        "N-02",
        &[
            "general = T01A/general/amount",
            "fund = T01A/fund/amount",
            "capital = T01A/capital/amount",
            "special = T01A/special/amount",
            "own = T01A/own/amount",
            "basic = T03/合计/basic",
            "project = T03/合计/project",
            "grant_general = T04A/general/amount",
            "grant_fund = T04A/fund/amount",
            "grant_capital = T04A/capital/amount",
            "grant_year = T04A/year/amount",
            "grant_carry = T04A/carry/amount",
            "grant_208 = T04B/208/total",
            "grant_210 = T04B/210/total",
            "grant_221 = T04B/221/total",
            "general_208 = T05/208/total",
            "general_210 = T05/210/total",
            "general_221 = T05/221/total",
            "general_basic = T05/合计/basic",
            "personnel = T06/合计/personnel",
            "public = T06/合计/public",
        ],
    ),
];

fn notes(sheet: &mut Sheet<'_>) {
    let filing = sheet.filing;
    for (rule, quoted) in QUOTED {
        for (check, equation) in quoted.iter().enumerate() {
            sheet.check(rule, check);
            let listed = |class: &str| filing.rows("T05").iter().any(|row| row == class);
            if !equation.starts_with("general_2") || listed(&equation["general_".len()..][..3]) {
                sheet.hold(&format!("NOTE/-/{equation}"));
            }
        }
    }
    for (check, (share, part, whole)) in [
        (0, ("general_share", "general", "income_budget")),
        (1, ("fund_share", "fund", "income_budget")),
        (2, ("capital_share", "capital", "income_budget")),
        (3, ("special_share", "special", "income_budget")),
        (4, ("own_share", "own", "income_budget")),
        (5, ("carry_share", "carry", "income_budget")),
        (6, ("basic_share", "basic", "expense_budget")),
        (7, ("project_share", "project", "expense_budget")),
        (9, ("general_208_share", "general_208", "general_expense")),
        (10, ("published_share", "published_amount", "managed_amount")),
    ] {
        let [share, part, whole] = [share, part, whole].map(|column| format!("NOTE/-/{column}"));
        sheet.check("N-03", check).share(&share, &part, &[(1, &whole)]);
    }
    for (check, (growth, more, now)) in [
        ("income_growth", "income_increase", "income_total"),
        ("expense_growth", "expense_increase", "expense_total"),
        ("general_growth", "general_increase", "general_scale"),
    ]
    .into_iter()
    .enumerate()
    {
        let [growth, more, now] = [growth, more, now].map(|column| format!("NOTE/-/{column}"));
        sheet.check("N-04", check).share(&growth, &more, &[(1, &now), (-1, &more)]);
    }
    procurement(sheet);
    project_notes(sheet);
    sheet.check("N-12", 2);
    let none = filing.text("T01A/carry/amount").is_empty() && filing.is_blank("T13");
    sheet.zero_iff("NOTE/-/income_carry", none);
}

fn procurement(sheet: &mut Sheet<'_>) {
    let filing = sheet.filing;
    for (check, equation) in [
        "PROCUREMENT/total/amount = PROCUREMENT/goods/amount + PROCUREMENT/works/amount + PROCUREMENT/services/amount",
        "NOTE/-/procurement = NOTE/-/procurement_goods + NOTE/-/procurement_works + NOTE/-/procurement_services",
        "NOTE/-/procurement = PROCUREMENT/total/amount",
        "NOTE/-/procurement_goods = PROCUREMENT/goods/amount",
        "NOTE/-/procurement_works = PROCUREMENT/works/amount",
        "NOTE/-/procurement_services = PROCUREMENT/services/amount",
    ]
    .into_iter()
    .enumerate()
    {
        sheet.check("N-05", check).hold(equation);
    }
    let marked =
        list(filing, "T12").leaves().into_iter().filter(|row| filing.text(&format!("T12/{row}/procurement")) == "是");
    let marked = marked.map(|row| format!("T12/{row}/total"));
    let running = economic(filing).leaves().into_iter().map(|row| format!("T06/{row}/procurement")).collect::<Vec<_>>();
    let parts: Vec<String> = marked.chain(running).collect();
    sheet.check("N-06", 0).hold(&format!("PROCUREMENT/total/amount = {}", parts.join(" + ")));
}

fn project_notes(sheet: &mut Sheet<'_>) {
    let filing = sheet.filing;
    let of_kind = |kind: &str| {
        let rows =
            list(filing, "T12").leaves().into_iter().filter(|row| filing.text(&format!("T12/{row}/kind")) == kind);
        rows.map(|row| format!("T12/{row}/total")).collect::<Vec<_>>().join(" + ")
    };
    let with_form = |kind: &str| {
        let printed = filing.rows("PF").iter().filter(|row| filing.text(&format!("T12/{row}/kind")) == kind);
        printed.map(|row| format!("T12/{row}/total")).collect::<Vec<_>>().join(" + ")
    };
    let forms: Vec<String> = filing.rows("PF").iter().map(|row| format!("PF/{row}/annual_total")).collect();
    for (check, equation) in [
        (1, "managed_amount = NOTE/-/managed_running_amount + NOTE/-/managed_target_amount".to_owned()),
        (3, "published_amount = NOTE/-/published_running_amount + NOTE/-/published_target_amount".to_owned()),
        (5, "managed_amount = T12/单位合计/total".to_owned()),
        (8, format!("managed_running_amount = {}", of_kind("其他运转类"))),
        (9, format!("managed_target_amount = {}", of_kind("特定目标类"))),
        (11, format!("published_amount = {}", forms.join(" + "))),
        (14, format!("published_running_amount = {}", with_form("其他运转类"))),
        (15, format!("published_target_amount = {}", with_form("特定目标类"))),
    ] {
        sheet.check("N-07", check).hold(&format!("NOTE/-/{equation}"));
    }
    sheet.check("N-08", 0);
    for goal in filing.rows("GOAL") {
        let projects = filing.rows("GOALMAP").iter().filter_map(|key| key.split_once('/')).filter(|(of, _)| of == goal);
        let projects: Vec<String> = projects.map(|(_, project)| format!("T12/{project}/total")).collect();
        sheet.hold(&format!("GOAL/{goal}/amount = {}", projects.join(" + ")));
    }
    let goals: Vec<String> = filing.rows("GOAL").iter().map(|goal| format!("GOAL/{goal}/amount")).collect();
    sheet.check("N-08", 3).hold(&format!("T03/合计/project = {}", goals.join(" + ")));
}
