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
use crate::wording::{Language, label, page, title};

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
    if let Some(explained) = rule(args, asked, settings)? {
        return Ok(settings.answer(&explained));
    }
    let code = asked.to_ascii_uppercase().replace('-', "_");
    match Reason::from_code(&code) {
        Some(reason) => Ok(settings.answer(&Page(reason))),
        None => {
            let alike: Vec<&str> = alike(&code).into_iter().take(5).collect();
            let facts = [("code", asked.as_str()), ("alike", &alike.join(", "))];
            Err(Failure::Usage(settings.say("code-unknown", &facts)))
        }
    }
}

/// The rule of that id, in the form set asked for or else the first that has one.
fn rule(args: &Args, asked: &str, settings: &Settings) -> Result<Option<Explained>, Failure> {
    let forms = forms(args.forms.as_deref(), settings)?;
    let asked_for = |form: &&Arc<FormSet>| args.form_set.as_ref().is_none_or(|id| form.id == *id);
    Ok(forms.iter().filter(asked_for).find_map(|form| {
        let rule = form.rules.rules.iter().position(|rule| rule.id.eq_ignore_ascii_case(asked))?;
        Some(Explained { form: Arc::clone(form), rule })
    }))
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
        assert!(run(&Args { code: Some("unknown_unit".into()), forms: None, form_set: None }, &settings).is_ok());
        assert!(run(&Args { code: None, forms: None, form_set: None }, &settings).is_ok());
    }
}
