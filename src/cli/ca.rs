//! `ca`: certificates for places without a PKI: set up an authority, issue, revoke, list. No server is asked.
//!
//! How they are made is `certificate/authority.rs`; here are the words.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::output::{Answer, Failure, Grid, Look, Sheet, Show};
use super::serve::wall_clock;
use super::settings::Settings;
use super::words::{time, time_for_programs};
use super::{Done, parse_actor};
use crate::certificate::authority::{Authority, Issued, Validity, file_name};
use crate::certificate::{Certificate, DAY, WARN_DAYS};
use crate::ledger::actor::{Role, fits};
use crate::wording::label;

/// Port of a server where nobody says.
const PORT: u16 = 7_407;

/// For how many days a certificate may hold: a hundred years are for ever.
fn days() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=36_500)
}

/// What `ca` is told.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Verb {
    /// Sets up an authority.
    Init(Init),
    /// Issues a certificate.
    Issue(Issue),
    /// Revokes certificates.
    Revoke(Revoke),
    /// Lists what was issued.
    List(List),
}

/// What `ca init` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Init {
    #[arg(long = "dir", value_name = "DIR", default_value = "ca")]
    ca_dir: PathBuf,
    #[arg(long = "name", value_name = "TEXT", default_value = "budget consolidator")]
    ca_name: String,
    #[arg(long, value_name = "DAYS", default_value_t = 3_650, value_parser = days())]
    days: u32,
}

/// What `ca issue` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Issue {
    #[arg(long = "dir", value_name = "DIR", default_value = "ca")]
    ca_dir: PathBuf,
    #[arg(long = "unit", value_name = "CODE", required_unless_present = "hosts", conflicts_with = "hosts")]
    ca_unit: Option<String>,
    #[arg(long = "role", value_name = "ROLE", default_value = "unit")]
    ca_role: String,
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = days())]
    days: u32,
    #[arg(long = "out", value_name = "DIR")]
    ca_out: Option<PathBuf>,
}

/// What `ca revoke` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Revoke {
    #[arg(value_name = "NODE/ROLE|SERIAL")]
    which: String,
    #[arg(long = "dir", value_name = "DIR", default_value = "ca")]
    ca_dir: PathBuf,
    #[arg(long = "tls", value_name = "DIR")]
    revoke_tls: Option<PathBuf>,
}

/// What `ca list` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct List {
    #[arg(long = "dir", value_name = "DIR", default_value = "ca")]
    ca_dir: PathBuf,
}

/// Runs `ca`.
///
/// # Errors
/// A file that can't be used, or an identity that there can't be.
pub fn run(verb: Verb, settings: &Settings) -> Result<Answer, Failure> {
    let now = wall_clock()().0.div_euclid(1_000);
    match verb {
        Verb::Init(args) => {
            Authority::init(&args.ca_dir, &args.ca_name, Validity::days(now, args.days)).map_err(Failure::Refused)?;
            let folder = args.ca_dir.display().to_string();
            let facts = [("folder", folder.clone())];
            Ok(settings.answer(&Done::new("ca-done-init", &facts, false, json!({ "folder": folder }))))
        }
        Verb::Issue(args) => issue(&args, now, settings),
        Verb::Revoke(args) => revoke(&args, now, settings),
        Verb::List(args) => {
            let authority = Authority::open(&args.ca_dir).map_err(Failure::Refused)?;
            let all = authority.list().map_err(Failure::Refused)?;
            Ok(settings.answer(&Listed { all, now }))
        }
    }
}

fn issue(args: &Issue, now: i64, settings: &Settings) -> Result<Answer, Failure> {
    let authority = Authority::open(&args.ca_dir).map_err(Failure::Refused)?;
    let validity = Validity::days(now, args.days);
    if validity.until > authority.until() {
        let left = (authority.until() - now).div_euclid(DAY).max(0).to_string();
        let until = time(authority.until().saturating_mul(1_000));
        return Err(Failure::Usage(settings.say("ca-too-long", &[("until", &until), ("days", &left)])));
    }
    let (label, folder, issued) = match &args.ca_unit {
        None => {
            let folder = args.ca_out.clone().unwrap_or_else(|| args.ca_dir.join("server"));
            ("ca-done-server", folder.clone(), authority.issue_server(&args.hosts, validity, &folder))
        }
        Some(unit) => {
            let said = format!("{unit}/{}", args.ca_role);
            let wrong = || {
                let roles: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
                Failure::Usage(settings.say("actor-wrong", &[("actor", &said), ("roles", &roles.join(", "))]))
            };
            let actor = parse_actor(&said).ok_or_else(wrong)?;
            // No service would ever let it do anything.
            if !fits(&actor, None) {
                return Err(Failure::Usage(settings.say("ca-no-such", &[("actor", &said)])));
            }
            let folder = args.ca_out.clone().unwrap_or_else(|| args.ca_dir.join(file_name(&actor)));
            let server = match &settings.named_server {
                Some(server) => server.clone(),
                None => server_of(&authority).map_err(Failure::Refused)?,
            };
            ("ca-done-issue", folder.clone(), authority.issue_identity(&actor, validity, &folder, &server))
        }
    };
    let Certificate { serial, uris, hosts, until, .. } = issued.map_err(Failure::Refused)?.certificate;
    let who = uris.into_iter().chain(hosts).collect::<Vec<_>>().join(" ");
    let facts = [
        ("who", who.clone()),
        ("folder", folder.display().to_string()),
        ("until", time(until.saturating_mul(1_000))),
        ("serial", serial.clone()),
    ];
    let json = json!({
        "serial": serial, "names": who, "folder": folder.display().to_string(),
        "until": time_for_programs(until.saturating_mul(1_000)),
    });
    Ok(settings.answer(&Done::new(label, &facts, false, json)))
}

/// Where the server is that a certificate was issued to, as far as is known: on its usual port.
fn server_of(authority: &Authority) -> Result<String, crate::budget::reason::Remark> {
    let host = authority.list()?.into_iter().rev().find_map(|issued| issued.certificate.hosts.into_iter().next());
    let host = host.unwrap_or_else(|| "localhost".to_owned());
    Ok(if host.contains(':') { format!("https://[{host}]:{PORT}") } else { format!("https://{host}:{PORT}") })
}

fn revoke(args: &Revoke, now: i64, settings: &Settings) -> Result<Answer, Failure> {
    let authority = Authority::open(&args.ca_dir).map_err(Failure::Refused)?;
    let revoked = authority.revoke(&args.which, now).map_err(Failure::Refused)?;
    if let Some(folder) = &args.revoke_tls {
        authority.copy_revoked(folder).map_err(Failure::Refused)?;
    }
    let serials: Vec<String> = revoked.into_iter().map(|issued| issued.certificate.serial).collect();
    if serials.is_empty() {
        return Err(Failure::Failed(settings.say("ca-nothing", &[("which", &args.which)])));
    }
    let label = if args.revoke_tls.is_some() { "ca-done-revoke" } else { "ca-done-revoke-copy" };
    let folder = args.ca_dir.display().to_string();
    let facts = [
        ("which", args.which.clone()),
        ("n", serials.len().to_string()),
        ("serials", serials.join(", ")),
        ("folder", folder),
    ];
    Ok(settings.answer(&Done::new(label, &facts, false, json!({ "revoked": serials }))))
}

/// All that was issued.
struct Listed {
    all: Vec<Issued>,
    now: i64,
}

impl Listed {
    /// How one stands, as a label and for programs.
    fn standing(&self, issued: &Issued) -> (&'static str, &'static str) {
        match issued.certificate.days_left(self.now) {
            _ if issued.revoked => ("ca-revoked", "revoked"),
            ..0 => ("ca-ended", "expired"),
            0..WARN_DAYS => ("ca-ends", "expires soon"),
            _ => ("ca-good", "valid"),
        }
    }
}

fn names(certificate: &Certificate) -> String {
    certificate.uris.iter().chain(&certificate.hosts).cloned().collect::<Vec<_>>().join(" ")
}

impl Show for Listed {
    fn text(&self, look: &Look) -> String {
        let word = |key| label(key, look.language);
        let mut grid = Grid::new();
        for head in ["head-certificate", "head-until", "head-standing", "head-serial"] {
            grid = grid.text(word(head));
        }
        for issued in &self.all {
            let days = issued.certificate.days_left(self.now).to_string();
            grid.row(vec![
                names(&issued.certificate),
                time(issued.certificate.until.saturating_mul(1_000)),
                super::words::say(look.language, self.standing(issued).0, &[("days", &days)]),
                issued.certificate.serial.clone(),
            ]);
        }
        grid.draw(look)
    }

    fn json(&self) -> Value {
        let one = |issued: &Issued| {
            json!({
                "serial": issued.certificate.serial,
                "names": names(&issued.certificate),
                "until": time_for_programs(issued.certificate.until.saturating_mul(1_000)),
                "standing": self.standing(issued).1,
            })
        };
        json!({ "certificates": self.all.iter().map(one).collect::<Vec<_>>() })
    }

    fn sheet(&self) -> Sheet {
        let row = |issued: &Issued| {
            let Certificate { serial, until, .. } = &issued.certificate;
            let until = time_for_programs(until.saturating_mul(1_000));
            vec![names(&issued.certificate), until, self.standing(issued).1.to_owned(), serial.clone()]
        };
        Sheet { columns: vec!["names", "until", "standing", "serial"], rows: self.all.iter().map(row).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standing_follows_the_days_that_are_left() {
        let day = crate::certificate::DAY;
        let certificate = |days: i64| Certificate {
            serial: "01".to_owned(),
            uris: vec!["budget://407002/unit".to_owned()],
            hosts: Vec::new(),
            from: 0,
            until: days * day,
        };
        let listed = Listed { all: Vec::new(), now: 0 };
        for (days, revoked, said) in [
            (100, false, "valid"),
            (WARN_DAYS - 1, false, "expires soon"),
            (-1, false, "expired"),
            (100, true, "revoked"),
        ] {
            assert_eq!(listed.standing(&Issued { certificate: certificate(days), revoked }).1, said);
        }
    }
}
