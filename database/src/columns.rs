//! How values fit into columns: lists of numbers as bytes (little-endian, one after the other), text cut to
//! its length, times in milliseconds.

use std::time::Duration;

use crate::Error;

/// What the columns for reasons hold, in bytes (and so at most that many characters).
pub(crate) const LONGEST_REASON: usize = 1024;
/// What the columns for names hold.
pub(crate) const LONGEST_NAME: usize = 255;
/// What the columns for content types hold.
pub(crate) const LONGEST_CONTENT_TYPE: usize = 64;

/// A time span in milliseconds, rounded up, so that no positive one is nothing.
pub(crate) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_nanos().div_ceil(1_000_000))
        .unwrap_or(i64::MAX / 4)
        .min(i64::MAX / 4)
}

/// Milliseconds as a time span; what lies behind is nothing.
pub(crate) fn span(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

pub(crate) fn pack_floats(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

pub(crate) fn unpack_floats(bytes: &[u8]) -> Result<Vec<f32>, Error> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(Error::Other(
            "a descriptor's length is no multiple of four".into(),
        ));
    }
    Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
}

pub(crate) fn pack_points(points: &[(i32, i32)]) -> Vec<u8> {
    points
        .iter()
        .flat_map(|(x, y)| [x.to_le_bytes(), y.to_le_bytes()])
        .flatten()
        .collect()
}

pub(crate) fn unpack_points(bytes: &[u8]) -> Result<Vec<(i32, i32)>, Error> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    let (points, odd) = numbers.as_chunks::<2>();
    if !rest.is_empty() || !odd.is_empty() {
        return Err(Error::Other(
            "the length of a face's landmarks is no multiple of eight".into(),
        ));
    }
    Ok(points
        .iter()
        .map(|[x, y]| (i32::from_le_bytes(*x), i32::from_le_bytes(*y)))
        .collect())
}

/// Cuts text to what a column holds, at a character's end.
pub(crate) fn cut(text: &str, longest: usize) -> &str {
    &text[..text.floor_char_boundary(longest)]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_packed_comes_back_as_it_was() {
        let floats = vec![0.0, -1.5, f32::MAX, f32::MIN_POSITIVE];
        assert_eq!(unpack_floats(&pack_floats(&floats)).unwrap(), floats);
        let points = vec![(0, -1), (i32::MAX, i32::MIN)];
        assert_eq!(unpack_points(&pack_points(&points)).unwrap(), points);
    }

    #[test]
    fn bytes_that_are_no_whole_numbers_are_refused() {
        assert!(unpack_floats(&[1, 2, 3]).is_err());
        assert!(unpack_points(&[0; 12]).is_err());
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(cut("aé", 9), "aé");
    }
}
