#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::body::SHARED_BELOW;
use super::*;

const LIMIT: usize = 20_000;

fn encode(frame: &Frame) -> Vec<u8> {
    let (frame_type, data) = match frame {
        Frame::Response(data) => (TYPE_RESPONSE, data.to_vec()),
        Frame::Error(error) => (
            TYPE_ERROR,
            format!("{} {}", error.code, error.detail).into_bytes(),
        ),
        Frame::Message(message) => {
            let mut data = message.timestamp.to_be_bytes().to_vec();
            data.extend(message.attempts.to_be_bytes());
            data.extend(message.id.as_bytes());
            data.extend(&message.body);
            (TYPE_MESSAGE, data)
        }
    };
    let mut bytes = ((data.len() + TYPE_LEN) as i32).to_be_bytes().to_vec();
    bytes.extend(frame_type.to_be_bytes());
    bytes.extend(data);
    bytes
}

fn any_body() -> impl Strategy<Value = Bytes> {
    let lengths = prop_oneof![
        0_usize..100,
        SHARED_BELOW - 2..SHARED_BELOW + 2,
        10_000_usize..15_000
    ];
    (lengths, any::<u8>()).prop_map(|(len, byte)| vec![byte; len].into())
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let message = (any::<i64>(), any::<u16>(), any::<[u8; 16]>(), any_body()).prop_map(
        |(timestamp, attempts, id, body)| {
            let id = MessageId::from_bytes(id);
            Frame::Message(RawMessage {
                timestamp,
                attempts,
                id,
                body,
            })
        },
    );
    let error = "E_[A-Z_]{1,12} [a-z0-9 ]{0,40}";
    prop_oneof![
        any_body().prop_map(Frame::Response),
        error.prop_map(|text| Frame::Error(ServerError::parse(text.as_bytes()))),
        message,
    ]
}

proptest! {
    #[test]
    fn frames_survive_the_wire_however_the_stream_is_split(
        frames in prop::collection::vec(any_frame(), 1..8),
        splits in prop::collection::vec(1_usize..3000, 1..50),
    ) {
        let stream: Vec<u8> = frames.iter().flat_map(encode).collect();
        let decoder = FrameDecoder::new(LIMIT);
        let mut buffer = BytesMut::new();
        let mut decoded = Vec::new();
        let mut rest = &stream[..];
        for split in splits.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at(split.min(rest.len()));
            rest = behind;
            buffer.extend_from_slice(piece);
            while let Some(frame) = decoder.decode(&mut buffer).unwrap() {
                decoded.push(frame);
            }
        }
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(decoded, frames);
    }

    #[test]
    fn arbitrary_bytes_give_frames_or_a_typed_error_and_never_more_than_was_there(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        limit in 4_usize..100_000,
    ) {
        let decoder = FrameDecoder::new(limit);
        let mut buffer = BytesMut::from(&bytes[..]);
        let mut left = bytes.len();
        while let Ok(Some(_)) = decoder.decode(&mut buffer) {
            prop_assert!(buffer.len() < left);
            left = buffer.len();
        }
    }

    #[test]
    fn an_impossible_length_is_refused_from_its_four_bytes_alone(
        length in prop_oneof![i32::MIN..4, LIMIT as i32 + 1..=i32::MAX],
    ) {
        let mut buffer = BytesMut::from(&length.to_be_bytes()[..]);
        let refused = FrameDecoder::new(LIMIT).decode(&mut buffer).unwrap_err();
        let expected = if length < 4 {
            FrameError::BadLength(length)
        } else {
            FrameError::TooLarge { length: length as usize, limit: LIMIT }
        };
        prop_assert_eq!(refused, expected);
    }
}

#[test]
fn the_largest_frame_allowed_is_taken() {
    let frame = Frame::Response(vec![1; LIMIT - TYPE_LEN].into());
    let mut buffer = BytesMut::from(&encode(&frame)[..]);
    assert_eq!(FrameDecoder::new(LIMIT).decode(&mut buffer).unwrap(), Some(frame));
}

#[test]
fn an_unknown_type_is_refused_before_its_data_has_come() {
    let mut buffer = BytesMut::from(&[0, 0, 0x10, 0, 0, 0, 0, 9][..]);
    assert_eq!(
        FrameDecoder::new(LIMIT).decode(&mut buffer),
        Err(FrameError::UnknownType(9))
    );
}
