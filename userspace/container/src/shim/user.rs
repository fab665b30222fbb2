//! Who a container runs as: numbers from the specification, names from the image's own `/etc/passwd` and `/etc/group`.
//! In: the image's files, read without leaving its root. Out: numbers and a home directory.
//! Never asks the host's user database, and loads nothing from the image to ask (CVE-2019-14271).

use std::path::Path;

use crate::rooted::Rooted;
use crate::runtime::User;

/// The most of a user database that is read.
const DATABASE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

/// Finds out who runs. `image_user` is the image's `user[:group]`; the specification's numbers replace its parts.
pub(super) fn resolve(
    rootfs: &Rooted,
    wanted: Option<&User>,
    image_user: &str,
) -> Result<Identity, String> {
    let text = |path: &str| {
        let bytes = rootfs.read(Path::new(path), DATABASE_BYTES_MAX).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    decide(&text("etc/passwd"), &text("etc/group"), wanted, image_user)
}

fn decide(
    passwd: &str,
    group: &str,
    wanted: Option<&User>,
    image_user: &str,
) -> Result<Identity, String> {
    let (image_name, image_group) = match image_user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (image_user, None),
    };
    let named = match wanted.and_then(|w| w.uid) {
        Some(uid) => uid.to_string(),
        None if image_name.is_empty() => "0".to_owned(),
        None => image_name.to_owned(),
    };
    let entry = passwd
        .lines()
        .map(|l| l.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() >= 6 && (fields[0] == named || fields[2] == named));
    let uid = match &entry {
        Some(fields) => fields[2]
            .parse()
            .map_err(|_| format!("user {named}: /etc/passwd has uid {:?}", fields[2]))?,
        None => named.parse().map_err(|_| {
            format!("unable to find user {named}: no matching entries in passwd file")
        })?,
    };
    let groups: Vec<Vec<&str>> = group
        .lines()
        .map(|l| l.split(':').collect())
        .filter(|f: &Vec<&str>| f.len() >= 4)
        .collect();
    let gid = match (
        wanted.and_then(|w| w.gid),
        image_group.filter(|_| wanted.is_none_or(|w| w.uid.is_none())),
    ) {
        (Some(gid), _) => gid,
        (None, Some(name)) => match groups.iter().find(|f| f[0] == name) {
            Some(fields) => fields[2]
                .parse()
                .map_err(|_| format!("group {name}: /etc/group has gid {:?}", fields[2]))?,
            None => name.parse().map_err(|_| {
                format!("unable to find group {name}: no matching entries in group file")
            })?,
        },
        (None, None) => entry.as_ref().and_then(|f| f[3].parse().ok()).unwrap_or(0),
    };
    let user_name = entry.as_ref().map(|f| f[0]);
    let mut more: Vec<u32> = wanted.map(|w| w.supplementary.clone()).unwrap_or_default();
    let member = |f: &&Vec<&str>| user_name.is_some_and(|name| f[3].split(',').any(|m| m == name));
    more.extend(groups.iter().filter(member).filter_map(|f| f[2].parse::<u32>().ok()));
    more.retain(|g| *g != gid);
    more.sort_unstable();
    more.dedup();
    let home = entry.as_ref().map(|f| f[5]).filter(|h| !h.is_empty()).unwrap_or("/").to_owned();
    Ok(Identity { uid, gid, groups: more, home })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001:w:/srv:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:web,other\nweb:x:1001:\n";

    fn who(wanted: Option<&User>, image: &str) -> Result<(u32, u32, Vec<u32>, String), String> {
        decide(PASSWD, GROUP, wanted, image).map(|i| (i.uid, i.gid, i.groups, i.home))
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(who(None, "").unwrap(), (0, 0, vec![], "/root".into()));
        assert_eq!(who(None, "web").unwrap(), (1000, 1001, vec![50], "/srv".into()));
        assert_eq!(who(None, "web:staff").unwrap(), (1000, 50, vec![], "/srv".into()));
        assert_eq!(who(None, "4242").unwrap(), (4242, 0, vec![], "/".into()));
        assert!(who(None, "nobody").unwrap_err().contains("unable to find user nobody"));
    }

    #[test]
    fn the_specification_wins() {
        let user = User { uid: Some(1000), gid: None, supplementary: vec![7, 7] };
        assert_eq!(
            who(Some(&user), "root:root").unwrap(),
            (1000, 1001, vec![7, 50], "/srv".into())
        );
        let user = User { uid: None, gid: Some(9), supplementary: vec![] };
        assert_eq!(who(Some(&user), "web").unwrap(), (1000, 9, vec![50], "/srv".into()));
    }
}
