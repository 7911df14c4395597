//! How a verb answers: as tables for people, as JSON or CSV for programs, and with which exit code.
//!
//! Knows no verb. What a verb shows it says by [`Show`]; words come from `words.rs`.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle};
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use crate::budget::reason::Remark;
use crate::wording::{Language, sentence};

/// In which form an answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs: stable names, amounts as text.
    Json,
    /// For spreadsheets: a header row and rows.
    Csv,
}

/// How an answer for people looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// In which language.
    pub(super) language: Language,
    /// Columns of the terminal; none if there is no terminal, then nothing is wrapped.
    pub(super) width: Option<u16>,
    /// Whether to colour.
    pub(super) colour: bool,
}

/// What a verb shows.
pub(super) trait Show {
    /// For people.
    fn text(&self, look: &Look) -> String;
    /// For programs.
    fn json(&self) -> Value;
    /// For spreadsheets.
    fn sheet(&self) -> Sheet;
}

/// A CSV: stable column names and rows.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    /// Names of the columns.
    pub(super) columns: Vec<&'static str>,
    /// Rows, each as wide as `columns`.
    pub(super) rows: Vec<Vec<String>>,
}

/// What a verb came to.
#[derive(Debug)]
pub struct Answer {
    /// What is printed.
    pub text: String,
    /// Exit code: 0 if nothing was refused.
    pub code: u8,
}

impl Answer {
    /// An answer with nothing wrong.
    pub fn clean(text: String) -> Answer {
        Answer { text, code: 0 }
    }
}

/// Why a verb came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The service refused: exit code 1.
    Refused(Remark),
    /// Refused or failed in words that this program doesn't know: exit code 1.
    Failed(String),
    /// The command line or a file named by it is wrong: exit code 2.
    Usage(String),
    /// The server can't be reached: exit code 3.
    Unreachable(String),
}

impl Failure {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Refused(_) | Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Unreachable(_) => 3,
        }
    }

    /// In words.
    pub fn sentence(&self, language: Language) -> String {
        match self {
            Failure::Refused(remark) => format!("{} ({})", sentence(remark, language), remark.reason),
            Failure::Failed(text) | Failure::Usage(text) | Failure::Unreachable(text) => text.clone(),
        }
    }

    /// For programs.
    pub(super) fn json(&self, language: Language) -> Value {
        match self {
            Failure::Refused(remark) => json!({
                "reason": remark.reason.code(),
                "facts": remark.facts.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
                "sentence": sentence(remark, language),
            }),
            Failure::Failed(text) | Failure::Usage(text) | Failure::Unreachable(text) => json!({ "sentence": text }),
        }
    }
}

/// Renders what is shown in the form that is asked for.
pub(super) fn render(shown: &impl Show, format: Format, look: &Look) -> String {
    match format {
        Format::Table => finish(&shown.text(look), look.colour),
        Format::Json => {
            let mut text = format!("{:#}", shown.json());
            text.push('\n');
            text
        }
        Format::Csv => shown.sheet().to_csv(),
    }
}

impl Sheet {
    fn to_csv(&self) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let written =
            writer.write_record(&self.columns).is_ok() && self.rows.iter().all(|row| writer.write_record(row).is_ok());
        debug_assert!(written, "rows as wide as the header");
        writer.into_inner().ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

// Marks within text for people, so that what was filed can't steer the terminal: they are from Unicode's
// private range and become escape codes only after all control characters are gone.
const STRONG: char = '\u{e000}';
const ALARM: char = '\u{e001}';
const PLAIN: char = '\u{e002}';

/// Text that stands out.
pub(super) fn strong(text: &str) -> String {
    format!("{STRONG}{text}{PLAIN}")
}

/// Text that warns.
pub(super) fn alarm(text: &str) -> String {
    format!("{ALARM}{text}{PLAIN}")
}

/// Takes out control characters, and turns marks into colour if there is a terminal for it.
pub(super) fn finish(text: &str, colour: bool) -> String {
    let mut out = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        match c {
            STRONG if colour => out.push_str("\u{1b}[1m"),
            ALARM if colour => out.push_str("\u{1b}[1;31m"),
            PLAIN if colour => out.push_str("\u{1b}[0m"),
            STRONG | ALARM | PLAIN => {}
            '\n' => out.push('\n'),
            '\t' => out.push(' '),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// A table for people: text on the left, figures on the right.
#[derive(Debug, Default)]
pub(super) struct Grid {
    heads: Vec<(String, bool)>,
    rows: Vec<Vec<String>>,
}

const LINES: TableStyle = NOTHING.header_separator(LineStyle::none().fill('-').junction('-'));

impl Grid {
    /// A grid without columns yet.
    pub(super) fn new() -> Grid {
        Grid::default()
    }

    /// One more column of text.
    pub(super) fn text(mut self, head: impl Into<String>) -> Grid {
        self.heads.push((head.into(), false));
        self
    }

    /// One more column of figures.
    pub(super) fn figures(mut self, head: impl Into<String>) -> Grid {
        self.heads.push((head.into(), true));
        self
    }

    /// One more row.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.heads.len());
        self.rows.push(cells);
    }

    /// Whether it has no rows.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How wide it is if nothing is wrapped.
    pub(super) fn natural_width(&self) -> usize {
        let widest = |at: usize, head: &str| {
            let cells = self.rows.iter().filter_map(|row| row.get(at)).flat_map(|cell| cell.lines());
            cells.chain(head.lines()).map(UnicodeWidthStr::width).max().unwrap_or(0)
        };
        self.heads.iter().enumerate().map(|(at, (head, _))| widest(at, head) + 2).sum()
    }

    /// The table, each line ended.
    pub(super) fn draw(&self, look: &Look) -> String {
        let mut table = Table::new();
        table.force_no_tty().load_style(LINES);
        match look.width {
            Some(width) if self.natural_width() > usize::from(width) => {
                table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
            }
            _ => {
                table.set_content_arrangement(ContentArrangement::Disabled);
            }
        }
        table.set_header(self.heads.iter().map(|(head, _)| Cell::new(plain(head))));
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| Cell::new(plain(cell))));
        }
        for (column, (_, figures)) in table.column_iter_mut().zip(&self.heads) {
            column.set_padding((0, 1));
            if *figures {
                column.set_cell_alignment(CellAlignment::Right);
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        let mut text = String::new();
        for line in table.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn plain(text: &str) -> String {
    text.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| *c == '\n' || !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Look = Look { language: Language::Chinese, width: None, colour: false };

    #[test]
    fn wide_characters_count_twice() {
        let mut grid = Grid::new().text("单位").figures("金额");
        grid.row(vec!["汾阳市社会保险中心".into(), "41,670.92".into()]);
        grid.row(vec!["a".into(), "0.00".into()]);
        let widths: Vec<usize> = grid.draw(&LOOK).lines().map(|line| line.width()).collect();
        assert_eq!(widths[0], widths[2], "figures end in one column");
        assert_eq!(widths[2], widths[3]);
    }

    #[test]
    fn figures_are_never_wrapped() {
        let mut grid = Grid::new().text("单位").figures("金额");
        grid.row(vec!["很长的名称".repeat(20), "427,503,300.00".into()]);
        let text = grid.draw(&Look { width: Some(40), ..LOOK });
        assert!(text.contains("427,503,300.00"), "{text}");
        assert!(text.lines().all(|line| line.width() <= 40), "{text}");
    }

    #[test]
    fn filed_text_cannot_steer_the_terminal() {
        assert_eq!(finish("a\u{1b}[2Jb", true), "a\u{fffd}[2Jb\n");
        assert_eq!(finish(&strong("a"), false), "a\n");
    }

    #[test]
    fn exit_codes_say_who_has_to_act() {
        assert_eq!(Failure::Usage(String::new()).code(), 2);
        assert_eq!(Failure::Unreachable(String::new()).code(), 3);
    }
}
