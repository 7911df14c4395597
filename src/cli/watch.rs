//! `status --watch`: the status board, kept current until Ctrl-C.
//!
//! On a terminal the board is redrawn in place; elsewhere a line is printed for each change, and with `--format json` each
//! message is one line. A connection that is lost is opened again, a little later each time, and the watch goes on from
//! the position that it had come to.

use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};
use tonic::Streaming;

use super::client::{Client, remark};
use super::output::{Answer, Failure, Format, finish};
use super::settings::Settings;
use super::status::{self, Board, line_json};
use super::words::time;
use super::{Times, screen::Screen};
use crate::budget::reason::Reason;
use crate::proto::api::watch_response::Said;
use crate::proto::api::{self, WatchResponse};

/// How often the server is asked to say that it is there.
const HEARTBEAT_SECONDS: u32 = 5;
/// How long nothing may be heard before the connection counts as lost.
const SILENCE: Duration = Duration::from_secs(4 * HEARTBEAT_SECONDS as u64);
/// How long to wait before the first try to connect again; doubled each time.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest wait between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Follows a board until Ctrl-C.
///
/// # Errors
/// A refusal, or a server that can't be reached at the start.
pub(super) async fn run(node: &str, times: &Times, settings: &Settings) -> Result<Answer, Failure> {
    if settings.format == Format::Csv {
        return Err(Failure::Usage(settings.say("watch-no-csv", &[])));
    }
    let mut follower = Follower {
        settings,
        request: api::WatchRequest {
            scope: Some(times.scope(node, None)),
            resume_position: 0,
            heartbeat_seconds: HEARTBEAT_SECONDS,
        },
        board: None,
        screen: Screen::of_terminal(settings.width),
    };
    tokio::select! {
        ended = follower.follow() => ended,
        stopped = tokio::signal::ctrl_c() => match stopped {
            Ok(()) => Ok(Answer::clean(String::new())),
            Err(error) => Err(Failure::Failed(error.to_string())),
        },
    }
}

/// What is known, and where it is shown.
struct Follower<'s> {
    settings: &'s Settings,
    request: api::WatchRequest,
    board: Option<Board>,
    screen: Option<Screen>,
}

impl Follower<'_> {
    /// Follows until nobody reads any more.
    async fn follow(&mut self) -> Result<Answer, Failure> {
        let mut tries = 0;
        loop {
            let lost = match self.connect().await {
                Ok((client, stream)) => {
                    if tries > 0 {
                        self.say_resumed();
                    }
                    tries = 0;
                    match self.listen(&client, stream).await {
                        Ended::Unread => return Ok(Answer::clean(String::new())),
                        Ended::Lost(why) => why,
                    }
                }
                // What can't be reached at the start is a wrong address, more likely than not.
                Err(failure) if self.board.is_none() => return Err(failure),
                Err(failure) => failure,
            };
            if !may_come_back(&lost) {
                return Err(lost);
            }
            tries += 1;
            let pause = pause(tries);
            self.say_lost(&lost, pause);
            tokio::time::sleep(pause).await;
        }
    }

    async fn connect(&self) -> Result<(Client, Streaming<WatchResponse>), Failure> {
        let client = Client::connect(self.settings).await?;
        let stream = client.consolidation().watch(self.request.clone()).await;
        let stream = stream.map_err(|status| client.failure(&status))?.into_inner();
        Ok((client, stream))
    }

    async fn listen(&mut self, client: &Client, mut stream: Streaming<WatchResponse>) -> Ended {
        loop {
            let message = match tokio::time::timeout(SILENCE, stream.message()).await {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => return Ended::Lost(self.silent("watch-closed")),
                Ok(Err(status)) => {
                    let failure = remark(&status).map_or_else(|| client.failure(&status), Failure::Refused);
                    return Ended::Lost(failure);
                }
                Err(_) => return Ended::Lost(self.silent("watch-silent")),
            };
            self.request.resume_position = message.position;
            if let Err(ended) = self.take(client, message).await {
                return ended;
            }
        }
    }

    fn silent(&self, key: &str) -> Failure {
        Failure::Unreachable(self.settings.say(key, &[("server", &self.settings.server)]))
    }

    /// Takes a message in and shows what it changes.
    async fn take(&mut self, client: &Client, message: WatchResponse) -> Result<(), Ended> {
        let position = message.position;
        let board = self.board.get_or_insert_default();
        if self.settings.format == Format::Json {
            return out(&format!("{}\n", message_json(&message))).map_err(|_| Ended::Unread);
        }
        let (mut changed, mut whole) = (Vec::new(), false);
        match message.said {
            Some(Said::Snapshot(answer)) => {
                board.renew(answer);
                whole = true;
            }
            Some(Said::Change(change)) => {
                changed = board.change(change);
                board.answer.position = position;
            }
            Some(Said::Heartbeat(_)) | None => board.answer.position = position,
        }
        board.learn_names(client).await.map_err(Ended::Lost)?;
        let shown = match &self.screen {
            Some(_) => self.redraw(None),
            None if whole => out(&self.board_text()),
            None => changed.iter().try_for_each(|(before, line)| {
                let what = status::change_text(*before, line, self.settings.language);
                out(&finish(
                    &self.settings.say("watch-change", &[("n", &position.to_string()), ("what", &what)]),
                    false,
                ))
            }),
        };
        shown.map_err(|_| Ended::Unread)
    }

    fn board_text(&self) -> String {
        let look = self.settings.look();
        self.board
            .as_ref()
            .map_or_else(String::new, |board| finish(&super::output::Show::text(board, &look), look.colour))
    }

    /// Draws the board where it stands, with a line below it about the connection.
    fn redraw(&mut self, lost: Option<&str>) -> std::io::Result<()> {
        let text = self.board_text();
        let foot = lost.map_or_else(|| self.settings.say("watch-foot", &[("time", &time(now()))]), str::to_owned);
        match &mut self.screen {
            Some(screen) => out(&screen.draw(&text, &finish(&foot, false))),
            None => Ok(()),
        }
    }

    fn say_lost(&mut self, why: &Failure, pause: Duration) {
        let why = why.sentence(self.settings.language);
        let seconds = format!("{}.{}", pause.as_secs(), pause.subsec_millis() / 100);
        let position = self.request.resume_position.to_string();
        let facts = [("why", why.as_str()), ("seconds", seconds.as_str()), ("n", position.as_str())];
        let text = self.settings.say("watch-lost", &facts);
        if self.screen.is_some() {
            // Whoever can't be written to has gone, which the next message finds.
            let _ = self.redraw(Some(&text));
        } else {
            eprint!("{}", finish(&text, false));
        }
    }

    fn say_resumed(&self) {
        if self.screen.is_none() {
            let position = self.request.resume_position.to_string();
            eprint!("{}", finish(&self.settings.say("watch-resumed", &[("n", &position)]), false));
        }
    }
}

/// How listening ended.
enum Ended {
    /// Nobody reads what is printed.
    Unread,
    /// Nothing comes any more.
    Lost(Failure),
}

/// Whether it is worth asking again: not if it was refused for what was asked.
fn may_come_back(failure: &Failure) -> bool {
    match failure {
        Failure::Unreachable(_) => true,
        Failure::Refused(remark) => {
            matches!(
                remark.reason,
                Reason::ServerStopping | Reason::WatchTooSlow | Reason::TooManyWatches | Reason::Busy
            )
        }
        Failure::Failed(_) | Failure::Usage(_) => false,
    }
}

/// How long to wait before the next try: twice as long each time, and not all clients at once.
fn pause(tries: u32) -> Duration {
    let longest = PAUSE.saturating_mul(1 << tries.saturating_sub(1).min(5)).min(PAUSE_MAX);
    let share = u32::try_from(RandomState::new().hash_one(tries) % 50).unwrap_or(0);
    longest.saturating_mul(100 - share) / 100
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn out(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// One message as one line of JSON.
fn message_json(message: &WatchResponse) -> Value {
    let position = message.position;
    match &message.said {
        Some(Said::Snapshot(board)) => {
            json!({ "position": position, "snapshot": status::board_json(board) })
        }
        Some(Said::Change(change)) => {
            let lines: Vec<Value> = change.lines.iter().map(line_json).collect();
            let counts = change.counts.as_ref().map(status::counts_json);
            let departments: Vec<Value> = change.departments.iter().map(status::department_json).collect();
            let change = json!({ "lines": lines, "counts": counts, "departments": departments });
            json!({ "position": position, "change": change })
        }
        Some(Said::Heartbeat(_)) | None => json!({ "position": position, "heartbeat": {} }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::reason::Remark;

    #[test]
    fn the_wait_grows_and_has_an_end() {
        for tries in 1..40 {
            let pause = pause(tries);
            assert!(pause >= PAUSE / 2 && pause <= PAUSE_MAX, "{tries}: {pause:?}");
        }
        assert!(pause(1) <= PAUSE && pause(9) > PAUSE_MAX / 3);
    }

    #[test]
    fn what_was_refused_is_not_asked_again() {
        let refused = |reason| Failure::Refused(Remark::new(reason));
        assert!(may_come_back(&refused(Reason::ServerStopping)) && may_come_back(&refused(Reason::WatchTooSlow)));
        assert!(!may_come_back(&refused(Reason::NotPermitted)) && !may_come_back(&refused(Reason::UnknownUnit)));
        assert!(may_come_back(&Failure::Unreachable(String::new())));
    }
}
