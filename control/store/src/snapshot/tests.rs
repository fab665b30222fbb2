//! Snapshots whole and damaged.

use std::fs;

use super::*;
use crate::disk::Disk;

fn view(keys: u64) -> View {
    let entry = |n: u64| {
        let size = usize::try_from(n * 37 % 900).unwrap();
        Entry {
            key: format!("/{n:06}").as_str().into(),
            value: vec![u8::try_from(n % 251).unwrap(); size].into(),
            create_revision: Revision(n + 1),
            mod_revision: Revision(n + 2),
        }
    };
    let live: OrdMap<Key, Entry> =
        (0..keys).map(entry).map(|entry| (entry.key.clone(), entry)).collect();
    let hash = live.values().fold(0_u64, |hash, entry| hash.wrapping_add(entry.fingerprint()));
    let next = segment::Header {
        cluster: [3; 16],
        first: keys + 3,
        before_bytes: 77,
        before_checksum: 88,
    };
    View { header: Header { next, hash, keys }, live }
}

fn written(dir: &Path, view: &View) -> PathBuf {
    let path = path(dir, view.header.revision());
    write(&Disk::default(), &path, view, &Stop::new(false), &mut |_| ()).unwrap();
    path
}

#[test]
fn a_snapshot_is_read_as_written() {
    let dir = tempfile::tempdir().unwrap();
    for keys in [0, 1, 3_000] {
        let view = view(keys);
        let path = written(dir.path(), &view);
        let mut live = OrdMap::new();
        let header = Reader::open(&path)
            .unwrap()
            .entries(|entry| {
                live.insert(entry.key.clone(), entry);
            })
            .unwrap();
        assert_eq!((header, &live), (view.header, &view.live));
    }
    let names: Vec<_> = list(dir.path()).unwrap().iter().map(|file| file.revision.0).collect();
    assert_eq!(names, [2, 3, 3_002]);
}

#[test]
fn no_flipped_bit_and_no_cut_passes() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path(), &view(3));
    let good = fs::read(&path).unwrap();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, bad).unwrap();
        assert!(check(&path).is_err(), "bit {bit}");
    }
    for size in 0..good.len() {
        fs::write(&path, &good[..size]).unwrap();
        assert!(check(&path).is_err(), "cut at {size}");
    }
    let mut longer = good.clone();
    longer.push(0);
    fs::write(&path, longer).unwrap();
    assert!(check(&path).is_err());
    fs::write(&path, good).unwrap();
    check(&path).unwrap();
}

#[test]
fn a_writer_that_is_told_to_stop_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.snap");
    let stopped = write(&Disk::default(), &path, &view(3_000), &Stop::new(true), &mut |_| ());
    assert!(stopped.is_err());
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
}
