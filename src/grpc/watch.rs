//! Watch: a status board that is followed, as a stream.
//!
//! Each watch is a task of its own that is woken by the position of the readers' state, compares two states and says what
//! differs ([`crate::ledger::board::Followed`]). The writer only tells the position, whoever listens. Nothing is queued:
//! one message waits for the client, and what happens meanwhile goes into the next one; a client that takes nothing is
//! told where to resume and let go. Watches end when the server stops, so that stopping waits for none.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_stream::Stream;
use tonic::Status;

use super::status::status;
use super::{board, convert, limits};
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::UnitCode;
use crate::consolidator::{Consolidator, Snapshot};
use crate::ledger::Position;
use crate::ledger::actor::{Actor, Operation, may};
use crate::ledger::board::{Board, Change, Followed, Touched, touched};
use crate::ledger::view::Scope;
use crate::proto::api;
use crate::proto::api::watch_response::Said;

/// How long a watch rests after each look: changes in between go into one message.
const REST: Duration = Duration::from_millis(100);

/// Tells all watches that the server stops.
pub(super) struct Stop(watch::Sender<bool>);

/// Knows whether the server stops.
#[derive(Clone)]
pub(super) struct Stopping(watch::Receiver<bool>);

/// The two ends of the news that the server stops.
pub(super) fn stopping() -> (Stop, Stopping) {
    let (stop, stopping) = watch::channel(false);
    (Stop(stop), Stopping(stopping))
}

impl Stop {
    /// The server stops now.
    pub(super) fn now(&self) {
        self.0.send_replace(true);
    }
}

impl Stopping {
    /// Waits until the server stops; for ever if it ends otherwise.
    pub(super) async fn wait(mut self) {
        if self.0.wait_for(|stops| *stops).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// All watches of a server.
pub(super) struct Watches {
    consolidator: Consolidator,
    stopping: Stopping,
    open: Arc<Mutex<BTreeMap<Actor, usize>>>,
}

/// A place among the watches of an identity, until it is dropped.
struct Place {
    actor: Actor,
    open: Arc<Mutex<BTreeMap<Actor, usize>>>,
}

impl Place {
    fn take(open: &Arc<Mutex<BTreeMap<Actor, usize>>>, actor: &Actor) -> Result<Place, Remark> {
        let mut counts = open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(actor.clone()).or_default();
        if *count >= limits::WATCHES_PER_ACTOR_MAX {
            let remark = Remark::new(Reason::TooManyWatches).with("actor", actor);
            return Err(remark.with("allowed", limits::WATCHES_PER_ACTOR_MAX));
        }
        *count += 1;
        Ok(Place { actor: actor.clone(), open: open.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&self.actor) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                counts.remove(&self.actor);
            }
        }
    }
}

/// The messages of a watch, and the status that it ends with.
pub(super) struct WatchStream {
    messages: mpsc::Receiver<api::WatchResponse>,
    end: Arc<OnceLock<Remark>>,
    ended: bool,
}

impl Stream for WatchStream {
    type Item = Result<api::WatchResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let stream = self.get_mut();
        if stream.ended {
            return Poll::Ready(None);
        }
        stream.messages.poll_recv(context).map(|message| match message {
            Some(message) => Some(Ok(message)),
            None => {
                stream.ended = true;
                stream.end.get().map(|remark| Err(status(remark.clone())))
            }
        })
    }
}

impl Watches {
    pub(super) fn new(consolidator: Consolidator, stopping: Stopping) -> Watches {
        Watches { consolidator, stopping, open: Arc::default() }
    }

    /// Opens a watch of a scope that the actor may see.
    ///
    /// # Errors
    /// `TOO_MANY_WATCHES`, `BAD_REQUEST`, `UNKNOWN_YEAR`, `UNKNOWN_UNIT`, or a fault of the journal.
    pub(super) fn open(&self, actor: Actor, scope: Scope, request: &api::WatchRequest) -> Result<WatchStream, Remark> {
        let (usual, longest) = limits::HEARTBEAT_SECONDS;
        let seconds = match request.heartbeat_seconds {
            0 => usual,
            seconds if seconds <= longest => seconds,
            seconds => return Err(convert::bad("heartbeat_seconds", seconds).with("expected", format!("≤ {longest}"))),
        };
        let place = Place::take(&self.open, &actor)?;
        // Before the first look, so that nothing slips in between.
        let positions = self.consolidator.positions();
        let snapshot = self.consolidator.snapshot();
        let (followed, board) = Followed::begin(snapshot.state.clone(), scope.clone())?;
        let first = first(&snapshot, &scope, &followed, &board, request.resume_position)?;
        let (messages, receiver) = mpsc::channel(1);
        let end = Arc::new(OnceLock::new());
        let stream = WatchStream { messages: receiver, end: end.clone(), ended: false };
        let watch = Watch {
            consolidator: self.consolidator.clone(),
            actor,
            scope,
            followed,
            messages,
            told: request.resume_position,
            patience: Duration::from_secs(u64::from(seconds)) * 2,
        };
        let heartbeat = Duration::from_secs(u64::from(seconds));
        let stopping = self.stopping.clone();
        tokio::spawn(async move {
            let _place = place;
            let mut watch = watch;
            let ended = tokio::select! {
                ended = watch.run(first, positions, heartbeat) => ended,
                () = stopping.wait() => Err(Remark::new(Reason::ServerStopping)),
            };
            if let Err(remark) = ended {
                // The last word goes past the one message that may still wait.
                let _ = end.set(remark.with("position", watch.told));
            }
        });
        Ok(stream)
    }
}

/// One watch.
struct Watch {
    consolidator: Consolidator,
    actor: Actor,
    scope: Scope,
    followed: Followed,
    messages: mpsc::Sender<api::WatchResponse>,
    /// The position of the last message: where the client can resume.
    told: Position,
    patience: Duration,
}

impl Watch {
    /// Runs until the client goes away.
    async fn run(
        &mut self,
        first: api::WatchResponse,
        mut positions: watch::Receiver<Position>,
        heartbeat: Duration,
    ) -> Result<(), Remark> {
        if !self.say(first).await? {
            return Ok(());
        }
        let mut beats = interval(heartbeat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once, and something was just said.
        beats.tick().await;
        loop {
            let message = tokio::select! {
                changed = positions.changed() => match changed {
                    Ok(()) => self.look()?,
                    // The writer has ended; the server will too.
                    Err(_) => return Ok(()),
                },
                _ = beats.tick() => {
                    let position = self.followed.position();
                    Some(api::WatchResponse { position, said: Some(Said::Heartbeat(api::Heartbeat {})) })
                }
                () = self.messages.closed() => return Ok(()),
            };
            if let Some(message) = message
                && !self.say(message).await?
            {
                return Ok(());
            }
            sleep(REST).await;
        }
    }

    /// Says a message; no if the client is gone.
    async fn say(&mut self, message: api::WatchResponse) -> Result<bool, Remark> {
        let position = message.position;
        match timeout(self.patience, self.messages.send(message)).await {
            Ok(Ok(())) => {
                self.told = position;
                Ok(true)
            }
            Ok(Err(_)) => Ok(false),
            Err(_) => {
                tracing::info!(actor = %self.actor, position = self.told, "a watch takes nothing and is let go");
                Err(Remark::new(Reason::WatchTooSlow).with("seconds", self.patience.as_secs()))
            }
        }
    }

    /// What there is to say about the state as it is now; nothing if the board is as it was.
    fn look(&mut self) -> Result<Option<api::WatchResponse>, Remark> {
        let state = self.consolidator.snapshot().state;
        let position = state.position;
        let tree = state.tree(self.scope.year).map(AsRef::as_ref);
        // The unit tree may be another one now.
        if !may(&self.actor, Operation::Read, &self.scope.node, tree) {
            return Err(Remark::new(Reason::NotPermitted).with("actor", &self.actor).with("node", &self.scope.node));
        }
        let said = match self.followed.go_on(state.clone()) {
            Change::Lines(lines) if lines.is_empty() => return Ok(None),
            Change::Lines(lines) => change(&self.followed, &lines),
            Change::Everything => {
                let (followed, board) = Followed::begin(state.clone(), self.scope.clone())?;
                self.followed = followed;
                Said::Snapshot(board::out(&state, &self.scope, &board)?)
            }
        };
        Ok(Some(api::WatchResponse { position, said: Some(said) }))
    }
}

fn change(followed: &Followed, lines: &[crate::ledger::board::StatusLine]) -> Said {
    let counts = Some(board::counts(followed.counts()));
    Said::Change(api::BoardChange { lines: lines.iter().map(board::line).collect(), counts })
}

/// The first message: the whole board, or to a client that knows it as of a position what changed since.
fn first(
    snapshot: &Snapshot,
    scope: &Scope,
    followed: &Followed,
    whole: &Board,
    known: Position,
) -> Result<api::WatchResponse, Remark> {
    let said = match touched_since(snapshot, known)? {
        None => Said::Snapshot(board::out(&snapshot.state, scope, whole)?),
        Some(units) => change(followed, &followed.lines(&units)),
    };
    Ok(api::WatchResponse { position: snapshot.state.position, said: Some(said) })
}

/// The units whose lines may have changed since a position; none if that is not known, or not worth finding out.
fn touched_since(snapshot: &Snapshot, known: Position) -> Result<Option<BTreeSet<UnitCode>>, Remark> {
    let head = snapshot.state.position;
    // A position that isn't there is of another journal, or of this one before it was restored to less.
    if known == 0 || known > head || head - known > limits::RESUME_EVENTS_MAX {
        return Ok(None);
    }
    let mut units = BTreeSet::new();
    for position in known + 1..=head {
        match touched(&snapshot.event(position)?.event) {
            Touched::Nothing => {}
            Touched::Unit(unit) => {
                units.insert(unit.clone());
            }
            Touched::Everything => return Ok(None),
        }
    }
    Ok(Some(units))
}
