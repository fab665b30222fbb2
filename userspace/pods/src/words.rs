//! Sentences that users know from upstream and search for, and that are needed in more than one place.

use std::time::Duration;

use crate::lifecycle::ProbeKind;

/// Time to end in for a container that a probe has given up on.
pub(crate) const PROBE_GRACE: Duration = Duration::from_secs(30);

pub(crate) fn never_pull(image: &str) -> String {
    format!("Container image \"{image}\" is not present with pull policy of Never")
}

pub(crate) fn pull_failed(image: &str) -> String {
    format!("Failed to pull image \"{image}\": {}", not_here(image))
}

/// Why an image cannot be had, and what to do.
pub(crate) fn not_here(image: &str) -> String {
    format!(
        "image \"{image}\" is not on this node, and pulling from registries is not supported yet: \
         bring it with `beeline image import`"
    )
}

pub(crate) fn pull_back_off(image: &str) -> String {
    format!("Back-off pulling image \"{image}\": ErrImagePull: {}", not_here(image))
}

pub(crate) fn probe(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Startup => "Startup",
        ProbeKind::Readiness => "Readiness",
        ProbeKind::Liveness => "Liveness",
    }
}
