//! Watch: a status board that is followed, as a stream.
//!
//! Each watch is a task of its own that is woken by the position of the readers' state, compares two states and says what
//! differs ([`crate::ledger::board::Followed`]). The writer only tells the position, whoever listens. Nothing is queued:
//! one message waits for the client, and what happens meanwhile goes into the next one; a client that takes nothing is
//! told where to resume and let go. Watches end when the server stops, so that stopping waits for none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::messages::Messages;
use super::{board, convert, limits};
use crate::budget::reason::{Reason, Remark};
use crate::consolidator::{AsOf, Consolidator, Snapshot};
use crate::ledger::Position;
use crate::ledger::actor::{Actor, Operation, may};
use crate::ledger::board::{Change, DepartmentLine, Followed, StatusLine};
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

impl Watches {
    pub(super) fn new(consolidator: Consolidator, stopping: Stopping) -> Watches {
        Watches { consolidator, stopping, open: Arc::default() }
    }

    /// Opens a watch of a scope that the actor may see.
    ///
    /// # Errors
    /// `TOO_MANY_WATCHES`, `BAD_REQUEST`, `UNKNOWN_YEAR`, `UNKNOWN_UNIT`, or a fault of the journal.
    pub(super) async fn open(
        &self,
        actor: Actor,
        scope: Scope,
        request: &api::WatchRequest,
    ) -> Result<Messages<api::WatchResponse>, Remark> {
        let (usual, longest) = limits::HEARTBEAT_SECONDS;
        let seconds = match request.heartbeat_seconds {
            0 => usual,
            seconds if seconds <= longest => seconds,
            seconds => return Err(convert::bad("heartbeat_seconds", seconds).with("expected", format!("≤ {longest}"))),
        };
        let place = Place::take(&self.open, &actor)?;
        // Before the first look, so that nothing slips in between.
        let positions = self.consolidator.positions();
        let (followed, first) = self.first(&scope, request.resume_position).await?;
        let (messages, receiver) = mpsc::channel(1);
        let (stream, end) = Messages::new(receiver);
        let watch = Watch {
            consolidator: self.consolidator.clone(),
            actor,
            scope,
            followed,
            messages,
            // Where nobody can go on from it is no place to resume at either.
            told: if self.consolidator.is_near(request.resume_position) { request.resume_position } else { 0 },
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
                end.because(remark.with("position", watch.told));
            }
        });
        Ok(stream)
    }
}

impl Watches {
    /// The first message: the whole board, or to a client that knows it as of a position what changed since.
    async fn first(&self, scope: &Scope, known: Position) -> Result<(Followed, api::WatchResponse), Remark> {
        let (snapshot, now) = (self.consolidator.snapshot(), self.consolidator.now());
        let position = snapshot.state.position;
        // A position that isn't there is of another journal, or of this one before it was restored to less; and one that
        // lies far back costs more to compare with than the whole board.
        if self.consolidator.is_near(known) {
            let then = self.consolidator.at(AsOf::Position(known)).await?.state;
            // A board that wasn't there then is told whole.
            let time = then.time;
            if let Ok((mut followed, _)) = Followed::begin(then, scope.clone(), time)
                && let Change::Lines(lines, departments) = followed.go_on(snapshot.state.clone(), now)
            {
                let said = Some(change(&snapshot, &followed, &lines, &departments)?);
                return Ok((followed, api::WatchResponse { position, said }));
            }
        }
        let (followed, board) = Followed::begin(snapshot.state.clone(), scope.clone(), now)?;
        let said = Some(Said::Snapshot(board::out(&snapshot, scope, &board)?));
        Ok((followed, api::WatchResponse { position, said }))
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
                // A deadline may pass without an event.
                _ = beats.tick() => self.look()?.or_else(|| {
                    let position = self.followed.position();
                    Some(api::WatchResponse { position, said: Some(Said::Heartbeat(api::Heartbeat {})) })
                }),
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
        let (snapshot, now) = (self.consolidator.snapshot(), self.consolidator.now());
        let state = &snapshot.state;
        let position = state.position;
        let tree = state.tree(self.scope.year).map(AsRef::as_ref);
        // The unit tree may be another one now.
        if !may(&self.actor, Operation::Read, &self.scope.node, tree) {
            return Err(Remark::new(Reason::NotPermitted).with("actor", &self.actor).with("node", &self.scope.node));
        }
        let said = match self.followed.go_on(state.clone(), now) {
            Change::Lines(lines, departments) if lines.is_empty() && departments.is_empty() => return Ok(None),
            Change::Lines(lines, departments) => change(&snapshot, &self.followed, &lines, &departments)?,
            Change::Everything => {
                let (followed, board) = Followed::begin(state.clone(), self.scope.clone(), now)?;
                self.followed = followed;
                Said::Snapshot(board::out(&snapshot, &self.scope, &board)?)
            }
        };
        Ok(Some(api::WatchResponse { position, said: Some(said) }))
    }
}

fn change(
    snapshot: &Snapshot,
    followed: &Followed,
    lines: &[StatusLine],
    departments: &[DepartmentLine],
) -> Result<Said, Remark> {
    Ok(Said::Change(api::BoardChange {
        lines: board::lines(snapshot, lines)?,
        counts: Some(board::counts(&followed.counts())),
        departments: board::departments(snapshot, departments)?,
    }))
}
