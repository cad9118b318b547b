//! Work that messages bring.

use std::time::Duration;

use safelight_database::ClaimOutcome;
use safelight_queue::{Delivery, Subscription};
use safelight_service::Shutdown;

use crate::crew::Crew;
use crate::work::Left;

/// A message whose task is not due yet is looked at again no sooner than this.
const SHORTEST: Duration = Duration::from_millis(50);
/// And at first no later than this; each time it is twice as long.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// Takes messages while there is somebody free, until `shutdown`.
///
/// Each message is finished when its task has ended, and put back otherwise, so the queue brings
/// it again even if this process dies meanwhile.
pub(crate) async fn consume(mut subscription: Subscription, crew: Crew, shutdown: Shutdown) {
    loop {
        let hand = tokio::select! {
            hand = crew.hand() => hand,
            () = shutdown.triggered() => break,
        };
        let delivery = tokio::select! {
            delivery = subscription.next() => delivery,
            // A hand that only waits for messages would be kept from what the sweep finds, which stands in line for it.
            () = tokio::time::sleep(crew.settings().sweep_interval) => continue,
            () = shutdown.triggered() => break,
        };
        let Some(delivery) = delivery else { break };
        let working = crew.clone();
        crew.spawn(async move {
            handle(&working, delivery).await;
            drop(hand);
        });
    }
    // What was delivered and not begun goes back at once.
    subscription.close(crew.settings().drain).await;
}

async fn handle(crew: &Crew, delivery: Delivery) {
    let Some(subject) = safelight_queue::decode_id(delivery.body()) else {
        tracing::warn!(
            bytes = delivery.body().len(),
            "a message that is no id was dropped"
        );
        return settle(delivery, Left::Nothing).await;
    };
    let Some(_leave) = crew.leave() else {
        return settle(delivery, Left::Again(crew.settings().wait_delay)).await;
    };
    let claimed = crew
        .database()
        .tasks()
        .claim_next(subject, crew.kind(), crew.settings().lease)
        .await;
    let left = match claimed {
        Ok(ClaimOutcome::Claimed(claim)) => crew.work(&claim, Some(&delivery)).await,
        Ok(ClaimOutcome::NotDue { in_ }) => Left::Elsewhere(in_),
        Ok(ClaimOutcome::Ended) => Left::Nothing,
        Ok(ClaimOutcome::Unknown) => {
            tracing::warn!(
                subject,
                kind = crew.kind().as_str(),
                "a message names what nobody recorded"
            );
            Left::Nothing
        }
        Err(error) => {
            tracing::warn!(subject, %error, "cannot claim");
            Left::Again(crew.settings().wait_delay)
        }
    };
    settle(delivery, left).await;
}

/// When to look again at a task that is somebody else's for `at_most` so long, or that waits.
///
/// Not only then: it may end sooner, and its message should not stand in the queue for long after that. And never later:
/// where the other one dies, this message is what brings the task up again just after its lease.
fn look_again(at_most: Duration, attempts: u32) -> Duration {
    let looks = attempts.saturating_sub(1).min(16);
    at_most.min(FIRST_LOOK * 2_u32.pow(looks)).max(SHORTEST)
}

async fn settle(delivery: Delivery, left: Left) {
    let settled = match left {
        Left::Nothing => delivery.finish().await,
        Left::Again(delay) => delivery.requeue(delay).await,
        Left::Elsewhere(at_most) => {
            let delay = look_again(at_most, delivery.attempts());
            delivery.requeue(delay).await
        }
    };
    if let Err(error) = settled {
        // The queue brings it again; the database then says what is left to do.
        tracing::debug!(%error, "a message could not be answered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_of_somebody_else_is_looked_at_more_and_more_seldom_and_when_its_lease_ends() {
        let lease = Duration::from_secs(30);
        let looks = [1, 2, 3, 4, 5, 6, 100].map(|attempts| look_again(lease, attempts).as_secs());
        assert_eq!(looks, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(
            look_again(Duration::from_millis(700), 9),
            Duration::from_millis(700)
        );
        assert_eq!(look_again(Duration::ZERO, 1), SHORTEST);
    }
}
