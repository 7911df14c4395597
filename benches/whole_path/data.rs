//! Seeded filings: the same units with the same figures in every run.
//!
//! Amounts are drawn and added up from leaves, so that sums, tables and projects agree with each other as in a real
//! budget. What people wrote (projects, performance forms, indicators, notes) comes from the real unit in `examples/`:
//! invented prose would compress better or worse than the real one. Each unit files codes and projects of its own.

use std::collections::{BTreeMap, BTreeSet};

use budget_consolidator::budget::form_set::FormSet;
use budget_consolidator::budget::intake::TableHeader;
use budget_consolidator::budget::submission::{Kind, Round, Slot};
use budget_consolidator::consolidator::embedded_form_sets;
use budget_consolidator::proto::{TableHeader as TableMessage, api};
use budget_consolidator::submission_file::{FileTable, SubmissionFile};
use prost::Message;
use prost::bytes::Bytes;

pub(crate) const FORM_SET: &str = "shanxi-2024";
pub(crate) const YEAR: u16 = 2024;
const UNITS_PER_DEPARTMENT: usize = 20;
const CHUNK_ROWS: usize = 256;
/// Where real prose comes from.
const TEMPLATE: &str = include_str!("../../examples/fenyang-2024/submissions/407002.json");

/// A filing, encoded message by message as it goes over the wire.
pub(crate) struct Filing {
    pub(crate) unit: String,
    pub(crate) messages: Vec<Bytes>,
    /// The last message for a server whose form set has no rules: the digest is of another version.
    pub(crate) seal_without_rules: Bytes,
    pub(crate) rows: u64,
    /// Cells with something in them.
    pub(crate) cells: u64,
    /// Bytes of all messages.
    pub(crate) bytes: u64,
}

pub(crate) struct Generator {
    pub(crate) form: FormSet,
    /// The same without its rules.
    pub(crate) form_without_rules: FormSet,
    template: BTreeMap<String, FileTable>,
    functions: Vec<String>,
    economics: Vec<String>,
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn between(&mut self, from: usize, to: usize) -> usize {
        from + (self.next() % (to - from + 1) as u64) as usize
    }

    fn some<'a>(&mut self, all: &'a [String], count: usize) -> Vec<&'a str> {
        let mut chosen = BTreeSet::new();
        while chosen.len() < count.min(all.len()) {
            chosen.insert(all[self.between(0, all.len() - 1)].as_str());
        }
        chosen.into_iter().collect()
    }
}

/// Hundredths of 万元 as text; nothing is blank, as units print it.
fn wan(hundredths: i64) -> String {
    if hundredths == 0 { String::new() } else { format!("{}.{:02}", hundredths / 100, hundredths % 100) }
}

fn text(text: &str) -> String {
    text.to_owned()
}

type Rows = Vec<(String, Vec<String>)>;

impl Generator {
    pub(crate) fn new() -> Generator {
        let files = embedded_form_sets().into_iter().map(FormSet::load);
        let form = files.filter_map(Result::ok).find(|form| form.id == FORM_SET).expect("the form set is embedded");
        let files = form.files.iter().filter(|(name, _)| *name != "rules.toml");
        let files = files.map(|(name, bytes)| (name.clone(), bytes.clone())).collect();
        let form_without_rules = FormSet::load(files).expect("a form set needs no rules");
        let template = SubmissionFile::read(TEMPLATE).expect("the example reads");
        let template = template.tables.into_iter().map(|table| (table.header.id.to_string(), table)).collect();
        let leaves = |table: &str, digits: usize| -> Vec<String> {
            let axis = form.table(table).and_then(|(_, table)| form.code_axis(table)).expect("a coded table");
            let names = &form.axes[axis].catalogue.as_ref().expect("a catalogue").names;
            names.keys().filter(|code| code.len() == digits).map(ToString::to_string).collect()
        };
        let economics = leaves("T06", 5).into_iter().filter(|code| code.as_str() < "304").collect();
        let functions = leaves("T03", 7);
        Generator { form, form_without_rules, template, functions, economics }
    }

    pub(crate) fn department(unit: usize) -> String {
        format!("d{:04}", unit / UNITS_PER_DEPARTMENT)
    }

    pub(crate) fn code(unit: usize) -> String {
        format!("{}u{:02}", Generator::department(unit), unit % UNITS_PER_DEPARTMENT)
    }

    /// The tree of so many units, 20 under each department.
    pub(crate) fn units(&self, count: usize) -> Vec<api::UnitNode> {
        let node = |code: String, parent: String, role: &str| api::UnitNode {
            name: format!("单位{code}"),
            role: role.to_owned(),
            budgeted: role == "unit",
            code,
            parent,
            ..api::UnitNode::default()
        };
        let departments = (0..count).step_by(UNITS_PER_DEPARTMENT);
        let departments = departments.map(|unit| node(Generator::department(unit), text("0"), "department"));
        departments
            .chain((0..count).map(|unit| node(Generator::code(unit), Generator::department(unit), "unit")))
            .collect()
    }

    /// Three ceilings for each unit and one for each department, all wide enough.
    pub(crate) fn ceilings(&self, count: usize) -> Vec<api::ControlFigure> {
        let figure = |unit: String, cell: &str| api::ControlFigure {
            unit,
            cell: cell.to_owned(),
            amount_unit: text("万元"),
            ceiling: text("9000000.00"),
            strength: text("hard"),
        };
        let departments = (0..count).step_by(UNITS_PER_DEPARTMENT);
        let departments = departments.map(|unit| figure(Generator::department(unit), "T03/合计/total"));
        let cells = ["T03/合计/basic", "T03/合计/project", "T12/单位合计/total"];
        departments.chain((0..count).flat_map(|unit| cells.map(|cell| figure(Generator::code(unit), cell)))).collect()
    }

    /// The filing of a unit.
    pub(crate) fn filing(&self, unit: usize) -> Filing {
        let code = Generator::code(unit);
        let slot = Slot { unit: code.as_str().into(), year: YEAR, round: Round::Second, kind: Kind::Unit };
        let tables = self.tables(unit, &code);
        let file = SubmissionFile { form_set: text(FORM_SET), slot, note: String::new(), tables };
        let reading = file.read_on(&self.form);
        let bare = file.read_on(&self.form_without_rules);
        assert!(!reading.is_refused(), "a generated filing must be taken: {:?}", reading.findings.first());
        let header = api::SubmissionHeader {
            slot: Some(api::Slot {
                unit: code.clone(),
                year: YEAR.into(),
                round: api::Round::Second.into(),
                kind: api::Kind::Unit.into(),
            }),
            form_set: text(FORM_SET),
            // The one in force: some servers have it without its rules.
            form_set_digest: Vec::new(),
            idempotency_key: format!("bench-{unit}"),
            version: None,
            tables: file.tables.iter().map(|table| header_out(&table.header)).collect(),
            sentences: api::Sentences::None.into(),
            adjustment: None,
        };
        let cells = file.tables.iter().flat_map(|table| &table.rows);
        let cells = cells.flat_map(|(_, values)| values).filter(|value| !value.is_empty()).count() as u64;
        let rows: Vec<api::Row> = (0_u32..)
            .zip(file.tables)
            .flat_map(|(table, rows)| rows.rows.into_iter().map(move |(key, values)| api::Row { table, key, values }))
            .collect();
        let seal = api::Seal {
            row_count: rows.len() as u64,
            control_total: reading.control_total.to_string(),
            digest: reading.digest.0.to_vec(),
        };
        use api::submit_request::Part;
        let chunks = rows.chunks(CHUNK_ROWS).map(|rows| Part::Chunk(rows.iter().cloned().collect()));
        let messages: Vec<Bytes> = std::iter::once(Part::Header(header))
            .chain(chunks)
            .chain([Part::Seal(seal.clone())])
            .map(|part| api::SubmitRequest { part: Some(part) }.encode_to_vec().into())
            .collect();
        let seal_without_rules = api::Seal { digest: bare.digest.0.to_vec(), ..seal };
        let seal_without_rules = api::SubmitRequest { part: Some(Part::Seal(seal_without_rules)) };
        let seal_without_rules = seal_without_rules.encode_to_vec().into();
        let bytes = messages.iter().map(Bytes::len).sum::<usize>() as u64;
        Filing { unit: code, messages, seal_without_rules, rows: rows.len() as u64, cells, bytes }
    }

    fn tables(&self, unit: usize, code: &str) -> Vec<FileTable> {
        let mut random = Random(unit as u64);
        let functions = {
            let count = random.between(9, 14);
            random.some(&self.functions, count)
        };
        let economics = {
            let count = random.between(14, 22);
            random.some(&self.economics, count)
        };
        // Leaves: what each function code spends on staff and running, and on projects.
        let mut basic: BTreeMap<&str, i64> = BTreeMap::new();
        let mut project: BTreeMap<&str, i64> = BTreeMap::new();
        let mut items: BTreeMap<&str, i64> = BTreeMap::new();
        for economic in economics {
            let amount = random.between(5, 60_000) as i64;
            items.insert(economic, amount);
            *basic.entry(functions[random.between(0, functions.len() - 1)]).or_default() += amount;
        }
        let projects: Vec<(String, usize, &str, i64)> = (1..=random.between(18, 28))
            .map(|number| {
                let function = functions[random.between(0, functions.len() - 1)];
                let amount = random.between(40, 900_000) as i64;
                *project.entry(function).or_default() += amount;
                (format!("2024-{number:03}"), random.between(0, 34), function, amount)
            })
            .collect();
        let (basic, project) = (self.summed("T03", &basic), self.summed("T03", &project));
        let spent = |code: &str| basic.get(code).copied().unwrap_or(0) + project.get(code).copied().unwrap_or(0);
        let codes: BTreeSet<&str> = basic.keys().chain(project.keys()).map(String::as_str).collect();
        let total = spent("合计");
        let by_class = |table: &str, width: usize| -> Rows {
            let row = |key: &str| {
                let amount = if matches!(key, "year" | "total") { total } else { spent(key) };
                (text(key), vec![wan(amount); width])
            };
            self.fixed(table).into_iter().map(row).collect()
        };
        let income = |table: &str| -> Rows {
            let amount = |key: &str| if matches!(key, "general" | "year" | "total") { wan(total) } else { text("") };
            self.fixed(table).into_iter().map(|key| (text(key), vec![amount(key)])).collect()
        };
        let name = |table: &str, code: &str| {
            let (_, table) = self.form.table(table).expect("a table");
            self.form.row_label(table, code).to_owned()
        };
        let by_function = |figures: &dyn Fn(&str) -> Vec<i64>| -> Rows {
            let row = |code: &&str| {
                let figures = figures(code).into_iter().map(wan);
                (text(code), std::iter::once(name("T03", code)).chain(figures).collect())
            };
            codes.iter().map(row).collect()
        };
        let spending = |code: &str| {
            let of = |sums: &BTreeMap<String, i64>| sums.get(code).copied().unwrap_or(0);
            vec![spent(code), of(&basic), of(&project)]
        };
        let items = self.summed("T06", &items);
        let running = items.get("302").copied().unwrap_or(0);
        let economic = |(code, amount): (&String, &i64)| {
            let (personnel, public) = match code.as_str() {
                "合计" => (amount - running, running),
                code if code.starts_with("302") => (0, *amount),
                _ => (*amount, 0),
            };
            let government = if public > 0 { "机关商品和服务支出" } else { "工资福利支出" };
            (code.clone(), vec![name("T06", code), text(government), wan(*amount), wan(personnel), wan(public)])
        };
        let name_of = |template: usize| self.template["T12"].rows[template + 1].1[0].clone();
        let mut t12: Rows =
            vec![(text("单位合计"), vec![format!("单位{code}"), wan(project["合计"]), wan(project["合计"])])];
        t12.extend(projects.iter().map(|(key, template, _, amount)| {
            let kind = if template % 3 == 0 { "其他运转类" } else { "特定目标类" };
            (key.clone(), vec![name_of(*template), wan(*amount), wan(*amount), text(kind)])
        }));
        let pfunc = projects.iter().map(|(key, _, code, amount)| (format!("{key}/{code}"), vec![wan(*amount)]));
        let goal = (1..)
            .zip(&projects)
            .map(|(at, (_, template, _, amount))| (format!("{at}"), vec![name_of(*template), wan(*amount)]));
        let goalmap = (1..).zip(&projects).map(|(at, (key, _, _, _))| (format!("{at}/{key}"), Vec::new()));
        let vehicle = [("reception", 0), ("vehicle", 350), ("vehicle_running", 350), ("total", 350)];
        vec![
            table("T01A", &["amount"], income("T01A")),
            table("T01B", &["total", "current"], by_class("T01B", 2)),
            table("T02", &["name", "total", "general"], by_function(&|code| vec![spent(code); 2])),
            table("T03", &["name", "total", "basic", "project"], by_function(&spending)),
            table("T04A", &["amount"], income("T04A")),
            table("T04B", &["total", "general"], by_class("T04B", 2)),
            table("T05", &["name", "total", "basic", "project"], by_function(&spending)),
            table("T06", &["name", "government", "total", "personnel", "public"], items.iter().map(economic).collect()),
            empty("T07"),
            empty("T08"),
            empty("T09A"),
            empty("T09B"),
            table("T10", &["total", "general"], vehicle.map(|(key, amount)| (text(key), vec![wan(amount); 2])).into()),
            empty("T11"),
            table("T12", &["name", "total", "general", "kind"], t12),
            empty("T13"),
            table("PFUNC", &["amount"], pfunc.collect()),
            empty("OWN"),
            empty("TRANSFER"),
            self.performance_forms(&projects),
            self.indicators(&projects),
            self.template["UNIT"].clone(),
            self.template["OFFICE"].clone(),
            self.template["VEHICLE"].clone(),
            self.template["ASSET"].clone(),
            self.template["PROCUREMENT"].clone(),
            table("GOAL", &["name", "amount"], goal.collect()),
            table("GOALMAP", &[], goalmap.collect()),
            self.template["NOTE"].clone(),
        ]
    }

    /// Leaves with the sums of all codes above them and the total row.
    fn summed(&self, table: &str, leaves: &BTreeMap<&str, i64>) -> BTreeMap<String, i64> {
        let (_, table) = self.form.table(table).expect("a table");
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        for (code, amount) in leaves {
            let above = std::iter::successors(Some(*code), |code| self.form.parent_code(table, code));
            above.chain(table.total_row()).for_each(|code| *sums.entry(text(code)).or_default() += amount);
        }
        sums
    }

    fn fixed(&self, table: &str) -> Vec<&str> {
        use budget_consolidator::budget::form_set::Rows;
        match &self.form.table(table).expect("a table").1.rows {
            Rows::Fixed { rows, .. } => rows.iter().map(|row| row.key.as_str()).collect(),
            Rows::Record | Rows::Keyed { .. } => Vec::new(),
        }
    }

    fn performance_forms(&self, projects: &[(String, usize, &str, i64)]) -> FileTable {
        let template = &self.template["PF"];
        let at = |id: &str| template.header.columns.iter().position(|column| column == id).expect("a column");
        let totals = ["impl_total", "impl_local", "annual_total", "annual_local"].map(at);
        let others = ["impl_central", "impl_provincial", "annual_central", "annual_provincial"].map(at);
        let (name, overview) = (at("name"), at("overview"));
        let row = |(key, form, _, amount): &(String, usize, &str, i64)| {
            let mut values = template.rows[*form].1.clone();
            totals.into_iter().for_each(|total| values[total] = format!("{amount}00"));
            others.into_iter().for_each(|other| values[other].clear());
            values[name] = self.template["T12"].rows[form + 1].1[0].clone();
            values[overview].push_str(&format!("共{amount}00元。"));
            (key.clone(), values)
        };
        FileTable { header: template.header.clone(), rows: projects.iter().map(row).collect() }
    }

    fn indicators(&self, projects: &[(String, usize, &str, i64)]) -> FileTable {
        let template = &self.template["PI"];
        let forms = &self.template["PF"].rows;
        let rows = projects.iter().flat_map(|(key, form, _, amount)| {
            let of = template.rows.iter().filter_map(|(row, values)| Some((row.split_once('/')?, values)));
            // What is stated in 元 is the money of the project.
            let value = move |value: &String| match value.strip_suffix('元') {
                Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => format!("{amount}00元"),
                _ => value.clone(),
            };
            of.filter(|((project, _), _)| *project == forms[*form].0)
                .map(move |((_, number), values)| (format!("{key}/{number}"), values.iter().map(value).collect()))
        });
        FileTable { header: template.header.clone(), rows: rows.collect() }
    }
}

fn header(id: &str, empty: bool, columns: &[&str]) -> TableHeader {
    let columns = columns.iter().map(|id| (*id).into()).collect();
    TableHeader { id: id.into(), empty, columns, ..TableHeader::default() }
}

fn table(id: &str, columns: &[&str], rows: Rows) -> FileTable {
    FileTable { header: header(id, false, columns), rows }
}

fn empty(id: &str) -> FileTable {
    FileTable { header: header(id, true, &[]), rows: Vec::new() }
}

fn header_out(header: &TableHeader) -> TableMessage {
    TableMessage {
        id: header.id.clone(),
        empty: header.empty,
        amount_unit: header.amount_unit.clone(),
        decimals: header.decimals,
        columns: header.columns.clone(),
    }
}
