//! Names of hosts: whether one can be right, and whether it is this machine. Pure.

use std::net::IpAddr;

/// Whether it is a host name (RFC 1123, section 2.1) or an IP address.
pub fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.parse::<IpAddr>().is_ok() || (host.len() <= 253 && host.split('.').all(label))
}

/// Whether it can be no other than this machine: `localhost` (RFC 6761, section 6.3), or an address
/// of the loopback network, also in the brackets that a URL puts around it.
pub fn is_loopback(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = inner.unwrap_or(host).parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_what_is_not_one() {
        for host in ["mail", "mail.example.org", "10.0.0.1", "::1", "a-b.example", "3com.example"] {
            assert!(is_host(host), "{host}");
        }
        let long = "a".repeat(64);
        for other in ["", ".", "a..b", "-a", "a-", "a b", "http://a", "a:25", "[::1]", "è", &long]
        {
            assert!(!is_host(other), "{other}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "localhost.example.org", "10.0.0.1", "0.0.0.0", "::", "128.0.0.1"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
