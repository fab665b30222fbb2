//! The driver of every reconciler.
//!
//! In: an interval, a nudge and a function that reads, plans and acts. Out: its repeated execution, never twice at once.
//! Refuses: telling the function why it runs. State counts, not the event.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// Runs `f` at once, then on every nudge and at the latest `interval` after the end of the run before,
/// until `token` is cancelled. Nudges that come during a run lead to exactly one more run.
///
/// A run in progress when `token` is cancelled is dropped at its next await, so `f` must be safe to cancel.
pub async fn reconcile_loop<F, Fut>(
    name: &'static str,
    token: CancellationToken,
    interval: Duration,
    nudge: Arc<Notify>,
    mut f: F,
) where
    F: FnMut() -> Fut,
    Fut: Future<Output = ()>,
{
    let runs = async {
        loop {
            f().instrument(tracing::debug_span!("reconcile", name)).await;
            let _ = tokio::time::timeout(interval, nudge.notified()).await;
        }
    };
    let _ = token.run_until_cancelled(runs).await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::Tasks;

    fn start(run: Duration, interval: Duration) -> (Tasks, Arc<Notify>, Arc<AtomicUsize>) {
        let (tasks, nudge, count) =
            (Tasks::new(), Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let (token, bell, counter) = (tasks.token(), Arc::clone(&nudge), Arc::clone(&count));
        tasks.spawn(
            "test",
            reconcile_loop("test", token, interval, bell, move || {
                let counter = Arc::clone(&counter);
                async move {
                    tokio::time::sleep(run).await;
                    counter.fetch_add(1, Ordering::SeqCst);
                }
            }),
        );
        (tasks, nudge, count)
    }

    #[tokio::test(start_paused = true)]
    async fn runs_at_once_and_on_the_timer() {
        let (tasks, _nudge, count) = start(Duration::ZERO, Duration::from_secs(10));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(count.load(Ordering::SeqCst), 1);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(count.load(Ordering::SeqCst), 2);
        tasks.stop(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn many_nudges_during_a_run_are_one_more_run() {
        let (tasks, nudge, count) = start(Duration::from_secs(1), Duration::from_secs(3600));
        tokio::time::sleep(Duration::from_millis(500)).await;
        for _ in 0..5 {
            nudge.notify_one();
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(count.load(Ordering::SeqCst), 2);
        tasks.stop(Duration::from_secs(1)).await;
        nudge.notify_one();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }
}
