//! Pictures out of films.

use std::fs;
use std::io::{BufReader, Cursor};
use std::process::Command;

use image::AnimationDecoder;
use image::codecs::gif::GifDecoder;
use safelight_testkit::require_ffmpeg;
use tonic::Code;

use crate::fixtures::{corners, jpeg};
use crate::place::Place;

/// Two seconds of black, and then three of a test picture; 320 × 240, ten frames a second.
const BLACK_FIRST: &str =
    "color=black:s=320x240:r=10:d=2[a];testsrc=s=320x240:r=10:d=3[b];[a][b]concat=n=2:v=1";

/// Makes a film of a filter graph, and returns its URI.
fn film(place: &Place, name: &str, graph: &str, args: &[&str]) -> String {
    let path = place.path("pictures").join(name);
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y", "-filter_complex", graph])
        .args(args)
        .arg(&path)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    path.to_str().unwrap().to_owned()
}

fn clip(place: &Place) -> String {
    film(place, "clip.mp4", BLACK_FIRST, &["-pix_fmt", "yuv420p"])
}

/// The width and the height of an animation, its frames, and how long it takes in milliseconds.
fn animation(bytes: &[u8]) -> (u32, u32, usize, u32) {
    let frames = GifDecoder::new(BufReader::new(Cursor::new(bytes)))
        .unwrap()
        .into_frames()
        .collect_frames()
        .unwrap();
    let (width, height) = frames[0].buffer().dimensions();
    let took = frames.iter().map(|frame| {
        let (numerator, denominator) = frame.delay().numer_denom_ms();
        numerator / denominator
    });
    (width, height, frames.len(), took.sum())
}

#[tokio::test]
async fn a_film_is_told_by_its_content() {
    require_ffmpeg!();
    let place = Place::new().await;
    let source = "testsrc=s=160x90:r=10:d=1";
    for (name, args, content_type) in [
        ("a.mp4", &["-pix_fmt", "yuv420p"][..], "video/mp4"),
        ("a.mov", &["-pix_fmt", "yuv420p"], "video/quicktime"),
        ("a.mkv", &["-pix_fmt", "yuv420p"], "video/x-matroska"),
        ("a.avi", &["-c:v", "mpeg4"], "video/x-msvideo"),
        ("a.ts", &["-c:v", "mpeg2video"], "video/mp2t"),
        (
            "a.flv",
            &["-c:v", "libx264", "-pix_fmt", "yuv420p"],
            "video/x-flv",
        ),
    ] {
        let made = film(&place, name, source, args);
        // Whatever it is called.
        let uri = place.path("pictures/renamed.jpg").to_str().unwrap().to_owned();
        fs::rename(made, &uri).unwrap();
        let probe = place.probe(&uri).await.unwrap();
        assert_eq!(
            (&*probe.content_type, probe.width, probe.height),
            (content_type, 160, 90)
        );
        assert_eq!(probe.bytes, fs::metadata(&uri).unwrap().len());
        assert!(
            (900..=1200).contains(&probe.duration_ms.unwrap()),
            "{name}: {probe:?}"
        );
        let output = format!("output/{name}/clip");
        assert!(place.gif_to(&uri, &output).await.is_ok(), "{name}");
    }
}

#[tokio::test]
async fn the_first_frame_that_is_not_black_is_captured() {
    require_ffmpeg!();
    let place = Place::new().await;
    let output = place.frame(&clip(&place), None).await.unwrap();
    assert_eq!((&*output.role, &*output.key), ("frame", "output/1/clip_f.png"));
    assert_eq!(
        (&*output.content_type, output.width, output.height),
        ("image/png", 320, 240)
    );
    let brightest = place.shown(&output).pixels().map(|pixel| pixel.0[0]).max();
    assert!(brightest > Some(200));
}

#[tokio::test]
async fn a_film_that_is_all_black_gives_its_first_frame() {
    require_ffmpeg!();
    let place = Place::new().await;
    let black = film(
        &place,
        "black.mp4",
        "color=black:s=64x48:r=10:d=1",
        &["-pix_fmt", "yuv420p"],
    );
    let output = place.frame(&black, None).await.unwrap();
    assert_eq!((output.width, output.height), (64, 48));
    assert!(place.shown(&output).pixels().all(|pixel| pixel.0[0] < 32));
}

#[tokio::test]
async fn the_frame_at_a_time_is_captured_and_one_behind_the_end_is_refused() {
    require_ffmpeg!();
    let place = Place::new().await;
    let clip = clip(&place);
    let refused = place.frame(&clip, Some(6_000)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(
        refused.message().contains("shorter than the time asked for"),
        "{refused}"
    );
    let output = place.frame(&clip, Some(1_000)).await.unwrap();
    assert!(
        place.shown(&output).pixels().all(|pixel| pixel.0[0] < 32),
        "black for two seconds"
    );
}

#[tokio::test]
async fn an_animation_is_small_and_short() {
    require_ffmpeg!();
    let place = Place::new().await;
    let long = film(
        &place,
        "long.mp4",
        "testsrc=s=640x360:r=25:d=12",
        &["-pix_fmt", "yuv420p"],
    );
    let output = place.gif(&long, None, None).await.unwrap();
    assert_eq!(
        (&*output.role, &*output.key, &*output.content_type),
        ("animation", "output/1/clip.gif", "image/gif")
    );
    assert_eq!((output.width, output.height), (120, 68));
    assert_eq!(animation(&place.stored(&output)), (120, 68, 100, 10_000));
}

#[tokio::test]
async fn an_animation_is_never_larger_than_its_film_nor_without_end_in_height() {
    require_ffmpeg!();
    for (size, expected) in [("40x30", (40, 30)), ("40x4000", (5, 480))] {
        let place = Place::new().await;
        let graph = format!("testsrc2=s={size}:r=10:d=1");
        let uri = film(&place, "a.mp4", &graph, &["-pix_fmt", "yuv420p"]);
        let output = place.gif(&uri, None, None).await.unwrap();
        assert_eq!((output.width, output.height), expected);
    }
}

#[tokio::test]
async fn a_film_of_one_frame_gives_an_animation_of_one() {
    require_ffmpeg!();
    let place = Place::new().await;
    let one = film(
        &place,
        "one.mp4",
        "testsrc=s=320x240:r=10:d=0.1",
        &["-pix_fmt", "yuv420p", "-frames:v", "1"],
    );
    let output = place.gif(&one, None, None).await.unwrap();
    assert_eq!(animation(&place.stored(&output)).2, 1);
    assert!(place.frame(&one, None).await.is_ok());
}

#[tokio::test]
async fn what_is_asked_for_twice_is_made_once() {
    require_ffmpeg!();
    let place = Place::new().await;
    let clip = clip(&place);
    let first = (
        place.frame(&clip, None).await.unwrap(),
        place.gif(&clip, None, None).await.unwrap(),
    );
    let second = (
        place.frame(&clip, Some(0)).await.unwrap(),
        place.gif(&clip, Some(60), Some(1_000)).await.unwrap(),
    );
    assert_eq!(first, second);
    assert_eq!(fs::read_dir(place.path("store/tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn each_bad_film_is_answered_by_name_and_leaves_nothing() {
    require_ffmpeg!();
    let place = Place::new().await;
    let whole = film(
        &place,
        "whole.mp4",
        "testsrc=s=64x48:r=10:d=1",
        &["-pix_fmt", "yuv420p"],
    );
    let whole = fs::read(whole).unwrap();
    let secret = film(
        &place,
        "secret.ts",
        "testsrc=s=64x48:r=10:d=1",
        &["-c:v", "mpeg2video"],
    );
    let playlist = format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n");
    let far = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n#EXT-X-ENDLIST\n";
    let neither = "neither a picture nor a film";
    for (uri, reason) in [
        (place.picture("upload.mp4", playlist.as_bytes()), neither),
        (place.picture("far.mp4", far.as_bytes()), neither),
        (
            place.picture("concat.mp4", b"ffconcat version 1.0\nfile secret.ts\n"),
            neither,
        ),
        (place.picture("text.mp4", b"no film\n"), neither),
        (
            place.picture("still.mp4", &jpeg(&corners(40, 30))),
            "the file is not a film",
        ),
        (
            place.picture("cut.mp4", &whole[..whole.len() / 3]),
            "it is damaged",
        ),
        (
            place.picture("head.mp4", b"\0\0\0\x20ftypisom\0\0\0\0 and no more"),
            "it is damaged",
        ),
        // What begins as one thing is not opened as another.
        (
            place.picture("both.mp4", &[b"\0\0\0\x20ftypisom", playlist.as_bytes()].concat()),
            "it is damaged",
        ),
        // A box of a film that has none in it.
        (
            place.picture("trackless.mp4", &without_frames(&whole)),
            "there are no pictures in it",
        ),
        // Protocols are no names of files.
        (
            place.picture("protocol.mp4", b"concat:/etc/passwd|http://127.0.0.1:1/a.ts"),
            neither,
        ),
        (
            film(&place, "sound.mp4", "sine=d=1", &["-c:a", "aac"]),
            "there are no pictures in it",
        ),
        (
            film(
                &place,
                "magic.avi",
                "testsrc=s=64x48:r=10:d=0.2",
                &["-c:v", "magicyuv"],
            ),
            "it is damaged, or of a kind that is not opened: ",
        ),
    ] {
        for refused in [
            place.frame(&uri, None).await.unwrap_err(),
            place.gif(&uri, None, None).await.unwrap_err(),
        ] {
            assert_eq!(refused.code(), Code::InvalidArgument, "{uri}: {refused}");
            assert!(refused.message().contains(reason), "{uri}: {refused}");
            assert!(
                !refused.message().contains(place.path("").to_str().unwrap()),
                "{refused}"
            );
        }
    }
    let missing = place.path("pictures/none.mp4").to_str().unwrap().to_owned();
    assert_eq!(
        place.frame(&missing, None).await.unwrap_err().code(),
        Code::NotFound
    );
    assert!(!place.path("store/output").exists());
}

#[tokio::test]
async fn each_film_over_a_limit_is_answered_by_name_and_leaves_nothing() {
    require_ffmpeg!();
    let place = Place::with(&["--transformer-max-film-bytes", "1000000"]).await;
    let whole = clip(&place);
    let mut padded = vec![0; 1_000_001];
    let bytes = fs::read(whole).unwrap();
    padded[..bytes.len()].copy_from_slice(&bytes);
    for (uri, reason) in [
        (place.picture("large.mp4", &padded), "too large: 1000001 bytes"),
        // Of five frames, the last of which comes after ten hours.
        (
            film(
                &place,
                "long.mp4",
                "testsrc=s=64x48:r=10:d=0.5,setpts='if(eq(N,4),36000/TB,PTS)'",
                &["-vsync", "vfr", "-pix_fmt", "yuv420p"],
            ),
            "too long: 36000 seconds, at most 14400",
        ),
        (
            place.picture("huge.avi", &claiming(&place, 20_000, 20_000)),
            "its pictures are too large, at most 50000000 pixels",
        ),
    ] {
        for refused in [
            place.probe(&uri).await.map(drop).unwrap_err(),
            place.frame(&uri, None).await.map(drop).unwrap_err(),
            place.gif(&uri, None, None).await.map(drop).unwrap_err(),
        ] {
            assert_eq!(refused.code(), Code::OutOfRange, "{uri}: {refused}");
            assert!(refused.message().contains(reason), "{uri}: {refused}");
        }
    }
    assert!(!place.path("store/output").exists());
}

#[tokio::test]
async fn a_film_of_hours_within_the_limits_takes_no_longer_than_another() {
    require_ffmpeg!();
    let place = Place::with(&["--transformer-max-film-seconds", "100000"]).await;
    let sparse = film(
        &place,
        "long.mp4",
        "testsrc=s=64x48:r=10:d=0.5,setpts='if(eq(N,4),36000/TB,PTS)'",
        &["-vsync", "vfr", "-pix_fmt", "yuv420p"],
    );
    // 360,000 frames, where it is filled up to its end.
    let output = place.gif(&sparse, None, None).await.unwrap();
    assert!(animation(&place.stored(&output)).2 <= 100);
    assert!(place.frame(&sparse, None).await.is_ok());
}

#[tokio::test]
async fn a_film_that_takes_too_long_is_over_a_limit_and_holds_up_nobody() {
    require_ffmpeg!();
    let place = Place::with(&["--transformer-film-seconds", "1", "--transformer-workers", "1"]).await;
    // Minutes of large black frames, which are searched for one that is not.
    let second = film(
        &place,
        "second.mp4",
        "color=black:s=3840x2160:r=60:d=1",
        &["-preset", "ultrafast", "-pix_fmt", "yuv420p"],
    );
    let slow = place.path("pictures/slow.mp4").to_str().unwrap().to_owned();
    let looped = Command::new("ffmpeg")
        .args([
            "-nostdin",
            "-v",
            "error",
            "-stream_loop",
            "250",
            "-i",
            &second,
            "-c",
            "copy",
            &slow,
        ])
        .status();
    assert!(looped.unwrap().success());
    let picture = place.picture("cat.jpg", &jpeg(&corners(400, 300)));
    let (refused, made) = tokio::join!(place.frame(&slow, None), place.thumbnails(&picture));
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    assert!(
        refused.message().contains("took longer than 1 seconds"),
        "{refused}"
    );
    assert_eq!(made.unwrap().len(), 2);
}

/// A film of small pictures that says that they are so large, wherever it says it.
fn claiming(place: &Place, width: u16, height: u16) -> Vec<u8> {
    let small = film(
        place,
        "small.avi",
        "testsrc=s=64x48:r=10:d=0.5",
        &["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"],
    );
    let mut bytes = fs::read(small).unwrap();
    let (width_le, height_le) = (u32::from(width).to_le_bytes(), u32::from(height).to_le_bytes());
    for (name, behind) in [(b"avih", 40), (b"strf", 12)] {
        let at = bytes.windows(4).position(|bytes| bytes == name).unwrap() + behind;
        bytes[at..at + 4].copy_from_slice(&width_le);
        bytes[at + 4..at + 8].copy_from_slice(&height_le);
    }
    let frame = b"\xff\xc0\0\x11\x08";
    for at in 0..bytes.len() - 9 {
        if bytes[at..].starts_with(frame) {
            bytes[at + 5..at + 7].copy_from_slice(&height.to_be_bytes());
            bytes[at + 7..at + 9].copy_from_slice(&width.to_be_bytes());
        }
    }
    bytes
}

/// A film whose only track is called something else.
fn without_frames(film: &[u8]) -> Vec<u8> {
    let mut bytes = film.to_vec();
    for at in 0..bytes.len() - 4 {
        if bytes[at..].starts_with(b"trak") {
            bytes[at..at + 4].copy_from_slice(b"free");
        }
    }
    bytes
}

#[tokio::test]
async fn frames_over_the_limit_are_refused() {
    require_ffmpeg!();
    let place = Place::with_max_pixels(64 * 48 - 1).await;
    let uri = film(
        &place,
        "a.mp4",
        "testsrc=s=64x48:r=10:d=1",
        &["-pix_fmt", "yuv420p"],
    );
    let refused = place.frame(&uri, None).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    assert!(refused.message().contains("at most 3071 pixels"), "{refused}");
}

#[tokio::test]
async fn an_animation_that_nobody_should_ask_for_is_refused() {
    let place = Place::new().await;
    for (width, max_ms) in [(0, 1), (1025, 1), (120, 0), (120, 60_001)] {
        let refused = place.gif("/a.mp4", Some(width), Some(max_ms)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("expected 1 to 1024"), "{refused}");
    }
}
