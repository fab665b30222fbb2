//! From an archive to images in the store: take it apart, read what it says it is, check every digest, unpack, record.
//! In: an archive. Out: images. Refuses anything that contradicts itself; the store then is as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::archive::{Member, Members, read_json, take_apart};
use super::config::Document;
use super::{Image, ImageError, ImageStore, Layer, Limits, Result, normalise, remove_dir, unpack};

/// Called with each step of an import.
pub type Progress<'a> = &'a mut dyn FnMut(Step<'_>);

/// A step of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// Reading the archive.
    Reading,
    /// Unpacking a layer.
    Layer {
        /// Which, from 1.
        number: usize,
        /// Of how many in this image.
        count: usize,
        /// Its diff id.
        diff_id: &'a str,
        /// It was in the store already.
        known: bool,
    },
    /// Writing everything to the disk.
    Syncing,
}

/// What an archive says about one image, before anything is believed.
struct Claim {
    config: Member,
    layers: Vec<Member>,
    references: BTreeSet<String>,
}

pub(super) fn run(
    store: &ImageStore,
    archive: &Path,
    progress: Progress<'_>,
) -> Result<Vec<Image>> {
    let staging = store.temporary("import");
    remove_dir(&staging)?;
    std::fs::create_dir(&staging)
        .map_err(|e| ImageError::io(format!("create {}", staging.display()), e))?;
    progress(Step::Reading);
    let name = archive.display().to_string();
    let outcome = take_apart(archive, &staging, &store.limits).and_then(|members| {
        let refuse = |why| ImageError::Archive { archive: name.clone(), why };
        let claims = claims(&members, &store.limits).map_err(refuse)?;
        let images: Vec<Image> = claims
            .iter()
            .map(|claim| take_in(store, &name, claim, progress))
            .collect::<Result<_>>()?;
        progress(Step::Syncing);
        sync(store)?;
        store.record(&images)
    });
    remove_dir(&staging)?;
    if outcome.is_err() {
        store.collect_garbage(&store.state())?;
    }
    outcome
}

/// One call for the thousands of files of a layer; blobs were synced one by one.
fn sync(store: &ImageStore) -> Result<()> {
    let attempt = || format!("sync {}", store.root.display());
    let dir = std::fs::File::open(&store.root).map_err(|e| ImageError::io(attempt(), e))?;
    rustix::fs::syncfs(&dir).map_err(|e| ImageError::io(attempt(), e))
}

fn take_in(
    store: &ImageStore,
    archive: &str,
    claim: &Claim,
    progress: Progress<'_>,
) -> Result<Image> {
    let refuse = |why| ImageError::Archive { archive: archive.to_owned(), why };
    let document: Document = read_json(&claim.config, store.limits.document_bytes_max)
        .map_err(|why| refuse(format!("image configuration: {why}")))?;
    let diff_ids = check(&document, claim, &store.limits).map_err(refuse)?;
    let mut layers = Vec::new();
    let mut left = store.limits.bytes_max;
    for (index, (member, diff_id)) in claim.layers.iter().zip(&diff_ids).enumerate() {
        let place = store.layers_dir().join(&diff_id[..32]);
        let known = known_size(store, diff_id).filter(|_| place.is_dir());
        let number = index + 1;
        let named = format!("sha256:{diff_id}");
        progress(Step::Layer {
            number,
            count: diff_ids.len(),
            diff_id: &named,
            known: known.is_some(),
        });
        let size_bytes = match known {
            Some(size) => size,
            None => unpack::layer(
                member,
                diff_id,
                &place,
                &store.temporary("layer"),
                &store.limits,
                left,
            )
            .map_err(|why| refuse(format!("layer {number} of {}: {why}", diff_ids.len())))?,
        };
        left = left.saturating_sub(size_bytes);
        keep_blob(store, member)?;
        layers.push(Layer { digest: format!("sha256:{}", member.hex), diff_id: named, size_bytes });
    }
    keep_blob(store, &claim.config)?;
    Ok(Image {
        id: format!("sha256:{}", claim.config.hex),
        references: claim.references.clone(),
        size_bytes: layers.iter().map(|l| l.size_bytes).sum(),
        layers,
        config: document.into_config(),
    })
}

/// The diff ids, 64 digits each, once the configuration agrees with what came along.
fn check(
    document: &Document,
    claim: &Claim,
    limits: &Limits,
) -> std::result::Result<Vec<String>, String> {
    if !document.os.is_empty() && document.os != "linux" {
        return Err(format!("the image is for operating system {:?}, not linux", document.os));
    }
    let ours = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    if !document.architecture.is_empty() && document.architecture != ours {
        return Err(format!(
            "the image is for architecture {}, this node is {ours}",
            document.architecture
        ));
    }
    let diff_ids = &document.rootfs.diff_ids;
    if diff_ids.len() != claim.layers.len() {
        let count = claim.layers.len();
        return Err(format!(
            "the configuration names {} layers, the manifest {count}",
            diff_ids.len()
        ));
    }
    if diff_ids.len() > limits.layers_max {
        return Err(format!(
            "{} layers, at most {} can be stacked",
            diff_ids.len(),
            limits.layers_max
        ));
    }
    diff_ids.iter().map(|id| digest_hex(id)).collect()
}

fn known_size(store: &ImageStore, diff_id: &str) -> Option<u64> {
    let state = store.state();
    let mut layers = state.images.values().flat_map(|i| &i.layers);
    layers.find(|l| l.diff_id.strip_prefix("sha256:") == Some(diff_id)).map(|l| l.size_bytes)
}

/// Moves a member to its place among the blobs. Its digest was computed when it was written.
fn keep_blob(store: &ImageStore, member: &Member) -> Result<()> {
    let place = store.blob_path(&member.hex);
    if place.exists() {
        return Ok(());
    }
    // A link, because two images of one archive may share the member.
    std::fs::hard_link(&member.path, &place)
        .map_err(|e| ImageError::io(format!("create {}", place.display()), e))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// Reads what the archive says it holds. `manifest.json` wins where both forms are present: it knows all tags.
fn claims(members: &Members, limits: &Limits) -> std::result::Result<Vec<Claim>, String> {
    if let Some(list) =
        members.json::<Vec<DockerManifest>>("manifest.json", limits.document_bytes_max)
    {
        return list?.iter().map(|manifest| docker_claim(members, manifest)).collect();
    }
    if let Some(index) = members.json::<Index>("index.json", limits.document_bytes_max) {
        let mut claims = Vec::new();
        for descriptor in &index?.manifests {
            claims.push(oci_claim(members, descriptor, limits, 0)?);
        }
        if claims.is_empty() {
            return Err("index.json names no image".to_owned());
        }
        return Ok(claims);
    }
    Err("neither manifest.json (docker save) nor index.json (OCI layout) is in it".to_owned())
}

fn docker_claim(
    members: &Members,
    manifest: &DockerManifest,
) -> std::result::Result<Claim, String> {
    let find = |name: &String| {
        members.get(name).cloned().ok_or_else(|| format!("{name} is named but missing"))
    };
    let config = find(&manifest.config)?;
    // The file's name is its digest in every version of the format: `<hex>.json` or `blobs/sha256/<hex>`.
    let stem = Path::new(&manifest.config).file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    if stem.len() == 64 && stem != config.hex {
        return Err(format!("{} has digest sha256:{}", manifest.config, config.hex));
    }
    let layers: Vec<Member> =
        manifest.layers.iter().map(find).collect::<std::result::Result<_, _>>()?;
    for (name, member) in manifest.layers.iter().zip(&layers) {
        if let Some(hex) = name.strip_prefix("blobs/sha256/").filter(|hex| **hex != member.hex) {
            return Err(format!("blob sha256:{hex} has digest sha256:{}", member.hex));
        }
    }
    let tags = manifest.repo_tags.iter().flatten();
    let references = tags
        .map(|t| normalise(t).map_err(|e| e.to_string()))
        .collect::<std::result::Result<_, _>>()?;
    Ok(Claim { config, layers, references })
}

fn oci_claim(
    members: &Members,
    descriptor: &Descriptor,
    limits: &Limits,
    depth: u32,
) -> std::result::Result<Claim, String> {
    let member = blob(members, descriptor)?;
    let kind = descriptor.media_type.as_str();
    if kind.ends_with("image.index.v1+json") || kind.ends_with("manifest.list.v2+json") {
        let index: Index = read_json(&member, limits.document_bytes_max)?;
        let ours = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let fits = |d: &&Descriptor| {
            d.platform.as_ref().is_none_or(|p| p.os == "linux" && p.architecture == ours)
        };
        let chosen = index
            .manifests
            .iter()
            .find(fits)
            .ok_or_else(|| format!("no image for linux/{ours} in the index"))?;
        if depth >= 4 {
            return Err("indexes nested more than 4 deep".to_owned());
        }
        let mut claim = oci_claim(members, chosen, limits, depth + 1)?;
        claim.references.extend(oci_references(descriptor)?);
        return Ok(claim);
    }
    let manifest: Manifest = read_json(&member, limits.document_bytes_max)
        .map_err(|why| format!("manifest {}: {why}", descriptor.digest))?;
    let layers = manifest
        .layers
        .iter()
        .map(|layer| blob(members, layer))
        .collect::<std::result::Result<_, _>>()?;
    Ok(Claim {
        config: blob(members, &manifest.config)?,
        layers,
        references: oci_references(descriptor)?,
    })
}

/// containerd writes the full name, others only a tag; a bare tag names nothing and is left out.
fn oci_references(descriptor: &Descriptor) -> std::result::Result<BTreeSet<String>, String> {
    let named = descriptor.annotations.get("io.containerd.image.name");
    let short = descriptor
        .annotations
        .get("org.opencontainers.image.ref.name")
        .filter(|n| n.contains([':', '/']));
    named.or(short).into_iter().map(|n| normalise(n).map_err(|e| e.to_string())).collect()
}

fn blob(members: &Members, descriptor: &Descriptor) -> std::result::Result<Member, String> {
    let hex = digest_hex(&descriptor.digest)?;
    let found = members.get(&format!("blobs/sha256/{hex}"));
    let member = found.ok_or_else(|| format!("blob {} is named but missing", descriptor.digest))?;
    if member.size != descriptor.size {
        return Err(format!(
            "blob {} has {} bytes, {} are announced",
            descriptor.digest, member.size, descriptor.size
        ));
    }
    if member.hex != hex {
        return Err(format!("blob {} has digest sha256:{}", descriptor.digest, member.hex));
    }
    Ok(member.clone())
}

fn digest_hex(digest: &str) -> std::result::Result<String, String> {
    let hex = digest.strip_prefix("sha256:").unwrap_or_default();
    let good =
        hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if good { Ok(hex.to_owned()) } else { Err(format!("{digest:?} is not a sha256 digest")) }
}
