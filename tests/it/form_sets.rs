//! Nothing about a region is in the code: a form set with random names, published to a running server, is filed on
//! and summed; and the second form set of another shape goes the whole way.

use std::collections::BTreeMap;

use budget_consolidator::budget::form_set::{FormFiles, FormSet};
use budget_consolidator::budget::intake::TableHeader;
use budget_consolidator::budget::submission::{Kind, Round, Slot};
use budget_consolidator::proto::api;
use budget_consolidator::submission_file::{FileTable, SubmissionFile};

use crate::support::*;

/// A small generator of its own: the seed is printed on failure, and gives the same again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn word(&mut self, first: &str, length: u64) -> String {
        let letters = "abcdefghijklmnopqrstuvwxyz";
        let letter = |dice: &mut Dice| letters.chars().nth(dice.roll(26) as usize).unwrap();
        first.chars().chain((0..length).map(|_| letter(self)).collect::<Vec<_>>()).collect()
    }

    fn name(&mut self) -> String {
        let signs: Vec<char> = "甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉戌亥".chars().collect();
        (0..4).map(|_| signs[self.roll(signs.len() as u64) as usize]).collect()
    }
}

/// A form set as generated: one coded table and one with fixed rows.
struct Generated {
    files: FormFiles,
    coded: String,
    columns: Vec<String>,
    fixed: String,
    rows: Vec<String>,
    total: String,
    codes: Vec<String>,
}

fn generate(dice: &mut Dice) -> Generated {
    let (coded, fixed) = (dice.word("K", 5).to_uppercase(), dice.word("F", 5).to_uppercase());
    let columns: Vec<String> = (0..3).map(|at| dice.word(&format!("c{at}"), 4)).collect();
    let rows: Vec<String> = (0..4).map(|at| dice.word(&format!("r{at}"), 4)).collect();
    let (total, axis) = (dice.name(), dice.name());
    // Two levels of two and four digits.
    let parents: Vec<String> = (0..3).map(|at| format!("{}{}", at + 1, dice.roll(10))).collect();
    let codes: Vec<String> =
        parents.iter().flat_map(|parent| [parent.clone(), format!("{parent}01"), format!("{parent}77")]).collect();
    let catalogue: String = codes.iter().map(|code| format!("{code},{}\n", dice.name())).collect();
    let spec = |columns: &[String], dice: &mut Dice| {
        columns.iter().map(|column| format!("{column} = \"{}\"", dice.name())).collect::<Vec<_>>().join(", ")
    };
    let forms = format!(
        "id = \"{id}\"\nyear = 2031\namount = \"元.2\"\n[axis]\n\"{axis}\" = \"上 2, 下 4\"\n[catalogue]\n\"{axis}\" = \"codes.csv\"\n\
         [{coded}]\nname = \"{n1}一\"\nrows = \"{total} > {axis}\"\ncontrol = [\"{c0}\"]\ncolumns = {{ {coded_columns} }}\n\
         [{fixed}]\nname = \"{n2}二\"\nrows = [\"{r0} 甲\", \"{r1} 乙\", \"{r2} 丙\", \"{r3} 计 = {r0}..{r2}\"]\ncolumns = {{ {fixed_columns} }}\n",
        id = dice.word("g", 6),
        n1 = dice.name(),
        n2 = dice.name(),
        c0 = columns[0],
        coded_columns = spec(&columns, dice),
        fixed_columns = spec(&columns, dice),
        r0 = rows[0],
        r1 = rows[1],
        r2 = rows[2],
        r3 = rows[3],
    );
    let files = FormFiles::from([
        ("forms.toml".to_owned(), forms.into_bytes()),
        ("codes.csv".to_owned(), format!("code,name\n{catalogue}").into_bytes()),
    ]);
    Generated { files, coded, columns, fixed, rows, total, codes }
}

/// Sums by table, row and column, in 分.
type Sums = BTreeMap<(String, String, String), i128>;

/// A filing with random amounts, and what it adds to the sums.
fn file_for(
    unit_code: &str,
    form: &FormSet,
    generated: &Generated,
    dice: &mut Dice,
    sums: &mut Sums,
) -> SubmissionFile {
    let mut table = |id: &str, keys: Vec<String>| {
        let rows = keys.into_iter().map(|key| {
            let value = |column: &String| {
                if dice.roll(5) == 0 {
                    return String::new();
                }
                let fen = i128::from(dice.roll(1_000_000_000));
                *sums.entry((id.to_owned(), key.clone(), column.clone())).or_default() += fen;
                format!("{}.{:02}", fen / 100, fen % 100)
            };
            let values: Vec<String> = generated.columns.iter().map(value).collect();
            (key, values)
        });
        let header = TableHeader { id: id.to_owned(), columns: generated.columns.clone(), ..TableHeader::default() };
        FileTable { header, rows: rows.collect() }
    };
    // Some codes are used by some units only; their parents always stand above them.
    let keys = std::iter::once(generated.total.clone()).chain(generated.codes.iter().cloned()).collect();
    let tables = vec![table(&generated.coded, keys), table(&generated.fixed, generated.rows.clone())];
    let slot = Slot { unit: unit_code.into(), year: 2031, round: Round::Second, kind: Kind::Unit };
    SubmissionFile { form_set: form.id.to_string(), slot, note: String::new(), tables }
}

/// The exact sums that a view shows.
fn shown_sums(view: &api::ViewResponse) -> Sums {
    let mut sums = Sums::new();
    for table in &view.tables {
        for row in &table.rows {
            for (column, cell) in table.columns.iter().zip(&row.cells).filter(|(_, cell)| !cell.exact.is_empty()) {
                let fen = cell.exact.replace('.', "").parse().unwrap();
                sums.insert((table.id.clone(), row.key.clone(), column.id.clone()), fen);
            }
        }
    }
    sums
}

#[tokio::test]
async fn a_form_set_with_random_names_is_published_filed_on_and_summed() {
    for seed in [1_u64, 20_240_117, 987_654_321] {
        println!("seed {seed}");
        let mut dice = Dice(seed);
        let generated = generate(&mut dice);
        let form = FormSet::load(generated.files.clone()).unwrap();
        let server = TestServer::start().await;
        let administrator = server.client(ADMINISTRATOR).await;
        let files = generated
            .files
            .iter()
            .map(|(name, content)| api::FormFile { name: name.clone(), content: content.clone() });
        let request = api::PublishFormSetRequest { idempotency_key: new_key(), files: files.collect() };
        let published = administrator.registry().publish_form_set(request).await.unwrap().into_inner();
        assert_eq!(published.digest, form.digest.0);
        let node = |code: &str, parent: &str, role: &str| api::UnitNode {
            code: code.into(),
            parent: parent.into(),
            name: dice_name(code),
            role: role.into(),
            budgeted: role == "unit",
            ..Default::default()
        };
        let nodes = vec![
            node("9", "0", "department"),
            node("91", "9", "unit"),
            node("911", "91", "unit"),
            node("92", "9", "unit"),
        ];
        let request = api::ImportUnitsRequest { idempotency_key: new_key(), year: 2031, nodes };
        administrator.registry().import_units(request).await.unwrap();
        let mut sums = Sums::new();
        for code in ["91", "911", "92"] {
            // Filed once with other figures, then again: only the last counts.
            let first = file_for(code, &form, &generated, &mut dice, &mut Sums::new());
            let second = file_for(code, &form, &generated, &mut dice, &mut sums);
            for file in [first, second] {
                let answer = server.client(&unit(code)).await.submit(&file, &form).await.unwrap();
                let verdict = answer.verdict.unwrap();
                assert_eq!(verdict.outcome, i32::from(api::Outcome::Submitted), "{:?}", verdict.findings);
            }
        }
        let view = server.client(BUREAU).await.view("9", &[], false).await.unwrap();
        assert_eq!(shown_sums(&view), sums, "seed {seed}");
        server.stop().await;
    }
}

fn dice_name(code: &str) -> String {
    format!("随机单位{code}（虚构）")
}

#[tokio::test]
async fn the_second_form_set_goes_the_whole_way() {
    let server = TestServer::start().await;
    server.furnish("linjiang-2024", "linjiang-2024", 2024).await;
    let form = form("linjiang-2024");
    let mut outcomes = Vec::new();
    for code in ["508001", "508002", "508002001"] {
        let file = example(&format!("linjiang-2024/submissions/{code}.json"));
        outcomes.push(server.client(&unit(code)).await.submit(&file, &form).await.unwrap());
    }
    assert!(outcomes.iter().all(|answer| answer.version == 1), "{outcomes:#?}");
    let department = server.client("budget://508/department").await;
    let before = department.view("508", &[], false).await.unwrap();
    assert_eq!((before.filings, before.expected), (3, 3));
    // The department's own printed budget is kept, and enters no sum.
    let own = department.submit(&example("linjiang-2024/submissions/508.json"), &form).await.unwrap();
    assert_eq!(own.version, 1, "{own:#?}");
    let after = department.view("508", &[], false).await.unwrap();
    assert_eq!(shown_sums(&before), shown_sums(&after));
    // It was made as the sum of its units, so what it prints is what the view shows, to the 分.
    let printed = example("linjiang-2024/submissions/508.json").read_on(&form);
    let mut compared = 0;
    for table in after.tables.iter().filter(|table| table.roll_up == "sum") {
        let (index, _) = form.table(&table.id).unwrap();
        for row in &table.rows {
            let filed = printed.submission.table(index).and_then(|filed| filed.row(&row.key));
            for (at, cell) in row.cells.iter().enumerate().filter(|(_, cell)| !cell.exact.is_empty()) {
                let filed =
                    filed.and_then(|row| row.cells[at].amount()).unwrap_or_else(|| panic!("{} {}", table.id, row.key));
                assert_eq!(filed.value.to_string(), cell.exact, "{} {} {at}", table.id, row.key);
                compared += 1;
            }
        }
    }
    assert!(compared > 50, "{compared}");
    server.stop().await;
}

#[tokio::test]
async fn difference_forms_adjust_the_parent_and_nobody_below() {
    let server = TestServer::fenyang().await;
    let form = form("shanxi-2024");
    let file = example("fenyang-2024/submissions/407004.json");
    server.client(&unit("407004")).await.submit(&file, &form).await.unwrap();
    let delta = SubmissionFile {
        slot: Slot { unit: "407".into(), kind: Kind::Difference, ..file.slot.clone() },
        note: String::new(),
        form_set: file.form_set.clone(),
        tables: vec![FileTable {
            header: TableHeader { id: "T03".into(), columns: vec!["total".into()], ..TableHeader::default() },
            rows: vec![("合计".into(), vec!["-1.25".into()])],
        }],
    };
    let department = server.client(DEPARTMENT).await;
    assert_eq!(department.submit(&delta, &form).await.unwrap().version, 1);
    let view = department.view("407", &["T03"], true).await.unwrap();
    let cell = |table: &api::ShownTable| table.rows.iter().find(|row| row.key == "合计").unwrap().cells[1].clone();
    let total = cell(&view.tables[0]);
    assert_eq!((total.reported.as_str(), total.adjusted.as_str()), ("1629400.00", "-12500.00"));
    assert_eq!(total.exact, "1616900.00");
    let below = view.children.iter().find(|child| child.code == "407004").unwrap();
    assert_eq!(cell(&below.tables[0]).exact, "1629400.00");
    server.stop().await;
}

#[tokio::test]
async fn a_filing_on_another_form_set_can_not_slip_by_its_ceiling() {
    let server = TestServer::fenyang().await;
    let form = form("linjiang-2024");
    let mut file = example("linjiang-2024/submissions/508001.json");
    file.slot.unit = "407005".into();
    let refused = server.client(&unit("407005")).await.submit(&file, &form).await.unwrap_err();
    assert_eq!(reason(&refused), "CEILING_ELSEWHERE", "{refused:?}");
    assert!(refused.message().contains("T03/合计/"), "{}", refused.message());
    server.stop().await;
}
