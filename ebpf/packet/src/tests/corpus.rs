//! Every corpus file through its target: real frames, and what fuzzers once found.

use std::fs;
use std::path::Path;

use crate::fuzz::TARGETS;

#[test]
fn every_corpus_file_passes_its_target() {
    for (name, target) in TARGETS {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut count = 0;
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            // Shown when the target fails.
            println!("{}", path.display());
            target(&fs::read(&path).unwrap());
            count += 1;
        }
        assert!(count >= 10, "{}: {count} files", dir.display());
    }
}
