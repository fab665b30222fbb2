//! What can be known to be wrong with a configuration without looking at the machine.

use std::net::IpAddr;

use anyhow::{Context as _, bail};
use beeline_api::validate::dns_subdomain;
use beeline_kit::telemetry;
use ipnet::IpNet;

use super::{Config, Role};

/// The longest prefix of the Service range: the tenth address is the cluster's DNS.
const SERVICE_PREFIX_MAX: u8 = 28;
/// The shortest, as upstream has it: 20 bits of addresses.
const SERVICE_PREFIX_MIN: u8 = 12;

/// The piece of the IPv6 pod range that a node takes.
const NODE_PREFIX_V6: u8 = 64;
/// As upstream has it: 20 bits of addresses.
const SERVICE_PREFIX_V6_MIN: u8 = 108;

impl Config {
    /// Refuse what cannot work, naming the flag.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        name("--node-name", &self.node_name)?;
        name("--cluster-domain", &self.cluster_domain)?;
        for san in &self.tls_san {
            let host = san.strip_prefix("*.").unwrap_or(san);
            if host.parse::<IpAddr>().is_err() {
                name("--tls-san", &host.to_ascii_lowercase())?;
            }
        }
        self.check_ranges()?;
        if self.role.serves() {
            self.store.etcd()?;
        }
        if self.audit_policy.is_some() != self.audit_log.is_some() {
            bail!(
                "--audit-policy and --audit-log go together: one says what is recorded, the other where; give both or \
                 neither"
            );
        }
        if self.role == Role::Agent {
            let server = self.server.as_deref().context(
                "an agent needs a server to join: give --server https://HOST:6443 and --token",
            )?;
            check_server(server)?;
        }
        match telemetry::check(&self.log) {
            Ok(()) => Ok(()),
            Err(why) => bail!(
                "--log {:?} cannot be understood ({why}): give a level such as debug, or a filter such as \
                 info,beeline_datapath=debug",
                self.log
            ),
        }
    }

    fn check_ranges(&self) -> anyhow::Result<()> {
        for (flag, ranges) in [("--pod-cidr", self.pod_cidr), ("--service-cidr", self.service_cidr)]
        {
            ranges.all().try_for_each(|range| whole(flag, range))?;
        }
        for (pods, services) in self.pod_cidr.all().zip(self.service_cidr.all()) {
            if pods.contains(&services) || services.contains(&pods) {
                bail!(
                    "--pod-cidr {pods} and --service-cidr {services} overlap: give one of them another range"
                );
            }
        }
        self.check_ipv6()?;
        let (pods, services) = (self.pod_cidr.v4, self.service_cidr.v4);
        if pods.prefix_len() > 24 {
            bail!("--pod-cidr {pods} is too small: every node takes a /24 of it");
        }
        if !(SERVICE_PREFIX_MIN..=SERVICE_PREFIX_MAX).contains(&services.prefix_len()) {
            bail!(
                "--service-cidr {services} has a prefix of {} bits: give one of {SERVICE_PREFIX_MIN} to \
                 {SERVICE_PREFIX_MAX}",
                services.prefix_len()
            );
        }
        Ok(())
    }

    fn check_ipv6(&self) -> anyhow::Result<()> {
        match (self.pod_cidr.v6, self.service_cidr.v6) {
            (None, None) => Ok(()),
            (Some(pods), _) if pods.prefix_len() > NODE_PREFIX_V6 => {
                bail!("--pod-cidr {pods} is too small: every node takes a /{NODE_PREFIX_V6} of it")
            }
            (_, Some(services))
                if !(SERVICE_PREFIX_V6_MIN..=124).contains(&services.prefix_len()) =>
            {
                bail!(
                    "--service-cidr {services} has a prefix of {} bits: give one of {SERVICE_PREFIX_V6_MIN} to 124",
                    services.prefix_len()
                )
            }
            (Some(_), Some(_)) => Ok(()),
            (Some(pods), None) => bail!(
                "--pod-cidr has the IPv6 range {pods} and --service-cidr none: give both families to both"
            ),
            (None, Some(services)) => bail!(
                "--service-cidr has the IPv6 range {services} and --pod-cidr none: give both families to both"
            ),
        }
    }
}

fn whole(flag: &str, range: IpNet) -> anyhow::Result<()> {
    if range != range.trunc() {
        bail!("{flag} {range} is an address inside a range: did you mean {}?", range.trunc());
    }
    Ok(())
}

fn name(flag: &str, given: &str) -> anyhow::Result<()> {
    match dns_subdomain(given, false).as_slice() {
        [] => Ok(()),
        why => bail!("{flag} {given:?} is no valid name: {}", why.join("; ")),
    }
}

fn check_server(url: &str) -> anyhow::Result<()> {
    let parsed = url.parse::<http::Uri>().ok();
    let fits = parsed.is_some_and(|uri| {
        uri.scheme_str() == Some("https") && uri.host().is_some_and(|host| !host.is_empty())
    });
    if !fits {
        bail!(
            "--server {url:?} is no URL of an API server: give one such as https://192.0.2.1:6443"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Config, NodeOptions, Role};

    fn refused(role: Role, change: impl FnOnce(&mut NodeOptions)) -> String {
        let mut flags = NodeOptions { node_name: Some("n".into()), ..NodeOptions::default() };
        change(&mut flags);
        Config::resolve(role, flags).unwrap_err().to_string()
    }

    #[test]
    fn every_refusal_names_the_flag_and_what_would_do() {
        let range = |text: &str| Some(text.parse().unwrap());
        let table = [
            (refused(Role::Up, |o| o.service_cidr = range("10.42.7.0/24")), "overlap"),
            (
                refused(Role::Up, |o| o.pod_cidr = range("10.42.0.5/16")),
                "did you mean 10.42.0.0/16?",
            ),
            (refused(Role::Up, |o| o.pod_cidr = range("10.42.0.0/25")), "every node takes a /24"),
            (refused(Role::Up, |o| o.service_cidr = range("10.43.0.0/30")), "12 to 28"),
            (
                refused(Role::Up, |o| o.service_cidr = range("10.43.0.0/16,fd43::/112")),
                "both families",
            ),
            (refused(Role::Up, |o| o.pod_cidr = range("10.42.0.0/16,fd42::/48")), "both families"),
            (refused(Role::Up, |o| o.pod_cidr = range("10.42.0.0/16,fd42::/65")), "a /64"),
            (refused(Role::Up, |o| o.service_cidr = range("10.43.0.0/16,fd43::/64")), "108 to 124"),
            (refused(Role::Up, |o| o.node_name = Some("bad_name".into())), "RFC 1123"),
            (refused(Role::Up, |o| o.cluster_domain = Some("a b".into())), "--cluster-domain"),
            (refused(Role::Up, |o| o.tls_san = vec!["a b".into()]), "--tls-san"),
            (refused(Role::Up, |o| o.audit_log = Some("x".into())), "give both"),
            (refused(Role::Up, |o| o.log = Some("info,=x=y".into())), "--log"),
            (refused(Role::Agent, |_| ()), "--server https://HOST:6443"),
            (refused(Role::Agent, |o| o.server = Some("foo".into())), "https://192.0.2.1:6443"),
            (refused(Role::Agent, |o| o.server = Some("http://h:1".into())), "https://"),
        ];
        for (said, word) in table {
            assert!(said.contains(word), "{word:?} is not in {said}");
        }
    }
}
