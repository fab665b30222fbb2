//! One flipped bit or one cut file, anywhere in a store that was stopped: it opens with all that it held, or it does not
//! open and says why. It never opens with anything else.
//!
//! `BEELINE_STORE_FLIPS=10000` for more; `BEELINE_STORE_SEED` for the places of a run that failed.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use beeline_store::Options;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

#[path = "support/running.rs"]
mod running;
use running::{Running, image};

fn options() -> Options {
    Options {
        segment_bytes: 32 << 10,
        snapshot_log_bytes: 24 << 10,
        reserve_bytes: 0,
        index_delay: Duration::from_millis(5),
        // A damaged sled may be silent.
        index_deadline: Duration::from_secs(3),
        ..Options::default()
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => all.push(path),
        }
    }
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn no_damage_passes_silently() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = number("BEELINE_STORE_FLIPS").unwrap_or(200);
    let seed = number("BEELINE_STORE_SEED").unwrap_or_else(rand::random);
    println!("BEELINE_STORE_SEED={seed}");
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path(), options()).await.unwrap();
    while running.store.status().compactions < 3 {
        running.fill("a", 200).await;
    }
    running.fill("b", 100).await;
    running.indexed().await;
    let before = running.contents().await;
    running.stop().await;
    let mut random = StdRng::seed_from_u64(seed);
    let (mut refused, mut served) = (0, 0);
    for round in 0..rounds {
        let harmed = image(dir.path());
        let all = files(harmed.path());
        let path = &all[random.random_range(0..all.len())];
        let mut bytes = fs::read(path).unwrap();
        if bytes.is_empty() {
            continue;
        }
        let bit = random.random_range(0..bytes.len() * 8);
        let what = if random.random_ratio(3, 4) {
            bytes[bit / 8] ^= 1 << (bit % 8);
            format!("round {round}: bit {bit} of {}", path.display())
        } else {
            bytes.truncate(bit / 8);
            format!("round {round}: {} cut at {}", path.display(), bit / 8)
        };
        fs::write(path, bytes).unwrap();
        match Running::open(harmed.path(), options()).await {
            Ok(again) => {
                assert_eq!(again.contents().await, before, "{what}");
                again.stop().await;
                served += 1;
            }
            Err(error) => {
                assert!(error.to_string().contains(harmed.path().to_str().unwrap()), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > rounds / 20 && served > rounds / 20, "{refused} {served}");
}
