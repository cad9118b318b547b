/// The kinds of film that are opened, told apart by their first bytes.
///
/// Playlists, which may name files and hosts, are none of them, whatever they are called: the demuxer is forced, and
/// ffmpeg is given no chance to take a text for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    /// ISO base media and QuickTime: `….ftyp`.
    Mp4,
    /// The same, as QuickTime writes it.
    QuickTime,
    /// `1A 45 DF A3`, also WebM.
    Matroska,
    /// `RIFF….AVI `.
    Avi,
    /// Packets of 188 bytes that begin with 0x47.
    MpegTs,
    /// `FLV` and version 1.
    Flv,
}

/// The length of a packet of an MPEG transport stream.
const PACKET: usize = 188;

/// Brands of still pictures in the same container (ISO/IEC 23008-12).
const STILL: [&[u8]; 6] = [b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1"];

// === impl Container ===

impl Container {
    /// How many bytes [`Container::of`] needs to see.
    pub(crate) const MAGIC_BYTES: usize = 2 * PACKET + 1;

    /// The kind of a film by its first bytes (at least [`Container::MAGIC_BYTES`], or all there are); `None` where it is
    /// no film.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.get(4..8) == Some(b"ftyp") {
            return match bytes.get(8..12) {
                Some(brand) if STILL.contains(&brand) => None,
                Some(b"qt  ") => Some(Self::QuickTime),
                Some(_) => Some(Self::Mp4),
                None => None,
            };
        }
        if bytes.starts_with(b"\x1a\x45\xdf\xa3") {
            return Some(Self::Matroska);
        }
        if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"AVI ") {
            return Some(Self::Avi);
        }
        if bytes.starts_with(b"FLV\x01") {
            return Some(Self::Flv);
        }
        let packets = [0, PACKET, 2 * PACKET].map(|at| bytes.get(at) == Some(&0x47));
        (packets == [true; 3]).then_some(Self::MpegTs)
    }

    /// ffmpeg's demuxer for it, and all the names that its format has there.
    pub(crate) fn demuxer(self) -> (&'static str, &'static str) {
        match self {
            Self::Mp4 | Self::QuickTime => ("mov", "mov,mp4,m4a,3gp,3g2,mj2"),
            Self::Matroska => ("matroska", "matroska,webm"),
            Self::Avi => ("avi", "avi"),
            Self::MpegTs => ("mpegts", "mpegts"),
            Self::Flv => ("flv", "flv"),
        }
    }

    /// The media type for an HTTP header.
    pub(crate) fn mime(self) -> &'static str {
        match self {
            Self::Mp4 => "video/mp4",
            Self::QuickTime => "video/quicktime",
            Self::Matroska => "video/x-matroska",
            Self::Avi => "video/x-msvideo",
            Self::MpegTs => "video/mp2t",
            Self::Flv => "video/x-flv",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn films_are_told_by_their_first_bytes() {
        let mut stream = vec![0; Container::MAGIC_BYTES];
        for packet in [0, PACKET, 2 * PACKET] {
            stream[packet] = 0x47;
        }
        for (bytes, container) in [
            (&b"\0\0\0\x20ftypisom\0\0"[..], Container::Mp4),
            (b"\0\0\0\x14ftypqt  \0\0", Container::QuickTime),
            (b"\x1a\x45\xdf\xa3\x01", Container::Matroska),
            (b"RIFF\0\0\0\0AVI LIST", Container::Avi),
            (b"FLV\x01\x05", Container::Flv),
            (&stream, Container::MpegTs),
        ] {
            assert_eq!(Container::of(bytes), Some(container));
        }
    }

    #[test]
    fn whatever_may_name_other_files_is_none() {
        for bytes in [
            &b""[..],
            b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n",
            b"ffconcat version 1.0\nfile /etc/passwd\n",
            b"<?xml version=\"1.0\"?><MPD/>",
            b"<svg/>",
            b"[playlist]",
            b"RIFF\0\0\0\0WAVEfmt ",
            b"\0\0\0\x20ftypavif",
            b"\0\0\0\x20ftyp",
            b"GGGG",
        ] {
            assert_eq!(Container::of(bytes), None, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
