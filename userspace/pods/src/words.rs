//! Sentences that users know from upstream and search for, and that are needed in more than one place.

use std::time::Duration;

use beeline_container::image::{ImageError, normalise};

use crate::lifecycle::ProbeKind;

/// Time to end in for a container that a probe has given up on.
pub(crate) const PROBE_GRACE: Duration = Duration::from_secs(30);

pub(crate) fn never_pull(image: &str) -> String {
    format!("Container image \"{image}\" is not present with pull policy of Never")
}

/// What is wrong with an image's name, if anything is: no pull could ever find it.
pub(crate) fn bad_name(image: &str) -> Option<String> {
    let why = match normalise(image) {
        Ok(_) => return None,
        Err(ImageError::Reference { why, .. }) => why.to_owned(),
        Err(error) => error.to_string(),
    };
    let lead = "invalid reference format";
    let why = if why.starts_with(lead) { why } else { format!("{lead}: {why}") };
    Some(format!(
        "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": {why}"
    ))
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
