#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

fn parse(text: &str) -> TargetAddress {
    TargetAddress::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> String {
    match TargetAddress::parse(text) {
        Ok(address) => panic!("{text} was taken as {address:?}"),
        Err(error) => error,
    }
}

fn dns(server: Option<&str>, host: &str, port: u16) -> Place {
    Place::Dns(DnsName {
        server: server.map(|server| server.parse().unwrap()),
        host: host.into(),
        port,
    })
}

/// What is known without a lookup, as text.
fn known(address: &TargetAddress) -> Vec<String> {
    match &address.place {
        Place::Known(endpoints) => endpoints.iter().map(ToString::to_string).collect(),
        Place::Dns(name) => panic!("{name:?} would be looked up"),
    }
}

#[test]
fn a_name_is_asked_of_the_systems_servers() {
    for text in [
        "dns:///face-recog:50051",
        "dns:face-recog:50051",
        "http://face-recog:50051",
        "http://face-recog:50051/",
    ] {
        let address = parse(text);
        assert_eq!(address.place, dns(None, "face-recog", 50051), "{text}");
        assert_eq!(address.authority(), "face-recog:50051");
        assert_eq!(address.host(), "face-recog");
        assert!(!address.wants_tls());
        assert_eq!(address.to_string(), text);
    }
}

#[test]
fn a_name_may_say_which_server_to_ask() {
    let address = parse("dns://10.0.0.10:5353/recognizer.media.svc.cluster.local.:50051");
    assert_eq!(
        address.place,
        dns(
            Some("10.0.0.10:5353"),
            "recognizer.media.svc.cluster.local.",
            50051
        )
    );
    assert_eq!(address.host(), "recognizer.media.svc.cluster.local");
    assert_eq!(
        parse("dns://10.0.0.10/a:1").place,
        dns(Some("10.0.0.10:53"), "a", 1)
    );
    assert_eq!(
        parse("dns://[fd00::a]/a:1").place,
        dns(Some("[fd00::a]:53"), "a", 1)
    );
}

#[test]
fn a_web_address_has_the_usual_port_and_tls_by_its_scheme() {
    assert_eq!(parse("http://face-recog").place, dns(None, "face-recog", 80));
    let address = parse("https://face-recog");
    assert_eq!(address.place, dns(None, "face-recog", 443));
    assert!(address.wants_tls());
    assert_eq!(
        parse("https://face-recog:8443").place,
        dns(None, "face-recog", 8443)
    );
}

#[test]
fn ip_addresses_and_the_machine_itself_are_never_asked_for() {
    assert_eq!(known(&parse("dns:///10.0.0.1:50051")), ["10.0.0.1:50051"]);
    assert_eq!(
        known(&parse("dns://10.0.0.10/10.0.0.1:50051")),
        ["10.0.0.1:50051"]
    );
    assert_eq!(known(&parse("dns:///localhost:50051")), ["127.0.0.1:50051"]);
    assert_eq!(known(&parse("dns:///LocalHost.:50051")), ["127.0.0.1:50051"]);
    assert_eq!(known(&parse("http://a.localhost")), ["127.0.0.1:80"]);
    let address = parse("http://[::1]:50051");
    assert_eq!(known(&address), ["[::1]:50051"]);
    assert_eq!(address.authority(), "[::1]:50051");
    assert_eq!(address.host(), "::1");
}

#[test]
fn a_list_is_sorted_and_has_nothing_twice() {
    let address = parse("static:///recognizer-1:50051,10.0.0.2:1,recognizer-0:50051,10.0.0.2:1,[::1]:7");
    assert_eq!(
        known(&address),
        [
            "10.0.0.2:1",
            "[::1]:7",
            "recognizer-0:50051",
            "recognizer-1:50051"
        ]
    );
    assert_eq!(address.authority(), "recognizer-1:50051", "the first as written");
    assert_eq!(known(&parse("static:localhost:1")), ["127.0.0.1:1"]);
}

#[test]
fn a_socket_is_called_localhost() {
    for text in ["unix:/run/recognizer.sock", "unix:///run/recognizer.sock"] {
        let address = parse(text);
        assert_eq!(known(&address), ["unix:/run/recognizer.sock"]);
        assert_eq!(address.authority(), "localhost");
    }
    assert_eq!(known(&parse("unix:recognizer.sock")), ["unix:recognizer.sock"]);
}

#[test]
fn what_cannot_be_used_is_refused_with_what_to_write() {
    for (text, told) in [
        ("", "write dns:///HOST:PORT"),
        ("face-recog", "write dns:///face-recog:PORT"),
        ("face-recog:50051", "write dns:///face-recog:50051"),
        ("10.0.0.1:50051", "write dns:///10.0.0.1:50051"),
        ("ftp://a:1", "the scheme \"ftp\" is not known, write dns:///"),
        ("xds:///a", "write dns:///HOST:PORT"),
        ("dns:", "a host is missing, write dns:///HOST:PORT"),
        ("dns://", "write dns:///HOST:PORT"),
        ("dns:///", "a host is missing, write dns:///HOST:PORT"),
        ("dns:///face-recog", "write dns:///face-recog:PORT"),
        ("dns:///:50051", "no host"),
        ("dns://face-recog:50051", "write dns:///face-recog:50051"),
        (
            "dns://nameserver/face-recog:50051",
            "write dns://IP:PORT/HOST:PORT",
        ),
        ("dns:///face-recog:0", "write a number from 1 to 65535"),
        ("dns:///face-recog:+1", "write a number from 1 to 65535"),
        ("dns:///face-recog:65536", "write a number from 1 to 65535"),
        ("dns:///face-recog:http", "write a number from 1 to 65535"),
        ("dns:///::1:50051", "write an IPv6 address as [IPV6]:PORT"),
        ("dns:///[::1:50051", "write [IPV6]:PORT"),
        ("dns:///[::1]50051", "write [IPV6]:PORT"),
        ("dns:///[a]:50051", "is not an IPv6 address"),
        ("dns:///a/b:1", "is not a host name"),
        ("dns:///a..b:1", "is not a host name"),
        ("dns:///größer:1", "xn--"),
        ("static:///", "a host is missing, write static:///HOST:PORT"),
        ("static:///a:1,", "a host is missing"),
        ("static:///a:1,b", "write static:///b:PORT"),
        ("static://a:1", "write static:///a:1"),
        ("unix:", "write unix:/PATH"),
        ("unix:/run/", "write unix:/PATH"),
        ("unix://run/x", "write unix:///run/x"),
        ("http:a:1", "write http://HOST:PORT"),
        ("http://", "write http://HOST:PORT"),
        ("https:///", "write https://HOST:PORT"),
        ("http://a:1/path", "write http://a:1"),
        ("http://u@a:1", "write http://a:1"),
    ] {
        let error = refused(text);
        assert!(error.contains(told), "{text:?}: {error}");
    }
}
