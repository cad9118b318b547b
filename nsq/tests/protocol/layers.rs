//! Every layer, alone and combined: everything arrives, and nsqd's own statistics say that the layer is there.

use std::time::Duration;

use async_nsq::{Compressed, Compression, ConnectionConfig};
use safelight_testkit::require_nsq;

use crate::support::*;

/// Carries everything through these layers, and compares what the two sides say of them.
async fn assert_layered(
    flags: &[&str],
    config: ConnectionConfig,
    tls: bool,
    compression: Option<Compressed>,
) {
    let nsqd = nsqd(flags).await;
    let address = nsqd.tcp_address().to_string();
    let negotiated = config.probe(&address).await.unwrap();
    assert_eq!((negotiated.tls, negotiated.compression), (tls, compression));

    assert_carried(&address, &config).await;

    let _consumer = consumer(&address, &config);
    eventually("nsqd names the layers", || async {
        let client = client_of(&nsqd).await;
        let snappy = compression == Some(Compressed::Snappy);
        let deflate = matches!(compression, Some(Compressed::Deflate { .. }));
        client["tls"] == tls && client["snappy"] == snappy && client["deflate"] == deflate
    })
    .await;
}

#[tokio::test]
async fn bodies_of_all_sizes_are_carried_in_clear() {
    require_nsq!();
    assert_layered(&[], ConnectionConfig::default(), false, None).await;
}

#[cfg(feature = "snappy")]
#[tokio::test]
async fn bodies_of_all_sizes_are_carried_by_snappy() {
    require_nsq!();
    let mut config = ConnectionConfig::default();
    config.compression = Compression::Snappy;
    assert_layered(&[], config, false, Some(Compressed::Snappy)).await;
}

#[cfg(feature = "deflate")]
#[tokio::test]
async fn bodies_of_all_sizes_are_carried_by_deflate() {
    require_nsq!();
    for level in [1, 6] {
        let mut config = ConnectionConfig::default();
        config.compression = Compression::Deflate { level };
        assert_layered(&[], config, false, Some(Compressed::Deflate { level })).await;
    }
}

#[cfg(feature = "deflate")]
#[tokio::test]
async fn a_level_over_nsqds_own_is_used_as_far_as_it_goes() {
    require_nsq!();
    let nsqd = nsqd(&["--max-deflate-level=3"]).await;
    let mut config = ConnectionConfig::default();
    config.compression = Compression::Deflate { level: 9 };
    let negotiated = config.probe(&nsqd.tcp_address().to_string()).await.unwrap();
    assert_eq!(negotiated.compression, Some(Compressed::Deflate { level: 3 }));
    assert_eq!(negotiated.max_deflate_level, Some(3));
}

#[cfg(all(feature = "snappy", feature = "deflate"))]
#[tokio::test]
async fn an_nsqd_without_the_compression_asked_for_is_used_without() {
    require_nsq!();
    let nsqd = nsqd(&["--snappy=false", "--deflate=false"]).await;
    for compression in [Compression::Snappy, Compression::Deflate { level: 6 }] {
        let mut config = ConnectionConfig::default();
        config.compression = compression;
        let address = nsqd.tcp_address().to_string();
        assert_eq!(config.probe(&address).await.unwrap().compression, None);
        assert_carried(&address, &config).await;
    }
}

#[cfg(feature = "tls")]
mod with_tls {
    use super::*;
    use crate::certificates::Authority;

    #[tokio::test]
    async fn bodies_of_all_sizes_are_carried_by_tls_of_both_versions() {
        require_nsq!();
        let authority = Authority::new();
        let server = authority.server();
        assert_layered(&server.flags(), authority.trusting_config(), true, None).await;

        let config = crate::tls::config_of_version_1_2(&authority);
        assert_layered(&server.flags(), config, true, None).await;
    }

    #[cfg(feature = "snappy")]
    #[tokio::test]
    async fn bodies_of_all_sizes_are_carried_by_snappy_within_tls() {
        require_nsq!();
        let authority = Authority::new();
        let server = authority.server();
        let mut config = authority.trusting_config();
        config.compression = Compression::Snappy;
        assert_layered(&server.flags(), config, true, Some(Compressed::Snappy)).await;
    }

    #[cfg(feature = "deflate")]
    #[tokio::test]
    async fn bodies_of_all_sizes_are_carried_by_deflate_within_tls() {
        require_nsq!();
        let authority = Authority::new();
        let server = authority.server();
        let mut config = authority.trusting_config();
        config.compression = Compression::Deflate { level: 6 };
        let compressed = Some(Compressed::Deflate { level: 6 });
        assert_layered(&server.flags(), config, true, compressed).await;
    }
}

#[tokio::test]
async fn a_connection_whose_layers_are_idle_lives_on_heartbeats() {
    require_nsq!();
    let nsqd = nsqd(&[]).await;
    let mut config = ConnectionConfig::default();
    config.heartbeat_interval = Duration::from_secs(1);
    #[cfg(feature = "snappy")]
    {
        config.compression = Compression::Snappy;
    }
    let producer = producer(nsqd.tcp_address(), &config);
    producer.publish(&topic(), "before").await.unwrap();
    let before = std::time::Instant::now();
    let _idle = consumer(nsqd.tcp_address(), &config);
    // nsqd gives up who answers no heartbeat for two intervals.
    eventually("three intervals have passed", || async {
        before.elapsed() > Duration::from_secs(3)
    })
    .await;
    assert!(matches!(producer.state(), async_nsq::ProducerState::Connected));
    producer.publish(&topic(), "after").await.unwrap();
    let connected = client_of(&nsqd).await["connect_ts"].as_i64().unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert!(
        now.as_secs() as i64 - connected >= 2,
        "the consumer has connected anew"
    );
}
