use serde::Deserialize;

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

/// Reads what ffprobe told.
///
/// # Errors
/// Why it is no film to be worked on.
pub(super) fn read(json: &[u8], max_pixels: u64, max_duration_ms: u64) -> Result<FilmInfo, String> {
    let told: Told =
        serde_json::from_slice(json).map_err(|_| "what is in it could not be told".to_owned())?;
    if told.streams.len() > MOST_STREAMS {
        return Err(format!(
            "it has {} streams, at most {MOST_STREAMS} are allowed",
            told.streams.len()
        ));
    }
    let is_film = |stream: &&Stream| {
        stream.codec_type.as_deref() == Some("video") && stream.disposition.attached_pic == 0
    };
    let stream = told
        .streams
        .iter()
        .find(is_film)
        .ok_or("there are no pictures in it")?;
    let (width, height) = match (stream.width, stream.height) {
        (Some(width @ 1..), Some(height @ 1..)) => (width, height),
        // ffprobe does not tell a size over `-max_pixels`.
        _ => {
            let codec = stream.codec_name.as_deref().unwrap_or("an unknown codec");
            return Err(format!(
                "the size of its pictures ({codec}) is unknown, or over {max_pixels} pixels (MEDIA_MAX_PIXELS)"
            ));
        }
    };
    let pixels = u64::from(width) * u64::from(height);
    if pixels > max_pixels {
        return Err(format!(
            "its pictures are too large: {pixels} pixels, at most {max_pixels} are allowed (MEDIA_MAX_PIXELS)"
        ));
    }
    let seconds = told
        .format
        .and_then(|format| format.duration?.parse::<f64>().ok());
    // Anything that is no time saturates to one that is refused, or to none.
    let duration_ms = seconds.map(|seconds| (seconds * 1000.0).round() as u64);
    if let Some(duration_ms) = duration_ms.filter(|&duration_ms| duration_ms > max_duration_ms) {
        return Err(format!(
            "it is too long: {} seconds, at most {} are allowed (TRANSFORMER_MAX_FILM_SECONDS)",
            duration_ms / 1000,
            max_duration_ms / 1000
        ));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(streams: &str, duration: &str) -> Result<FilmInfo, String> {
        let json = format!(r#"{{"streams": [{streams}], "format": {{"duration": "{duration}"}}}}"#);
        read(json.as_bytes(), 1_000_000, 60_000)
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
        assert_eq!(told(FILM, "10.000000"), Ok(info));
        let unknown = FilmInfo {
            duration_ms: None,
            ..info
        };
        assert_eq!(told(FILM, "N/A"), Ok(unknown));
        let turned = FILM.replace(
            r#""disposition""#,
            r#""side_data_list": [{"rotation": -90}], "disposition""#,
        );
        assert_eq!(
            told(&turned, "10.0").map(|info| (info.width, info.height)),
            Ok((272, 640))
        );
    }

    #[test]
    fn what_is_no_film_is_told_by_its_reason() {
        let sound = r#"{"codec_type": "audio", "codec_name": "aac"}"#;
        let cover = FILM.replace(r#""attached_pic": 0"#, r#""attached_pic": 1"#);
        let huge = FILM.replace("640", "8192");
        let hidden = FILM.replace("640", "0");
        let many = vec![sound; 65].join(",");
        for (streams, duration, reason) in [
            ("", "1", "there are no pictures in it"),
            (sound, "1", "there are no pictures in it"),
            (&cover, "1", "there are no pictures in it"),
            (&huge, "1", "too large: 2228224 pixels"),
            (&hidden, "1", "(h264) is unknown, or over"),
            (&many, "1", "65 streams"),
            (FILM, "61", "too long: 61 seconds, at most 60"),
            (FILM, "inf", "too long"),
        ] {
            let refused = told(streams, duration).err().unwrap_or_default();
            assert!(refused.contains(reason), "{reason}: {refused}");
        }
        assert!(read(b"nonsense", 1, 1).is_err());
    }
}
