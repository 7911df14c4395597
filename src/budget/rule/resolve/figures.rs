//! Figures: cells, sums, products, and what each of them measures.

use super::super::interval::Interval;
use super::super::line::{BookOf, Expr, Measure, Named, Over, Test};
use super::super::names::measure;
use super::super::syntax::{BookWord, FigureNode, Is, Node, NumberUnit, Of, Span, Unit};
use super::{Frame, FrameOf, Resolved, Resolver, driver, fault};
use crate::budget::form_set::ColumnKind;
use crate::budget::reason::Reason;

impl<'f> Resolver<'f> {
    pub(super) fn addition(&mut self, addends: &[(bool, Node)]) -> Resolved<(Expr, Measure)> {
        let mut parts = Vec::new();
        let mut common = Measure::Zero;
        for (minus, node) in addends {
            let (expr, measure) = self.expression(node)?;
            if !is_number(measure) {
                return fault(node.at, Reason::RuleTypesDiffer, word(measure), "a figure");
            }
            common = self.alike(common, measure, node.at)?;
            parts.push((*minus, expr));
        }
        Ok((Expr::Add(parts), common))
    }

    pub(super) fn product(&mut self, at: Span, first: &Node, factors: &[(bool, Node)]) -> Resolved<(Expr, Measure)> {
        let (first_expr, mut measure) = self.expression(first)?;
        let mut parts = Vec::new();
        for (divides, node) in factors {
            let (expr, by) = self.expression(node)?;
            let product = if *divides { quotient_of(measure, by) } else { product_of(measure, by) };
            let Some(product) = product else {
                let sign = if *divides { "/" } else { "×" };
                return fault(at, Reason::RuleSyntax, sign, "a product");
            };
            measure = product;
            parts.push((*divides, expr));
        }
        Ok((Expr::Multiply(Box::new(first_expr), parts), measure))
    }

    pub(super) fn read_as(&mut self, part: &Node, unit: Unit) -> Resolved<(Expr, Measure)> {
        let sum = match &part.is {
            Is::Figure(figure) => self.is_calculation(figure),
            _ => false,
        };
        let of = Box::new(self.text(part)?);
        let measure = match unit {
            Unit::Yuan => Measure::Amount,
            Unit::YuanPerHead => Measure::Rate,
            Unit::Heads => Measure::Count,
            Unit::Time => return fault(part.at, Reason::RuleSyntax, "time", "元, 元/人, 人"),
        };
        Ok((Expr::As { of, unit, sum }, measure))
    }

    pub(super) fn is_calculation(&self, figure: &FigureNode) -> bool {
        let table = match &figure.of {
            Of::Table(table) => self.names.table(&table.table),
            Of::Here | Of::Children | Of::Leaves => self.frames.iter().rev().map(|frame| frame.table).find(|table| {
                figure.column.as_ref().is_some_and(|column| !self.names.column(*table, column).is_empty())
            }),
        };
        let column = table.zip(figure.column.as_ref()).and_then(|(table, column)| {
            self.names.column(table, column).first().and_then(|at| self.names.columns(table).get(*at))
        });
        column.is_some_and(|column| column.kind == ColumnKind::Calculation)
    }

    pub(super) fn sum(&mut self, part: &Node) -> Resolved<(Expr, Measure)> {
        let Some(figure) = driver(part) else {
            return fault(part.at, Reason::RuleSyntax, "sum", "sum(children.…), sum(table.column)");
        };
        let scope = self.frames.iter().position(|frame| matches!(frame.of, FrameOf::Scope) && frame.row);
        let (over, frame) = match (&figure.of, scope) {
            (Of::Table(table), _) => {
                let (rows, _) = self.rows(table)?;
                let of = FrameOf::Sum(table.book, table.table.clone());
                let frame = Frame { table: rows.table, axes: self.names.axes(rows.table), row: true, of };
                (Over::Rows(rows), frame)
            }
            (_, None) => return fault(figure.at, Reason::RuleSyntax, "children", "table[parents]: …"),
            (of, Some(at)) => {
                let table = self.frames[at].table;
                if !self.names.has_parents(table) {
                    return fault(figure.at, Reason::RuleNeverHolds, "children", self.names.table_name(table));
                }
                self.row_used = true;
                let over = if *of == Of::Children { Over::Children(at) } else { Over::Leaves(at) };
                let of = FrameOf::Sum(BookWord::This, String::new());
                (over, Frame { table, axes: self.names.axes(table), row: true, of })
            }
        };
        self.frames.push(frame);
        let of = self.expression(part);
        self.frames.pop();
        let (of, measure) = of?;
        if !is_number(measure) {
            return fault(part.at, Reason::RuleTypesDiffer, word(measure), "a figure");
        }
        Ok((Expr::Sum { over, of: Box::new(of) }, measure))
    }

    pub(super) fn figure(&mut self, figure: &FigureNode) -> Resolved<(Expr, Measure)> {
        match &figure.of {
            Of::Here => self.here(figure),
            Of::Children | Of::Leaves => {
                let summed = self.frames.iter().rposition(|frame| match &frame.of {
                    FrameOf::Sum(_, name) => name.is_empty(),
                    FrameOf::Scope | FrameOf::Selection => false,
                });
                let Some(frame) = summed else {
                    return fault(figure.at, Reason::RuleSyntax, "children", "sum(children.…)");
                };
                self.cell_here(frame, figure)
            }
            Of::Table(table) => {
                let summed = self.frames.iter().rposition(|frame| match &frame.of {
                    FrameOf::Sum(book, name) => *book == table.book && *name == table.table,
                    FrameOf::Scope | FrameOf::Selection => false,
                });
                if let Some(frame) = summed {
                    return self.cell_here(frame, figure);
                }
                let (rows, free) = self.rows(table)?;
                if !free.is_empty() || rows.book == BookOf::Units {
                    let free: Vec<&str> = free.iter().map(|axis| self.names.axis_name(*axis)).collect();
                    let free = if free.is_empty() { "units".to_owned() } else { free.join(", ") };
                    let found = format!("{}.{}", table.table, figure.column.as_deref().unwrap_or("*"));
                    return fault(figure.at, Reason::RuleFreeAxis, &found, &free);
                }
                let column = self.column(rows.table, figure)?;
                let measure = self.names.columns(rows.table).get(column).map_or(Measure::Text, measure);
                Ok((Expr::Cell { rows, column }, measure))
            }
        }
    }

    pub(super) fn cell_here(&mut self, frame: usize, figure: &FigureNode) -> Resolved<(Expr, Measure)> {
        self.row_used = true;
        let table = self.frames[frame].table;
        let column = self.column(table, figure)?;
        let measure = self.names.columns(table).get(column).map_or(Measure::Text, measure);
        Ok((Expr::Here { frame, column }, measure))
    }

    /// Whether a bare name is a column or axis at hand, or a `[let]`.
    pub(super) fn is_known(&self, name: &str) -> bool {
        let at_hand = |frame: &Frame| {
            frame.row && !self.names.column(frame.table, name).is_empty()
                || frame.axes.iter().any(|axis| self.names.axis_name(*axis) == name)
        };
        self.lets.contains_key(name) || self.frames.iter().any(at_hand)
    }

    /// A bare name: a `[let]`, a column of the row at hand, or a part of its key. The innermost row comes first.
    pub(super) fn here(&mut self, figure: &FigureNode) -> Resolved<(Expr, Measure)> {
        let at_hand: Vec<(usize, Frame)> = self
            .frames
            .iter()
            .cloned()
            .enumerate()
            .rev()
            .filter(|(_, frame)| !matches!(frame.of, FrameOf::Sum(..)))
            .collect();
        let Some(name) = &figure.column else {
            return match at_hand.iter().find(|(_, frame)| frame.row) {
                Some((frame, _)) => self.cell_here(*frame, figure),
                None => fault(figure.at, Reason::FormUnknownName, "*", "a table in front"),
            };
        };
        for (at, frame) in &at_hand {
            let columns = if frame.row { self.names.column(frame.table, name).len() } else { 0 };
            let position = frame.axes.iter().position(|axis| self.names.axis_name(*axis) == name);
            match (columns, position) {
                (0, None) => {}
                _ if self.lets.contains_key(name) => {
                    return fault(figure.at, Reason::RuleAmbiguousName, name, "[let], column");
                }
                (1, None) => return self.cell_here(*at, figure),
                (0, Some(position)) => {
                    self.row_used = true;
                    let axis = frame.axes[position];
                    return Ok((Expr::Key { frame: *at, position, axis }, Measure::Text));
                }
                _ => {
                    let table = self.names.table_name(frame.table);
                    return fault(figure.at, Reason::RuleAmbiguousName, name, table);
                }
            }
        }
        if let Some(meant) = self.lets.get(name) {
            if self.open.contains(name) {
                return fault(figure.at, Reason::FormCycle, name, "other names");
            }
            self.used.insert(name.clone());
            self.open.push(name.clone());
            let meant = self.expression(meant);
            self.open.pop();
            return meant;
        }
        let mut known: Vec<String> = Vec::new();
        for (_, frame) in at_hand.iter().filter(|(_, frame)| frame.row) {
            known.extend(self.names.columns(frame.table).iter().map(|column| column.label.clone()));
        }
        known.extend(self.lets.keys().cloned());
        if known.is_empty() {
            return fault(figure.at, Reason::FormUnknownName, name, "a table in front");
        }
        fault(figure.at, Reason::FormUnknownName, name, &known.join(", "))
    }

    pub(super) fn column(&mut self, table: usize, figure: &FigureNode) -> Resolved<usize> {
        let star = self.star.clone();
        let name = figure.column.as_ref().or(star.as_ref());
        let found = name.map_or_else(Vec::new, |name| self.names.column(table, name));
        let shown = name.map_or("*", String::as_str);
        match found.as_slice() {
            [column] => {
                if let Some(read) = self.read.get_mut(table).and_then(|columns| columns.get_mut(*column)) {
                    *read = true;
                }
                Ok(*column)
            }
            [] => {
                let known: Vec<&str> = self.names.columns(table).iter().map(|column| column.label.as_str()).collect();
                fault(figure.at, Reason::FormUnknownName, shown, &known.join(", "))
            }
            several => {
                let columns = self.names.columns(table);
                let ids: Vec<&str> = several.iter().map(|at| columns[*at].id.as_str()).collect();
                fault(figure.at, Reason::RuleAmbiguousName, shown, &ids.join(", "))
            }
        }
    }
}

pub(super) enum Chosen {
    Row(Named),
    Rows(Vec<Test>),
}

pub(super) fn is_starred(kind: ColumnKind, assigned: bool) -> bool {
    matches!(kind, ColumnKind::Amount { .. }) && !assigned
}

pub(super) fn number(digits: i64, decimals: u8, unit: NumberUnit) -> (Expr, Measure) {
    let ten = 10_i128.pow(u32::from(decimals));
    let digits = i128::from(digits);
    let (value, measure) = match unit {
        NumberUnit::None if digits == 0 => (Interval::ZERO, Measure::Zero),
        NumberUnit::None => (Interval::exact(digits, ten), Measure::Plain),
        NumberUnit::Percent => (Interval::exact(digits, ten * 100), Measure::Ratio),
        NumberUnit::Yuan => (Interval::exact(digits * 100, ten), Measure::Amount),
        NumberUnit::Wan => (Interval::exact(digits * 1_000_000, ten), Measure::Amount),
    };
    (Expr::Number(value), measure)
}

pub(super) fn is_number(measure: Measure) -> bool {
    !matches!(measure, Measure::Text | Measure::Time | Measure::Condition)
}

pub(super) fn product_of(a: Measure, b: Measure) -> Option<Measure> {
    use Measure::{Amount, Count, Plain, Rate, Ratio, Zero};
    match (a, b) {
        (Plain | Zero, other) | (other, Plain | Zero) if is_number(other) => Some(other),
        (Ratio, other @ (Amount | Rate | Count | Ratio)) | (other @ (Amount | Rate | Count), Ratio) => Some(other),
        (Count, Count) => Some(Count),
        (Count, Amount | Rate) | (Amount | Rate, Count) => Some(Amount),
        _ => None,
    }
}

pub(super) fn quotient_of(a: Measure, b: Measure) -> Option<Measure> {
    use Measure::{Amount, Count, Plain, Rate, Ratio};
    match (a, b) {
        (a, Plain | Ratio) if is_number(a) => Some(a),
        (Amount, Amount) | (Count, Count) | (Rate, Rate) => Some(Ratio),
        (Amount, Count) => Some(Rate),
        (Amount, Rate) => Some(Count),
        _ => None,
    }
}

/// What a measure is called in a message.
pub(super) fn word(measure: Measure) -> &'static str {
    match measure {
        Measure::Amount => "amount",
        Measure::Rate => "rate",
        Measure::Count => "count",
        Measure::Ratio => "share",
        Measure::Year => "year",
        Measure::Plain | Measure::Zero => "number",
        Measure::Text => "text",
        Measure::Time => "time",
        Measure::Condition => "condition",
    }
}
