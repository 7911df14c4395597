//! `demo`: the whole path on the example, in titled scenes.

use super::output::{Answer, Failure};
use super::settings::Settings;

/// What `demo` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {}

/// Runs `demo`.
///
/// # Errors
/// Always, for now.
pub async fn run(_options: &Options, _settings: &Settings) -> Result<Answer, Failure> {
    Err(Failure::Failed("demo".to_owned()))
}
