//! The command line: one file per verb, all of them clients of a server but those that `Verb::asks_a_server` names.
//!
//! Knows nothing of how anything is stored. What a verb shows goes through `output.rs`, words through `words.rs`,
//! the way to the server through `way.rs` and `client.rs`. All texts, the help included, stand in the catalogue of
//! [`crate::wording`], in Chinese and English.
//!
//! Exit codes: 0 fine, 1 findings that refuse or a refusal, 2 usage, 3 the server can't be reached.

mod attempt;
pub mod audit;
pub mod backup;
pub mod ca;
mod cell_history;
pub mod check;
mod client;
pub mod control;
pub mod demo;
pub mod diff;
pub mod explain;
mod figures;
mod filing;
pub mod findings;
pub mod form;
pub mod fsck;
mod handshake;
mod help;
pub mod history;
pub mod justify;
mod metrics;
mod misuse;
mod notes;
mod output;
mod receipt;
mod report;
pub mod restore;
mod returned;
pub mod review;
mod review_events;
mod review_screen;
pub mod round;
mod rule_finding;
pub mod rules;
mod screen;
mod seen;
pub mod serve;
mod settings;
mod signatures;
mod simulated_clock;
pub mod status;
pub mod submit;
mod table_file;
pub mod trace;
pub mod unit;
mod verified;
pub mod view;
mod watch;
mod way;
mod words;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches};
use serde_json::Value;

pub use output::{Answer, Failure, Format};
pub use settings::{DEFAULT_SERVER, Settings};

use crate::ledger::actor::{Actor, Role};
use crate::proto::api;
use crate::wording::Language;
use output::{Look, Sheet, Show};

/// How the program ended.
#[derive(Debug)]
pub struct Ended {
    /// For standard output.
    pub out: String,
    /// For standard error.
    pub err: String,
    /// Exit code.
    pub code: u8,
}

#[derive(Debug, clap::Parser)]
#[command(name = "consolidator", version, arg_required_else_help = true)]
struct CommandLine {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Args)]
struct Globals {
    #[arg(long, global = true, env = "BUDGET_SERVER", value_name = "URL")]
    server: Option<String>,
    #[arg(long = "as", global = true, env = "BUDGET_AS", value_name = "NODE/ROLE")]
    actor: Option<String>,
    #[arg(long, global = true, env = "BUDGET_PROFILE", value_name = "FILE")]
    profile: Option<PathBuf>,
    #[arg(long, global = true, env = "BUDGET_CERT", value_name = "FILE")]
    cert: Option<PathBuf>,
    #[arg(long, global = true, env = "BUDGET_CERT_KEY", value_name = "FILE")]
    cert_key: Option<PathBuf>,
    #[arg(long, global = true, env = "BUDGET_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    #[arg(long, global = true, value_enum, hide_possible_values = true)]
    lang: Option<Lang>,
    #[arg(long, global = true, value_enum, default_value = "table", hide_possible_values = true)]
    format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Lang {
    Zh,
    En,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Demo(demo::Options),
    Serve(serve::Options),
    Submit(submit::Args),
    Adjust(submit::AdjustArgs),
    Check(check::Args),
    View(view::Args),
    Trace(trace::Args),
    Diff(diff::Args),
    Status(status::Args),
    Findings(findings::Args),
    Justify(justify::Args),
    #[command(subcommand)]
    Round(round::Verb),
    Withdraw(review::VersionArgs),
    Return(review::ReturnArgs),
    Opinion(review::OpinionArgs),
    Review(review::ReviewArgs),
    Accept(review::VersionArgs),
    Forward(review::ForwardArgs),
    Approve(review::StepArgs),
    Reopen(review::StepArgs),
    History(history::Args),
    #[command(subcommand)]
    Control(control::Verb),
    #[command(subcommand)]
    Unit(unit::Verb),
    #[command(subcommand)]
    Form(form::Verb),
    #[command(subcommand)]
    Audit(audit::Verb),
    #[command(subcommand)]
    Ca(ca::Verb),
    Backup(backup::Args),
    Restore(restore::Args),
    Fsck(fsck::Args),
    Explain(explain::Args),
}

impl Verb {
    fn asks_a_server(&self) -> bool {
        match self {
            Verb::Demo(_)
            | Verb::Serve(_)
            | Verb::Check(_)
            | Verb::Audit(audit::Verb::Verify { .. } | audit::Verb::RotateKey { .. })
            | Verb::Ca(_)
            | Verb::Restore(_)
            | Verb::Fsck(_)
            | Verb::Explain(_) => false,
            Verb::Form(verb) => verb.asks_a_server(),
            _ => true,
        }
    }
}

/// Which year and round.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Times {
    #[arg(long)]
    year: Option<u16>,
    #[arg(long, value_name = "first|second", value_parser = parse_round)]
    round: Option<api::Round>,
}

impl Times {
    /// The round; the second unless said otherwise.
    fn round(&self) -> api::Round {
        self.round.unwrap_or(api::Round::Second)
    }

    fn scope(&self, node: &str, form_set: Option<&str>) -> api::Scope {
        api::Scope {
            node: node.to_owned(),
            year: self.year.map_or(0, u32::from),
            round: i32::from(self.round()),
            form_set: form_set.unwrap_or("").to_owned(),
            as_of: None,
        }
    }
}

/// As of which moment.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Moment {
    #[arg(long, value_name = "POSITION|TIME", value_parser = words::parse_moment)]
    as_of: Option<api::AsOf>,
}

impl Moment {
    fn of(self, scope: api::Scope) -> api::Scope {
        api::Scope { as_of: self.as_of, ..scope }
    }
}

/// Reads `first`, `second`, and what people say.
fn parse_round(text: &str) -> Result<api::Round, String> {
    match text {
        "first" | "1" | "一上" => Ok(api::Round::First),
        "second" | "2" | "二上" => Ok(api::Round::Second),
        _ => Err("first (一上), second (二上)".to_owned()),
    }
}

/// Reads `budget://407002/unit` and the short form `407002/unit`.
fn parse_actor(text: &str) -> Option<Actor> {
    let whole = if text.starts_with("budget://") { text.to_owned() } else { format!("budget://{text}") };
    Actor::parse(&whole)
}

/// Who asks. An empty variable says nothing, as if it weren't there.
fn actor(text: Option<&str>, language: Language) -> Result<Option<Actor>, Failure> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let wrong = || {
        let roles: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
        Failure::Usage(words::say(language, "actor-wrong", &[("actor", text), ("roles", &roles.join(", "))]))
    };
    parse_actor(text).map(Some).ok_or_else(wrong)
}

/// `407 汾阳市人力资源和社会保障局`.
fn node_title(code: &str, name: &str) -> String {
    if name.is_empty() { code.to_owned() } else { format!("{code} {name}") }
}

/// Runs the program with these arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Ended {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let language = language(&arguments);
    let command = help::translate(without_empty_variables(CommandLine::command()), language);
    let parsed = command.try_get_matches_from(arguments).and_then(|found| CommandLine::from_arg_matches(&found));
    let CommandLine { globals, verb } = match parsed {
        Ok(line) => line,
        Err(error) => return not_run(&error, language),
    };
    let settings = Settings {
        server: DEFAULT_SERVER.to_owned(),
        named_server: globals.server.clone(),
        actor: None,
        credentials: None,
        language,
        format: globals.format,
        width: settings::terminal_width(),
        colour: settings::colour(),
        checkpoints: seen::folder(),
    };
    let found = if verb.asks_a_server() { way::find(&globals, language).map(Some) } else { Ok(None) };
    let settings = match found {
        Ok(None) => settings,
        Ok(Some(way)) => settings.on(way),
        Err(failure) => return Ended { out: String::new(), err: settings.complain(&failure), code: failure.code() },
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Ended { out: String::new(), err: format!("{error}\n"), code: 1 },
    };
    match runtime.block_on(dispatch(verb, &settings)) {
        Ok(answer) => Ended { out: answer.text, err: String::new(), code: answer.code },
        Err(failure) => Ended { out: String::new(), err: settings.complain(&failure), code: failure.code() },
    }
}

async fn dispatch(verb: Verb, settings: &Settings) -> Result<Answer, Failure> {
    match verb {
        Verb::Demo(options) => demo::run(&options, settings).await,
        Verb::Serve(options) => {
            serve::run(&options).await.map(|()| Answer::clean(String::new())).map_err(Failure::Refused)
        }
        Verb::Submit(args) => submit::run(args, settings).await,
        Verb::Adjust(args) => submit::adjust(args, settings).await,
        Verb::Check(args) => check::run(&args, settings),
        Verb::View(args) => view::run(args, settings).await,
        Verb::Trace(args) => trace::run(args, settings).await,
        Verb::Diff(args) => diff::run(args, settings).await,
        Verb::Status(args) => status::run(args, settings).await,
        Verb::Findings(args) => findings::run(args, settings).await,
        Verb::Justify(args) => justify::run(args, settings).await,
        Verb::Round(verb) => round::run(verb, settings).await,
        Verb::Withdraw(args) => review::withdraw(args, settings).await,
        Verb::Return(args) => review::give_back(args, settings).await,
        Verb::Opinion(args) => review::opinion(args, settings).await,
        Verb::Review(args) => review::review(args, settings).await,
        Verb::Accept(args) => review::accept(args, settings).await,
        Verb::Forward(args) => review::forward(args, settings).await,
        Verb::Approve(args) => review::approve(args, settings).await,
        Verb::Reopen(args) => review::reopen(args, settings).await,
        Verb::History(args) => history::run(args, settings).await,
        Verb::Control(verb) => control::run(verb, settings).await,
        Verb::Unit(verb) => unit::run(verb, settings).await,
        Verb::Form(verb) => form::run(verb, settings).await,
        Verb::Audit(verb) => audit::run(verb, settings).await,
        Verb::Ca(verb) => ca::run(verb, settings),
        Verb::Backup(args) => backup::run(args, settings).await,
        Verb::Restore(args) => restore::run(&args, settings),
        Verb::Fsck(args) => fsck::run(&args, settings),
        Verb::Explain(args) => explain::run(&args, settings),
    }
}

/// The same where a variable that is set to nothing counts as not set.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| {
        let named = arg.get_env().and_then(std::env::var_os);
        if named.is_some_and(|value| value.is_empty()) { arg.env(None::<&str>) } else { arg }
    })
}

/// Help, version, or a wrong command line.
fn not_run(error: &clap::Error, language: Language) -> Ended {
    let text = misuse::complaint(error, language).unwrap_or_else(|| {
        let styled = error.render();
        if settings::colour() { styled.ansi().to_string() } else { styled.to_string() }
    });
    let text = help::translate_headings(&text, language);
    if error.use_stderr() {
        Ended { out: String::new(), err: text, code: 2 }
    } else {
        Ended { out: text, err: String::new(), code: 0 }
    }
}

/// The language is needed before the command line is read, for its help and its complaints.
fn language(arguments: &[OsString]) -> Language {
    let texts: Vec<&str> = arguments.iter().filter_map(|argument| argument.to_str()).collect();
    let said = texts.iter().enumerate().find_map(|(at, text)| match text.strip_prefix("--lang") {
        Some("") => texts.get(at + 1).copied(),
        Some(rest) => rest.strip_prefix('='),
        None => None,
    });
    match said {
        Some("zh") => Language::Chinese,
        Some("en") => Language::English,
        Some(_) | None => settings::language_of(|name| std::env::var(name).ok()),
    }
}

/// Something was done, and there is a receipt for it.
#[derive(Debug)]
struct Done {
    label: &'static str,
    facts: Vec<(&'static str, String)>,
    repeated: bool,
    json: Value,
}

impl Done {
    fn new(label: &'static str, facts: &[(&'static str, String)], repeated: bool, json: Value) -> Done {
        Done { label, facts: facts.to_vec(), repeated, json }
    }
}

impl Show for Done {
    fn text(&self, look: &Look) -> String {
        let facts: Vec<(&str, &str)> = self.facts.iter().map(|(name, fact)| (*name, fact.as_str())).collect();
        let mut out = format!("{}\n", words::say(look.language, self.label, &facts));
        if self.repeated {
            out.push_str(&format!("{}\n", words::say(look.language, "fact-repeated", &[])));
        }
        out
    }

    fn json(&self) -> Value {
        self.json.clone()
    }

    fn sheet(&self) -> Sheet {
        let columns = self.facts.iter().map(|(name, _)| *name).collect();
        Sheet { columns, rows: vec![self.facts.iter().map(|(_, fact)| fact.clone()).collect()] }
    }
}

#[cfg(test)]
mod samples {
    use super::*;

    pub(super) fn settings() -> Settings {
        Settings {
            server: DEFAULT_SERVER.to_owned(),
            named_server: None,
            actor: None,
            credentials: None,
            language: Language::Chinese,
            format: Format::Table,
            width: None,
            colour: false,
            checkpoints: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn ended(line: &str) -> Ended {
        run(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        for language in [Language::Chinese, Language::English] {
            help::translate(CommandLine::command(), language).debug_assert();
        }
    }

    #[test]
    fn verbs_and_globals_are_read_in_any_order() {
        let line = "consolidator view 407 --as 407/department --table A1 --table A2 --yuan --format json --round 一上";
        let read = CommandLine::try_parse_from(line.split_whitespace()).unwrap();
        assert_eq!(read.globals.actor.as_deref(), Some("407/department"));
        assert_eq!(read.globals.format, Format::Json);
        let Verb::View(args) = read.verb else { panic!("another verb") };
        assert_eq!((args.node.as_str(), args.tables.len(), args.yuan), ("407", 2, true));
        assert_eq!(args.times.round(), api::Round::First);
    }

    #[test]
    fn actors_have_a_short_form() {
        assert_eq!(parse_actor("407002/unit").unwrap(), parse_actor("budget://407002/unit").unwrap());
        assert!(parse_actor("407002").is_none() && parse_actor("407002/king").is_none());
    }

    #[test]
    fn a_wrong_command_line_is_exit_code_two() {
        for line in
            ["consolidator nothing", "consolidator view 407 --wan --yuan", "consolidator --as x status", "consolidator"]
        {
            assert_eq!(ended(line).code, 2, "{line}");
        }
        assert_eq!(ended("consolidator --help").code, 0);
        assert_eq!(ended("consolidator check /no/such/file.json").code, 2);
    }

    #[test]
    fn a_server_that_is_not_there_is_exit_code_three() {
        // Port 9 is for discarding; nothing listens on it here.
        let ended = ended("consolidator --server 127.0.0.1:9 --lang zh status 407");
        assert_eq!(ended.code, 3, "{}", ended.err);
        assert!(ended.err.contains("127.0.0.1:9"), "{}", ended.err);
    }

    #[test]
    fn help_is_in_the_language_asked_for() {
        let chinese = ended("consolidator --lang zh view --help").out;
        let english = ended("consolidator view --lang=en --help").out;
        assert!(chinese.contains("查看") && !chinese.contains("Usage"), "{chinese}");
        assert!(english.contains("Usage"), "{english}");
    }

    #[test]
    fn a_year_that_must_be_named_has_no_default() {
        for line in ["unit import", "control issue", "control split"] {
            let help = ended(&format!("consolidator --lang zh {line} --help")).out;
            assert!(help.contains("预算年度") && !help.contains("默认最近一年"), "{line}: {help}");
        }
        assert!(ended("consolidator --lang zh unit list --help").out.contains("默认最近一年"));
    }
}
