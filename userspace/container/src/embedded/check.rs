//! What can be refused before a shim is asked. In: a specification and an image. Out: nothing, or upstream's words.

use crate::image::{Image, normalise};
use crate::runtime::{ContainerSpec, Mount, Result, RuntimeError};

pub(super) fn container(spec: &ContainerSpec) -> Result<()> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if spec.name.is_empty() || spec.name.len() > 63 || !spec.name.bytes().all(plain) {
        return Err(RuntimeError::invalid(
            "container name",
            format!("{:?} is not a DNS label", spec.name),
        ));
    }
    normalise(&spec.image).map_err(|e| RuntimeError::invalid("image", e.to_string()))?;
    for (name, value) in &spec.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(RuntimeError::invalid("env", format!("{name:?} cannot be a variable")));
        }
    }
    let paths = spec.mounts.iter().map(|m| &m.container_path).chain(&spec.termination_message_path);
    for path in paths {
        if !path.starts_with('/')
            || path.split('/').any(|part| part == "..")
            || path.trim_matches('/').is_empty()
        {
            return Err(RuntimeError::invalid(
                "mountPath",
                format!("{path:?} must be absolute, below / and without \"..\""),
            ));
        }
    }
    for Mount { host_path, .. } in &spec.mounts {
        if !host_path.exists() {
            return Err(RuntimeError::invalid(
                "mount",
                format!("{} does not exist on the node", host_path.display()),
            ));
        }
    }
    Ok(())
}

/// Upstream's two refusals of `runAsNonRoot`.
pub(super) fn non_root(spec: &ContainerSpec, image: &Image) -> Result<()> {
    if !spec.run_as_non_root {
        return Ok(());
    }
    match spec.user.as_ref().and_then(|u| u.uid) {
        Some(0) => Err(RuntimeError::RunAsNonRoot(
            "container's runAsUser breaks non-root policy".to_owned(),
        )),
        Some(_) => Ok(()),
        None => match image.config.numeric_uid() {
            Some(0) => Err(RuntimeError::RunAsNonRoot(
                "container has runAsNonRoot and image will run as root".to_owned(),
            )),
            Some(_) => Ok(()),
            None => {
                let user = image.config.user.split(':').next().unwrap_or_default();
                let why = format!(
                    "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root"
                );
                Err(RuntimeError::RunAsNonRoot(why))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_names_are_checked() {
        let good =
            ContainerSpec { name: "c".into(), image: "hello:1".into(), ..ContainerSpec::default() };
        container(&good).unwrap();
        let mount =
            |at: &str| Mount { host_path: "/".into(), container_path: at.into(), read_only: true };
        for at in ["relative", "/a/../b", "/", "//"] {
            assert!(
                container(&ContainerSpec { mounts: vec![mount(at)], ..good.clone() }).is_err(),
                "{at}"
            );
        }
        assert!(container(&ContainerSpec { name: "../x".into(), ..good.clone() }).is_err());
        assert!(
            container(&ContainerSpec { env: vec![("A=B".into(), String::new())], ..good.clone() })
                .is_err()
        );
        assert!(
            container(&ContainerSpec { image: "Hello".into(), ..good })
                .unwrap_err()
                .to_string()
                .contains("lowercase")
        );
    }
}
