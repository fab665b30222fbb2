//! Behaviour as text, and incremental against from scratch.

mod random;
mod script;

use std::{fs, path::PathBuf};

/// Runs every script in `tests/scripts`; `BEELINE_REWRITE=1` writes what was found into the files.
#[test]
fn scripts() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut files: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no scripts in {}", folder.display());
    for file in files {
        let expected = fs::read_to_string(&file).unwrap();
        let found = script::run(&expected);
        if std::env::var_os("BEELINE_REWRITE").is_some() {
            fs::write(&file, &found).unwrap();
            continue;
        }
        assert_eq!(found, expected, "{} (BEELINE_REWRITE=1 accepts)", file.display());
    }
}
