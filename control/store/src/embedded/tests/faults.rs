//! A disk that takes nothing more, or fails, at any step: what was acknowledged is there afterwards, and nothing else is
//! there by half.
//!
//! `BEELINE_STORE_FAULTS=500` for more points; `BEELINE_STORE_SEED` for those of a run that failed.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::io::Errno;

use super::*;
use crate::disk::faults::Faults;

const POINTS: u64 = 50;
const WRITES: u64 = 240;

/// What the workload was told.
#[derive(Default)]
struct Told {
    /// Revisions and values of keys.
    acknowledged: Vec<(Revision, String, Option<String>)>,
    refused: u64,
    opened: bool,
}

fn options() -> Options {
    Options {
        segment_bytes: 16 << 10,
        snapshot_log_bytes: 6 << 10,
        reserve_bytes: 64 << 10,
        index_delay: Duration::from_millis(1),
        ..Options::default()
    }
}

/// Puts and removes some keys, one after the other, on a disk with these faults.
async fn work(dir: &Path, faults: &Arc<Faults>, seed: u64) -> Told {
    let mut random = StdRng::seed_from_u64(seed);
    let (tasks, mut told) = (Tasks::new(), Told::default());
    let disk = Disk { faults: Some(Arc::clone(faults)) };
    let Ok(store) = Embedded::open_on(dir, options(), disk, &tasks).await else { return told };
    told.opened = true;
    for n in 0..WRITES {
        let key = format!("/{}", random.random_range(0..12));
        let value = format!("{n}-{}", "x".repeat(random.random_range(0..300)));
        let Ok(current) = store.get(&key).await else { break };
        let (outcome, value) = match current {
            Some(entry) if random.random_ratio(1, 8) => {
                (store.delete(&key, entry.mod_revision).await, None)
            }
            Some(entry) => {
                let updated = store.update(&key, value.clone().into(), entry.mod_revision).await;
                (updated, Some(value))
            }
            None => (store.create(&key, value.clone().into()).await, Some(value)),
        };
        match outcome {
            Ok(revision) => told.acknowledged.push((revision, key, value)),
            Err(StoreError::Full) => told.refused += 1,
            Err(error) => {
                assert!(matches!(error, StoreError::Failed { .. }), "{error}");
                told.refused += 1;
            }
        }
    }
    store.close().await;
    drop(store);
    tasks.stop(Duration::from_secs(10)).await;
    told
}

/// Opens it on a disk without faults and compares.
async fn compare(dir: &Path, told: &Told) {
    let tasks = Tasks::new();
    let store = Embedded::open(dir, options(), &tasks).await.unwrap();
    let revisions: Vec<u64> = told.acknowledged.iter().map(|(at, _, _)| at.0).collect();
    let expected: Vec<u64> = (1..=revisions.len() as u64).collect();
    assert_eq!(revisions, expected, "there is a gap");
    let (entries, revision) = store.range("").await.unwrap();
    // One write may have reached the disk although it failed: then it is there whole.
    let last = told.acknowledged.len() as u64;
    assert!(revision.0 == last || revision.0 == last + 1, "{revision} after {last}");
    let mut live = std::collections::BTreeMap::new();
    for (at, key, value) in &told.acknowledged {
        match value {
            Some(value) => live.insert(key.clone(), (*at, value.clone())),
            None => live.remove(key),
        };
    }
    let found: std::collections::BTreeMap<_, _> = entries
        .iter()
        .map(|entry| {
            let value = String::from_utf8(entry.value.to_vec()).unwrap();
            (entry.key.to_string(), (entry.mod_revision, value))
        })
        .collect();
    let differing = live.iter().filter(|(key, held)| found.get(*key) != Some(held)).count()
        + found.keys().filter(|key| !live.contains_key(*key)).count();
    assert!(differing as u64 <= revision.0 - last, "{live:?}\n{found:?}");
    let next = store.create("/next", "".into()).await.unwrap();
    assert_eq!(next, revision.next());
    store.close().await;
    drop(store);
    tasks.stop(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_at_any_step_loses_nothing_acknowledged() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let points = number("BEELINE_STORE_FAULTS").unwrap_or(POINTS);
    let seed = number("BEELINE_STORE_SEED").unwrap_or_else(rand::random);
    println!("BEELINE_STORE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let none = Arc::new(Faults::none());
    let told = work(dir.path(), &none, seed).await;
    assert_eq!((told.refused, told.acknowledged.len() as u64), (0, WRITES));
    compare(dir.path(), &told).await;
    let (mut failed, mut full) = (0, 0);
    for point in 0..points {
        let dir = tempfile::tempdir().unwrap();
        let at = random.random_range(0..none.steps());
        let error = if point % 2 == 0 { Errno::IO } else { Errno::NOSPC };
        // One step, some, or all from there on.
        let lasting = [1, 20, u64::MAX / 2][random.random_range(0..3)];
        println!("point {point}: {error:?} from step {at}, {lasting} times");
        let told = work(dir.path(), &Arc::new(Faults::new(at, lasting, error)), seed).await;
        compare(dir.path(), &told).await;
        if told.refused > 0 || !told.opened {
            match error {
                Errno::IO => failed += 1,
                _ => full += 1,
            }
        }
    }
    assert!(failed > points / 10 && full > points / 20, "{failed} and {full} prove little");
}
