use safelight_store::Key;

use crate::error::TransformError;

/// A thumbnail that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// What it is to be called, such as `thumbnail-small`: letters, digits, `-` and `_`.
    pub role: String,
    /// What stands between the name and the ending, such as `_t`: letters, digits, `-` and `_`.
    pub suffix: String,
    /// In pixels, from 1 to 8192.
    pub width: u32,
}

/// More sizes are not made in one go.
const MOST: usize = 8;
const WIDEST: u32 = 8192;
const LONGEST_WORD: usize = 64;

// === impl Size ===

impl Size {
    /// The key of the thumbnail of this size.
    pub(crate) fn key(&self, output: &Key, ending: &str) -> Result<Key, TransformError> {
        key_of(&format!("{output}{}.{ending}", self.suffix))
    }
}

/// A key that the caller has a say in.
pub(crate) fn key_of(text: &str) -> Result<Key, TransformError> {
    text.parse()
        .map_err(|error| TransformError::Request(format!("output: {error}")))
}

/// Whether these can be made in one go.
pub(crate) fn check(sizes: &[Size]) -> Result<(), TransformError> {
    let refuse = |reason: String| Err(TransformError::Request(reason));
    if sizes.is_empty() || sizes.len() > MOST {
        return refuse(format!("sizes: there are {}, expected 1 to {MOST}", sizes.len()));
    }
    for (index, size) in sizes.iter().enumerate() {
        if !(1..=WIDEST).contains(&size.width) {
            return refuse(format!(
                "sizes: a width of {} pixels, expected 1 to {WIDEST}",
                size.width
            ));
        }
        if size.role.is_empty() || !is_word(&size.role) || !is_word(&size.suffix) {
            return refuse(format!(
                "sizes: role {:?} and suffix {:?}, expected at most {LONGEST_WORD} letters, digits, `-` and `_`",
                size.role, size.suffix
            ));
        }
        let twice = |other: &Size| other.role == size.role || other.suffix == size.suffix;
        if sizes[..index].iter().any(twice) {
            return refuse(format!(
                "sizes: role {:?} or suffix {:?} is there twice",
                size.role, size.suffix
            ));
        }
    }
    Ok(())
}

fn is_word(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    text.len() <= LONGEST_WORD && text.bytes().all(allowed)
}

/// Those that make a picture of this width no larger; where there are none, the smallest at the picture's own width.
/// The widths that they get are told beside them.
pub(crate) fn fitting(sizes: &[Size], width: u32) -> Vec<(&Size, u32)> {
    let fitting: Vec<_> = sizes
        .iter()
        .filter(|size| size.width <= width)
        .map(|size| (size, size.width))
        .collect();
    if !fitting.is_empty() {
        return fitting;
    }
    let smallest = sizes.iter().min_by_key(|size| size.width);
    smallest.map(|size| (size, width)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn size(role: &str, suffix: &str, width: u32) -> Size {
        Size {
            role: role.to_owned(),
            suffix: suffix.to_owned(),
            width,
        }
    }

    #[test]
    fn a_picture_gets_no_size_that_would_make_it_larger() {
        let sizes = [
            size("large", "_l", 1024),
            size("small", "_t", 120),
            size("medium", "_m", 320),
        ];
        let widths = |width| {
            fitting(&sizes, width)
                .into_iter()
                .map(|(_, width)| width)
                .collect::<Vec<_>>()
        };
        assert_eq!(widths(4000), [1024, 120, 320]);
        assert_eq!(widths(1024), [1024, 120, 320]);
        assert_eq!(widths(1023), [120, 320]);
        assert_eq!(widths(200), [120]);
        let tiny = fitting(&sizes, 40);
        assert_eq!((tiny[0].0.role.as_str(), tiny[0].1, tiny.len()), ("small", 40, 1));
    }

    #[test]
    fn sizes_that_cannot_be_made_are_refused_with_a_reason() {
        check(&[size("small", "_t", 1), size("large", "", 8192)]).unwrap();
        let many: Vec<_> = (0..9)
            .map(|n| size(&format!("r{n}"), &format!("_{n}"), 10))
            .collect();
        for wrong in [
            &[][..],
            &many,
            &[size("small", "_t", 0)],
            &[size("small", "_t", 8193)],
            &[size("", "_t", 10)],
            &[size("small", "/../t", 10)],
            &[size("sm all", "_t", 10)],
            &[size("a", "_t", 10), size("a", "_m", 20)],
            &[size("a", "_t", 10), size("b", "_t", 20)],
        ] {
            let refused = check(wrong).unwrap_err().to_string();
            assert!(refused.starts_with("sizes: "), "{refused}");
        }
    }
}
