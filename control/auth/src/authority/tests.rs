//! First start, second start, changed names, old age, damage.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::Identity;

fn names() -> ServerNames {
    ServerNames::standard([10, 43, 0, 1].into(), "node-1")
}

fn now() -> SystemTime {
    SystemTime::now()
}

#[test]
fn the_second_start_finds_what_the_first_made() {
    let dir = tempfile::tempdir().unwrap();
    let first = Authority::open(dir.path(), now()).unwrap();
    let (server, admin) = (first.server(&names(), now()).unwrap(), first.admin(now()).unwrap());
    let second = Authority::open(dir.path(), now()).unwrap();
    assert_eq!(first.fingerprint(), second.fingerprint());
    assert_eq!(server, second.server(&names(), now()).unwrap());
    assert_eq!(admin, second.admin(now()).unwrap());
    for entry in std::fs::read_dir(dir.path().join("pki")).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_leaf_is_made_anew_for_new_names_and_near_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open(dir.path(), now()).unwrap();
    let first = authority.server(&names(), now()).unwrap();
    let more = authority.server(&names().with(["192.0.2.7".into()]), now()).unwrap();
    assert_ne!(first, more);
    let later = now() + 300 * DAY;
    assert_eq!(more, authority.server(&names().with(["192.0.2.7".into()]), later).unwrap());
    let much_later = now() + 340 * DAY;
    assert_ne!(more, authority.server(&names().with(["192.0.2.7".into()]), much_later).unwrap());
}

#[test]
fn a_damaged_authority_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    Authority::open(dir.path(), now()).unwrap();
    let key = dir.path().join("pki/ca.key");
    std::fs::write(&key, "rubbish").unwrap();
    let error = Authority::open(dir.path(), now()).unwrap_err();
    assert!(error.to_string().contains("ca.key"), "{error}");
    std::fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let error = Authority::open(dir.path(), now()).unwrap_err();
    assert!(error.to_string().contains("not the key of ca.crt"), "{error}");
    std::fs::remove_file(&key).unwrap();
    assert!(matches!(Authority::open(dir.path(), now()), Err(AuthError::Damaged { .. })));
}

#[test]
fn a_damaged_leaf_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open(dir.path(), now()).unwrap();
    authority.admin(now()).unwrap();
    std::fs::write(dir.path().join("pki/admin.crt"), "rubbish").unwrap();
    let admin = authority.admin(now()).unwrap();
    assert!(admin.certificate_pem.starts_with("-----BEGIN CERTIFICATE-----"));
}

#[test]
fn the_administrator_is_a_master() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open(dir.path(), now()).unwrap();
    let admin = authority.admin(now()).unwrap();
    let der = CertificateDer::from_pem_slice(admin.certificate_pem.as_bytes()).unwrap();
    let identity = Identity::from_certificate(&der).unwrap();
    assert_eq!(identity.user, "kubernetes-admin");
    assert_eq!(identity.groups, ["system:masters"]);
    let config = authority.admin_kubeconfig("https://127.0.0.1:6443", now()).unwrap();
    assert!(config.contains("server: https://127.0.0.1:6443"));
}

#[test]
fn no_certificate_makes_a_caller_part_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open(dir.path(), now()).unwrap();
    let client =
        authority.client("system:kube-scheduler", Some(crate::IN_PROCESS_GROUP), now()).unwrap();
    let der = CertificateDer::from_pem_slice(client.certificate_pem.as_bytes()).unwrap();
    assert!(matches!(Identity::from_certificate(&der), Err(AuthError::Certificate(_))));
}
