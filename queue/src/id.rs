//! What messages carry: the id of a record, 8 bytes, little-endian.

use bytes::Bytes;

/// The topic of images that wait.
pub const TOPIC_IMAGES: &str = "images";

/// The channel that those who work on a topic share.
pub const CHANNEL: &str = "ch";

/// The body that names a record.
pub fn encode_id(id: i64) -> Bytes {
    Bytes::copy_from_slice(&id.to_le_bytes())
}

/// The record that a body names; `None` where it is not 8 bytes, or not a positive number.
pub fn decode_id(body: &[u8]) -> Option<i64> {
    let id = i64::from_le_bytes(body.try_into().ok()?);
    (id > 0).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_eight_bytes_little_endian() {
        assert_eq!(encode_id(0x0102), &[2, 1, 0, 0, 0, 0, 0, 0][..]);
        for id in [1, 4, i64::MAX] {
            assert_eq!(decode_id(&encode_id(id)), Some(id));
        }
    }

    #[test]
    fn what_is_no_id_is_none() {
        let nothing: [&[u8]; 5] = [b"", b"7", &[0; 8], &[0xff; 8], &[1; 9]];
        for body in nothing {
            assert_eq!(decode_id(body), None, "{body:?}");
        }
    }
}
