//! What a target is given: names as gRPC's naming document has them, and `http://HOST:PORT` beside them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use http::uri::Authority;

use super::endpoint::EndpointAddress;

/// Where a target is, as it was given. Displayed as it was written.
///
/// | written | means |
/// | --- | --- |
/// | `dns:///HOST:PORT`, `dns:HOST:PORT` | every address of the name, asked of the system's DNS servers |
/// | `dns://SERVER:PORT/HOST:PORT` | the same, asked of that DNS server alone; its port is 53 if it has none |
/// | `static:///A:1,B:2` | these, each one endpoint |
/// | `unix:/PATH`, `unix:///PATH`, `unix:PATH` | a Unix domain socket |
/// | `http://HOST:PORT` | as `dns:///HOST:PORT`; the port is 80 if it has none |
/// | `https://HOST:PORT` | the same with TLS; the port is 443 if it has none |
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TargetAddress {
    text: String,
    authority: Authority,
    wants_tls: bool,
    pub(super) place: Place,
}

/// Where the endpoints come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing is to be asked. Sorted, none twice, at least one.
    Known(Arc<[EndpointAddress]>),
    /// A name to look up.
    Dns(DnsName),
}

/// A name to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DnsName {
    /// The DNS server to ask; else the system's.
    pub(super) server: Option<SocketAddr>,
    pub(super) host: Box<str>,
    pub(super) port: u16,
}

const FORMS: &str = "dns:///HOST:PORT, dns://SERVER:PORT/HOST:PORT, static:///HOST:PORT,HOST:PORT, unix:/PATH, \
                     http://HOST:PORT or https://HOST:PORT";
const DNS_PORT: u16 = 53;

// === impl TargetAddress ===

impl TargetAddress {
    /// # Errors
    /// What is wrong with it, and what to write instead, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(match text {
                "" => format!("it is empty, write {FORMS}"),
                host => format!("it has no scheme and no port, write dns:///{host}:PORT"),
            });
        };
        match scheme {
            "dns" => Self::parse_dns(text, rest),
            "static" => Self::parse_static(text, rest),
            "unix" => Self::parse_unix(text, rest),
            "http" => Self::parse_http(text, rest, false),
            "https" => Self::parse_http(text, rest, true),
            _ if split_port(text).is_ok_and(|(_, port)| port.is_some()) => {
                Err(format!("it has no scheme, write dns:///{text}"))
            }
            scheme => Err(format!("the scheme {scheme:?} is not known, write {FORMS}")),
        }
    }

    /// What goes into `:authority`: the host and port as written, of a list the first, of a socket `localhost`.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The host of the authority, as certificates name it: without brackets and without a closing dot.
    pub(crate) fn host(&self) -> &str {
        let host = self.authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        host.strip_suffix('.').unwrap_or(host)
    }

    /// Whether the scheme demands TLS.
    pub(crate) fn wants_tls(&self) -> bool {
        self.wants_tls
    }

    fn parse_dns(text: &str, rest: &str) -> Result<Self, String> {
        let (server, name) = match rest.strip_prefix("//") {
            None => ("", rest),
            Some(rest) => match rest.split_once('/') {
                Some((server, name)) => (server, name),
                None if rest.is_empty() => return Err("it has no host, write dns:///HOST:PORT".to_owned()),
                None => {
                    return Err(format!(
                        "after dns:// comes the DNS server, which may be empty; write dns:///{rest}"
                    ));
                }
            },
        };
        let server = match server {
            "" => None,
            server => Some(parse_server(server)?),
        };
        let (host, port) = parse_endpoint(name, "dns:///")?;
        Ok(Self {
            text: text.to_owned(),
            authority: authority_of(name)?,
            wants_tls: false,
            place: Place::of(server, host, port),
        })
    }

    fn parse_static(text: &str, rest: &str) -> Result<Self, String> {
        let list = match rest.strip_prefix("//") {
            None => rest,
            Some(rest) => rest
                .strip_prefix('/')
                .ok_or_else(|| format!("static has no server to ask; write static:///{rest}"))?,
        };
        let mut endpoints = Vec::new();
        for entry in list.split(',') {
            let (host, port) = parse_endpoint(entry, "static:///")?;
            endpoints.push(match address_of(host) {
                Some(ip) => EndpointAddress::Socket(SocketAddr::new(ip, port)),
                None => EndpointAddress::Name {
                    host: host.into(),
                    port,
                },
            });
        }
        endpoints.sort_unstable();
        endpoints.dedup();
        let first = list.split(',').next().unwrap_or(list);
        Ok(Self {
            text: text.to_owned(),
            authority: authority_of(first)?,
            wants_tls: false,
            place: Place::Known(endpoints.into()),
        })
    }

    fn parse_unix(text: &str, rest: &str) -> Result<Self, String> {
        let path = match rest.strip_prefix("//") {
            Some(path) if !path.starts_with('/') => {
                return Err(format!(
                    "after unix:// the path begins with a slash; write unix:///{path}"
                ));
            }
            Some(path) => path,
            None => rest,
        };
        if path.is_empty() || path.ends_with('/') {
            return Err("it has no path of a socket, write unix:/PATH".to_owned());
        }
        Ok(Self {
            text: text.to_owned(),
            // As gRPC has it for sockets.
            authority: Authority::from_static("localhost"),
            wants_tls: false,
            place: Place::Known(Arc::new([EndpointAddress::Unix(PathBuf::from(path))])),
        })
    }

    fn parse_http(text: &str, rest: &str, wants_tls: bool) -> Result<Self, String> {
        let (scheme, default_port) = if wants_tls { ("https", 443) } else { ("http", 80) };
        let missing = || format!("it has no host, write {scheme}://HOST:PORT");
        let name = rest.strip_prefix("//").ok_or_else(missing)?;
        let name = name.strip_suffix('/').unwrap_or(name);
        if name.is_empty() {
            return Err(missing());
        }
        if let Some((name, _)) = name.split_once(['/', '?', '#']) {
            return Err(format!("a path in it would be ignored, write {scheme}://{name}"));
        }
        if let Some((_, name)) = name.rsplit_once('@') {
            return Err(format!("a user in it would be ignored, write {scheme}://{name}"));
        }
        let (host, port) = split_port(name)?;
        check_host(host)?;
        Ok(Self {
            text: text.to_owned(),
            authority: authority_of(name)?,
            wants_tls,
            place: Place::of(None, host, port.unwrap_or(default_port)),
        })
    }
}

impl fmt::Display for TargetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

// === impl Place ===

impl Place {
    fn of(server: Option<SocketAddr>, host: &str, port: u16) -> Self {
        match address_of(host) {
            Some(ip) => Self::Known(Arc::new([EndpointAddress::Socket(SocketAddr::new(ip, port))])),
            None => Self::Dns(DnsName {
                server,
                host: host.into(),
                port,
            }),
        }
    }
}

/// The address of what is never asked for: IP addresses, and the names that RFC 6761 (section 6.3) keeps for the
/// machine itself.
fn address_of(host: &str) -> Option<IpAddr> {
    if let Ok(ip) = host.parse() {
        return Some(ip);
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let is_local = host == "localhost" || host.ends_with(".localhost");
    is_local.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn parse_server(server: &str) -> Result<SocketAddr, String> {
    let (host, port) = split_port(server)?;
    let ip = host.parse().map_err(|_| {
        format!("the DNS server {host:?} is not an IP address, write dns://IP:PORT/HOST:PORT")
    })?;
    Ok(SocketAddr::new(ip, port.unwrap_or(DNS_PORT)))
}

/// A host and a port, neither of which may be missing.
fn parse_endpoint<'a>(text: &'a str, scheme: &str) -> Result<(&'a str, u16), String> {
    if text.is_empty() {
        return Err(format!("a host is missing, write {scheme}HOST:PORT"));
    }
    let (host, port) = split_port(text)?;
    check_host(host)?;
    match port {
        Some(port) => Ok((host, port)),
        None => Err(format!("{text:?} has no port, write {scheme}{text}:PORT")),
    }
}

/// The host without its brackets, and the port if there is one.
fn split_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest
                .split_once(']')
                .ok_or_else(|| format!("{text:?} lacks a closing bracket, write [IPV6]:PORT"))?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(format!(
                    "{host:?} is not an IPv6 address, which is what brackets are for"
                ));
            }
            match port.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if port.is_empty() => (host, None),
                None => {
                    return Err(format!(
                        "{text:?} has more than a port after its bracket, write [IPV6]:PORT"
                    ));
                }
            }
        }
        None => match text.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => {
                return Err(format!(
                    "{text:?} has several colons, write an IPv6 address as [IPV6]:PORT"
                ));
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        None => None,
        Some(port) => match port.parse::<u16>() {
            Ok(number) if number > 0 && port.bytes().all(|digit| digit.is_ascii_digit()) => Some(number),
            _ => return Err(format!("{port:?} is not a port, write a number from 1 to 65535")),
        },
    };
    Ok((host, port))
}

/// Host names by RFC 1035 (section 2.3.4) in length; underscores are taken, for there are services that have them.
fn check_host(host: &str) -> Result<(), String> {
    if host.is_empty() {
        return Err("it has a port and no host, write HOST:PORT".to_owned());
    }
    if host.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, b'-' | b'_'))
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(format!(
            "{host:?} is not a host name: letters, digits and hyphens between dots, other letters in their xn-- form"
        ));
    }
    Ok(())
}

fn authority_of(name: &str) -> Result<Authority, String> {
    name.parse()
        .map_err(|error| format!("{name:?} cannot be the authority of a call: {error}"))
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
