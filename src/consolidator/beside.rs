//! A thread beside the writer's, for what can be done while the writer waits for the disk.
//!
//! Knows nothing of what is done there. Not one of the runtime's: those may all be waiting, for the writer too.

use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};

use crate::budget::reason::{Reason, Remark};

type Work = Box<dyn FnOnce() + Send>;

/// The thread; it ends with this.
pub(super) struct Beside(Sender<Work>);

impl Beside {
    pub(super) fn start() -> Result<Beside, Remark> {
        let (work, waiting) = channel::<Work>();
        let thread = std::thread::Builder::new().name("beside".to_owned());
        let started = thread.spawn(move || waiting.into_iter().for_each(|work| work()));
        started.map_err(|error| Remark::new(Reason::CannotStart).with("what", error))?;
        Ok(Beside(work))
    }

    /// Has something done there. The answer is what came of it, or a fault if the thread fell over it.
    pub(super) fn begin<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Begun<T> {
        let (done, answer) = sync_channel(1);
        let work = move || {
            // Nobody waits for it where the append failed.
            let _ = done.send(work());
        };
        // If the thread is gone, so is what would have answered.
        let _ = self.0.send(Box::new(work));
        Begun(answer)
    }
}

/// Something on its way.
pub(super) struct Begun<T>(Receiver<T>);

impl<T> Begun<T> {
    /// Waits for it.
    ///
    /// # Errors
    /// `OUTCOME_UNKNOWN` if it will never be done.
    pub(super) fn end(self) -> Result<T, Remark> {
        self.0.recv().map_err(|_| Remark::new(Reason::OutcomeUnknown).with("what", "beside"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_begun_is_done_and_a_panic_is_a_fault() {
        let beside = Beside::start().unwrap();
        let begun: Vec<_> = (0..3).map(|n| beside.begin(move || n * n)).collect();
        assert_eq!(begun.into_iter().map(|begun| begun.end().unwrap()).collect::<Vec<_>>(), [0, 1, 4]);
        let fallen = beside.begin(|| panic!("on purpose"));
        assert_eq!(fallen.end().unwrap_err().reason, Reason::OutcomeUnknown);
        assert_eq!(beside.begin(|| 1).end().unwrap_err().reason, Reason::OutcomeUnknown);
    }
}
