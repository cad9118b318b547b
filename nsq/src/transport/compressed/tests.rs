//! Over a pipe in memory that takes and gives a few bytes at a time.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio_test::{assert_pending, task};

use super::*;

#[cfg(feature = "snappy")]
use crate::transport::snappy::Snappy;

#[cfg(feature = "deflate")]
fn deflate() -> crate::transport::deflate::Deflate {
    crate::transport::deflate::Deflate::new(6)
}

fn stream<C: Codec>(codec: C, inner: DuplexStream) -> Stream<C> {
    Stream::new(Box::new(inner), codec, BytesMut::new())
}

/// Bytes of which some compress well and some not at all.
fn any_data() -> impl Strategy<Value = Vec<u8>> {
    let even = (any::<u8>(), 0_usize..100_000).prop_map(|(byte, len)| vec![byte; len]);
    let odd = prop::collection::vec(any::<u8>(), 0..5_000);
    prop_oneof![even, odd]
}

/// Writes batches into one end, flushing behind each, and reads them out of the other.
fn assert_carried<C: Codec + 'static>(codecs: fn() -> C, batches: Vec<Vec<u8>>, pipe: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (one, other) = duplex(pipe);
        let (mut near, mut far) = (stream(codecs(), one), stream(codecs(), other));
        let expected = batches.concat();
        let writing = async {
            for batch in &batches {
                near.write_all(batch).await.unwrap();
                near.flush().await.unwrap();
            }
            near.shutdown().await.unwrap();
        };
        let reading = async {
            let mut read = Vec::new();
            far.read_to_end(&mut read).await.unwrap();
            read
        };
        let ((), read) = tokio::join!(writing, reading);
        assert!(read == expected, "{} bytes were carried wrong", expected.len());
    });
}

/// Whatever comes is decompressed or refused, and does not make this side hold more than it has received.
fn assert_bounded<C: Codec>(mut codec: C, garbage: &[u8], valid_start: &[u8]) {
    let mut inbound = BytesMut::from(valid_start);
    inbound.extend_from_slice(garbage);
    let mut plain = vec![0; READ_CHUNK];
    for _ in 0..10_000 {
        let before = inbound.len();
        match codec.decompress(&mut inbound, &mut plain) {
            Ok(0) | Err(_) => return,
            Ok(count) => assert!(count <= plain.len() && inbound.len() <= before),
        }
    }
    panic!("so few bytes became so much");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[cfg(feature = "snappy")]
    #[test]
    fn snappy_carries_everything_however_small_the_pipe(
        batches in prop::collection::vec(any_data(), 1..6),
        pipe in prop_oneof![1_usize..50, 1000_usize..200_000],
    ) {
        assert_carried(Snappy::new, batches, pipe);
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn deflate_carries_everything_however_small_the_pipe(
        batches in prop::collection::vec(any_data(), 1..6),
        pipe in prop_oneof![1_usize..50, 1000_usize..200_000],
    ) {
        assert_carried(deflate, batches, pipe);
    }

    #[cfg(feature = "snappy")]
    #[test]
    fn what_is_not_snappy_is_refused_or_waits_for_more(garbage in prop::collection::vec(any::<u8>(), 0..500)) {
        assert_bounded(Snappy::new(), &garbage, b"");
        assert_bounded(Snappy::new(), &garbage, b"\xff\x06\x00\x00sNaPpY");
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn what_is_not_deflate_is_refused_or_waits_for_more(garbage in prop::collection::vec(any::<u8>(), 0..500)) {
        assert_bounded(deflate(), &garbage, b"");
    }
}

#[cfg(feature = "snappy")]
#[test]
fn a_chunk_longer_than_any_is_refused_by_its_header() {
    let mut inbound = BytesMut::from(&b"\xff\x06\x00\x00sNaPpY\x00\xff\xff\xff"[..]);
    let error = Snappy::new().decompress(&mut inbound, &mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[cfg(feature = "deflate")]
#[test]
fn a_stream_that_says_it_has_ended_is_refused() {
    let mut codec = deflate();
    // An empty last block.
    let mut inbound = BytesMut::from(&b"\x03\x00"[..]);
    assert!(codec.decompress(&mut inbound, &mut [0; 10]).is_err());
}

#[cfg(feature = "deflate")]
#[test]
fn a_bomb_is_decompressed_no_further_than_there_is_room() {
    let mut sender = deflate();
    let mut bomb = Vec::new();
    for _ in 0..64 {
        sender.compress(&vec![0; 1024 * 1024], &mut bomb).unwrap();
    }
    sender.finish_block(&mut bomb).unwrap();
    assert!(bomb.len() < 128 * 1024, "{}", bomb.len());
    let mut inbound = BytesMut::from(&bomb[..]);
    let mut plain = [1; 100];
    assert_eq!(deflate().decompress(&mut inbound, &mut plain).unwrap(), 100);
    assert_eq!(plain, [0; 100]);
}

#[cfg(feature = "deflate")]
#[test]
fn a_peer_that_takes_nothing_holds_the_writer_back() {
    let (one, _other) = duplex(10);
    let mut near = stream(deflate(), one);
    // What does not compress: a plain sequence of numbers that never repeats.
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(1024 * 1024)
    .collect();
    let mut writing = task::spawn(near.write_all(&noise));
    assert_pending!(writing.poll());
    drop(writing);
    assert!(
        near.outbound.len() <= 3 * PENDING_LIMIT,
        "{}",
        near.outbound.len()
    );
}
