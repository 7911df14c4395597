//! The help in the reader's language: every verb and every option has a label.

use clap::Command;

use crate::wording::{Language, label};

/// What clap itself says, and the label that says it.
const HEADINGS: [(&str, &str); 9] = [
    ("Usage:", "help-usage"),
    ("Commands:", "help-commands"),
    ("Arguments:", "help-arguments"),
    ("Options:", "help-options"),
    ("[possible values:", "help-values"),
    ("[default:", "help-default"),
    ("[env:", "help-env"),
    ("error:", "help-error"),
    ("For more information, try", "help-more"),
];

/// What the one line of a verb has no room for.
const MORE: [(&str, &str); 1] = [("verb-trace", "help-trace-csv")];

/// The command with all its help in `language`.
pub(super) fn translate(command: Command, language: Language) -> Command {
    // Built first, so that clap's own `help` and `version` are there to be translated too.
    let mut command = command;
    command.build();
    translate_below(command, "", language)
}

fn translate_below(command: Command, path: &str, language: Language) -> Command {
    let here = if path.is_empty() { "verb".to_owned() } else { format!("{path}-{}", command.get_name()) };
    let key = if path.is_empty() { "verb" } else { here.as_str() };
    let names: Vec<String> = command.get_subcommands().map(|inner| inner.get_name().to_owned()).collect();
    let mut command = command.about(said(key, language));
    if let Some((_, more)) = MORE.iter().find(|(verb, _)| *verb == key) {
        command = command.after_help(said(more, language));
    }
    command = command.mut_args(|arg| {
        // Where a node or a year must be named, nothing is said of what is meant without one.
        let named =
            if (arg.get_id() == "node" || arg.get_id() == "year") && arg.is_required_set() { "-named" } else { "" };
        let text = said(&format!("arg-{}{named}", arg.get_id()), language);
        arg.help(text).long_help(None)
    });
    for name in names {
        command = command.mut_subcommand(&name, |inner| {
            // `help` repeats the whole tree below itself; one sentence is enough.
            if name == "help" {
                inner.about(said("verb-help", language))
            } else {
                translate_below(inner, &here, language)
            }
        });
    }
    command
}

fn said(key: &str, language: Language) -> &'static str {
    label(key, language)
}

/// Headings that clap has no setting for.
pub(super) fn translate_headings(text: &str, language: Language) -> String {
    HEADINGS.iter().fold(text.to_owned(), |text, (heading, key)| text.replace(heading, label(key, language)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// What `label` says of a key that there isn't.
    const NONE: &str = "?";
    const LANGUAGES: [Language; 2] = [Language::Chinese, Language::English];

    fn check(command: &Command, above: &str) {
        let name = command.get_name();
        assert!(command.get_about().is_some_and(|about| about.to_string() != NONE), "{above} {name}");
        for arg in command.get_arguments() {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(!help.is_empty() && help != NONE, "{above} {name} {}", arg.get_id());
        }
        command.get_subcommands().filter(|inner| inner.get_name() != "help").for_each(|inner| check(inner, name));
    }

    #[test]
    fn every_verb_and_option_is_explained_in_both_languages() {
        for language in LANGUAGES {
            check(&translate(super::super::CommandLine::command(), language), "");
        }
    }

    #[test]
    fn every_label_that_is_used_has_a_text() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli");
        let mut checked = 0;
        let mut places = vec![folder];
        while let Some(place) = places.pop() {
            if place.is_dir() {
                places.extend(std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            let text = std::fs::read_to_string(place).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            // Whatever looks like a key is one: words in lower case joined by hyphens.
            let keys = code.split('"').skip(1).step_by(2).filter(|literal| {
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                literal.contains('-')
                    && literal.chars().all(plain)
                    && literal.starts_with(|c: char| c.is_ascii_lowercase())
            });
            for key in keys.filter(|key| *key != "x-budget-actor" && !key.ends_with('-')) {
                checked += 1;
                LANGUAGES.iter().for_each(|language| assert_ne!(label(key, *language), NONE, "{key}"));
            }
        }
        assert!(checked > 100, "{checked} labels found");
    }
}
