use serde::Deserialize;

use super::child::Heard;
use crate::error::TransformError;

/// What is known of a film.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FilmInfo {
    /// In pixels, upright.
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Where the file tells.
    pub(crate) duration_ms: Option<u64>,
}

/// What ffprobe tells, as far as it matters here.
#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    streams: Vec<Stream>,
    format: Option<Format>,
}

#[derive(Deserialize)]
struct Stream {
    codec_type: Option<String>,
    codec_name: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    #[serde(default)]
    disposition: Disposition,
    #[serde(default)]
    side_data_list: Vec<SideData>,
}

#[derive(Default, Deserialize)]
struct Disposition {
    #[serde(default)]
    attached_pic: u8,
}

#[derive(Deserialize)]
struct SideData {
    rotation: Option<f64>,
}

#[derive(Deserialize)]
struct Format {
    duration: Option<String>,
}

/// More streams than a film has are a trap.
const MOST_STREAMS: usize = 64;

/// Reads what ffprobe told, and what was heard of it meanwhile.
///
/// # Errors
/// Why it is no film to be worked on.
pub(super) fn read(
    json: &[u8],
    heard: &Heard,
    max_pixels: u64,
    max_duration_ms: u64,
) -> Result<FilmInfo, TransformError> {
    let bad = |reason: String| Err(TransformError::Film(reason));
    let over = |reason: String| Err(TransformError::FilmLimit(reason));
    let Ok(told) = serde_json::from_slice::<Told>(json) else {
        return bad("what is in it could not be told".to_owned());
    };
    if told.streams.len() > MOST_STREAMS {
        return over(format!(
            "it has {} streams, at most {MOST_STREAMS} are allowed",
            told.streams.len()
        ));
    }
    let is_film = |stream: &&Stream| {
        stream.codec_type.as_deref() == Some("video") && stream.disposition.attached_pic == 0
    };
    let Some(stream) = told.streams.iter().find(is_film) else {
        return bad("there are no pictures in it".to_owned());
    };
    let (width, height) = match (stream.width, stream.height) {
        (Some(width @ 1..), Some(height @ 1..)) => (width, height),
        // ffprobe does not tell a size over `-max_pixels`.
        _ if heard.lines().any(is_of_size) => return over(too_large(max_pixels)),
        _ => {
            let codec = stream.codec_name.as_deref().unwrap_or("an unknown codec");
            return bad(format!("the size of its pictures ({codec}) is unknown"));
        }
    };
    let pixels = u64::from(width) * u64::from(height);
    if pixels > max_pixels {
        return over(too_large(max_pixels));
    }
    let seconds = told
        .format
        .and_then(|format| format.duration?.parse::<f64>().ok());
    // Anything that is no time saturates to one that is refused, or to none.
    let duration_ms = seconds.map(|seconds| (seconds * 1000.0).round() as u64);
    check_duration(duration_ms, max_duration_ms)?;
    let rotation = stream
        .side_data_list
        .iter()
        .find_map(|data| data.rotation)
        .unwrap_or(0.0);
    let is_turned = (rotation / 90.0).round() as i64 % 2 != 0;
    let (width, height) = if is_turned {
        (height, width)
    } else {
        (width, height)
    };
    Ok(FilmInfo {
        width,
        height,
        duration_ms,
    })
}

/// Checks what ffmpeg says of the film's duration, where it does, before it works on it (`dump_format` of
/// libavformat/dump.c). What the film itself tells, its title and the like, is indented further.
pub(super) fn check_told_duration(heard: &Heard, max_duration_ms: u64) -> Result<(), TransformError> {
    let told = heard
        .lines()
        .find_map(|line| line.strip_prefix("[info]   Duration: "));
    check_duration(told.and_then(duration_of), max_duration_ms)
}

/// Of `HH:MM:SS.CC`, and whatever comes behind a comma.
fn duration_of(told: &str) -> Option<u64> {
    let (clock, _) = told.split_once(',')?;
    let seconds = clock.split(':').try_fold(0.0, |seconds, part| {
        Some(60.0 * seconds + part.parse::<f64>().ok()?)
    });
    seconds.map(|seconds| (seconds * 1000.0_f64).round() as u64)
}

fn check_duration(duration_ms: Option<u64>, max_duration_ms: u64) -> Result<(), TransformError> {
    match duration_ms {
        Some(duration_ms) if duration_ms > max_duration_ms => Err(TransformError::FilmLimit(format!(
            "it is too long: {} seconds, at most {} are allowed (TRANSFORMER_MAX_FILM_SECONDS)",
            duration_ms / 1000,
            max_duration_ms / 1000
        ))),
        _ => Ok(()),
    }
}

/// Whether a complaint is that a picture is too large: over `-max_pixels`, or so large that no decoder takes it
/// (libavutil/imgutils.c).
pub(super) fn is_of_size(complaint: &str) -> bool {
    complaint.contains("exceeds specified max pixel count")
        || (complaint.contains("Picture size ") && complaint.trim_end().ends_with(" is invalid"))
}

pub(super) fn too_large(max_pixels: u64) -> String {
    format!("its pictures are too large, at most {max_pixels} pixels are allowed (MEDIA_MAX_PIXELS)")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn heard(text: &str) -> Heard {
        Heard::of(text)
    }

    fn told(streams: &str, duration: &str) -> Result<FilmInfo, TransformError> {
        let json = format!(r#"{{"streams": [{streams}], "format": {{"duration": "{duration}"}}}}"#);
        read(json.as_bytes(), &heard(""), 1_000_000, 60_000)
    }

    const FILM: &str = r#"{"codec_type": "video", "codec_name": "h264", "width": 640, "height": 272,
                           "disposition": {"attached_pic": 0}}"#;

    #[test]
    fn a_film_has_a_size_and_mostly_a_duration() {
        let info = FilmInfo {
            width: 640,
            height: 272,
            duration_ms: Some(10_000),
        };
        assert_eq!(told(FILM, "10.000000").unwrap(), info);
        let unknown = FilmInfo {
            duration_ms: None,
            ..info
        };
        assert_eq!(told(FILM, "N/A").unwrap(), unknown);
        let turned = FILM.replace(
            r#""disposition""#,
            r#""side_data_list": [{"rotation": -90}], "disposition""#,
        );
        let turned = told(&turned, "10.0").unwrap();
        assert_eq!((turned.width, turned.height), (272, 640));
    }

    #[test]
    fn what_is_no_film_is_told_by_its_reason() {
        let sound = r#"{"codec_type": "audio", "codec_name": "aac"}"#;
        let cover = FILM.replace(r#""attached_pic": 0"#, r#""attached_pic": 1"#);
        let huge = FILM.replace("640", "8192");
        let hidden = FILM.replace("640", "0");
        let many = vec![sound; 65].join(",");
        for (streams, duration, is_over, reason) in [
            ("", "1", false, "there are no pictures in it"),
            (sound, "1", false, "there are no pictures in it"),
            (&cover, "1", false, "there are no pictures in it"),
            (&hidden, "1", false, "(h264) is unknown"),
            (&huge, "1", true, "too large, at most 1000000 pixels"),
            (&many, "1", true, "65 streams"),
            (FILM, "61", true, "too long: 61 seconds, at most 60"),
            (FILM, "inf", true, "too long"),
        ] {
            let refused = told(streams, duration).unwrap_err();
            assert!(refused.to_string().contains(reason), "{reason}: {refused}");
            assert_eq!(
                matches!(refused, TransformError::FilmLimit(_)),
                is_over,
                "{reason}"
            );
        }
        assert!(read(b"nonsense", &heard(""), 1, 1).is_err());
    }

    #[test]
    fn ffmpeg_tells_the_duration_before_it_works() {
        let check = |told: &str| check_told_duration(&heard(told), 60_000);
        for fine in [
            "[info]   Duration: 00:01:00.00, start: 0.000000, bitrate: 407 kb/s",
            "[info]   Duration: N/A, bitrate: N/A",
            "[info]     title           : \n[info]                     :   Duration: 11:00:00.00, ",
            "",
        ] {
            assert!(check(fine).is_ok(), "{fine}");
        }
        let refused = check("[info]   Metadata:\n[info]   Duration: 10:00:00.10, start: 0.0").unwrap_err();
        assert!(
            refused
                .to_string()
                .ends_with("too long: 36000 seconds, at most 60 are allowed (TRANSFORMER_MAX_FILM_SECONDS)"),
            "{refused}"
        );
    }

    #[test]
    fn a_size_that_is_hidden_since_it_is_too_large_is_told_by_the_complaint() {
        let json =
            r#"{"streams": [{"codec_type": "video", "codec_name": "mjpeg", "width": 0, "height": 0}]}"#;
        for complaint in [
            "Picture size 8192x8192 exceeds specified max pixel count 50000000, see the documentation",
            "Picture size 20000x20000 is invalid\n    Last message repeated 4 times",
        ] {
            let refused = read(json.as_bytes(), &heard(complaint), 1, 1).unwrap_err();
            assert!(matches!(refused, TransformError::FilmLimit(_)), "{refused}");
        }
    }
}
