//! How many connections there are, for who waits until there are none.

use tokio::sync::watch;

/// The count.
#[derive(Debug)]
pub(crate) struct Connections(watch::Sender<usize>);

/// One connection; it counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Held(watch::Sender<usize>);

impl Default for Connections {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Connections {
    pub(crate) fn hold(&self) -> Held {
        self.0.send_modify(|count| *count += 1);
        Held(self.0.clone())
    }

    pub(crate) fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// Until there are none.
    pub(crate) async fn ended(&self) {
        // It cannot close while `self` holds a sender.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
