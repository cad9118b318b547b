//! Asking DNS. The only module that names the `hickory-resolver` crate.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;

use super::address::DnsName;

/// Asks for the addresses of one name.
pub(super) trait Lookup: Send + 'static {
    /// The addresses of the name; at least one. Cancel safe.
    ///
    /// # Errors
    /// Why there is none, in words.
    fn addresses(&mut self) -> impl Future<Output = Result<Vec<IpAddr>, String>> + Send;
}

/// Asks DNS.
pub(super) struct DnsLookup {
    name: DnsName,
    timeout: Duration,
    /// Made anew after a failed lookup: the system's configuration may be what was wrong.
    asker: Option<Asker>,
}

struct Asker {
    resolver: TokioResolver,
    /// The names to ask for in turn, fully qualified.
    names: Vec<Name>,
    /// Why the system's configuration could not be read. Then only its hosts file can answer.
    misconfigured: Option<String>,
}

// === impl DnsLookup ===

impl DnsLookup {
    pub(super) fn new(name: DnsName, timeout: Duration) -> Self {
        Self {
            name,
            timeout,
            asker: None,
        }
    }
}

impl Lookup for DnsLookup {
    async fn addresses(&mut self) -> Result<Vec<IpAddr>, String> {
        let asker = match self.asker.take() {
            Some(asker) => asker,
            None => Asker::new(&self.name, self.timeout)?,
        };
        let found = tokio::time::timeout(self.timeout, asker.ask()).await;
        let addresses = found.unwrap_or_else(|_| {
            let millis = self.timeout.as_millis();
            Err(format!("the DNS server did not answer within {millis} ms"))
        })?;
        self.asker = Some(asker);
        Ok(addresses)
    }
}

// === impl Asker ===

impl Asker {
    fn new(name: &DnsName, timeout: Duration) -> Result<Self, String> {
        let (config, mut options, misconfigured) = match name.server {
            Some(server) => (only(server), ResolverOpts::default(), None),
            None => match read_system_conf() {
                Ok((config, options)) => (config, options, None),
                Err(error) => {
                    let reason = format!("the system's DNS configuration cannot be read: {error}");
                    (ResolverConfig::default(), ResolverOpts::default(), Some(reason))
                }
            },
        };
        options.cache_size = 0;
        options.use_hosts_file = match name.server {
            Some(_) => ResolveHosts::Never,
            None => ResolveHosts::Always,
        };
        // A lost datagram is asked for again while there is time.
        options.timeout = timeout / ATTEMPTS;
        options.attempts = ATTEMPTS as usize;
        let names = names(&name.host, &config, options.ndots)?;
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            resolver,
            names,
            misconfigured,
        })
    }

    /// Takes the first name that exists and has addresses. A server that cannot answer ends the search: what the
    /// names further down stand for may be something else.
    async fn ask(&self) -> Result<Vec<IpAddr>, String> {
        for name in &self.names {
            // One family only, or an endpoint with an address of each would count twice.
            for family in [RecordType::A, RecordType::AAAA] {
                match self.resolver.lookup(name.clone(), family).await {
                    Ok(lookup) => {
                        let addresses: Vec<IpAddr> = lookup
                            .answers()
                            .iter()
                            .filter_map(|record| record.data.ip_addr())
                            .collect();
                        if !addresses.is_empty() {
                            return Ok(addresses);
                        }
                    }
                    Err(error) if error.is_no_records_found() => {}
                    Err(error) => return Err(self.reason(name, &error)),
                }
            }
        }
        Err("the name has no addresses in DNS".to_owned())
    }

    fn reason(&self, name: &Name, error: &NetError) -> String {
        match &self.misconfigured {
            Some(reason) => reason.clone(),
            None => format!("asking DNS for {name}: {error}"),
        }
    }
}

/// How often one name is asked for within the time for a lookup.
const ATTEMPTS: u32 = 3;

fn only(server: SocketAddr) -> ResolverConfig {
    // TCP is for answers that do not fit into a datagram.
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.port();
    }
    ResolverConfig::from_name_servers(vec![NameServerConfig::new(server.ip(), true, connections)])
}

/// The names to ask for in turn, by the rules of `resolv.conf`: with `ndots` dots or more as it is first, else in the
/// search domains first.
fn names(host: &str, config: &ResolverConfig, ndots: usize) -> Result<Vec<Name>, String> {
    let relative =
        Name::from_str_relaxed(host).map_err(|error| format!("{host:?} is not a DNS name: {error}"))?;
    let mut absolute = relative.clone();
    absolute.set_fqdn(true);
    if relative.is_fqdn() {
        return Ok(vec![absolute]);
    }
    let dots = host.matches('.').count();
    // The machine's own domain counts only where no search list is given.
    let domains = match config.search() {
        [] => config.domain().map(std::slice::from_ref).unwrap_or_default(),
        search => search,
    };
    // A name that grows too long in a domain cannot exist there.
    let mut names: Vec<Name> = Vec::new();
    for name in domains
        .iter()
        .filter_map(|domain| relative.clone().append_domain(domain).ok())
    {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let place = if dots >= ndots { 0 } else { names.len() };
    names.insert(place, absolute);
    Ok(names)
}

#[cfg(test)]
#[path = "lookup_tests.rs"]
mod tests;
