//! Archives good and bad, in and out of the store. Unpacking sets owners and needs root.

use std::io::Write;

use sha2::{Digest, Sha256};

use super::build::{self, BuildEntry};
use super::*;

fn root(test: &str) -> bool {
    let is = rustix::process::geteuid().is_root();
    if !is {
        eprintln!("SKIP {test}: needs root");
    }
    is
}

fn sha(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// A tar from (path, kind, content or link target).
fn tar_of(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o4755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000);
        let bytes = if kind.is_file() { content.as_bytes() } else { b"" };
        header.set_size(bytes.len() as u64);
        // Written by hand, because the crate itself refuses to write hostile names.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        if !kind.is_file() {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_cksum();
        tar.append(&header, bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

type Blobs = BTreeMap<String, Vec<u8>>;

fn file(path: &'static str, content: &'static str) -> (&'static str, tar::EntryType, &'static str) {
    (path, tar::EntryType::Regular, content)
}

/// An OCI layout with the given layers; `spoil` may change the members before they are written.
fn oci(path: &Path, layers: &[Vec<u8>], spoil: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) {
    let mut members = BTreeMap::new();
    let mut blob = |bytes: Vec<u8>, kind: &str| {
        let (digest, size) = (sha(&bytes), bytes.len());
        members.insert(format!("blobs/sha256/{digest}"), bytes);
        serde_json::json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": size })
    };
    let diff_ids: Vec<String> = layers.iter().map(|l| format!("sha256:{}", sha(l))).collect();
    let config = serde_json::json!({ "os": "linux", "config": { "Cmd": ["/x"], "Env": null },
        "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    let config = blob(config.to_string().into_bytes(), "application/vnd.oci.image.config.v1+json");
    let gz = |bytes: &Vec<u8>| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    };
    let layers: Vec<_> =
        layers.iter().map(|l| blob(gz(l), "application/vnd.oci.image.layer.v1.tar+gzip")).collect();
    let manifest = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": layers });
    let mut manifest =
        blob(manifest.to_string().into_bytes(), "application/vnd.oci.image.manifest.v1+json");
    manifest["annotations"] =
        serde_json::json!({ "io.containerd.image.name": "docker.io/library/oci:1" });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [manifest] });
    members.insert("index.json".into(), index.to_string().into_bytes());
    members.insert("oci-layout".into(), b"{\"imageLayoutVersion\":\"1.0.0\"}".to_vec());
    spoil(&mut members);
    let mut tar = tar::Builder::new(std::fs::File::create(path).unwrap());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap();
}

struct Bench {
    dir: tempfile::TempDir,
    store: ImageStore,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let limits =
            Limits { bytes_max: 4 << 20, entries_max: 1000, layers_max: 3, ..Limits::default() };
        let store = ImageStore::open_with(&dir.path().join("store"), limits).unwrap();
        Self { dir, store }
    }

    fn archive(&self) -> PathBuf {
        self.dir.path().join("archive.tar")
    }

    fn import(&self) -> Result<Vec<Image>> {
        self.store.import(&self.archive(), &mut |_| {})
    }

    fn import_layers(&self, layers: &[Vec<u8>]) -> Result<Vec<Image>> {
        oci(&self.archive(), layers, |_| {});
        self.import()
    }

    /// The import fails with this text and leaves nothing.
    fn refuses(&self, layers: &[Vec<u8>], text: &str) {
        let error = self.import_layers(layers).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
        self.is_empty();
    }

    fn is_empty(&self) {
        for part in ["layers", "blobs/sha256", "tmp"] {
            let left: Vec<_> = std::fs::read_dir(self.store.root.join(part)).unwrap().collect();
            assert!(left.is_empty(), "{part}: {left:?}");
        }
    }
}

#[test]
fn built_images_are_found_again() {
    if !root("built_images_are_found_again") {
        return;
    }
    let bench = Bench::new();
    let entries = [
        BuildEntry::dir("etc"),
        BuildEntry::bytes("etc/hello", b"hi", 0o644),
        BuildEntry::symlink("l", "etc"),
    ];
    let config = ImageConfig { entrypoint: vec!["/run".into()], ..ImageConfig::default() };
    build::archive(&bench.archive(), "hello:1", &entries, &config).unwrap();
    let mut steps = 0;
    let image = bench.store.import(&bench.archive(), &mut |_| steps += 1).unwrap().remove(0);
    assert_eq!(steps, 3);
    assert_eq!(image.config.entrypoint, ["/run"]);
    for name in ["hello:1", "docker.io/library/hello:1", &image.id] {
        assert_eq!(bench.store.resolve(name).as_ref(), Some(&image), "{name}");
    }
    assert_eq!(bench.store.resolve("hello:2"), None);
    let again = ImageStore::open(&bench.store.root).unwrap();
    assert_eq!(again.list(), std::slice::from_ref(&image));
    assert_eq!(bench.import().unwrap(), std::slice::from_ref(&image));
    let dir = again.layers_dir().join(image.layers[0].dir_name());
    assert_eq!(std::fs::read_to_string(dir.join("l/hello")).unwrap(), "hi");
    again.pin("container", &image.id);
    assert!(matches!(again.remove("hello:1"), Err(ImageError::InUse(_))));
    again.unpin("container");
    again.remove("hello:1").unwrap();
    assert!(matches!(again.remove("hello:1"), Err(ImageError::NotFound(_))));
    bench.is_empty();
}

#[test]
fn whiteouts_links_and_modes_become_overlayfs_ones() {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    if !root("whiteouts_links_and_modes_become_overlayfs_ones") {
        return;
    }
    let bench = Bench::new();
    let upper = tar_of(&[
        file("./dir/file", "x"),
        ("dir/hard", tar::EntryType::Link, "dir/file"),
        ("dir/soft", tar::EntryType::Symlink, "/dir/file"),
        file("dir/.wh.gone", ""),
        file("empty/.wh..wh..opq", ""),
    ]);
    let image = bench.import_layers(&[tar_of(&[file("dir/gone", "y")]), upper]).unwrap().remove(0);
    let dir = bench.store.layers_dir().join(image.layers[1].dir_name());
    let meta = std::fs::metadata(dir.join("dir/file")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.nlink(), meta.mtime()), (0o4755, 2, 1_000_000));
    assert_eq!(std::fs::read_link(dir.join("dir/soft")).unwrap(), Path::new("/dir/file"));
    let gone = std::fs::symlink_metadata(dir.join("dir/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let mut value = [0u8; 8];
    let length =
        rustix::fs::getxattr(dir.join("empty"), "trusted.overlay.opaque", &mut value).unwrap();
    assert_eq!(&value[..length], b"y");
}

#[test]
fn hostile_layers_are_refused_or_stay_inside() {
    if !root("hostile_layers_are_refused_or_stay_inside") {
        return;
    }
    use tar::EntryType as T;
    let bench = Bench::new();
    bench.refuses(&[tar_of(&[file("../outside", "x")])], "climbs with ..");
    bench.refuses(&[tar_of(&[("dev/sda", T::Block, "")])], "device nodes are refused");
    bench.refuses(&[tar_of(&[("h", T::Link, "/etc/passwd")])], "which this layer does not hold");
    bench.refuses(
        &[tar_of(&[("s", T::Symlink, "/etc"), ("h", T::Link, "s/passwd")])],
        "does not hold",
    );
    bench.refuses(&[tar_of(&[file("d/.wh...", "")])], "whiteout: names nothing");
    let canary = format!("beeline-canary-{}", std::process::id());
    let name: &'static str = Box::leak(format!("link/{canary}").into_boxed_str());
    let image = bench
        .import_layers(&[tar_of(&[("link", T::Symlink, "/tmp"), file(name, "x")])])
        .unwrap()
        .remove(0);
    assert!(!Path::new("/tmp").join(&canary).exists());
    assert!(
        bench
            .store
            .layers_dir()
            .join(image.layers[0].dir_name())
            .join("tmp")
            .join(&canary)
            .exists()
    );
}

#[test]
fn ids_that_do_not_fit_are_refused() {
    if !root("ids_that_do_not_fit_are_refused") {
        return;
    }
    let bench = Bench::new();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_uid(1 << 32);
    header.set_gid(0);
    header.set_mode(0o644);
    header.set_size(0);
    tar.append_data(&mut header, "f", &b""[..]).unwrap();
    bench.refuses(&[tar.into_inner().unwrap()], "uid 4294967296 does not fit");
}

#[test]
fn images_that_lie_give_one_error() {
    if !root("images_that_lie_give_one_error") {
        return;
    }
    let bench = Bench::new();
    let layer = tar_of(&[file("a", "x")]);
    let digest = sha(&layer);
    let blob_of = |members: &BTreeMap<String, Vec<u8>>, marker: &[u8]| {
        members
            .iter()
            .find(|(n, b)| n.starts_with("blobs/") && b.starts_with(marker))
            .unwrap()
            .0
            .clone()
    };
    let expect = |text: &str, spoil: &dyn Fn(&mut Blobs)| {
        oci(&bench.archive(), std::slice::from_ref(&layer), spoil);
        let error = bench.import().unwrap_err().to_string();
        assert!(error.contains(text), "wanted {text}, got {error}");
        bench.is_empty();
    };
    expect("is named but missing", &|m| drop(m.remove(&blob_of(m, &[0x1f, 0x8b]))));
    expect("bytes,", &|m| m.get_mut(&blob_of(m, &[0x1f, 0x8b])).unwrap().push(0));
    expect("has digest", &|m| {
        *m.get_mut(&blob_of(m, &[0x1f, 0x8b])).unwrap().last_mut().unwrap() ^= 1;
    });
    expect("index.json:", &|m| drop(m.insert("index.json".into(), b"{".to_vec())));
    expect("neither manifest.json", &|m| drop(m.remove("index.json")));
    expect("is named but missing", &|m| {
        drop(m.insert(
            "manifest.json".into(),
            b"[{\"Config\":\"c.json\",\"Layers\":[\"l\"]}]".to_vec(),
        ));
    });
    // A layer whose content is not what the configuration promises.
    expect("its content has digest", &|m| {
        let wrong = format!(r#"{{"rootfs":{{"diff_ids":["sha256:{}"]}}}}"#, "0".repeat(64));
        m.insert("c.json".into(), wrong.into_bytes());
        m.insert("l".into(), layer.clone());
        m.insert(
            "manifest.json".into(),
            br#"[{"Config":"c.json","RepoTags":["x:1"],"Layers":["l"]}]"#.to_vec(),
        );
    });
    assert_eq!(digest.len(), 64);
    std::fs::write(bench.archive(), b"not a tar at all").unwrap();
    assert!(bench.import().unwrap_err().to_string().contains("archive.tar"));
}

#[test]
fn bombs_stop_at_the_limit() {
    if !root("bombs_stop_at_the_limit") {
        return;
    }
    let bench = Bench::new();
    let zeroes: &'static str = Box::leak("\0".repeat(8 << 20).into_boxed_str());
    bench.refuses(
        &[tar_of(&[("zeroes", tar::EntryType::Regular, zeroes)])],
        "larger than the import limit",
    );
    let layers: Vec<_> = ["a", "b", "c", "d"].map(|n| tar_of(&[file(n, "x")])).into();
    bench.refuses(&layers, "4 layers, at most 3");
    let many: Vec<String> = (0..1001).map(|n| format!("f{n}")).collect();
    let many: Vec<_> = many.iter().map(|n| (n.as_str(), tar::EntryType::Regular, "")).collect();
    bench.refuses(&[tar_of(&many)], "more than 1000 entries");
}
