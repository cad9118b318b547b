//! What an upload is called: by people, and in the store.

use std::time::{SystemTime, UNIX_EPOCH};

use safelight_store::Key;

/// What the database keeps of a name, in bytes.
const LONGEST_NAME: usize = 255;
/// What a key takes over of a name, in bytes.
const LONGEST_STEM: usize = 64;

/// The endings that a key takes over. They are for people who look into the store; what a file is, its content says.
const ENDINGS: [&str; 21] = [
    "jpg", "jpeg", "png", "gif", "webp", "bmp", "tif", "tiff", "avif", "heic", "mp4", "m4v", "mov", "webm",
    "mkv", "avi", "flv", "ts", "mpg", "mpeg", "ogv",
];

/// Crockford's base 32, in which the order of texts is the order of numbers.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The name as it is shown to people: without control characters, and no longer than the database keeps. `None` where
/// nothing is left.
pub(crate) fn shown_name(raw: &str) -> Option<String> {
    let mut name: String = raw.chars().filter(|letter| !letter.is_control()).collect();
    name.truncate(name.floor_char_boundary(LONGEST_NAME));
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// A key that nothing else has: `input/{id}/{stem}.{ending}`, where the id grows with time.
///
/// The name that the sender gave has a say in the last word only, and there in letters, digits, `-` and `_`.
pub(crate) fn new_key(raw_name: Option<&str>) -> Key {
    let id = id(SystemTime::now(), rand::random());
    let text = format!("input/{id}/{}", file_name(raw_name.unwrap_or_default()));
    match text.parse() {
        Ok(key) => key,
        Err(_) => unreachable!("it is made of the letters that keys are made of, and short"),
    }
}

fn file_name(raw: &str) -> String {
    let last = raw.rsplit(['/', '\\']).next().unwrap_or_default();
    let (stem, ending) = match last.rsplit_once('.') {
        Some((stem, ending)) => (stem, ending.to_ascii_lowercase()),
        None => (last, String::new()),
    };
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    let stem: String = stem
        .chars()
        .take(LONGEST_STEM)
        .map(|letter| if plain(letter) { letter } else { '_' })
        .collect();
    let stem = if stem.is_empty() { "file" } else { stem.as_str() };
    if ENDINGS.contains(&ending.as_str()) {
        format!("{stem}.{ending}")
    } else {
        stem.to_owned()
    }
}

/// 48 bits of time in milliseconds and 80 random ones, in 26 letters that sort by time, as a ULID is made.
fn id(now: SystemTime, random: u128) -> String {
    let millis = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let number = (millis << 80) | (random & ((1 << 80) - 1));
    let digit = |position: u32| DIGITS[((number >> (5 * position)) & 31) as usize] as char;
    (0..26).rev().map(digit).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_key_takes_over_of_a_name_what_is_harmless() {
        for (raw, name) in [
            ("test.png", "test.png"),
            ("My cat.JPEG", "My_cat.jpeg"),
            ("../../etc/passwd", "passwd"),
            ("C:\\pictures\\a.gif", "a.gif"),
            ("a.b.mp4", "a_b.mp4"),
            ("archive.tar.gz", "archive_tar"),
            ("", "file"),
            ("..", "_"),
            (".png", "file.png"),
            ("a/", "file"),
            ("\u{e4}\u{1f600}.png", "__.png"),
            ("a\0b.png", "a_b.png"),
            ("x.php", "x"),
        ] {
            assert_eq!(file_name(raw), name, "{raw:?}");
        }
        assert_eq!(file_name(&"a".repeat(4096)).len(), LONGEST_STEM);
        for raw in ["", "../../..", &"\u{1f600}".repeat(1000), "\0", "a.png"] {
            assert!(new_key(Some(raw)).as_str().starts_with("input/"), "{raw:?}");
        }
    }

    #[test]
    fn a_shown_name_is_as_it_was_given_without_what_disturbs() {
        assert_eq!(
            shown_name("../../etc/passwd").as_deref(),
            Some("../../etc/passwd")
        );
        assert_eq!(shown_name(" a\0b\r\nc.png ").as_deref(), Some("abc.png"));
        assert_eq!(shown_name("\n\0"), None);
        let long = shown_name(&"\u{e4}".repeat(4096)).unwrap();
        assert_eq!(long, "\u{e4}".repeat(127));
    }

    #[test]
    fn ids_have_26_letters_and_sort_by_time() {
        let at = |millis| id(UNIX_EPOCH + Duration::from_millis(millis), rand::random());
        let ids: Vec<String> = [0, 1, 1_000, 1_700_000_000_000, 4_102_444_800_000]
            .map(at)
            .to_vec();
        assert!(ids.iter().all(|id| id.len() == 26), "{ids:?}");
        assert!(ids.is_sorted(), "{ids:?}");
        assert_ne!(new_key(None), new_key(None));
    }
}
