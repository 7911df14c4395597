//! A stream of messages that says how it ended: its last word goes past the messages that still wait for the client.
//!
//! Knows nothing of what they say. Watches (`watch.rs`) and exports (`audit.rs`) are such streams.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;

use super::status::status;
use crate::budget::reason::Remark;

/// The messages, and the status that they end with.
pub(super) struct Messages<T> {
    waiting: mpsc::Receiver<T>,
    end: Arc<OnceLock<Remark>>,
    ended: bool,
}

/// Says why messages end; if it never does, they are all that there was to say.
pub(super) struct End(Arc<OnceLock<Remark>>);

impl End {
    pub(super) fn because(&self, remark: Remark) {
        // The first reason is the reason.
        let _ = self.0.set(remark);
    }
}

impl<T> Messages<T> {
    pub(super) fn new(waiting: mpsc::Receiver<T>) -> (Messages<T>, End) {
        let end = Arc::new(OnceLock::new());
        (Messages { waiting, end: end.clone(), ended: false }, End(end))
    }
}

impl<T> Stream for Messages<T> {
    type Item = Result<T, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let stream = self.get_mut();
        if stream.ended {
            return Poll::Ready(None);
        }
        stream.waiting.poll_recv(context).map(|message| match message {
            Some(message) => Some(Ok(message)),
            None => {
                stream.ended = true;
                stream.end.get().map(|remark| Err(status(remark.clone())))
            }
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;
    use crate::budget::reason::Reason;

    #[tokio::test]
    async fn the_last_word_comes_behind_what_waits() {
        for why in [None, Some(Reason::RequestTooSlow)] {
            let (messages, waiting) = mpsc::channel(1);
            let (mut stream, end) = Messages::new(waiting);
            messages.send(1).await.unwrap();
            assert!(messages.try_send(2).is_err(), "there is room for one");
            why.into_iter().for_each(|why| end.because(Remark::new(why)));
            drop((messages, end));
            assert_eq!(stream.next().await.unwrap().unwrap(), 1);
            assert_eq!(stream.next().await.is_some_and(|last| last.is_err()), why.is_some());
            assert!(stream.next().await.is_none());
        }
    }
}
