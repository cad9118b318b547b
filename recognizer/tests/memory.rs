//! What a flood takes. Alone in its process, since it measures the whole of it.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::fixtures::jpeg;
use support::photographs;
use support::{Place, join_all, require_models};

#[tokio::test]
async fn a_flood_of_large_pictures_stays_within_its_memory() {
    require_models!();
    let place = Place::knowing_obama();
    let flags = [
        "--recognizer-workers",
        "4",
        "--recognizer-queue",
        "100",
        "--recognizer-decode-memory",
        "100",
    ];
    let server = place.start_with(&flags, None).await;
    server.serving().await;
    let good = place.sample("obama2.jpg");
    assert_eq!(server.identify(&good).await.unwrap(), "obama_1.jpg");
    // 18 megapixels each: four at once would take 216 MB for pixels alone.
    let uri = place.picture("large.jpg", &jpeg(&photographs::nobody(5000, 3600)));
    let before = reset_peak();
    let calls = (0..8).map(|_| server.identify(&uri));
    for answer in join_all(calls).await {
        assert_eq!(answer.unwrap(), "not_found");
    }
    let grown = peak_resident_bytes().saturating_sub(before) >> 20;
    assert!(grown < 200, "grew by {grown} MiB");
    assert_eq!(server.identify(&good).await.unwrap(), "obama_1.jpg");
}

/// Makes the kernel count the peak anew, and returns what is resident now.
fn reset_peak() -> u64 {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    peak_resident_bytes()
}

fn peak_resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}
