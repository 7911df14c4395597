//! The equations of `linjiang-2024`, written down once more from the sheets.

use std::collections::BTreeSet;

use super::oracle::{Filing, Sheet, Tree};

/// Formulas that no change of an amount can reach: there are none.
pub const UNTOUCHED: &[(&str, &[usize], &str)] = &[];

const SUBJECTS: &[usize] = &[3, 5, 7];
const CARRIED: [&str; 2] = ["B1/carry/budget", "B3/ending/total"];

/// Rows of the fixed tables that add up others.
const ADDED: &[(&str, &str, &str)] = &[
    ("B1", "grant", "grant_general grant_fund grant_capital"),
    ("B1", "year", "grant special business operating superior subordinate other"),
    ("B1", "total", "year carry"),
    ("B3", "year", "208 210 212 213 221"),
    ("B3", "total", "year ending"),
];

pub fn sheet(filing: &Filing) -> Sheet<'_> {
    let mut sheet = Sheet::new(filing);
    let tree = |table, total, levels| Tree { filing, table, total, levels };
    sheet.check("S-01", 0);
    for tree in [
        tree("B2", "总计", SUBJECTS),
        tree("B4", "合计", SUBJECTS),
        tree("B5", "合计", &[3, 5]),
        tree("B7", "合计", SUBJECTS),
        tree("B8", "合计", &[3, 6, 9]),
    ] {
        for row in tree.rows().iter().filter(|row| !tree.is_leaf(row)) {
            for column in filing.printed_columns(tree.table) {
                sheet.hold(&tree.sum(row, &column, &tree.children(row)));
            }
        }
    }
    sheet.check("S-02", 0);
    for (table, row, parts) in ADDED {
        for column in filing.printed_columns(table) {
            let parts: Vec<String> = parts.split(' ').map(|part| format!("{table}/{part}/{column}")).collect();
            sheet.hold(&format!("{table}/{row}/{column} = {}", parts.join(" + ")));
        }
    }
    for (check, equation) in [
        (1, "B6/-/total = B6/-/abroad + B6/-/vehicle + B6/-/reception"),
        (2, "B6/-/vehicle = B6/-/vehicle_purchase + B6/-/vehicle_running"),
    ] {
        sheet.check("S-02", check).hold(equation);
    }
    across(&mut sheet);
    between_tables(&mut sheet);
    procurement(&mut sheet, &tree("B8", "合计", &[3, 6, 9]));
    sheet
}

/// Equations of a row; `.` stands for table and row.
fn across(sheet: &mut Sheet<'_>) {
    for (rule, check, table, equation) in [
        ("S-03", 0, "B2", "./total = ./basic + ./project + ./remit + ./operating + ./grant"),
        ("S-03", 1, "B2", "./carry ≤ ./total"),
        ("S-03", 2, "B3", "./total = ./general + ./fund + ./capital"),
        ("S-03", 3, "B4", "./total = ./basic + ./project"),
        ("S-03", 4, "B4", "./basic = ./personnel + ./public"),
        ("S-03", 5, "B5", "./total = ./general + ./own"),
        ("S-03", 6, "B7", "./total = ./basic + ./project"),
        ("S-03", 7, "B8", "./total = ./general + ./fund + ./capital + ./own + ./carry"),
        ("S-04", 0, "B1", "./change = ./budget - ./last"),
    ] {
        sheet.check(rule, check);
        for row in sheet.filing.rows(table) {
            sheet.hold(&equation.replace("./", &format!("{table}/{row}/")));
        }
    }
}

fn between_tables(sheet: &mut Sheet<'_>) {
    sheet.check("S-05", 0).when_zero(&CARRIED).hold("B1/total/budget = B2/总计/total");
    sheet.check("S-05", 1).hold("B3/year/general ≥ B4/合计/total");
    sheet.check("S-05", 2).when_zero(&CARRIED).hold("B3/year/general = B4/合计/total");
    sheet.check("S-05", 3).hold("B3/year/fund ≥ B7/合计/total");
    sheet.check("S-05", 4).hold("B5/合计/general = B4/合计/basic");
    sheet.check("S-05", 5).hold("B8/合计/total = B2/总计/project");
    // Totals go by other names in the two tables, and are one row.
    let codes = |table: &str| -> BTreeSet<&str> {
        let rows = sheet.filing.rows(table).iter().map(String::as_str);
        rows.filter(|row| row.bytes().all(|byte| byte.is_ascii_digit())).collect()
    };
    let (spent, public, granted) = (codes("B2"), codes("B4"), codes("B3"));
    sheet.check("S-06", 0).hold("B2/总计/total ≥ B4/合计/total");
    for code in spent.union(&public) {
        sheet.hold(&format!("B2/{code}/total ≥ B4/{code}/total"));
    }
    sheet.check("S-06", 1);
    for class in spent.union(&granted).filter(|code| code.len() == 3) {
        sheet.hold(&format!("B2/{class}/total ≥ B3/{class}/total"));
    }
}

fn procurement(sheet: &mut Sheet<'_>, projects: &Tree<'_>) {
    let filing = sheet.filing;
    sheet.check("S-07", 0);
    for row in filing.rows("B9") {
        let (quantity, price) = (filing.text(&format!("B9/{row}/quantity")), filing.text(&format!("B9/{row}/price")));
        if !quantity.is_empty() && !price.is_empty() {
            sheet.hold(&format!("B9/{row}/amount = {quantity}*B9/{row}/price"));
        }
    }
    sheet.check("S-08", 0);
    for project in projects.leaves() {
        let bought = filing.rows("B9").iter().filter(|row| row.split_once('/').unwrap().0 == project);
        let bought: Vec<String> = bought.map(|row| format!("B9/{row}/amount")).collect();
        if !bought.is_empty() {
            let place = format!("B8/{project}/");
            sheet.hold_at(&place, &format!("{} ≤ B8/{project}/total", bought.join(" + ")));
        }
    }
}
