//! Reads a formula aloud: one sentence, made from the formula alone, in Chinese and in English.
//!
//! What `explain` and every finding say of a rule. Names of tables, rows and columns stay as they are in the form set.

use super::interval::Relation;
use super::names::Names;
use super::syntax::{BookWord, CheckNode, Compare, FigureNode, Is, Node, NumberUnit, Of, RefNode, Select, Unit};
use crate::budget::form_set::Rows;

/// The sentence in Chinese, and in English.
pub(super) fn sentences(names: Names<'_>, check: &CheckNode) -> (String, String) {
    let say = |chinese: bool| {
        let table = check.scope.first().and_then(|table| names.table(&table.table));
        Voice { names, chinese, scope: table, any_of: check.any_of, select: None }.check(check)
    };
    (say(true), say(false))
}

#[derive(Clone, Copy)]
struct Voice<'n> {
    names: Names<'n>,
    chinese: bool,
    /// The table whose rows the line holds for.
    scope: Option<usize>,
    any_of: bool,
    /// The table whose rows are being chosen.
    select: Option<usize>,
}

impl Voice<'_> {
    fn pick<'t>(self, chinese: &'t str, english: &'t str) -> &'t str {
        if self.chinese { chinese } else { english }
    }

    fn check(self, check: &CheckNode) -> String {
        let mut said = self.scope_of(check);
        if let Some(when) = &check.when {
            let when = self.condition(when);
            said += &if self.chinese { format!("当{when}时，") } else { format!("when {when}, ") };
        }
        said + &self.condition(&check.claim)
    }

    fn scope_of(self, check: &CheckNode) -> String {
        let Some(first) = check.scope.first() else { return String::new() };
        let same = check.scope.iter().all(|table| spoken_alike(&table.select, &first.select));
        let tables: Vec<String> = if same && check.scope.len() > 1 {
            let name = |table: &RefNode| self.book(table.book, &table.table);
            let link = match (check.any_of, self.chinese) {
                (true, true) => "或",
                (true, false) => " or ",
                (false, true) => "、",
                (false, false) => ", ",
            };
            vec![self.rows(&check.scope.iter().map(name).collect::<Vec<_>>().join(link), first)]
        } else {
            check.scope.iter().map(|table| self.rows(&self.book(table.book, &table.table), table)).collect()
        };
        let link = if check.any_of { self.pick("或", " or ") } else { self.pick("、", ", ") };
        tables.join(link) + self.pick("：", ": ")
    }

    fn book(self, book: BookWord, table: &str) -> String {
        match book {
            BookWord::This => table.to_owned(),
            BookWord::Last => format!("{}{table}", self.pick("上年的", "last year's ")),
            BookWord::Units => format!("{}{table}", self.pick("各下级单位的", "the units' ")),
        }
    }

    /// `表五不在对应科目的末级各行`, `表二的「合计」行`.
    fn rows(self, named: &str, table: &RefNode) -> String {
        self.rows_or_row(named, table, true)
    }

    /// The same, or without `each` of what there only has to be some.
    fn rows_or_row(self, named: &str, table: &RefNode, each: bool) -> String {
        let index = self.names.table(&table.table);
        let inner = Voice { select: index, ..self };
        let (mut row, mut kind, mut tests) = (None, String::new(), Vec::new());
        for select in &table.select {
            match select {
                Select::Parents(_) => kind = self.pick("有下级的", " that have rows below").to_owned(),
                Select::Leaves(_) => kind = self.pick("末级", " without rows below").to_owned(),
                Select::Name(name, _) => {
                    let level =
                        index.is_some_and(|index| self.names.levels(index).iter().any(|level| level.name == *name));
                    if level {
                        kind = if self.chinese { format!("{name}级") } else { format!(" of level {name}") };
                    } else {
                        row = Some(self.row_label(index, name));
                    }
                }
                Select::In { not, table } => {
                    let list = self.rows_plain(table);
                    tests.push(match (not, self.chinese) {
                        (false, true) => format!("列在{list}"),
                        (true, true) => format!("不在{list}"),
                        (false, false) => format!(" listed in {list}"),
                        (true, false) => format!(" not in {list}"),
                    });
                }
                Select::Test(node) => {
                    let test = inner.condition(node);
                    tests.push(if self.chinese { format!("（{test}）") } else { format!(" where {test}") });
                }
            }
        }
        let record = index.is_some_and(|index| matches!(self.names.rows(index), Some(Rows::Record)));
        match (row, self.chinese) {
            (Some(row), true) => format!("{named}「{row}」行"),
            (Some(row), false) => format!("row “{row}” of {named}"),
            (None, _) if record && tests.is_empty() => named.to_owned(),
            (None, true) => {
                let tests = tests.join("且");
                let of = if tests.is_empty() || tests.ends_with('）') { "" } else { "的" };
                format!("{named}{tests}{of}{kind}{}", if each { "各行" } else { "行" })
            }
            (None, false) => {
                format!("{} of {named}{kind}{}", if each { "each row" } else { "rows" }, tests.join(" and"))
            }
        }
    }

    fn rows_plain(self, table: &RefNode) -> String {
        let named = self.book(table.book, &table.table);
        if table.select.is_empty() { named } else { self.rows(&named, table) }
    }

    fn row_label(self, table: Option<usize>, name: &str) -> String {
        let found = table.map(|table| (table, self.names.row(table, name)));
        match found.as_ref().and_then(|(table, rows)| Some((*table, rows.first()?))) {
            Some((table, row)) => self.names.row_label(table, row),
            None => name.to_owned(),
        }
    }

    /// What a column is called in print, also where a formula calls it by its id. An axis, or a `[let]`, has one name.
    fn column_label(self, tables: impl IntoIterator<Item = usize>, name: &str) -> String {
        let column = tables.into_iter().find_map(|table| {
            let at = *self.names.column(table, name).first()?;
            self.names.columns(table).get(at)
        });
        column.map_or(name, |column| &column.label).to_owned()
    }

    // ── conditions ───────────────────────────────────────────────────────────────────────

    fn all(self, parts: &[Node], link: &str) -> String {
        parts.iter().map(|part| self.inner(part)).collect::<Vec<_>>().join(link)
    }

    /// A part of something larger: alternatives stand in brackets.
    fn inner(self, node: &Node) -> String {
        self.bracketed(self.condition(node), matches!(node.is, Is::Or(_) | Is::Iff(_)))
    }

    fn condition(self, node: &Node) -> String {
        let [zh, en] = match &node.is {
            Is::Or(parts) => return self.all(parts, self.pick("或", " or ")),
            Is::And(parts) => return self.all(parts, self.pick("且", " and ")),
            Is::Iff(parts) => {
                let [a, b] = parts.as_ref().each_ref().map(|part| self.inner(part));
                [format!("{a}，当且仅当{b}"), format!("{a} if and only if {b}")]
            }
            Is::Not(part) => {
                // Others of several parts have theirs already.
                let part = self.bracketed(self.inner(part), matches!(part.is, Is::And(_)));
                [format!("并非{part}"), format!("not {part}")]
            }
            Is::Chain(first, rest) => return self.chain(first, rest),
            Is::Exists(table) => {
                let rows = self.some(table);
                let there = if self.is_one(table) { "there is" } else { "there are" };
                [format!("有{rows}"), format!("{there} {rows}")]
            }
            Is::Unique(figure) => {
                let figure = self.figure(figure);
                [format!("{figure}不重复"), format!("{figure} is unique")]
            }
            Is::Ascending(figure) => {
                let figure = self.figure(figure);
                [format!("{figure}从小到大"), format!("{figure} ascends")]
            }
            Is::CountedIn(part, unit) => {
                let (part, [zh, en]) = (self.expression(part), unit_words(*unit));
                match unit {
                    Unit::Time => [format!("{part}是 14 位数字的时间"), format!("{part} is a time in 14 digits")],
                    _ => [format!("{part}是以{zh}计的数"), format!("{part} is a number of {en}")],
                }
            }
            Is::Present(part) => {
                let part = self.subject(part);
                [format!("{part}已填"), format!("{part} is filled in")]
            }
            Is::Blank(part) => {
                let part = self.subject(part);
                [format!("{part}为空"), format!("{part} is blank")]
            }
            Is::Has(parts) => {
                let [a, b] = parts.as_ref().each_ref().map(|part| self.expression(part));
                [format!("{a}含有{b}"), format!("{a} contains {b}")]
            }
            Is::MentionsUnit(part, _) => {
                let part = self.expression(part);
                [format!("{part}写有金额"), format!("{part} states amounts")]
            }
            Is::Mentions(parts) => {
                let [a, b] = parts.as_ref().each_ref().map(|part| self.expression(part));
                [format!("{a}写有{b}"), format!("{a} states {b}")]
            }
            Is::In(part, among) => {
                let part = self.expression(part);
                let among = among.iter().map(|option| self.expression(option)).collect::<Vec<_>>();
                [format!("{part}是{}之一", among.join("、")), format!("{part} is one of {}", among.join(", "))]
            }
            _ => return self.expression(node),
        };
        if self.chinese { zh } else { en }
    }

    fn chain(self, first: &Node, rest: &[(Compare, Node)]) -> String {
        let mut said = self.expression(first);
        for (at, (compare, node)) in rest.iter().enumerate() {
            let verb = match compare {
                Compare::Number(Relation::Equal) => self.pick("等于", " equals "),
                Compare::Number(Relation::Different) => self.pick("不等于", " differs from "),
                Compare::Number(Relation::Below) => self.pick("小于", " is below "),
                Compare::Number(Relation::AtMost) => self.pick("不大于", " is at most "),
                Compare::Number(Relation::Above) => self.pick("大于", " is above "),
                Compare::Number(Relation::AtLeast) => self.pick("不小于", " is at least "),
                Compare::Begins => self.pick("开头相同于", " begins like "),
            };
            if at > 0 {
                said += self.pick("，", ",");
            }
            said += verb;
            said += &self.expression(node);
        }
        said
    }

    fn subject(self, node: &Node) -> String {
        match &node.is {
            Is::Table(table) => self.rows_plain(table),
            _ => self.expression(node),
        }
    }

    /// A table seen from the rows at hand: `指标（同项目）`.
    fn joined(self, table: &RefNode) -> String {
        let named = self.book(table.book, &table.table) + &self.meeting(table);
        if table.select.is_empty() { named } else { self.rows(&named, table) }
    }

    /// The same where it only has to be there, or is counted.
    fn some(self, table: &RefNode) -> String {
        let named = self.book(table.book, &table.table) + &self.meeting(table);
        self.rows_or_row(&named, table, false)
    }

    /// Whether it is one row at most: a record, or a row that is called by its name.
    fn is_one(self, table: &RefNode) -> bool {
        let index = self.names.table(&table.table);
        let is_record = index.is_some_and(|index| matches!(self.names.rows(index), Some(Rows::Record)));
        is_record || index.is_some_and(|index| self.names_a_row(index, table))
    }

    fn names_a_row(self, index: usize, table: &RefNode) -> bool {
        let levels = self.names.levels(index);
        let is_row = |name: &str| !levels.iter().any(|level| level.name == name);
        table.select.iter().any(|select| matches!(select, Select::Name(name, _) if is_row(name)))
    }

    /// On which axes a table meets the rows at hand: `（同项目）`.
    fn meeting(self, table: &RefNode) -> String {
        let Some(index) = self.names.table(&table.table) else { return String::new() };
        let named = self.names_a_row(index, table);
        let mut at_hand: Vec<usize> = self.scope.map_or_else(Vec::new, |scope| self.names.axes(scope));
        at_hand.extend(self.select.map_or_else(Vec::new, |select| self.names.axes(select)));
        if named || Some(index) == self.scope && self.any_of {
            return String::new();
        }
        let shared = self.names.axes(index).into_iter().filter(|axis| at_hand.contains(axis));
        let shared: Vec<&str> = shared.map(|axis| self.names.axis_name(axis)).collect();
        let own = self.any_of && self.scope.is_some_and(|scope| self.names.axes(scope) == self.names.axes(index));
        if shared.is_empty() || own {
            return String::new();
        }
        if self.chinese { format!("（同{}）", shared.join("、")) } else { format!(" (same {})", shared.join(", ")) }
    }

    /// In brackets, if they are needed.
    fn bracketed(self, said: String, needed: bool) -> String {
        match (needed, self.chinese) {
            (true, true) => format!("（{said}）"),
            (true, false) => format!("({said})"),
            (false, _) => said,
        }
    }

    // ── figures ──────────────────────────────────────────────────────────────────────────

    fn expression(self, node: &Node) -> String {
        let bracketed = |part: &Node| self.bracketed(self.expression(part), matches!(part.is, Is::Add(_)));
        // Read from left to right, what was written in brackets would say something else.
        let factor =
            |part: &Node| self.bracketed(self.expression(part), matches!(part.is, Is::Add(_) | Is::Multiply(..)));
        match &node.is {
            Is::Add(parts) => {
                let mut said = String::new();
                for (at, (minus, part)) in parts.iter().enumerate() {
                    if at > 0 || *minus {
                        said += if *minus { self.pick("减", " minus ") } else { self.pick("加", " plus ") };
                    }
                    said += &bracketed(part);
                }
                said
            }
            Is::Multiply(first, factors) => {
                let mut said = bracketed(first);
                for (divides, factor_of) in factors {
                    said += if *divides { self.pick("除以", " divided by ") } else { self.pick("乘以", " times ") };
                    said += &factor(factor_of);
                }
                said
            }
            Is::Negative(part) => format!("{}{}", self.pick("负的", "minus "), bracketed(part)),
            Is::As(part, unit) => {
                let (part, [zh, en]) = (self.expression(part), unit_words(*unit));
                if self.chinese { format!("{part}所写的{zh}数") } else { format!("the {en} written in {part}") }
            }
            Is::Number(digits, decimals, unit) => {
                let number = crate::budget::number::Number { mantissa: *digits, decimals: *decimals };
                let unit = match unit {
                    NumberUnit::None => "",
                    NumberUnit::Percent => "%",
                    NumberUnit::Yuan => "元",
                    NumberUnit::Wan => "万元",
                };
                format!("{number}{unit}")
            }
            Is::Text(text) => {
                format!("“{text}”")
            }
            Is::Sum(part) => {
                let part = bracketed(part);
                if self.chinese { format!("{part}之和") } else { format!("the sum of {part}") }
            }
            Is::Count(table) => {
                let rows = self.some(table);
                if self.chinese { format!("{rows}的个数") } else { format!("the number of {rows}") }
            }
            Is::Figure(figure) => self.figure(figure),
            Is::Table(table) => self.rows_plain(table),
            _ => self.inner(node),
        }
    }

    fn figure(self, figure: &FigureNode) -> String {
        let same = || self.pick("同列", "the same column").to_owned();
        match (&figure.of, &figure.column) {
            (Of::Here, None) => self.pick("每一列", "each column").to_owned(),
            (Of::Here, Some(name)) => self.column_label([self.select, self.scope].into_iter().flatten(), name),
            (of @ (Of::Children | Of::Leaves), column) => {
                let column = column.as_ref().map_or_else(same, |name| self.column_label(self.scope, name));
                let (zh, en) =
                    if *of == Of::Children { ("下级", "the rows below") } else { ("末级", "the lowest rows") };
                if self.chinese { format!("{zh}{column}") } else { format!("{column} of {en}") }
            }
            (Of::Table(table), column) => {
                let rows = self.joined(table);
                let column = column.as_ref().map(|name| self.column_label(self.names.table(&table.table), name));
                match (column, self.chinese) {
                    (None, true) => format!("{rows}同列"),
                    (None, false) => format!("the same column of {rows}"),
                    (Some(column), true) => format!("{rows}的{column}"),
                    (Some(column), false) => format!("{column} of {rows}"),
                }
            }
        }
    }
}

/// Whether two selections read the same.
fn spoken_alike(a: &[Select], b: &[Select]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|pair| match pair {
            (Select::Parents(_), Select::Parents(_)) | (Select::Leaves(_), Select::Leaves(_)) => true,
            (Select::Name(a, _), Select::Name(b, _)) => a == b,
            _ => false,
        })
}

fn unit_words(unit: Unit) -> [&'static str; 2] {
    match unit {
        Unit::Yuan => ["元", "元"],
        Unit::YuanPerHead => ["元/人", "元 a head"],
        Unit::Heads => ["人", "people"],
        Unit::Time => ["时间", "time"],
    }
}
