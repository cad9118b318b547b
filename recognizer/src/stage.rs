use std::time::Instant;

/// Records how long a step of the work takes, in the histogram `recognizer_stage_seconds{stage}`.
pub(crate) fn timed<T>(stage: &'static str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = work();
    metrics::histogram!("recognizer_stage_seconds", "stage" => stage).record(begun.elapsed().as_secs_f64());
    result
}
