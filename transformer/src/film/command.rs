//! What ffmpeg and ffprobe are told. No word of it comes from outside: the film is its standard input.

use super::Container;
use crate::error::TransformError;

/// What bounds the work on a film.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The largest frame that is decoded.
    pub(crate) max_pixels: u64,
    /// Threads of one decoder.
    pub(crate) threads: usize,
}

/// A moving picture that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Animation {
    /// In pixels, from 1 to 1024. Films are never made larger.
    pub width: u32,
    /// How much of the film, in milliseconds from 1 to 60000.
    pub max_ms: u32,
    /// Frames a second, from 1 to 50.
    pub fps: u32,
}

// === impl Animation ===

impl Animation {
    pub(crate) fn check(self) -> Result<(), TransformError> {
        let Self { width, max_ms, fps } = self;
        if (1..=1024).contains(&width) && (1..=60_000).contains(&max_ms) && (1..=50).contains(&fps) {
            return Ok(());
        }
        Err(TransformError::Request(format!(
            "an animation of {width} pixels, {max_ms} ms and {fps} frames a second, expected 1 to 1024, 1 to 60000 and 1 to 50"
        )))
    }
}

/// 120 pixels wide, ten seconds, ten frames a second.
impl Default for Animation {
    fn default() -> Self {
        Self {
            width: 120,
            max_ms: 10_000,
            fps: 10,
        }
    }
}

/// The standard input as a file: one that can be wound back, as it is one, and whose name says nothing.
const INPUT: &str = "file:/dev/stdin";

/// Decoders that films need. Others, of games and of forgotten editors, are where the holes are found.
const CODECS: &str =
    "h264,hevc,vp8,vp9,av1,libdav1d,mpeg4,mpeg2video,mpeg1video,mjpeg,theora,prores,h263,aac,mp3,opus,vorbis";

/// For one allocation, in bytes.
const MAX_ALLOCATION: u64 = 512 << 20;

/// So much of a film is searched for a frame that is not black, in seconds.
const SEARCHED: &str = "300";

/// A moving picture is no higher than this many times its width.
const HIGHEST: u32 = 4;

/// ffprobe: what streams there are, as JSON.
pub(super) fn probe(container: Container, bounds: Bounds) -> Vec<String> {
    let (demuxer, names) = container.demuxer();
    let mut args = words("-hide_banner -v error -protocol_whitelist file,pipe");
    args.extend(["-max_pixels".to_owned(), bounds.max_pixels.to_string()]);
    args.extend(words(&format!("-format_whitelist {names} -f {demuxer}")));
    args.extend(words(
        "-show_entries \
         format=duration:stream=codec_type,codec_name,width,height:stream_disposition=attached_pic:stream_side_data=rotation \
         -of json",
    ));
    args.push(INPUT.to_owned());
    args
}

/// ffmpeg: the first frame that is not black, as PNG.
pub(super) fn first_frame_not_black(container: Container, bounds: Bounds) -> Vec<String> {
    let mut args = words(&format!("-t {SEARCHED}"));
    args.extend(input(container, bounds));
    args.extend(words(
        "-map 0:V:0 -vf \
         blackframe=amount=0:threshold=32,metadata=select:key=lavfi.blackframe.pblack:value=98:function=less",
    ));
    args.extend(as_png());
    args
}

/// ffmpeg: the frame at a time, as PNG.
pub(super) fn frame_at(container: Container, bounds: Bounds, at_ms: u64) -> Vec<String> {
    let mut args = words(&format!("-ss {}", seconds(at_ms)));
    args.extend(input(container, bounds));
    args.extend(words("-map 0:V:0"));
    args.extend(as_png());
    args
}

/// ffmpeg: a moving picture with a palette of its own, as GIF.
pub(super) fn animation(container: Container, bounds: Bounds, asked: Animation) -> Vec<String> {
    let seconds = seconds(asked.max_ms.into());
    let frames = (u64::from(asked.max_ms) * u64::from(asked.fps)).div_ceil(1000);
    // At the end of its input `fps` passes on what there is. Otherwise it fills up to the time of the last frame, which
    // in a film of a few bytes may be ten hours.
    let paced = format!("trim=end={seconds},fps={}:eof_action=pass,", asked.fps);
    moving(container, bounds, asked, &paced, frames)
}

/// ffmpeg: the same of one frame, for films that have no more.
pub(super) fn still(container: Container, bounds: Bounds, asked: Animation) -> Vec<String> {
    moving(container, bounds, asked, "", 1)
}

fn moving(container: Container, bounds: Bounds, asked: Animation, paced: &str, frames: u64) -> Vec<String> {
    let (width, height) = (asked.width, asked.width * HIGHEST);
    let mut args = words(&format!("-t {}", seconds(asked.max_ms.into())));
    args.extend(input(container, bounds));
    args.push("-filter_complex".to_owned());
    args.push(format!(
        "[0:V:0]{paced}scale=w=min({width}\\,iw):h=min({height}\\,ih):force_original_aspect_ratio=decrease:flags=lanczos,\
         split[a][b];[a]palettegen=stats_mode=diff[p];[b][p]paletteuse=dither=bayer:bayer_scale=5:diff_mode=rectangle[o]"
    ));
    args.extend(words(&format!("-map [o] -frames:v {frames} -f gif pipe:1")));
    args
}

/// Options are of the input where they stand before it. What ffmpeg says of its input is wanted, and its level beside it.
fn input(container: Container, bounds: Bounds) -> Vec<String> {
    let (demuxer, names) = container.demuxer();
    let Bounds { max_pixels, threads } = bounds;
    words(&format!(
        "-nostdin -hide_banner -nostats -v level+info -protocol_whitelist file,pipe -max_pixels {max_pixels} \
         -max_alloc {MAX_ALLOCATION} -threads {threads} -f {demuxer} -format_whitelist {names} -codec_whitelist {CODECS} \
         -an -sn -dn -i {INPUT}"
    ))
}

/// Lines that tell by how much they differ from the one above are smaller at the lowest level than others at the highest,
/// and made sooner.
fn as_png() -> Vec<String> {
    words("-frames:v 1 -c:v png -pred up -compression_level 1 -f image2pipe pipe:1")
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        max_pixels: 1_000_000,
        threads: 2,
    };
    const ASKED: Animation = Animation {
        width: 120,
        max_ms: 2_500,
        fps: 10,
    };

    #[test]
    fn each_command_has_its_walls_before_its_input() {
        let container = Container::Mp4;
        for args in [
            first_frame_not_black(container, BOUNDS),
            frame_at(container, BOUNDS, 1_500),
            animation(container, BOUNDS, ASKED),
            still(container, BOUNDS, ASKED),
        ] {
            let line = args.join(" ");
            let (before, behind) = line.split_once(&format!("-i {INPUT}")).unwrap_or_default();
            for wall in [
                "-nostdin ",
                "-protocol_whitelist file,pipe ",
                "-f mov -format_whitelist mov,mp4,m4a,3gp,3g2,mj2 ",
                "-codec_whitelist h264,",
                "-max_pixels 1000000 ",
                "-max_alloc ",
            ] {
                assert!(before.contains(wall), "{wall} is missing: {line}");
            }
            assert!(behind.ends_with(" pipe:1"), "{line}");
        }
        let line = probe(container, BOUNDS).join(" ");
        assert!(
            line.contains("-f mov ") && line.contains("-format_whitelist mov,"),
            "{line}"
        );
    }

    #[test]
    fn a_moving_picture_has_no_more_frames_than_were_asked_for() {
        assert!(
            animation(Container::Avi, BOUNDS, ASKED)
                .join(" ")
                .contains("-frames:v 25 ")
        );
        let short = Animation { max_ms: 1, ..ASKED };
        assert!(
            animation(Container::Avi, BOUNDS, short)
                .join(" ")
                .contains("-frames:v 1 ")
        );
    }
}
