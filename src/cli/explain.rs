//! `explain`: what a code means and what to do about it.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::check::forms;
use super::output::{Answer, Failure, Grid, Look, Sheet, Show};
use super::rules::Explained;
use super::settings::Settings;
use crate::budget::form_set::FormSet;
use crate::budget::reason::Reason;
use crate::budget::rule::{Cause, Elsewhere, Verdict};
use crate::wording::{Language, label, page, title, word};

/// What `explain` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    pub(super) code: Option<String>,
    #[arg(long, value_name = "DIR")]
    pub(super) forms: Option<PathBuf>,
    #[arg(long, value_name = "ID")]
    pub(super) form_set: Option<String>,
}

/// Runs `explain`.
///
/// # Errors
/// A code that there isn't, with those that look like it.
pub fn run(args: &Args, settings: &Settings) -> Result<Answer, Failure> {
    let Some(asked) = &args.code else { return Ok(settings.answer(&Codes(Reason::ALL.to_vec()))) };
    let mut forms = forms(args.forms.as_deref(), settings)?;
    forms.retain(|form| args.form_set.as_ref().is_none_or(|id| form.id == *id));
    if let Some(explained) = rule(&forms, asked) {
        return Ok(settings.answer(&explained));
    }
    if let Some(no_formula) = no_formula(&forms, asked) {
        return Ok(settings.answer(&no_formula));
    }
    let told = asked.to_ascii_lowercase().replace('-', "_");
    if let Some(told) = told_by_rules().find(|known| *known == told) {
        return Ok(settings.answer(&Told(told)));
    }
    let code = asked.to_ascii_uppercase().replace('-', "_");
    match Reason::from_code(&code) {
        Some(reason) => Ok(settings.answer(&Page(reason))),
        None => {
            let alike: Vec<&str> = alike(&code).into_iter().take(5).collect();
            let facts = [("code", asked.as_str()), ("alike", &alike.join(", "))];
            let key = if alike.is_empty() { "code-unknown" } else { "code-alike" };
            Err(Failure::Usage(settings.say(key, &facts)))
        }
    }
}

/// The rule of that id, in the first of these form sets that has one.
fn rule(forms: &[Arc<FormSet>], asked: &str) -> Option<Explained> {
    forms.iter().find_map(|form| {
        let rule = form.rules.rules.iter().position(|rule| rule.id.eq_ignore_ascii_case(asked))?;
        Some(Explained { form: Arc::clone(form), rule })
    })
}

/// The check of that id that is no rule, in the first of these form sets that has one.
fn no_formula(forms: &[Arc<FormSet>], asked: &str) -> Option<NoFormula> {
    forms.iter().find_map(|form| {
        form.rules.elsewhere(asked)?;
        Some(NoFormula { form: Arc::clone(form), id: asked.to_owned() })
    })
}

/// What else programs are told of a rule: how it came out, and why it can't be judged.
fn told_by_rules() -> impl Iterator<Item = &'static str> {
    Verdict::ALL.into_iter().map(Verdict::as_str).chain(Cause::CODES)
}

/// A check that people know by an id and that is no formula: where it is made.
struct NoFormula {
    form: Arc<FormSet>,
    id: String,
}

impl NoFormula {
    fn known(&self) -> Option<&Elsewhere> {
        self.form.rules.elsewhere(&self.id)
    }
}

impl Show for NoFormula {
    fn text(&self, look: &Look) -> String {
        let Some(known) = self.known() else { return String::new() };
        let language = look.language;
        let mut out = format!("{}  {}\n\n", known.id, label("no-formula", language));
        out.push_str(&format!("{}\n", language.of(&known.says, &known.says_en)));
        if !known.see.is_empty() {
            out.push_str(&format!("{}\n{}", label("no-formula-see", language), Codes(known.see.clone()).text(look)));
        }
        out
    }

    fn json(&self) -> Value {
        let Some(known) = self.known() else { return Value::Null };
        let see: Vec<&str> = known.see.iter().map(|reason| reason.code()).collect();
        json!({
            "form_set": self.form.id.as_str(),
            "id": known.id.as_str(),
            "says_zh": known.says,
            "says_en": known.says_en,
            "see": see,
        })
    }

    fn sheet(&self) -> Sheet {
        let row = |known: &Elsewhere| {
            let see: Vec<&str> = known.see.iter().map(|reason| reason.code()).collect();
            vec![known.id.to_string(), known.says.clone(), known.says_en.clone(), see.join(" ")]
        };
        let columns = vec!["id", "says_zh", "says_en", "see"];
        Sheet { columns, rows: self.known().map(row).into_iter().collect() }
    }
}

/// A word that programs are told of a rule.
struct Told(&'static str);

impl Show for Told {
    fn text(&self, look: &Look) -> String {
        format!("{}\n\n{}\n", self.0, word("told", self.0, look.language))
    }

    fn json(&self) -> Value {
        let [zh, en] = Language::ALL.map(|language| word("told", self.0, language));
        json!({ "code": self.0, "says_zh": zh, "says_en": en })
    }

    fn sheet(&self) -> Sheet {
        let [zh, en] = Language::ALL.map(|language| word("told", self.0, language).to_owned());
        Sheet { columns: vec!["code", "says_zh", "says_en"], rows: vec![vec![self.0.to_owned(), zh, en]] }
    }
}

/// Codes that share a word with one that there isn't.
fn alike(code: &str) -> Vec<&'static str> {
    let words: Vec<&str> = code.split('_').filter(|word| word.len() > 2).collect();
    let shared = |known: &str| known.split('_').filter(|word| words.contains(word)).count();
    let mut found: Vec<&'static str> =
        Reason::ALL.iter().map(|reason| reason.code()).filter(|known| shared(known) > 0).collect();
    found.sort_by_key(|known| std::cmp::Reverse(shared(known)));
    found
}

/// All there is to say about a reason.
struct Page(Reason);

impl Show for Page {
    fn text(&self, look: &Look) -> String {
        page(self.0, look.language)
    }

    fn json(&self) -> Value {
        json!({
            "reason": self.0.code(),
            "title_zh": title(self.0, Language::Chinese),
            "title_en": title(self.0, Language::English),
            "page_zh": page(self.0, Language::Chinese),
            "page_en": page(self.0, Language::English),
        })
    }

    fn sheet(&self) -> Sheet {
        Codes(vec![self.0]).sheet()
    }
}

/// A list of reasons.
struct Codes(Vec<Reason>);

impl Show for Codes {
    fn text(&self, look: &Look) -> String {
        let mut grid = Grid::new().text(label("head-code", look.language)).text(label("head-meaning", look.language));
        for reason in &self.0 {
            grid.row(vec![reason.code().to_owned(), title(*reason, look.language).to_owned()]);
        }
        grid.draw(look)
    }

    fn json(&self) -> Value {
        self.0.iter().map(|reason| Page(*reason).json()).collect()
    }

    fn sheet(&self) -> Sheet {
        let row = |reason: &Reason| {
            let titles = [Language::Chinese, Language::English].map(|language| title(*reason, language).to_owned());
            [reason.code().to_owned()].into_iter().chain(titles).collect()
        };
        Sheet { columns: vec!["reason", "title_zh", "title_en"], rows: self.0.iter().map(row).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_nearly_right_is_helped_along() {
        assert!(alike("UNIT_UNKNOWN").first().is_some_and(|first| *first == "UNKNOWN_UNIT"));
        let settings = crate::cli::samples::settings();
        let Err(Failure::Usage(text)) =
            run(&Args { code: Some("unit-unknown".into()), forms: None, form_set: None }, &settings)
        else {
            panic!("found")
        };
        assert!(text.contains("UNKNOWN_UNIT"), "{text}");
        let nothing_like_it = Args { code: Some("xyz".into()), forms: None, form_set: None };
        let Err(Failure::Usage(text)) = run(&nothing_like_it, &settings) else { panic!("found") };
        assert!(text.contains("xyz") && !text.contains("：。"), "{text}");
        assert!(run(&Args { code: Some("unknown_unit".into()), forms: None, form_set: None }, &settings).is_ok());
        assert!(run(&Args { code: None, forms: None, form_set: None }, &settings).is_ok());
    }

    /// Whatever `check` prints as a code, and whatever check people know by an id, has an answer.
    #[test]
    fn what_is_no_rule_and_no_reason_is_explained_too() {
        let settings = crate::cli::samples::settings();
        let text = |code: &str| {
            let args = Args { code: Some(code.to_owned()), forms: None, form_set: None };
            run(&args, &settings).map(|answer| answer.text).unwrap_or_default()
        };
        for id in ["P-11", "c-05", "C-02", "C-03", "C-04", "C-06", "D-01", "J-01", "N-10"] {
            assert!(text(id).to_ascii_lowercase().starts_with(&id.to_ascii_lowercase()), "{id}: {}", text(id));
        }
        assert!(text("P-11").contains("DUPLICATE_ROW") && text("C-03").contains("OVER_CEILING"));
        for code in told_by_rules() {
            let said = text(code);
            assert!(said.starts_with(code) && said.lines().nth(2).is_some_and(|line| line != code), "{code}: {said}");
        }
    }
}
