//! The details of a status, checked before tonic reads them.
//!
//! tonic panics on a `grpc-status-details-bin` that is not base64, and so a broken server or proxy could bring
//! down the task of its caller.

use http::HeaderMap;

use crate::grpc::Status;

/// Takes details away that nobody could read.
pub(super) fn drop_unreadable(headers: &mut HeaderMap) {
    let unreadable = headers
        .get(Status::GRPC_STATUS_DETAILS)
        .is_some_and(|value| !is_base64(value.as_bytes()));
    if unreadable {
        headers.remove(Status::GRPC_STATUS_DETAILS);
    }
}

/// Standard base64 (RFC 4648, section 4), padded or not at all.
fn is_base64(text: &[u8]) -> bool {
    let unpadded = match text {
        [rest @ .., b'=', b'='] | [rest @ .., b'='] if text.len().is_multiple_of(4) => rest,
        _ => text,
    };
    let Some(last) = unpadded.last() else {
        return text.is_empty();
    };
    if !unpadded.iter().all(|&letter| value_of(letter).is_some()) {
        return false;
    }
    // The bits of the last letter that no byte takes must be zero.
    let unused_bits = match unpadded.len() % 4 {
        0 => 0,
        2 => 0b1111,
        3 => 0b11,
        _ => return false,
    };
    value_of(*last).is_some_and(|value| value & unused_bits == 0)
}

fn value_of(letter: u8) -> Option<u8> {
    match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::panic::catch_unwind;

    use proptest::prelude::*;

    use super::*;

    fn headers(details: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(Status::GRPC_STATUS, "13".parse().unwrap());
        headers.insert(Status::GRPC_STATUS_DETAILS, details.parse().unwrap());
        headers
    }

    fn survives(details: &str) -> bool {
        let mut headers = headers(details);
        drop_unreadable(&mut headers);
        headers.contains_key(Status::GRPC_STATUS_DETAILS)
    }

    #[test]
    fn details_that_can_be_read_are_kept() {
        for details in ["", "Zg==", "Zg", "Zm8=", "Zm8", "Zm9v", "Zm9vYg==", "+/+/"] {
            assert!(survives(details), "{details:?} was taken away");
        }
    }

    #[test]
    fn details_that_cannot_be_read_are_taken_away() {
        for details in [
            "Z",
            "Zg=",
            "=",
            "==",
            "====",
            "Zh==",
            "Zm9=",
            "Zm 9v",
            "Zm9v-_",
            "Zg==Zg==",
            "{\"a\":1}",
        ] {
            assert!(!survives(details), "{details:?} was kept");
        }
    }

    proptest! {
        #[test]
        fn what_is_kept_does_not_make_tonic_panic(details in "[A-Da-d0-3+/=Z-]{0,9}") {
            let mut headers = headers(&details);
            drop_unreadable(&mut headers);
            let read = catch_unwind(|| Status::from_header_map(&headers).map(|status| status.code()));
            prop_assert!(read.is_ok(), "{} makes it panic", details);
        }
    }
}
