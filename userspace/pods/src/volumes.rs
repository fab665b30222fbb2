//! The volumes of a Pod as directories and files on this node.
//!
//! In: the Pod, facts of the node, ConfigMaps and Secrets, tokens, the Pod's own directory. Out: where each volume lies on the
//! host. Refuses kinds of volumes that nobody here can make, and paths that lead out of a volume.
//! Everything it makes is below the Pod's directory. Safe to repeat.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Component, Path, PathBuf},
};

use beeline_tables::Snapshot;
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, HostPathVolumeSource, KeyToPath, Pod, ProjectedVolumeSource, Volume,
};

use crate::{
    env::{self, Kind},
    fields::PodFacts,
    tokens::{Key, Texts},
};

mod payload;

use payload::{File, Files};

/// Upstream's default mode of files.
const MODE_DEFAULT: i32 = 0o644;

/// Why a volume cannot be made (yet). The text is that of upstream's `FailedMount` event.
#[derive(Debug, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume \"{volume}\" : {why}")]
pub struct VolumeError {
    /// The volume's name.
    pub volume: String,
    /// What is missing or failed.
    pub why: String,
}

/// Where each volume of the Pod lies on the host.
pub type Places = BTreeMap<String, PathBuf>;

/// Make the volumes of a Pod below `dir`. Blocks on the disk.
pub fn prepare(
    facts: PodFacts<'_>,
    snapshot: &Snapshot,
    tokens: &Texts,
    dir: &Path,
) -> Result<Places, VolumeError> {
    let volumes = facts.pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    let mut places = Places::new();
    for volume in volumes.into_iter().flatten() {
        let place = dir.join("volumes").join(&volume.name);
        let made = make(volume, facts, Sources { snapshot, tokens }, place);
        let place = made.map_err(|why| VolumeError { volume: volume.name.clone(), why })?;
        places.insert(volume.name.clone(), place);
    }
    Ok(places)
}

/// Bring what the API fills up to date, in volumes that [`prepare`] made. What fails stays as it is and keeps nothing else
/// from being done; the first failure is told.
pub fn refresh(
    facts: PodFacts<'_>,
    snapshot: &Snapshot,
    tokens: &Texts,
    dir: &Path,
) -> Result<(), VolumeError> {
    let volumes = facts.pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    let mut outcome = Ok(());
    for volume in volumes.into_iter().flatten().filter(|volume| !is_writable(volume)) {
        let place = dir.join("volumes").join(&volume.name);
        if let Err(why) = make(volume, facts, Sources { snapshot, tokens }, place) {
            outcome = outcome.and(Err(VolumeError { volume: volume.name.clone(), why }));
        }
    }
    outcome
}

/// Whether containers may write to a volume. What the API says belongs to the API: upstream mounts it read-only whatever
/// a container asks for, and what is written here on its behalf must not meet links that a container put there.
pub(crate) fn is_writable(volume: &Volume) -> bool {
    volume.empty_dir.is_some() || volume.host_path.is_some()
}

/// Remove all that [`prepare`] made.
pub fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What the API has for volumes.
#[derive(Clone, Copy)]
struct Sources<'a> {
    snapshot: &'a Snapshot,
    tokens: &'a Texts,
}

fn make(
    volume: &Volume,
    facts: PodFacts<'_>,
    sources: Sources<'_>,
    place: PathBuf,
) -> Result<PathBuf, String> {
    let namespace = facts.pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(path) = &volume.host_path {
        return host_path(path);
    }
    if volume.empty_dir.is_some() {
        directory(&place, 0o777)?;
        return Ok(place);
    }
    let snapshot = sources.snapshot;
    let mut files = Files::new();
    if let Some(map) = &volume.config_map {
        let keys = Keys {
            kind: Kind::ConfigMap,
            name: &map.name,
            items: map.items.as_deref(),
            optional: map.optional,
        };
        keys.collect(snapshot, namespace, map.default_mode, &mut files)?;
    } else if let Some(secret) = &volume.secret {
        let name = secret.secret_name.as_deref().unwrap_or_default();
        let keys = Keys {
            kind: Kind::Secret,
            name,
            items: secret.items.as_deref(),
            optional: secret.optional,
        };
        keys.collect(snapshot, namespace, secret.default_mode, &mut files)?;
    } else if let Some(downward) = &volume.downward_api {
        downward_files(downward.items.as_deref(), facts, downward.default_mode, &mut files)?;
    } else if let Some(projected) = &volume.projected {
        projected_files(projected, facts, sources, namespace, &mut files)?;
    } else {
        let kind = kind_of(volume);
        return Err(format!(
            "volumes of kind {kind} are not supported on this node; use emptyDir, hostPath, configMap, secret, \
             downwardAPI or projected"
        ));
    }
    payload::write(&place, &files, fs_group(facts.pod))?;
    Ok(place)
}

/// The field that says what a volume is.
fn kind_of(volume: &Volume) -> String {
    let json = serde_json::to_value(volume).unwrap_or_default();
    let fields = json.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    fields.into_iter().find(|key| *key != "name").unwrap_or("unknown").to_owned()
}

fn host_path(source: &HostPathVolumeSource) -> Result<PathBuf, String> {
    let path = PathBuf::from(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    let fail = |error: io::Error| format!("hostPath {}: {error}", source.path);
    match kind {
        "DirectoryOrCreate" => fs::create_dir_all(&path).map_err(fail)?,
        "FileOrCreate" if !path.exists() => fs::write(&path, b"").map_err(fail)?,
        _ => {}
    }
    let meta = fs::metadata(&path).map_err(fail)?;
    let fits = match kind {
        "Directory" | "DirectoryOrCreate" => meta.is_dir(),
        "File" | "FileOrCreate" => meta.is_file(),
        _ => true,
    };
    if fits {
        Ok(path)
    } else {
        Err(format!("hostPath type check failed: {} is not a {kind}", source.path))
    }
}

/// A selection of the keys of a ConfigMap or Secret.
struct Keys<'a> {
    kind: Kind,
    name: &'a str,
    items: Option<&'a [KeyToPath]>,
    optional: Option<bool>,
}

impl Keys<'_> {
    fn collect(
        &self,
        snapshot: &Snapshot,
        namespace: &str,
        mode: Option<i32>,
        files: &mut Files,
    ) -> Result<(), String> {
        let optional = self.optional == Some(true);
        let mode = mode.unwrap_or(MODE_DEFAULT);
        let Some(data) = env::data(snapshot, self.kind, namespace, self.name) else {
            let kind = self.kind.word().to_lowercase();
            return if optional {
                Ok(())
            } else {
                Err(format!("{kind} \"{}\" not found", self.name))
            };
        };
        let Some(items) = self.items.filter(|items| !items.is_empty()) else {
            files.extend(data.into_iter().map(|(key, content)| (key, file(content, mode))));
            return Ok(());
        };
        for item in items {
            match data.get(&item.key).cloned() {
                Some(content) => {
                    files.insert(item.path.clone(), file(content, item.mode.unwrap_or(mode)));
                }
                None if optional => {}
                None => {
                    return Err(format!(
                        "references non-existent {} key: {}",
                        self.kind.word(),
                        item.key
                    ));
                }
            }
        }
        Ok(())
    }
}

fn downward_files(
    items: Option<&[DownwardAPIVolumeFile]>,
    facts: PodFacts<'_>,
    mode: Option<i32>,
    files: &mut Files,
) -> Result<(), String> {
    for item in items.into_iter().flatten() {
        let value = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => facts.field(&field.field_path),
            (None, Some(selector)) => {
                let named = selector.container_name.as_deref().unwrap_or_default();
                crate::wanted::container(facts.pod, named)
                    .and_then(|container| facts.resource(selector, container))
            }
            (None, None) => None,
        };
        let value = value.ok_or_else(|| format!("file {}: no such field", item.path))?;
        let mode = item.mode.or(mode).unwrap_or(MODE_DEFAULT);
        files.insert(item.path.clone(), file(value.into_bytes(), mode));
    }
    Ok(())
}

fn projected_files(
    projected: &ProjectedVolumeSource,
    facts: PodFacts<'_>,
    Sources { snapshot, tokens }: Sources<'_>,
    namespace: &str,
    files: &mut Files,
) -> Result<(), String> {
    let mode = projected.default_mode;
    for source in projected.sources.iter().flatten() {
        if let Some(map) = &source.config_map {
            let keys = Keys {
                kind: Kind::ConfigMap,
                name: &map.name,
                items: map.items.as_deref(),
                optional: map.optional,
            };
            keys.collect(snapshot, namespace, mode, files)?;
        }
        if let Some(secret) = &source.secret {
            let keys = Keys {
                kind: Kind::Secret,
                name: &secret.name,
                items: secret.items.as_deref(),
                optional: secret.optional,
            };
            keys.collect(snapshot, namespace, mode, files)?;
        }
        if let Some(downward) = &source.downward_api {
            downward_files(downward.items.as_deref(), facts, mode, files)?;
        }
        if let Some(wanted) = &source.service_account_token {
            let token = tokens.get(&Key::of(wanted)).ok_or("no service account token yet")?;
            let content = token.clone().into_bytes();
            files.insert(wanted.path.clone(), token_file(content, mode, facts.pod));
        }
        if source.cluster_trust_bundle.is_some() || source.pod_certificate.is_some() {
            return Err("trust bundles and pod certificates are not supported on this node".into());
        }
    }
    Ok(())
}

fn file(content: Vec<u8>, mode: i32) -> File {
    File { content, mode: u32::try_from(mode).unwrap_or(0o600), owner: None }
}

/// Only who is meant may read a token, where the Pod says who that is: the one user that all its containers run as, and
/// the group of its volumes.
fn token_file(content: Vec<u8>, mode: Option<i32>, pod: &Pod) -> File {
    let owner = one_user(pod);
    let narrow = owner.is_some() || fs_group(pod).is_some();
    let mode = if narrow { 0o600 } else { mode.unwrap_or(MODE_DEFAULT) };
    File { owner, ..file(content, mode) }
}

/// The user that all containers run as, if they say so.
fn one_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let shared = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let mut users = containers.map(|container| {
        container.security_context.as_ref().and_then(|own| own.run_as_user).or(shared)
    });
    let first = users.next()??;
    if users.all(|user| user == Some(first)) { u32::try_from(first).ok() } else { None }
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let group = pod.spec.as_ref()?.security_context.as_ref()?.fs_group?;
    u32::try_from(group).ok()
}

fn directory(path: &Path, mode: u32) -> Result<(), String> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(|error| format!("make {}: {error}", path.display()))
}

/// A path that stays below where it starts.
fn inner(path: &str) -> Option<&Path> {
    let path = Path::new(path);
    let stays =
        path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    (stays && !path.as_os_str().is_empty()).then_some(path)
}

/// A `subPath` of a volume, made as a directory if it is missing. Links in it may not lead out.
pub fn sub_path(place: &Path, sub: &str) -> Result<PathBuf, String> {
    let relative = inner(sub)
        .ok_or_else(|| format!("invalid subPath {sub:?}: must stay within the volume"))?;
    inside(place, relative).map_err(|why| format!("failed to prepare subPath {sub:?}: {why}"))
}

/// What a path in a volume is in truth; missing directories are made. Each step is looked at before the next, so that
/// nothing is ever made where a link leads out.
fn inside(place: &Path, relative: &Path) -> Result<PathBuf, String> {
    let root = place.canonicalize().map_err(|error| error.to_string())?;
    let mut path = root.clone();
    for part in relative.components() {
        path.push(part);
        match fs::create_dir(&path) {
            Err(error) if fs::symlink_metadata(&path).is_err() => return Err(error.to_string()),
            _ => {}
        }
        path = path.canonicalize().map_err(|error| error.to_string())?;
        if !path.starts_with(&root) {
            return Err("it leads out of the volume".to_owned());
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests;
