//! What each identity may take of the server at once, so that none takes it from another.
//!
//! The gate asks for a [`Pass`] for each request; it is given back when the answer is on its way. Who has too many open, or
//! asks too often, is refused; what is costly (rules, packing, a look through many filings) waits for a turn among the
//! same identity's own; what filings hold of memory while they come in is bounded, of one identity and of all. How much:
//! `limits.rs`. Knows nothing of what is asked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::codegen::http::Extensions;

use super::limits::{Bounds, IDENTITIES_REMEMBERED_MAX};
use crate::budget::reason::{Reason, Remark};
use crate::ledger::actor::Actor;

/// All identities that ask. Those who needn't say who they are, and don't, share one.
pub(super) struct Quotas {
    pub(super) bounds: Bounds,
    shares: Mutex<BTreeMap<Option<Actor>, Share>>,
    /// Bytes that the filings of all take while they come in.
    held: AtomicUsize,
}

/// What one identity takes.
struct Share {
    /// Requests that are not answered yet.
    open: usize,
    /// When the requests so far would have come, had they come evenly at the rate that is allowed.
    evenly: Instant,
    turns: Arc<Semaphore>,
    /// Bytes that its filings take while they come in.
    held: usize,
}

/// A request that is let in, until it is dropped.
pub(super) struct Pass {
    quotas: Arc<Quotas>,
    actor: Option<Actor>,
    turns: Arc<Semaphore>,
    /// Bytes that it holds.
    held: AtomicUsize,
}

/// What costs the server much is done with one of these in hand.
pub(super) type Turn = OwnedSemaphorePermit;

impl Quotas {
    pub(super) fn new(bounds: Bounds) -> Quotas {
        Quotas { bounds, shares: Mutex::default(), held: AtomicUsize::new(0) }
    }

    /// Lets a request in.
    ///
    /// # Errors
    /// `TOO_MANY_REQUESTS` with the limit.
    pub(super) fn enter(self: &Arc<Quotas>, actor: Option<&Actor>) -> Result<Pass, Remark> {
        self.enter_at(actor, Instant::now())
    }

    fn enter_at(self: &Arc<Quotas>, actor: Option<&Actor>, now: Instant) -> Result<Pass, Remark> {
        let bounds = &self.bounds;
        let actor = actor.cloned();
        let refused = |limit: &str, allowed: String| {
            let who = actor.as_ref().map(ToString::to_string).unwrap_or_default();
            let remark = Remark::new(Reason::TooManyRequests).with("actor", who);
            Err(remark.with("limit", limit).with("allowed", allowed))
        };
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if shares.len() >= IDENTITIES_REMEMBERED_MAX && !shares.contains_key(&actor) {
            shares.retain(|_, share| share.open > 0 || share.evenly > now);
        }
        let share = shares.entry(actor.clone()).or_insert_with(|| Share {
            open: 0,
            evenly: now,
            turns: Arc::new(Semaphore::new(bounds.turns)),
            held: 0,
        });
        if share.open >= bounds.open {
            return refused("open", bounds.open.to_string());
        }
        let evenly = share.evenly.max(now) + Duration::from_secs(1) / bounds.per_second.max(1);
        // A burst of one second's worth is no flood.
        if evenly > now + Duration::from_secs(1) {
            return refused("per_second", bounds.per_second.to_string());
        }
        share.evenly = evenly;
        share.open += 1;
        let turns = share.turns.clone();
        Ok(Pass { quotas: self.clone(), actor, turns, held: AtomicUsize::new(0) })
    }
}

impl Pass {
    pub(super) fn bounds(&self) -> &Bounds {
        &self.quotas.bounds
    }

    /// From here on it holds so many bytes, until it is dropped.
    ///
    /// # Errors
    /// `TOO_MANY_REQUESTS` if its identity holds more than it may; `BUSY` if all together do, and nobody more than this one.
    fn hold(&self, bytes: usize) -> Result<(), Remark> {
        let bounds = &self.quotas.bounds;
        let mut shares = self.quotas.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(share) = shares.get_mut(&self.actor) else { return Ok(()) };
        // Under the lock: nobody else changes either.
        let before = self.held.swap(bytes, Ordering::Relaxed);
        share.held = share.held.saturating_sub(before).saturating_add(bytes);
        let all = self.quotas.held.load(Ordering::Relaxed).saturating_sub(before).saturating_add(bytes);
        self.quotas.held.store(all, Ordering::Relaxed);
        let own = share.held;
        if own > bounds.under_way_per_actor {
            let who = self.actor.as_ref().map(ToString::to_string).unwrap_or_default();
            let remark = Remark::new(Reason::TooManyRequests).with("actor", who).with("limit", "under_way");
            return Err(remark.with("allowed", bounds.under_way_per_actor));
        }
        if all > bounds.under_way && shares.values().all(|share| share.held <= own) {
            return Err(Remark::new(Reason::Busy).with("waiting", all));
        }
        Ok(())
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut shares = self.quotas.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get_mut(&self.actor) {
            let held = self.held.load(Ordering::Relaxed);
            share.open = share.open.saturating_sub(1);
            share.held = share.held.saturating_sub(held);
            let all = self.quotas.held.load(Ordering::Relaxed);
            self.quotas.held.store(all.saturating_sub(held), Ordering::Relaxed);
        }
    }
}

/// Waits until it is this request's turn to cost the server much. Hold it for as long as it does.
pub(super) async fn turn(extensions: &Extensions) -> Option<Turn> {
    let turns = extensions.get::<Arc<Pass>>()?.turns.clone();
    turns.acquire_owned().await.ok()
}

/// From here on a request holds so many bytes of memory.
///
/// # Errors
/// `TOO_MANY_REQUESTS` or `BUSY`, if that is more than there may be.
pub(super) fn hold(extensions: &Extensions, bytes: usize) -> Result<(), Remark> {
    extensions.get::<Arc<Pass>>().map_or(Ok(()), |pass| pass.hold(bytes))
}

/// The bounds that a request came in under.
pub(super) fn bounds(extensions: &Extensions) -> Bounds {
    extensions.get::<Arc<Pass>>().map_or_else(Bounds::default, |pass| *pass.bounds())
}

/// Where a page ends early, within the bounds that the request came in under.
pub(super) fn page_bytes(extensions: &Extensions) -> usize {
    bounds(extensions).page_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(code: &str) -> Actor {
        Actor { node: code.into(), role: crate::ledger::actor::Role::Unit }
    }

    fn enter(quotas: &Arc<Quotas>, code: &str) -> Result<Pass, Remark> {
        quotas.enter(Some(&actor(code)))
    }

    fn quotas(open: usize, per_second: u32) -> Arc<Quotas> {
        Arc::new(Quotas::new(Bounds { open, per_second, ..Bounds::default() }))
    }

    #[test]
    fn so_many_may_be_open_and_one_more_when_one_has_ended() {
        let quotas = quotas(3, 1_000);
        let mut passes: Vec<Pass> = (0..3).map(|_| enter(&quotas, "407001").unwrap()).collect();
        let refused = enter(&quotas, "407001").err().unwrap();
        assert_eq!((refused.fact("limit"), refused.fact("allowed")), (Some("open"), Some("3")));
        // Another identity doesn't notice, nor do those who don't say who they are.
        let _other = enter(&quotas, "407002").unwrap();
        let _nobody = quotas.enter(None).unwrap();
        passes.pop();
        assert!(enter(&quotas, "407001").is_ok());
    }

    #[test]
    fn so_many_come_in_a_second_and_more_as_time_goes_on() {
        let quotas = quotas(1_000, 10);
        let begin = Instant::now();
        let enter =
            |code: &str, ms: u64| quotas.enter_at(Some(&actor(code)), begin + Duration::from_millis(ms)).map(drop);
        assert!((0..10).all(|_| enter("407001", 0).is_ok()));
        let refused = enter("407001", 0).unwrap_err();
        assert_eq!((refused.fact("limit"), refused.fact("allowed")), (Some("per_second"), Some("10")));
        assert!(enter("407002", 0).is_ok());
        assert_eq!([enter("407001", 100).is_ok(), enter("407001", 100).is_ok()], [true, false]);
        // Time that passed unused is not saved up beyond a second.
        assert_eq!((0..20).filter(|_| enter("407001", 60_000).is_ok()).count(), 10);
    }

    #[test]
    fn who_has_something_open_is_not_forgotten_among_many() {
        let quotas = quotas(1, 1_000);
        let begin = Instant::now();
        let _open = quotas.enter_at(Some(&actor("407001")), begin).unwrap();
        for at in 0..IDENTITIES_REMEMBERED_MAX {
            drop(quotas.enter_at(Some(&actor(&format!("5{at}"))), begin).unwrap());
        }
        // Long after: all the others are forgotten.
        let later = begin + Duration::from_secs(60);
        drop(quotas.enter_at(Some(&actor("6")), later).unwrap());
        assert!(quotas.shares.lock().unwrap().len() <= 2);
        assert!(quotas.enter_at(Some(&actor("407001")), later).is_err(), "it has one open still");
    }

    #[tokio::test]
    async fn what_is_costly_waits_for_its_own_identity_only() {
        let quotas = Arc::new(Quotas::new(Bounds { turns: 1, ..Bounds::default() }));
        let of = |code: &str| {
            let mut extensions = Extensions::new();
            extensions.insert(Arc::new(enter(&quotas, code).unwrap()));
            extensions
        };
        let (first, second, other) = (of("407001"), of("407001"), of("407002"));
        let held = turn(&first).await;
        assert!(held.is_some());
        assert!(tokio::time::timeout(Duration::from_millis(50), turn(&second)).await.is_err());
        assert!(turn(&other).await.is_some());
        drop(held);
        assert!(turn(&second).await.is_some());
    }
}
