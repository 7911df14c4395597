//! What a person reads: every reason as a sentence, places as on a sheet, and the labels of screens,
//! in Chinese and English, all from `catalogue.toml`.
//!
//! It doesn't know where a reason comes from: it sees its code and facts, and may be given a form set for the
//! printed names. Facts that are absent, strange or far too long never make it fail; they make it say less.
//! To change a text or add a label: `catalogue.toml`. To add a reason: `budget/reason.rs`, then its entry there.

pub mod rule;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::budget::cell::RECORD_ROW;
use crate::budget::finding::{Finding, Place, Strength};
use crate::budget::form_set::{FormSet, Rows};
use crate::budget::reason::{LIST_COMMA, LIST_MORE, Reason, Remark};

/// The most characters of one fact that a sentence repeats.
const FACT_CHARS_MAX: usize = 200;
/// The most items of an enumeration that a sentence repeats.
const ITEMS_MAX: usize = 12;

/// The languages that people are spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// 中文.
    Chinese,
    /// English.
    English,
}

impl Language {
    /// Both.
    pub const ALL: [Language; 2] = [Language::Chinese, Language::English];

    /// The one of two texts.
    pub fn of<'t>(self, chinese: &'t str, english: &'t str) -> &'t str {
        match self {
            Language::Chinese => chinese,
            Language::English => english,
        }
    }

    /// The language of a locale such as `en_US.UTF-8`; Chinese where it names neither.
    pub fn from_locale(locale: &str) -> Language {
        let language = locale.split(['_', '-', '.', '@']).next().unwrap_or_default();
        if language.eq_ignore_ascii_case("en") { Language::English } else { Language::Chinese }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalogue {
    reason: HashMap<String, Entry>,
    value: HashMap<String, HashMap<String, Both>>,
    label: HashMap<String, Both>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// The facts that a remark of this reason may carry: what its templates may name.
    #[cfg_attr(not(test), expect(dead_code, reason = "for readers and for the tests"))]
    #[serde(default)]
    facts: Vec<String>,
    zh: Texts,
    en: Texts,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Texts {
    title: String,
    says: String,
    #[serde(rename = "do")]
    advice: String,
    page: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Both {
    zh: String,
    en: String,
}

impl Entry {
    fn texts(&self, language: Language) -> &Texts {
        match language {
            Language::Chinese => &self.zh,
            Language::English => &self.en,
        }
    }
}

impl Both {
    fn text(&self, language: Language) -> &str {
        match language {
            Language::Chinese => &self.zh,
            Language::English => &self.en,
        }
    }
}

// A catalogue that can't be read leaves the bare codes; a test keeps that from happening.
static CATALOGUE: LazyLock<Catalogue> =
    LazyLock::new(|| toml::from_str(include_str!("catalogue.toml")).unwrap_or_default());

fn texts(reason: Reason, language: Language) -> Option<&'static Texts> {
    CATALOGUE.reason.get(reason.code()).map(|entry| entry.texts(language))
}

/// The remark as a sentence: what is the matter, with its figures, and what to do.
pub fn sentence(remark: &Remark, language: Language) -> String {
    let Some(texts) = texts(remark.reason, language) else { return remark.to_string() };
    // Without a fact that it is about, a sentence says no more than the title; advice without its figure is none.
    let says = fill(&texts.says, remark, language).unwrap_or_else(|| match language {
        Language::Chinese => format!("{}。", texts.title),
        Language::English => format!("{}.", texts.title),
    });
    match (fill(&texts.advice, remark, language), language) {
        (None, _) => says,
        (Some(advice), Language::Chinese) => says + &advice,
        (Some(advice), Language::English) => format!("{says} {advice}"),
    }
}

/// The reason in a few words.
pub fn title(reason: Reason, language: Language) -> &'static str {
    texts(reason, language).map_or(reason.code(), |texts| &texts.title)
}

/// All that there is to say about a reason: what `explain` shows.
pub fn page(reason: Reason, language: Language) -> String {
    let page = texts(reason, language).map_or("", |texts| texts.page.trim());
    format!("{}  {}\n\n{page}\n", reason.code(), title(reason, language))
}

/// A place as on a sheet: `表三 第 5 行 2080109 社会保险经办机构 · 基本支出 (T03/2080109/basic)`.
///
/// Printed names need the form set; without one, or for what it doesn't know, the keys stand alone.
pub fn place(place: &Place, form: Option<&FormSet>, language: Language) -> String {
    if place.table.is_empty() {
        return label("place-whole", language).to_owned();
    }
    let line = match (place.line, language) {
        (0, _) => String::new(),
        (line, Language::Chinese) => format!(" 第 {line} 行"),
        (line, Language::English) => format!(" line {line}"),
    };
    let mut address = clean(&place.table);
    if !place.row.is_empty() || !place.column.is_empty() {
        // A column as a whole has no row; no key is a star.
        address.push('/');
        address.push_str(&if place.row.is_empty() { "*".to_owned() } else { clean(&place.row) });
    }
    if !place.column.is_empty() {
        address.push('/');
        address.push_str(&clean(&place.column));
    }
    let Some((_, table)) = form.and_then(|form| form.table(&place.table)) else { return address + &line };
    let name = form.map_or("", |form| form.row_label(table, &place.row));
    let row = match &table.rows {
        Rows::Record if place.row == RECORD_ROW => String::new(),
        // Keys that are no codes are made up by the form set; people know the printed label.
        Rows::Fixed { axis: None, .. } if !name.is_empty() => name.to_owned(),
        Rows::Record | Rows::Fixed { .. } | Rows::Keyed { .. } => format!("{} {name}", clean(&place.row)),
    };
    let row = row.trim();
    let column = match table.column(&place.column).and_then(|column| table.columns.get(column)) {
        Some(column) => column.label.clone(),
        None => clean(&place.column),
    };
    let row = if row.is_empty() { String::new() } else { format!(" {row}") };
    let column = if column.is_empty() { String::new() } else { format!(" · {column}") };
    format!("{}{line}{row}{column} ({address})", table.name)
}

/// A finding on one line: its strength, its place and its sentence.
pub fn finding(finding: &Finding, form: Option<&FormSet>, language: Language) -> String {
    let strength = match finding.strength {
        Strength::Balance => label("strength-balance", language),
        Strength::Logic => label("strength-logic", language),
        Strength::Verify => label("strength-verify", language),
    };
    let place = place(&finding.place, form, language);
    let sentence = sentence(&finding.remark, language);
    match language {
        Language::Chinese => format!("【{strength}】{place}：{sentence}"),
        Language::English => format!("[{strength}] {place}: {sentence}"),
    }
}

/// A text of the screen, from the section `[label]` of the catalogue; `?` if there is none of that key.
pub fn label(key: &str, language: Language) -> &'static str {
    CATALOGUE.label.get(key).map_or("?", |both| both.text(language))
}

// ── templates ────────────────────────────────────────────────────────────────────────────────

/// Fills a template. `{fact}` is the fact; `{fact:list}` the fact in the words of `[value.list]`; what stands in
/// `[…]` is left out unless all its facts are there. `None` if a fact outside is absent, or nothing is left.
/// An empty fact counts as absent.
fn fill(template: &str, remark: &Remark, language: Language) -> Option<String> {
    let mut out = String::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some((before, from)) = rest.split_once('[') {
        let (part, after) = from.split_once(']').unwrap_or((from, ""));
        out.push_str(&fill_whole(before, remark, language)?);
        out.push_str(&fill_whole(part, remark, language).unwrap_or_default());
        rest = after;
    }
    out.push_str(&fill_whole(rest, remark, language)?);
    let out = out.trim();
    (!out.is_empty()).then(|| out.to_owned())
}

/// Fills a template without optional parts; `None` if a fact is absent.
fn fill_whole(template: &str, remark: &Remark, language: Language) -> Option<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, from)) = rest.split_once('{') {
        out.push_str(before);
        let (name, after) = from.split_once('}').unwrap_or((from, ""));
        let (name, list) = name.split_once(':').unwrap_or((name, ""));
        let fact = remark.fact(name).filter(|fact| !fact.is_empty())?;
        let words = CATALOGUE.value.get(list);
        let word = |item: &str| words.and_then(|words| words.get(item)).map(|word| word.text(language));
        match word(fact) {
            Some(word) => out.push_str(word),
            None if name == "slot" => out.push_str(&slot(fact, language)),
            None if words.is_some() && fact.contains(", ") => {
                let items: Vec<&str> = fact.split(", ").map(|item| word(item).unwrap_or(item)).collect();
                out.push_str(&enumeration(&items.join(", "), language).replace(", ", language.of("、", ", ")));
            }
            None if name == "what" => out.push_str(&enumeration(&system_words(fact, language), language)),
            None => out.push_str(&enumeration(fact, language)),
        }
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

/// Which submission: `407001 2024 second unit` as people call it.
fn slot(fact: &str, language: Language) -> String {
    let parts: Vec<&str> = fact.split(' ').collect();
    match (parts.as_slice(), language) {
        ([unit, year, round, kind], Language::Chinese) => {
            let (round, kind) = (format!("round-{round}"), format!("kind-{kind}"));
            format!("{} {} 年{}{}", clean(unit), clean(year), label(&round, language), label(&kind, language))
        }
        _ => enumeration(fact, language),
    }
}

/// The word for one of the values of a fact, such as a step of review; the value itself if it has none.
pub fn word<'v>(list: &str, value: &'v str, language: Language) -> &'v str {
    CATALOGUE.value.get(list).and_then(|words| words.get(value)).map_or(value, |word| word.text(language))
}

/// The system's own words for an error, as in `File exists (os error 17)`, in the reader's; what is not known stays as it is.
pub fn system_words(text: &str, language: Language) -> Cow<'_, str> {
    let Some((before, after)) = text.split_once(" (os error ") else { return text.into() };
    let Some((_, after)) = after.split_once(')') else { return text.into() };
    let (rest, said) = before.rsplit_once(": ").map_or(("", before), |(rest, said)| (rest, said));
    let Some(known) = CATALOGUE.value.get("system_error").and_then(|words| words.get(said)) else { return text.into() };
    let between = if rest.is_empty() { "" } else { ": " };
    format!("{rest}{between}{}{after}", known.text(language)).into()
}

/// A fact for a sentence: on one line, and of an enumeration only the beginning.
fn enumeration(fact: &str, language: Language) -> String {
    let mut items: Vec<&str> = fact.split(LIST_COMMA).collect();
    let more = items.last().and_then(|last| last.strip_prefix(LIST_MORE)).and_then(|more| more.parse::<usize>().ok());
    if more.is_some() {
        items.pop();
    }
    // Cut as a text, as what is journalled is: how many there were can't be told.
    let cut = items.len() > 1 && fact.ends_with('…');
    let more = more.unwrap_or(0) + items.len().saturating_sub(ITEMS_MAX);
    items.truncate(ITEMS_MAX);
    let first = clean(&items.join(LIST_COMMA));
    match language {
        _ if more == 0 => first,
        Language::Chinese if cut => format!("{first} 等"),
        Language::English if cut => format!("{first} and more"),
        Language::Chinese => format!("{first} 等 {} 个", items.len() + more),
        Language::English => format!("{first} and {more} more"),
    }
}

/// Without control characters, which could move a terminal's cursor, and not endless.
fn clean(text: &str) -> String {
    let mut clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(FACT_CHARS_MAX).collect();
    if text.chars().nth(FACT_CHARS_MAX).is_some() {
        clean.push('…');
    }
    clean
}

#[cfg(test)]
mod tests;
