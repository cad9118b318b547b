//! How deployments name their queue.

use clap::Parser;
use safelight_queue::{QueueArgs, QueueError, QueueKind};

use crate::backend::sqlite;

#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    queue: QueueArgs,
}

fn parse(flags: &[&str]) -> Result<QueueArgs, clap::Error> {
    let arguments = std::iter::once("program").chain(flags.iter().copied());
    Program::try_parse_from(arguments).map(|program| program.queue)
}

fn kind(flags: &[&str]) -> QueueKind {
    parse(flags).unwrap().kind()
}

#[test]
fn nsq_is_chosen_where_an_address_of_it_is_given_and_the_table_otherwise() {
    assert_eq!(kind(&[]), QueueKind::Embedded);
    assert_eq!(kind(&["--producer-address=127.0.0.1:4150"]), QueueKind::Nsq);
    assert_eq!(
        kind(&["--nsq-lookup-address=a:4161,http://b:4161"]),
        QueueKind::Nsq
    );
    assert_eq!(kind(&["--nsqd-address=a:4150,[::1]:4150"]), QueueKind::Nsq);
    assert_eq!(
        kind(&["--queue=embedded", "--producer-address=a:4150"]),
        QueueKind::Embedded
    );
}

#[test]
fn lists_are_split_at_commas() {
    let arguments = parse(&["--nsq-lookup-address=a:4161,b:4161"]).unwrap();
    assert_eq!(arguments.nsq_lookup_address, ["a:4161", "b:4161"]);
}

#[test]
fn addresses_that_cannot_be_are_refused() {
    for address in [
        "",
        "nsqd",
        "nsqd:",
        ":4150",
        "nsqd:0",
        "nsqd:70000",
        "http://nsqd:4150",
        "a b:1",
        "::1:4150",
    ] {
        assert!(parse(&["--producer-address", address]).is_err(), "{address:?}");
    }
    assert!(parse(&["--nsq-lookup-address=a:4161,,b:4161"]).is_err());
    assert!(parse(&["--nsq-lookup-address=https://a:4161"]).is_err());
    assert!(parse(&["--queue=kafka"]).is_err());
}

#[tokio::test]
async fn nsq_without_an_address_is_refused_by_name() {
    let (database, _folder) = sqlite().await;
    let refused = parse(&["--queue=nsq"]).unwrap().connect(&database).unwrap_err();
    assert!(
        matches!(&refused, QueueError::Invalid(reason) if reason.starts_with("QUEUE:")),
        "{refused}"
    );
    parse(&[]).unwrap().connect(&database).unwrap();
}
