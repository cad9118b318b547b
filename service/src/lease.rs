//! Holding a claim while its work runs.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout_at};

/// How an attempt to renew went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewalError {
    /// Somebody else has the claim now.
    Lost,
    /// The database did not answer; the claim holds until its lease ends.
    Unavailable,
}

/// The claim was lost, or its lease could not be renewed before it ended. Whatever the work would still have
/// done must not be done: somebody else may be doing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

/// Runs `work` while renewing the lease at a third of its time, and stops it, by dropping it, as soon as the
/// claim is lost: at once when the database says so, and before the lease ends when nobody can say.
///
/// `claimed` is when the lease began. Cancel safe: dropping this drops the work.
///
/// # Errors
/// [`Lost`] where the work was stopped.
pub async fn hold<W, R, F>(
    claimed: Instant,
    lease: Duration,
    mut renew: R,
    work: W,
) -> Result<W::Output, Lost>
where
    W: Future,
    R: FnMut() -> F,
    F: Future<Output = Result<(), RenewalError>>,
{
    let third = lease / 3;
    let mut renewals = interval_at(claimed + third, third);
    renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // A margin for the work to be dropped in, and for clocks that run apart.
    let mut ends = claimed + lease - lease / 10;
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            () = tokio::time::sleep_until(ends) => return Err(Lost),
            _ = renewals.tick() => {}
        }
        let begun = Instant::now();
        let mut renewal = std::pin::pin!(timeout_at(ends, renew()));
        let renewed = tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            renewed = &mut renewal => renewed,
        };
        match renewed {
            Ok(Ok(())) => ends = begun + lease - lease / 10,
            Ok(Err(RenewalError::Unavailable)) => {}
            Ok(Err(RenewalError::Lost)) | Err(_) => return Err(Lost),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_renewed_at_a_third_of_its_time_while_the_work_runs() {
        let renewals = Cell::new(0);
        let renew = || {
            renewals.set(renewals.get() + 1);
            async { Ok(()) }
        };
        let work = async {
            tokio::time::sleep(Duration::from_secs(95)).await;
            "done"
        };
        assert_eq!(hold(Instant::now(), LEASE, renew, work).await, Ok("done"));
        assert_eq!(renewals.get(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn work_stops_at_once_when_the_claim_was_lost() {
        let begun = Instant::now();
        let held = hold(
            begun,
            LEASE,
            || async { Err(RenewalError::Lost) },
            std::future::pending::<()>(),
        );
        assert_eq!(held.await, Err(Lost));
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn work_stops_before_the_lease_ends_when_it_cannot_be_renewed() {
        let begun = Instant::now();
        let held = hold(
            begun,
            LEASE,
            || async { Err(RenewalError::Unavailable) },
            std::future::pending::<()>(),
        );
        assert_eq!(held.await, Err(Lost));
        assert_eq!(begun.elapsed(), Duration::from_secs(27));
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_hangs_does_not_outlive_the_lease() {
        let begun = Instant::now();
        let held = hold(
            begun,
            LEASE,
            std::future::pending::<Result<(), RenewalError>>,
            std::future::pending::<()>(),
        );
        assert_eq!(held.await, Err(Lost));
        assert_eq!(begun.elapsed(), Duration::from_secs(27));
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_comes_back_in_time_saves_the_work() {
        let answers = Cell::new(0);
        let renew = || {
            answers.set(answers.get() + 1);
            let answer = if answers.get() == 1 {
                Err(RenewalError::Unavailable)
            } else {
                Ok(())
            };
            async move { answer }
        };
        let work = tokio::time::sleep(Duration::from_secs(40));
        assert_eq!(hold(Instant::now(), LEASE, renew, work).await, Ok(()));
    }
}
