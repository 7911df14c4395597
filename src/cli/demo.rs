//! `demo`: the whole path on the example, in titled scenes, against a real server in a process of its own,
//! over mutual TLS with certificates made on the spot. `--as` picks the one of a scene's actor.
//!
//! The scenes and their commands are data: `examples/fenyang-2024/demo.toml`. What is shown is what the commands print.
//! It plays a year in seconds, so the server's clock is told the time of each scene (`simulated_clock.rs`).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use clap::{CommandFactory, FromArgMatches};
use serde::Deserialize;

use super::output::{Answer, Failure};
use super::serve::wall_clock;
use super::settings::{DEFAULT_SERVER, Settings, is_filled};
use super::words::read_time;
use super::{CommandLine, Globals, dispatch, parse_actor, way, without_empty_variables};
use crate::budget::reason::Remark;
use crate::certificate::authority::{Authority, Validity};
use crate::ledger::actor::Actor;
use crate::wording::Language;

/// The files of the example, embedded when the program was built.
const EXAMPLE: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/example.rs"));

/// What stands in a command for the folder that the demo plays in.
const STAGE: &str = "{stage}/";

/// How long its certificates hold: `--keep` may be gone on with for some time.
const DAYS: u32 = 365;

/// How wide the demo draws where nobody says.
const WIDTH: u16 = 132;

/// What `demo` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    scene: Vec<Scene>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scene {
    zh: String,
    en: String,
    /// What time it is from here on, in China; as in the scene before if it isn't said.
    #[serde(default)]
    at: Option<String>,
    #[serde(default)]
    kill: bool,
    run: Vec<Step>,
}

/// A command line, and how it is meant to end: another end is not what the scene claims.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Step {
    Taken(String),
    Refused { refused: String },
}

impl Step {
    fn line(&self) -> &str {
        match self {
            Step::Taken(line) | Step::Refused { refused: line } => line,
        }
    }

    fn is_refused(&self) -> bool {
        matches!(self, Step::Refused { .. })
    }
}

/// The folder that the demo plays in; removed at the end unless it is to be kept.
struct Stage {
    root: PathBuf,
    keep: bool,
}

impl Stage {
    fn set(options: &Options) -> std::io::Result<Stage> {
        let (root, keep) = match &options.keep {
            Some(folder) => (folder.clone(), true),
            None => (std::env::temp_dir().join(format!("budget-consolidator-demo-{}", std::process::id())), false),
        };
        if root.join("data").exists() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::AlreadyExists,
                root.join("data").display().to_string(),
            ));
        }
        let stage = Stage { root, keep };
        for (name, bytes) in EXAMPLE {
            let path = stage.example().join(name);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(path, bytes)?;
        }
        Ok(stage)
    }

    fn example(&self) -> PathBuf {
        self.root.join("example")
    }

    fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Folder of the server's certificate.
    fn tls(&self) -> PathBuf {
        self.root.join("tls")
    }

    /// Folder with a certificate for each who has a part, and a profile.
    fn people(&self) -> PathBuf {
        self.root.join("people")
    }

    /// Certificates for the server and for all who are named in the script.
    fn certify(&self, script: &Script) -> Result<(), Remark> {
        let now = wall_clock()().0.div_euclid(1_000);
        let validity = Validity::days(now, DAYS);
        let authority = Authority::init(&self.root.join("ca"), "demo", validity)?;
        authority.issue_server(&["localhost".to_owned(), "127.0.0.1".to_owned()], validity, &self.tls())?;
        let words = script.scene.iter().flat_map(|scene| &scene.run).flat_map(|step| step.line().split_whitespace());
        let actors: BTreeSet<Actor> = words.filter_map(parse_actor).collect();
        for actor in actors {
            authority.issue_identity(&actor, validity, &self.people(), &format!("https://{DEFAULT_SERVER}"))?;
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = fs::remove_dir_all(&self.root)
        {
            tracing::warn!(%error, folder = %self.root.display(), "left behind");
        }
    }
}

/// The server in a process of its own; killed when it is dropped.
struct Server {
    child: Child,
    clock: ChildStdin,
    said: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    fn start(stage: &Stage, now: i64) -> std::io::Result<Server> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(stage.data())
            .arg("--tls")
            .arg(stage.tls())
            .arg("--simulated-clock")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (Some(clock), Some(said)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(std::io::Error::other("serve"));
        };
        let mut server = Server { child, clock, said: BufReader::new(said), address: String::new() };
        server.tell(now)?;
        server.address = server.line()?;
        Ok(server)
    }

    /// Tells it what time it is, and waits until it is.
    fn tell(&mut self, now: i64) -> std::io::Result<()> {
        writeln!(self.clock, "{now}")?;
        self.line().map(|_| ())
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        match line.trim() {
            "" => Err(std::io::Error::other("serve")),
            line => Ok(line.to_owned()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // On Unix this is SIGKILL: what the last scene is about.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Plays the scenes.
///
/// # Errors
/// If the server can't be started, or a command ends otherwise than its scene says.
pub async fn run(options: &Options, settings: &Settings) -> Result<Answer, Failure> {
    let failed = |error: std::io::Error| Failure::Failed(settings.say("demo-failed", &[("why", &error.to_string())]));
    let script = EXAMPLE.iter().find(|(name, _)| *name == "demo.toml").map(|(_, bytes)| String::from_utf8_lossy(bytes));
    let script: Script = toml::from_str(&script.unwrap_or_default()).map_err(|e| failed(std::io::Error::other(e)))?;
    if let Some(folder) = options.keep.as_ref().filter(|folder| is_filled(folder).unwrap_or(true)) {
        return Err(Failure::Usage(settings.say("folder-not-empty", &[("folder", &folder.display().to_string())])));
    }
    let stage = Stage::set(options).map_err(failed)?;
    stage.certify(&script).map_err(Failure::Refused)?;
    let begins = script.scene.iter().find_map(|scene| scene.at.as_deref());
    let mut now = begins.map_or_else(|| Ok(wall_clock()().0), time_of).map_err(failed)?;
    let mut server = Server::start(&stage, now).map_err(failed)?;
    say(&settings.say("demo-server", &[("address", &server.address)])).map_err(failed)?;
    say(settings.label("demo-clock")).map_err(failed)?;
    let scenes = script.scene.len();
    for (number, scene) in script.scene.iter().enumerate() {
        let claim = match settings.language {
            Language::Chinese => &scene.zh,
            Language::English => &scene.en,
        };
        let day = scene.at.as_deref().map_or_else(String::new, |at| format!("{at}  "));
        say(&format!("\n━━ {}/{scenes}  {day}{claim}", number + 1)).map_err(failed)?;
        if let Some(at) = &scene.at {
            now = time_of(at).map_err(failed)?;
            server.tell(now).map_err(failed)?;
        }
        if scene.kill {
            drop(server);
            server = Server::start(&stage, now).map_err(failed)?;
        }
        for step in &scene.run {
            let line = step.line().replace(STAGE, "");
            say(&format!("\n$ consolidator {line}")).map_err(failed)?;
            let (said, code) = match play(step.line(), &stage, &server.address, settings).await {
                Ok(answer) => (answer.text, answer.code),
                Err(refused @ Failure::Refused(_)) => (settings.complain(&refused), refused.code()),
                Err(failure) => return Err(failure),
            };
            say(said.trim_end()).map_err(failed)?;
            if (code != 0) != step.is_refused() {
                let word = if step.is_refused() { "demo-not-refused" } else { "demo-refused" };
                return Err(Failure::Failed(settings.say(word, &[("line", &line)])));
            }
        }
    }
    let end = if stage.keep {
        let [data, example, tls, people] = [stage.data(), stage.example(), stage.tls(), stage.people()]
            .map(|folder| std::path::absolute(&folder).unwrap_or(folder).display().to_string());
        let facts = [("data", &data), ("example", &example), ("tls", &tls), ("people", &people)];
        settings.say("demo-kept", &facts.map(|(key, fact)| (key, fact.as_str())))
    } else {
        settings.say("demo-end", &[])
    };
    Ok(Answer::clean(format!("\n{end}\n")))
}

/// The time of a scene.
fn time_of(at: &str) -> std::io::Result<i64> {
    read_time(&at.replace(' ', "T")).ok_or_else(|| std::io::Error::other(at.to_owned()))
}

/// Runs one command line as a user would, in the folder of the example.
async fn play(line: &str, stage: &Stage, address: &str, settings: &Settings) -> Result<Answer, Failure> {
    let words = line.split_whitespace().map(|word| {
        if let Some(beside) = word.strip_prefix(STAGE) {
            return stage.root.join(beside).into_os_string();
        }
        let file = stage.example().join(word);
        if file.is_file() { file.into_os_string() } else { OsString::from(word) }
    });
    let arguments = std::iter::once(OsString::from("consolidator")).chain(words);
    let command = without_empty_variables(CommandLine::command());
    let parsed = command.try_get_matches_from(arguments).and_then(|m| CommandLine::from_arg_matches(&m));
    let CommandLine { globals, verb } = parsed.map_err(|error| Failure::Failed(error.to_string()))?;
    let globals = Globals { profile: Some(stage.people()), server: Some(address.to_owned()), ..globals };
    let settings = Settings {
        width: Some(settings.width.unwrap_or(WIDTH)),
        checkpoints: Some(stage.root.join("checkpoints")),
        ..settings.clone().on(way::find(&globals, settings.language)?)
    };
    // The demo is itself a verb, so the call comes back to where it started: boxed, to end the circle of types.
    Box::pin(dispatch(verb, &settings)).await
}

/// Prints while it happens, not at the end.
fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
