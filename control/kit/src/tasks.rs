//! Owned tasks: every future that runs in the background has a name, an owner and an end.
//!
//! In: futures. Out: their supervised execution. `stop` cancels, waits, then aborts what is left and names it.
//! Refuses: starting anything once stopped.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The owner of a set of named tasks. Clones share the set; `child` makes a set that ends with this one.
#[derive(Clone, Debug)]
pub struct Tasks {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    token: CancellationToken,
    tracker: TaskTracker,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    running: BTreeMap<u64, Running>,
    children: Vec<Weak<Inner>>,
}

#[derive(Debug)]
struct Running {
    name: &'static str,
    /// Absent for the moment between announcing and starting.
    abort: Option<AbortHandle>,
}

/// Lives inside the task; its end is the task's end, however that came about.
struct Guard {
    inner: Arc<Inner>,
    id: u64,
    name: &'static str,
}

// === impl Tasks ===

impl Tasks {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self { inner: Arc::new(Inner::default()) }
    }

    /// Runs `f` until it ends. It should end soon after `token()` is cancelled: `stop` aborts it otherwise.
    /// A panic ends only this task and is logged with its name. After `stop` this does nothing.
    pub fn spawn<F>(&self, name: &'static str, f: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if self.inner.token.is_cancelled() {
            tracing::debug!(task = name, "not started: its owner has stopped");
            return;
        }
        let id = self.inner.announce(name);
        let guard = Guard { inner: Arc::clone(&self.inner), id, name };
        let handle = self.inner.tracker.spawn(async move {
            let _guard = guard;
            f.await;
        });
        // The task may already be over and its entry gone.
        if let Some(running) = self.inner.state().running.get_mut(&id) {
            running.abort = Some(handle.abort_handle());
        }
    }

    /// Cancelled when this set or a parent of it stops.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.inner.token.clone()
    }

    /// A set that stops with this one, and can be stopped alone.
    #[must_use]
    pub fn child(&self) -> Self {
        let inner = Arc::new(Inner { token: self.inner.token.child_token(), ..Inner::default() });
        let mut state = self.inner.state();
        state.children.retain(|child| child.strong_count() > 0);
        state.children.push(Arc::downgrade(&inner));
        drop(state);
        Self { inner }
    }

    /// How many tasks run now, children's included.
    #[must_use]
    pub fn running(&self) -> usize {
        self.inner.family().iter().map(|inner| inner.state().running.len()).sum()
    }

    /// Cancels the token, waits up to `grace` for all tasks (children's too), then aborts the rest by name.
    pub async fn stop(&self, grace: Duration) {
        self.inner.token.cancel();
        let deadline = Instant::now() + grace;
        for inner in self.inner.family() {
            inner.tracker.close();
            if tokio::time::timeout_at(deadline, inner.tracker.wait()).await.is_err() {
                inner.abort_all();
                // An aborted task ends at its next await; one that never awaits must not hold us.
                let _ = tokio::time::timeout(Duration::from_secs(1), inner.tracker.wait()).await;
            }
        }
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Inner ===

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, name: &'static str) -> u64 {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.running.insert(id, Running { name, abort: None });
        id
    }

    /// This set and all below it, children first: they use what their parents run.
    fn family(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let children: Vec<_> = self.state().children.iter().filter_map(Weak::upgrade).collect();
        let mut all: Vec<_> = children.iter().flat_map(Self::family).collect();
        all.push(Arc::clone(self));
        all
    }

    fn abort_all(&self) {
        for running in self.state().running.values() {
            tracing::warn!(task = running.name, "did not end in time, aborted");
            if let Some(abort) = &running.abort {
                abort.abort();
            }
        }
    }
}

// === impl Guard ===

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.name, "panicked");
        }
        self.inner.state().running.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stop_waits_for_those_who_listen() {
        let tasks = Tasks::new();
        let done = Arc::new(AtomicBool::new(false));
        let (token, flag) = (tasks.token(), Arc::clone(&done));
        tasks.spawn("polite", async move {
            token.cancelled().await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            flag.store(true, Ordering::SeqCst);
        });
        tasks.stop(Duration::from_secs(5)).await;
        assert!(done.load(Ordering::SeqCst));
        assert_eq!(tasks.running(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn stop_aborts_those_who_do_not() {
        let tasks = Tasks::new();
        tasks.spawn("deaf", std::future::pending());
        let before = Instant::now();
        tasks.stop(Duration::from_secs(5)).await;
        assert_eq!(before.elapsed(), Duration::from_secs(5));
        assert_eq!(tasks.running(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn children_end_with_their_parent_but_not_the_reverse() {
        let parent = Tasks::new();
        let child = parent.child();
        let token = child.token();
        child.spawn("in-child", async move { token.cancelled().await });
        let token = parent.token();
        parent.spawn("in-parent", async move { token.cancelled().await });
        let other = parent.child();
        other.stop(Duration::ZERO).await;
        assert_eq!(parent.running(), 2);
        parent.stop(Duration::from_secs(1)).await;
        assert_eq!(parent.running(), 0);
        assert!(child.token().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_ends_one_task_only_and_nothing_starts_after_stop() {
        let tasks = Tasks::new();
        tasks.spawn("broken", async { panic!("on purpose") });
        let token = tasks.token();
        tasks.spawn("fine", async move { token.cancelled().await });
        tokio::task::yield_now().await;
        assert_eq!(tasks.running(), 1);
        tasks.stop(Duration::from_secs(1)).await;
        tasks.spawn("late", std::future::pending());
        assert_eq!(tasks.running(), 0);
    }
}
