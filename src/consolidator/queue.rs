//! The writer's queue, fair between identities: whoever waits comes in turn, one each, however many another has waiting.
//!
//! So one that floods is served as fast as it ever was while nobody else waits, and delays anybody else by one command of
//! its own per command of theirs. How much one identity may have waiting is the edge's business: each waits in its stream.
//! How much all of them may have waiting together is bounded in bytes: beyond it, the last command of whoever has the most
//! waiting is let go, so that nobody is kept out by another's flood.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::ledger::actor::Actor;

/// What waits, by who sent it.
pub(super) struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    came: Condvar,
}

struct Waiting<T> {
    lanes: BTreeMap<Actor, Lane<T>>,
    /// Each identity with something in its lane, once: the first is next.
    turns: VecDeque<Actor>,
    /// Bytes of all that waits, and how many may.
    bytes: usize,
    most: usize,
    open: bool,
}

/// What one identity has waiting, each with its bytes.
struct Lane<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Queue<T> {
        let waiting =
            Waiting { lanes: BTreeMap::new(), turns: VecDeque::new(), bytes: 0, most: usize::MAX, open: true };
        Queue { waiting: Mutex::new(waiting), came: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many bytes may wait from now on.
    pub(super) fn bound(&self, bytes: usize) {
        self.lock().most = bytes;
    }

    /// Puts something of so many bytes at the end of its sender's lane; gives it back if the queue is closed.
    /// What had to make room for it comes out, and may be this very thing.
    pub(super) fn push(&self, actor: &Actor, item: T, bytes: usize) -> Result<Vec<T>, T> {
        let mut waiting = self.lock();
        if !waiting.open {
            return Err(item);
        }
        if !waiting.lanes.contains_key(actor) {
            waiting.turns.push_back(actor.clone());
        }
        waiting.lane(actor, bytes).push_back((item, bytes));
        let mut let_go = Vec::new();
        while waiting.bytes > waiting.most
            && let Some(item) = waiting.let_go()
        {
            let_go.push(item);
        }
        drop(waiting);
        self.came.notify_one();
        Ok(let_go)
    }

    /// Puts back what was taken last: it is next again.
    pub(super) fn put_back(&self, actor: &Actor, item: T, bytes: usize) {
        let mut waiting = self.lock();
        waiting.turns.retain(|other| other != actor);
        waiting.turns.push_front(actor.clone());
        waiting.lane(actor, bytes).push_front((item, bytes));
    }

    /// What is next; waits for it. None once the queue is closed and empty.
    pub(super) fn next(&self) -> Option<T> {
        let mut waiting = self.lock();
        loop {
            if let Some(item) = waiting.take() {
                return Some(item);
            }
            if !waiting.open {
                return None;
            }
            waiting = self.came.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What is next, if anything waits.
    pub(super) fn try_next(&self) -> Option<T> {
        self.lock().take()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.lock().lanes.values().map(|lane| lane.items.len()).sum()
    }

    /// How many bytes wait.
    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Takes nothing more; what waits is still served.
    pub(super) fn close(&self) {
        self.lock().open = false;
        self.came.notify_all();
    }

    /// Takes nothing more and lets go of what waits: nobody serves it any more.
    pub(super) fn abandon(&self) {
        let mut waiting = self.lock();
        waiting.open = false;
        waiting.turns.clear();
        waiting.bytes = 0;
        let let_go = std::mem::take(&mut waiting.lanes);
        drop(waiting);
        drop(let_go);
    }
}

impl<T> Waiting<T> {
    /// The lane of that sender, which is about to hold so many bytes more.
    fn lane(&mut self, actor: &Actor, bytes: usize) -> &mut VecDeque<(T, usize)> {
        self.bytes += bytes;
        let lane = self.lanes.entry(actor.clone()).or_insert_with(|| Lane { items: VecDeque::new(), bytes: 0 });
        lane.bytes += bytes;
        &mut lane.items
    }

    fn take(&mut self) -> Option<T> {
        let actor = self.turns.pop_front()?;
        let lane = self.lanes.get_mut(&actor)?;
        let (item, bytes) = lane.items.pop_front()?;
        lane.bytes -= bytes;
        self.bytes -= bytes;
        if lane.items.is_empty() {
            self.lanes.remove(&actor);
        } else {
            self.turns.push_back(actor);
        }
        Some(item)
    }

    /// The last item of whoever has the most bytes waiting.
    fn let_go(&mut self) -> Option<T> {
        let (actor, lane) = self.lanes.iter_mut().max_by_key(|(_, lane)| lane.bytes)?;
        let (item, bytes) = lane.items.pop_back()?;
        lane.bytes -= bytes;
        self.bytes -= bytes;
        if lane.items.is_empty() {
            let actor = actor.clone();
            self.lanes.remove(&actor);
            self.turns.retain(|other| *other != actor);
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::actor::Role;

    fn unit(code: &str) -> Actor {
        Actor { node: code.into(), role: Role::Unit }
    }

    #[test]
    fn who_waits_comes_in_turn_however_many_another_has_waiting() {
        let (flood, first, second) = (unit("407001"), unit("407002"), unit("407003"));
        let queue = Queue::new();
        for at in 0..64 {
            queue.push(&flood, format!("flood {at}"), 1).unwrap();
        }
        queue.push(&first, "first 0".to_owned(), 1).unwrap();
        queue.push(&second, "second 0".to_owned(), 1).unwrap();
        queue.push(&first, "first 1".to_owned(), 1).unwrap();
        assert_eq!(queue.len(), 67);
        let order: Vec<String> = (0..7).filter_map(|_| queue.try_next()).collect();
        assert_eq!(order, ["flood 0", "first 0", "second 0", "flood 1", "first 1", "flood 2", "flood 3"]);
        // Who comes later waits for one of the flood, not for all.
        queue.push(&second, "second 1".to_owned(), 1).unwrap();
        assert_eq!([queue.try_next().unwrap(), queue.try_next().unwrap()], ["flood 4", "second 1"]);
    }

    #[test]
    fn what_is_put_back_is_next_and_keeps_its_order() {
        let (a, b) = (unit("407001"), unit("407002"));
        let queue = Queue::new();
        for item in 0..3 {
            queue.push(&a, item, 1).unwrap();
        }
        queue.push(&b, 10, 1).unwrap();
        let taken = queue.try_next().unwrap();
        queue.put_back(&a, taken, 1);
        let order: Vec<i32> = std::iter::from_fn(|| queue.try_next()).collect();
        assert_eq!(order, [0, 10, 1, 2]);
        queue.put_back(&b, 11, 1);
        assert_eq!((queue.try_next(), queue.try_next()), (Some(11), None));
    }

    #[test]
    fn a_closed_queue_is_served_to_its_end_and_takes_nothing_more() {
        let queue = Queue::new();
        queue.push(&unit("407001"), 1, 1).unwrap();
        queue.close();
        assert_eq!(queue.push(&unit("407001"), 2, 1), Err(2));
        assert_eq!((queue.next(), queue.next()), (Some(1), None));
        let queue = Queue::new();
        queue.push(&unit("407001"), 1, 1).unwrap();
        queue.abandon();
        assert_eq!((queue.next(), queue.len()), (None, 0));
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_and_whoever_has_the_most_makes_room() {
        let (flood, first, second) = (unit("407001"), unit("407002"), unit("407003"));
        let queue = Queue::new();
        queue.bound(100);
        for at in 0..10 {
            assert_eq!(queue.push(&flood, at, 10), Ok(vec![]), "at the bound, and none beyond");
        }
        assert_eq!(queue.push(&flood, 10, 1), Ok(vec![10]), "the flood keeps nobody out but itself");
        assert_eq!(queue.push(&first, 20, 15), Ok(vec![9, 8]));
        assert_eq!(queue.push(&second, 30, 100), Ok(vec![30]), "what is larger than what all others have");
        assert_eq!((queue.len(), queue.bytes()), (9, 95));
        let order: Vec<i32> = std::iter::from_fn(|| queue.try_next()).collect();
        assert_eq!(order, [0, 20, 1, 2, 3, 4, 5, 6, 7]);
        // What was taken makes room, and what is put back counts again.
        assert_eq!(queue.bytes(), 0);
        queue.put_back(&first, 21, 60);
        assert_eq!(queue.push(&flood, 40, 41), Ok(vec![21]));
        assert_eq!((queue.len(), queue.bytes()), (1, 41));
        assert_eq!((queue.try_next(), queue.try_next()), (Some(40), None));
    }
}
