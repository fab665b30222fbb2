//! Before a container is told to end, Services must have stopped sending it new connections.
//!
//! Upstream signals at once and loses what arrives before the proxies have heard. Here the node waits until the Pod is no
//! ready backend of any slice and the epoch that says so is in force in its own kernel, then a moment more for other
//! nodes, which get the same epoch at the same time, and for requests under way. The caller bounds the wait.

use std::time::Duration;

use beeline_tables::{Epoch, ObjectName, Reader, Snapshot};
use tokio::{sync::watch, time::sleep};

/// For other nodes, and for short requests that have begun.
const SETTLE: Duration = Duration::from_millis(200);

/// What slices say of a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Unknown,
    Listed,
    Ready,
}

/// Returns when no new connections are sent to the Pod.
pub(crate) async fn drained(
    pod: &ObjectName,
    mut tables: Reader,
    mut in_force: watch::Receiver<Epoch>,
) {
    let mut was = Standing::Unknown;
    let epoch = loop {
        let snapshot = tables.snapshot();
        let standing = standing(&snapshot, pod);
        was = was.max(standing);
        if standing < Standing::Ready {
            break snapshot.epoch;
        }
        if tables.changed().await.is_none() {
            return;
        }
    };
    // The sender is gone only when the dataplane has been shut down: nothing more will come into force.
    let _ = in_force.wait_for(|now| *now >= epoch).await;
    if was > Standing::Unknown {
        sleep(SETTLE).await;
    }
}

fn standing(snapshot: &Snapshot, pod: &ObjectName) -> Standing {
    let slices = snapshot.slices.values().filter(|slice| slice.name.namespace == pod.namespace);
    let backends = slices
        .flat_map(|slice| &slice.backends)
        .filter(|backend| backend.pod.as_ref() == Some(pod));
    let standings =
        backends.map(|backend| if backend.ready { Standing::Ready } else { Standing::Listed });
    standings.max().unwrap_or(Standing::Unknown)
}
