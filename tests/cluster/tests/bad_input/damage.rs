//! Files of the data directory that are not what was written: refused with the place and the remedy, or healed.

use std::fs;

use beeline_test_cluster::{LIMIT, node_with_image};
use beeline_test_support::skip;

use Then::{Healed, Refused};

use super::{refused, start};

/// A pod that does nothing but be there.
const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: { name: witness }\n\
    spec: { terminationGracePeriodSeconds: 0, containers: [{ name: a, image: 'hello:1' }] }\n";

/// What is done to a file.
type Damage = fn(&mut Vec<u8>);

/// What is asserted of it then.
enum Then {
    /// The start is refused with these words, and nothing is changed.
    Refused(&'static [&'static str]),
    /// The next start heals it.
    Healed,
}

#[test]
fn a_damaged_data_directory_is_refused_or_healed_and_loses_nothing() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let mut node = node_with_image()?;
    let kubectl = node.kubectl();
    kubectl.run(&["create", "configmap", "kept", "--from-literal=a=b"]);
    kubectl.apply(POD);
    kubectl.wait(LIMIT, &["get", "pod", "witness"], |text| text.contains("Running"));
    let started = kubectl.run(&["get", "pod", "witness", "-o", CONTAINER]);
    node.terminate();

    let log = "store/log/00000000000000000001.log";
    let cases: [(&str, Damage, Then); 11] = [
        (
            log,
            |bytes| bytes[600] ^= 1,
            Refused(&[".log at offset", "checksum", "backup", "truncate"]),
        ),
        (log, |bytes| bytes[5] ^= 1, Refused(&[".log at offset 0", "backup"])),
        (log, Vec::clear, Refused(&[".log at offset 0", "no header", "backup"])),
        ("instance", garbage, Refused(&["/instance holds", "six hex digits", "restore it"])),
        ("pki/ca.crt", garbage, Refused(&["/pki/ca.crt is damaged", "move it away", "backup"])),
        ("pki/ca.key", Vec::clear, Refused(&["/pki/ca.key is damaged", "backup"])),
        ("pki/join-token", garbage, Refused(&["/pki/join-token is damaged", "move it away"])),
        ("images/index.json", garbage, Refused(&["/images/index.json", "remove it"])),
        ("network.json", garbage, Healed),
        ("store/index/db", |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 0x5a), Healed),
        ("pki/server.crt", garbage, Healed),
    ];
    for (file, damage, then) in cases {
        let path = node.data_dir().join(file);
        let good = fs::read(&path)?;
        let mut bad = good.clone();
        damage(&mut bad);
        fs::write(&path, &bad)?;
        match then {
            Refused(words) => {
                refused(&start(&node, "up", &[]), words);
                assert_eq!(fs::read(&path)?, bad, "{file} was changed by a start that was refused");
                fs::write(&path, &good)?;
            }
            Healed => {
                node.start()?;
                node.terminate();
            }
        }
    }
    let other = start(&node, "up", &[("--service-cidr", "10.44.0.0/16")]);
    refused(&other, &["--pod-cidr 10.42.0.0/16 and --service-cidr 10.43.0.0/16", "--data-dir"]);
    node.start()?;
    assert_eq!(kubectl.run(&["get", "configmap", "kept", "-o", "jsonpath={.data.a}"]), "b");
    let now = kubectl.run(&["get", "pod", "witness", "-o", CONTAINER]);
    assert_eq!(now, started, "the pod did not live through it");
    assert!(node.ask(&["image", "list"]).contains("hello:1"));
    Ok(())
}

/// Which container runs, and how often it was started anew.
const CONTAINER: &str = "jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}";

fn garbage(bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.extend_from_slice(b"{ garbage\n");
}
