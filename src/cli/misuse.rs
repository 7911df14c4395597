//! What is wrong with a command line, as a sentence in the reader's language.
//!
//! What clap found is its own business; here it is only put into words. What there are no words for is said in clap's.

use std::error::Error;
use std::net::AddrParseError;
use std::num::IntErrorKind;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::words::say;
use crate::wording::{Language, label};

/// Options that clap's usage has once they are said, be it by a variable, as if they had to be written.
const NEVER_NEEDED: [&str; 6] = [
    " --server <URL>",
    " --as <NODE/ROLE>",
    " --profile <FILE>",
    " --cert <FILE>",
    " --cert-key <FILE>",
    " --ca <FILE>",
];

/// All that is said of it; none for help, version, and what there are no words for.
pub(super) fn complaint(error: &clap::Error, language: Language) -> Option<String> {
    let said = format!("{} {}", label("help-error", language), sentence(error, language)?);
    let usage = error.get(ContextKind::Usage).map(|usage| format!("{usage}\n\n")).unwrap_or_default();
    let usage = NEVER_NEEDED.iter().fold(usage, |usage, option| usage.replace(option, ""));
    Some(format!("{said}\n\n{usage}{}\n", label("misuse-more", language)))
}

fn sentence(error: &clap::Error, language: Language) -> Option<String> {
    let about = |kind| error.get(kind).map_or_else(String::new, |value| listed(value, language));
    let (arg, expected) = (about(ContextKind::InvalidArg), about(ContextKind::ValidValue));
    match error.kind() {
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = about(ContextKind::InvalidValue);
            let expected = if expected.is_empty() { told(error, language)? } else { expected };
            let key = if value.is_empty() { "misuse-no-value" } else { "misuse-value" };
            Some(say(language, key, &[("arg", &arg), ("value", &value), ("expected", &expected)]))
        }
        ErrorKind::UnknownArgument => {
            let meant = about(ContextKind::SuggestedArg);
            let key = if meant.is_empty() { "misuse-argument" } else { "misuse-argument-meant" };
            Some(say(language, key, &[("arg", &arg), ("meant", &meant)]))
        }
        ErrorKind::InvalidSubcommand => {
            let (verb, meant) = (about(ContextKind::InvalidSubcommand), about(ContextKind::SuggestedSubcommand));
            let key = if meant.is_empty() { "misuse-verb" } else { "misuse-verb-meant" };
            Some(say(language, key, &[("verb", &verb), ("meant", &meant)]))
        }
        ErrorKind::MissingSubcommand => {
            let verbs = about(ContextKind::ValidSubcommand);
            Some(say(language, "misuse-no-verb", &[("verbs", &verbs)]))
        }
        ErrorKind::MissingRequiredArgument => Some(say(language, "misuse-missing", &[("arg", &arg)])),
        ErrorKind::ArgumentConflict => {
            let prior = about(ContextKind::PriorArg);
            let key = if prior == arg { "misuse-twice" } else { "misuse-conflict" };
            Some(say(language, key, &[("arg", &arg), ("prior", &prior)]))
        }
        _ => None,
    }
}

fn listed(value: &ContextValue, language: Language) -> String {
    let between = label("misuse-between", language);
    match value {
        ContextValue::String(one) => one.clone(),
        ContextValue::Strings(all) => all.join(between),
        ContextValue::StyledStr(one) => one.to_string(),
        ContextValue::StyledStrs(all) => all.iter().map(ToString::to_string).collect::<Vec<_>>().join(between),
        _ => String::new(),
    }
}

/// What the parser of a value expected: ours say it by examples, clap's own by a range or in English.
fn told(error: &clap::Error, language: Language) -> Option<String> {
    let Some(source) = error.source() else { return Some(String::new()) };
    let text = source.to_string();
    if let Some(number) = source.downcast_ref::<std::num::ParseIntError>() {
        let too_large = *number.kind() == IntErrorKind::PosOverflow;
        return Some(label(if too_large { "misuse-smaller" } else { "misuse-number" }, language).to_owned());
    }
    if source.is::<AddrParseError>() {
        return Some(label("misuse-address", language).to_owned());
    }
    let range = text.rsplit_once(" is not in ").map(|(_, range)| range.replace("..=", "–"));
    // A range without an end is written with the largest number that there is.
    let endless = range.as_deref().and_then(|range| range.strip_suffix(&format!("..{}", u64::MAX)));
    Some(endless.map(|least| format!("≥ {least}")).or(range).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn said(line: &str, language: Language) -> Option<String> {
        let words = std::iter::once("consolidator").chain(line.split(' '));
        sentence(&super::super::CommandLine::command().try_get_matches_from(words).unwrap_err(), language)
    }

    #[test]
    fn what_is_wrong_with_a_command_line_is_said_in_the_readers_language() {
        let cases = [
            ("view --as-of never", "--as-of <POSITION|TIME> 的值“never”不对，应为：120"),
            ("view 407 --year soon", "--year <YEAR> 的值“soon”不对，应为：不带正负号的整数"),
            ("restore archive --data data --through=-1", "应为：不带正负号的整数"),
            ("view 407 --year 99999999999999999999999", "应为：小一些的数"),
            ("serve --data data --listen here", "应为：127.0.0.1:50051 这样的地址和端口"),
            ("view 407 --year 70000", "应为：0–65535"),
            ("restore archive --data data --through 0", "--through <POSITION> 的值“0”不对，应为：≥ 1"),
            ("view 407 --year", "--year <YEAR> 后面要写它的值"),
            ("view 407 --format xml", "--format <FORMAT> 的值“xml”不对，应为：table、json、csv"),
            ("veiw 407", "没有“veiw”这个命令；是不是 "),
            ("zzzz", "没有“zzzz”这个命令"),
            ("view --yaer 2024", "这里没有 --yaer；是不是 --year？"),
            ("trace 407 T01/a/b more", "这里没有 more"),
            ("trace 407", "还要写：<TABLE/ROW/COLUMN>"),
            ("view --year 2024 --year 2025", "--year <YEAR> 写了两次，只能写一次"),
            ("review 407 --as-of 3 --version 2", "--as-of <POSITION|TIME> 和 --version <N> 不能一起用"),
        ];
        for (line, expected) in cases {
            let chinese = said(line, Language::Chinese).unwrap();
            assert!(chinese.contains(expected), "{line}: {chinese}");
            // Only what was typed and how it is written is in another language.
            let english = said(line, Language::English).unwrap();
            assert!(english.is_ascii() || english.contains('“'), "{line}: {english}");
        }
        assert_eq!(said("view --help", Language::Chinese), None);
    }

    #[test]
    fn the_usage_asks_for_no_option_that_may_be_left_out() {
        let words = "consolidator --server here --as 0/bureau --ca file trace 407".split(' ');
        let error = super::super::CommandLine::command().try_get_matches_from(words).unwrap_err();
        let said = complaint(&error, Language::English).unwrap();
        assert!(said.contains("trace") && said.contains("<TABLE/ROW/COLUMN>") && !said.contains("--server"), "{said}");
        assert!(!said.contains("--as") && !said.contains("--ca"), "{said}");
    }
}
