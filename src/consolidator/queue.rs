//! The writer's queue, fair between identities: whoever waits comes in turn, one each, however many another has waiting.
//!
//! So one that floods is served as fast as it ever was while nobody else waits, and delays anybody else by one command of
//! its own per command of theirs. How much one identity may have waiting is the edge's business: each waits in its stream.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::ledger::actor::Actor;

/// What waits, by who sent it.
pub(super) struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    came: Condvar,
}

struct Waiting<T> {
    lanes: BTreeMap<Actor, VecDeque<T>>,
    /// Each identity with something in its lane, once: the first is next.
    turns: VecDeque<Actor>,
    open: bool,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Queue<T> {
        let waiting = Waiting { lanes: BTreeMap::new(), turns: VecDeque::new(), open: true };
        Queue { waiting: Mutex::new(waiting), came: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something at the end of its sender's lane; gives it back if the queue is closed.
    pub(super) fn push(&self, actor: &Actor, item: T) -> Result<(), T> {
        let mut waiting = self.lock();
        if !waiting.open {
            return Err(item);
        }
        match waiting.lanes.get_mut(actor) {
            Some(lane) => lane.push_back(item),
            None => {
                waiting.lanes.insert(actor.clone(), VecDeque::from([item]));
                waiting.turns.push_back(actor.clone());
            }
        }
        drop(waiting);
        self.came.notify_one();
        Ok(())
    }

    /// Puts back what was taken last: it is next again.
    pub(super) fn put_back(&self, actor: &Actor, item: T) {
        let mut waiting = self.lock();
        waiting.turns.retain(|other| other != actor);
        waiting.turns.push_front(actor.clone());
        waiting.lanes.entry(actor.clone()).or_default().push_front(item);
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
        self.lock().lanes.values().map(VecDeque::len).sum()
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
        let let_go = std::mem::take(&mut waiting.lanes);
        drop(waiting);
        drop(let_go);
    }
}

impl<T> Waiting<T> {
    fn take(&mut self) -> Option<T> {
        let actor = self.turns.pop_front()?;
        let lane = self.lanes.get_mut(&actor)?;
        let item = lane.pop_front();
        if lane.is_empty() {
            self.lanes.remove(&actor);
        } else {
            self.turns.push_back(actor);
        }
        item
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
            queue.push(&flood, format!("flood {at}")).unwrap();
        }
        queue.push(&first, "first 0".to_owned()).unwrap();
        queue.push(&second, "second 0".to_owned()).unwrap();
        queue.push(&first, "first 1".to_owned()).unwrap();
        assert_eq!(queue.len(), 67);
        let order: Vec<String> = (0..7).filter_map(|_| queue.try_next()).collect();
        assert_eq!(order, ["flood 0", "first 0", "second 0", "flood 1", "first 1", "flood 2", "flood 3"]);
        // Who comes later waits for one of the flood, not for all.
        queue.push(&second, "second 1".to_owned()).unwrap();
        assert_eq!([queue.try_next().unwrap(), queue.try_next().unwrap()], ["flood 4", "second 1"]);
    }

    #[test]
    fn what_is_put_back_is_next_and_keeps_its_order() {
        let (a, b) = (unit("407001"), unit("407002"));
        let queue = Queue::new();
        for item in 0..3 {
            queue.push(&a, item).unwrap();
        }
        queue.push(&b, 10).unwrap();
        let taken = queue.try_next().unwrap();
        queue.put_back(&a, taken);
        let order: Vec<i32> = std::iter::from_fn(|| queue.try_next()).collect();
        assert_eq!(order, [0, 10, 1, 2]);
        queue.put_back(&b, 11);
        assert_eq!((queue.try_next(), queue.try_next()), (Some(11), None));
    }

    #[test]
    fn a_closed_queue_is_served_to_its_end_and_takes_nothing_more() {
        let queue = Queue::new();
        queue.push(&unit("407001"), 1).unwrap();
        queue.close();
        assert_eq!(queue.push(&unit("407001"), 2), Err(2));
        assert_eq!((queue.next(), queue.next()), (Some(1), None));
        let queue = Queue::new();
        queue.push(&unit("407001"), 1).unwrap();
        queue.abandon();
        assert_eq!((queue.next(), queue.len()), (None, 0));
    }
}
