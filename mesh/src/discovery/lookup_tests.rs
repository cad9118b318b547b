#![allow(clippy::unwrap_used, clippy::expect_used)]

use hickory_resolver::proto::rr::Name;

use super::super::dns_server::DnsServer;
use super::*;

const NAME: &str = "recognizer.test.";

/// Asks this server alone.
fn lookup(server: &DnsServer, host: &str, timeout: Duration) -> DnsLookup {
    let name = DnsName {
        server: Some(server.address()),
        host: host.into(),
        port: 50051,
    };
    DnsLookup::new(name, timeout)
}

async fn found(server: &DnsServer) -> Result<Vec<String>, String> {
    let addresses = lookup(server, NAME, Duration::from_secs(10)).addresses().await?;
    let mut addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    addresses.sort();
    Ok(addresses)
}

#[tokio::test]
async fn every_address_of_the_name_is_found() {
    let server = DnsServer::start().await;
    server.set("recognizer.test", &["10.0.0.2", "10.0.0.1"]);
    assert_eq!(found(&server).await.unwrap(), ["10.0.0.1", "10.0.0.2"]);
}

#[tokio::test]
async fn an_endpoint_with_an_address_of_each_family_counts_once() {
    let server = DnsServer::start().await;
    server.set("recognizer.test", &["10.0.0.1", "fd00::1"]);
    assert_eq!(found(&server).await.unwrap(), ["10.0.0.1"]);
    let asked = server.asked().borrow().clone();
    assert_eq!(asked, [("recognizer.test".to_owned(), "A")]);
}

#[tokio::test]
async fn where_there_is_only_ipv6_it_is_taken() {
    let server = DnsServer::start().await;
    server.set("recognizer.test", &["fd00::1", "fd00::2"]);
    assert_eq!(found(&server).await.unwrap(), ["fd00::1", "fd00::2"]);
}

#[tokio::test]
async fn a_name_that_is_away_and_one_without_addresses_say_so() {
    let server = DnsServer::start().await;
    assert_eq!(
        found(&server).await.unwrap_err(),
        "the name has no addresses in DNS"
    );
    server.set("recognizer.test", &[]);
    assert_eq!(
        found(&server).await.unwrap_err(),
        "the name has no addresses in DNS"
    );
}

#[tokio::test]
async fn a_server_that_cannot_tell_is_not_taken_to_know_that_there_is_no_ipv4() {
    let server = DnsServer::start().await;
    server.set("recognizer.test", &["10.0.0.1", "fd00::1"]);
    server.set_broken("recognizer.test", true);
    let error = found(&server).await.unwrap_err();
    assert!(error.contains("recognizer.test"), "{error}");
    assert!(
        server.asked().borrow().iter().all(|(_, family)| *family == "A"),
        "its IPv6 addresses would have replaced all endpoints"
    );
}

#[tokio::test]
async fn a_dead_server_is_given_up_in_time() {
    let server = DnsServer::start().await;
    server.set_silent(true);
    let error = lookup(&server, NAME, Duration::from_millis(50))
        .addresses()
        .await
        .unwrap_err();
    assert_eq!(error, "the DNS server did not answer within 50 ms");
}

#[tokio::test]
async fn an_answer_that_does_not_fit_into_a_datagram_comes_by_tcp() {
    let server = DnsServer::start().await;
    let addresses: Vec<String> = (0..1000)
        .map(|n| format!("10.0.{}.{}", n / 250, n % 250))
        .collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    server.set("recognizer.test", &addresses);
    assert_eq!(found(&server).await.unwrap().len(), 1000);
}

#[tokio::test]
async fn answers_are_not_kept_whatever_their_time_to_live() {
    let server = DnsServer::start().await;
    server.set("recognizer.test", &["10.0.0.1"]);
    let mut lookup = lookup(&server, NAME, Duration::from_secs(10));
    lookup.addresses().await.unwrap();
    server.set("recognizer.test", &["10.0.0.2"]);
    let addresses = lookup.addresses().await.unwrap();
    assert_eq!(addresses, ["10.0.0.2".parse::<IpAddr>().unwrap()]);
    server.remove("recognizer.test");
    lookup.addresses().await.unwrap_err();
    server.set("recognizer.test", &["10.0.0.3"]);
    let addresses = lookup.addresses().await.unwrap();
    assert_eq!(
        addresses,
        ["10.0.0.3".parse::<IpAddr>().unwrap()],
        "nor is their absence"
    );
}

#[tokio::test]
async fn the_hosts_file_counts_where_the_system_is_asked_and_nowhere_else() {
    let mut name = DnsName {
        server: None,
        host: NAME.into(),
        port: 50051,
    };
    let options = |name: &DnsName| {
        let asker = Asker::new(name, Duration::from_secs(1)).unwrap();
        asker.resolver.options().clone()
    };
    assert_eq!(options(&name).use_hosts_file, ResolveHosts::Always);
    name.server = Some("10.0.0.10:53".parse().unwrap());
    assert_eq!(options(&name).use_hosts_file, ResolveHosts::Never);
}

#[test]
fn names_are_asked_for_by_the_rules_of_resolv_conf() {
    let domain = |text: &str| Name::from_ascii(text).unwrap();
    let kubernetes = ResolverConfig::from_parts(
        Some(domain("node.example.")),
        vec![domain("media.svc.cluster.local."), domain("svc.cluster.local.")],
        Vec::new(),
    );
    let asked = |host: &str, ndots: usize| -> Vec<String> {
        let names = names(host, &kubernetes, ndots).unwrap();
        names.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        asked("recognizer", 5),
        [
            "recognizer.media.svc.cluster.local.",
            "recognizer.svc.cluster.local.",
            "recognizer."
        ]
    );
    assert_eq!(
        asked("recognizer.media", 1),
        [
            "recognizer.media.",
            "recognizer.media.media.svc.cluster.local.",
            "recognizer.media.svc.cluster.local."
        ]
    );
    assert_eq!(asked("recognizer.media.svc.", 5), ["recognizer.media.svc."]);

    let plain = ResolverConfig::from_parts(Some(domain("node.example.")), Vec::new(), Vec::new());
    let names = names("recognizer", &plain, 1).unwrap();
    assert_eq!(names, [domain("recognizer.node.example."), domain("recognizer.")]);
}
