//! What holds for every verb: which server, who asks, which language, which form.

use std::io::IsTerminal;
use std::path::Path;

use super::attempt::UNANSWERED;
use super::output::{Answer, Failure, Format, Look, Show, finish, render};
use super::way::{Credentials, Way};
use super::words::say;
use crate::ledger::actor::Actor;
use crate::wording::{Language, label};

/// Where a server listens unless said otherwise.
pub const DEFAULT_SERVER: &str = "127.0.0.1:7407";

/// What holds for every verb.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address of the server.
    pub server: String,
    /// The same as it was said on the command line, if it was.
    pub named_server: Option<String>,
    /// Who asks.
    pub actor: Option<Actor>,
    /// With which certificate; none without TLS.
    pub credentials: Option<Credentials>,
    /// In which language people are spoken to.
    pub language: Language,
    /// In which form answers are given.
    pub format: Format,
    /// Columns of the terminal; none if answers go elsewhere.
    pub width: Option<u16>,
    /// Whether to colour.
    pub colour: bool,
    /// Where the checkpoints are that were seen before; none if there is no such place.
    pub checkpoints: Option<std::path::PathBuf>,
}

impl Settings {
    /// The same with that way to the server.
    pub(super) fn on(self, way: Way) -> Settings {
        Settings { server: way.server, actor: way.actor, credentials: way.credentials, ..self }
    }

    /// Where the keys of requests are kept until they are answered, if there is such a place.
    pub(super) fn unanswered(&self) -> Option<std::path::PathBuf> {
        self.checkpoints.as_ref().map(|folder| folder.join(UNANSWERED))
    }

    /// The label of that key.
    pub fn label(&self, key: &str) -> &'static str {
        label(key, self.language)
    }

    /// The label of that key with `{name}`s filled in.
    pub fn say(&self, key: &str, facts: &[(&str, &str)]) -> String {
        say(self.language, key, facts)
    }

    /// What is said of a file or folder that can't be read.
    pub(super) fn unreadable(&self, path: &Path, error: &std::io::Error) -> Failure {
        let facts = [("file", path.display().to_string()), ("error", error.to_string())];
        Failure::Usage(self.say("file-unreadable", &facts.each_ref().map(|(key, fact)| (*key, fact.as_str()))))
    }

    pub(super) fn look(&self) -> Look {
        Look { language: self.language, width: self.width, colour: self.colour }
    }

    /// An answer that shows something, in the form that is asked for.
    pub(super) fn answer(&self, shown: &impl Show) -> Answer {
        Answer::clean(render(shown, self.format, &self.look()))
    }

    /// A failure for the error output.
    pub(super) fn complain(&self, failure: &Failure) -> String {
        match self.format {
            Format::Json => format!("{:#}\n", serde_json::json!({ "error": failure.json(self.language) })),
            Format::Table | Format::Csv => finish(&failure.sentence(self.language), false),
        }
    }

    /// Who asks as text; empty if nobody said.
    pub(super) fn actor_text(&self) -> String {
        self.actor.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

/// Whether a folder is there and something is in it.
pub(super) fn is_filled(folder: &Path) -> std::io::Result<bool> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The language of the locale: of the first of the three variables that says something.
pub(super) fn language_of(variable: impl Fn(&str) -> Option<String>) -> Language {
    let said = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(variable).find(|value| !value.is_empty());
    Language::from_locale(said.as_deref().unwrap_or(""))
}

/// How many columns the terminal has; none if the output goes elsewhere.
pub(super) fn terminal_width() -> Option<u16> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    comfy_table::Table::new().width().filter(|width| *width >= 40)
}

/// Whether to colour: on a terminal that can, unless `NO_COLOR` is set.
pub(super) fn colour() -> bool {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    wanted && std::env::var_os("TERM").is_none_or(|term| term != "dumb") && std::io::stdout().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_locale_that_says_something_counts() {
        let of = |all: &str, lang: &str| {
            language_of(|name| match name {
                "LC_ALL" => Some(all.to_owned()),
                "LANG" => Some(lang.to_owned()),
                _ => None,
            })
        };
        assert_eq!(of("", "en_US.UTF-8"), Language::English);
        assert_eq!(of("zh_CN.UTF-8", "en_US.UTF-8"), Language::Chinese);
        assert_eq!(of("C", "en_US.UTF-8"), Language::Chinese);
        assert_eq!(language_of(|_| None), Language::Chinese);
    }
}
