//! The windows, by hand and against a list of all calls.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn tally(calls: u32, bad: u32) -> Tally {
    Tally { calls, bad }
}

#[test]
fn a_window_of_calls_forgets_the_oldest_with_each_new_one() {
    let now = Instant::now();
    let mut window = Window::new(Span::Calls(3), now);
    for (bad, expected) in [
        (true, tally(1, 1)),
        (false, tally(2, 1)),
        (true, tally(3, 2)),
        (false, tally(3, 1)),
        (false, tally(3, 1)),
        (false, tally(3, 0)),
    ] {
        window.record(bad, now);
        assert_eq!(window.tally(now), expected);
    }
}

#[test]
fn ten_thousand_good_calls_do_not_outweigh_the_bad_ones_after_them() {
    for span in [Span::Calls(100), Span::Time(10 * SECOND)] {
        let mut now = Instant::now();
        let mut window = Window::new(span, now);
        for _ in 0..10_000 {
            window.record(false, now);
        }
        now += 20 * SECOND;
        for _ in 0..100 {
            window.record(true, now);
        }
        assert_eq!(window.tally(now), tally(100, 100), "{span:?}");
    }
}

#[test]
fn a_window_of_time_lets_go_part_by_part() {
    let start = Instant::now();
    let mut window = Window::new(Span::Time(10 * SECOND), start);
    for second in 0..10 {
        window.record(second < 2, start + second * SECOND);
    }
    assert_eq!(window.tally(start + 9 * SECOND), tally(10, 2));
    assert_eq!(window.tally(start + 10 * SECOND), tally(9, 1));
    assert_eq!(window.tally(start + 11 * SECOND), tally(8, 0));
    assert_eq!(window.tally(start + 18 * SECOND), tally(1, 0));
    assert_eq!(window.tally(start + 19 * SECOND), tally(0, 0));
}

#[test]
fn a_window_of_time_survives_a_gap_of_years() {
    let start = Instant::now();
    let mut window = Window::new(Span::Time(Duration::from_millis(10)), start);
    window.record(true, start);
    let later = start + Duration::from_secs(20 * 365 * 24 * 60 * 60);
    assert_eq!(window.tally(later), tally(0, 0));
    window.record(true, later);
    assert_eq!(window.tally(later), tally(1, 1));
}

#[test]
fn a_clock_that_is_read_late_counts_into_the_present() {
    let start = Instant::now();
    let mut window = Window::new(Span::Time(10 * SECOND), start);
    window.record(false, start + 30 * SECOND);
    window.record(true, start + 2 * SECOND);
    assert_eq!(window.tally(start + 30 * SECOND), tally(2, 1));
}

#[test]
fn a_cleared_window_is_empty_and_goes_on() {
    let now = Instant::now();
    for span in [Span::Calls(4), Span::Time(SECOND)] {
        let mut window = Window::new(span, now);
        for _ in 0..7 {
            window.record(true, now);
        }
        window.clear();
        assert_eq!(window.tally(now), tally(0, 0));
        for _ in 0..3 {
            window.record(false, now);
        }
        assert_eq!(window.tally(now), tally(3, 0), "{span:?}");
    }
}

#[test]
fn spans_of_nothing_hold_at_least_one_call_or_one_moment() {
    let now = Instant::now();
    for span in [Span::Calls(0), Span::Time(Duration::ZERO)] {
        let mut window = Window::new(span, now);
        window.record(true, now);
        assert_eq!(window.tally(now), tally(1, 1), "{span:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_window_of_calls_is_the_end_of_the_list(
        size in 1_u32..40,
        calls in prop::collection::vec(prop::option::weighted(0.98, any::<bool>()), 0..400),
    ) {
        let now = Instant::now();
        let mut window = Window::new(Span::Calls(size), now);
        let mut list: Vec<bool> = Vec::new();
        for call in calls {
            match call {
                Some(bad) => { window.record(bad, now); list.push(bad); }
                None => { window.clear(); list.clear(); }
            }
            let last = &list[list.len().saturating_sub(size as usize)..];
            let bad = last.iter().filter(|bad| **bad).count();
            prop_assert_eq!(window.tally(now), tally(last.len() as u32, bad as u32));
        }
    }

    #[test]
    fn a_window_of_time_holds_the_calls_of_the_last_ten_parts(
        calls in prop::collection::vec((0_u64..4_000, any::<bool>()), 0..300),
    ) {
        let start = Instant::now();
        let mut window = Window::new(Span::Time(10 * SECOND), start);
        let mut list: Vec<(u64, bool)> = Vec::new();
        let mut millis = 0;
        for (wait, bad) in calls {
            millis += wait;
            let now = start + Duration::from_millis(millis);
            window.record(bad, now);
            list.push((millis / 1_000, bad));
            let inside = |part: u64| part + 10 > millis / 1_000;
            let total = list.iter().filter(|(part, _)| inside(*part)).count();
            let bad = list.iter().filter(|(part, bad)| inside(*part) && *bad).count();
            prop_assert_eq!(window.tally(now), tally(total as u32, bad as u32));
        }
    }
}
