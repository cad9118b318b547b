//! Finding the endpoint for a try, or why there is none.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Caller;
use crate::balancer::{Endpoint, Out, Picked, Unpicked};
use crate::deadline::Deadline;
use crate::error::CallError;
use crate::transport::late;

// === impl Caller ===

impl Caller {
    /// An endpoint for the next try. Waits while one may be there soon.
    pub(super) async fn picked(&self, tried: &mut Vec<u64>, deadline: Deadline) -> Result<Picked, CallError> {
        let mut changes = None;
        loop {
            match self.picker.pick(tried, Instant::now()) {
                Ok(picked) => return Ok(picked),
                // All have been tried, and there is a reason to try again: any of them.
                Err(Unpicked::AllTried) => tried.clear(),
                Err(Unpicked::Waiting) => {
                    let Some(changes) = &mut changes else {
                        // What changes between the pick and the subscription must not be missed.
                        changes = Some(self.picker.changes());
                        continue;
                    };
                    match timeout_at(deadline.at, changes.changed()).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => return Err(self.no_endpoint("the target was dropped", None)),
                        Err(_) => return Err(late(&self.target, deadline, false)),
                    }
                }
                Err(Unpicked::Refused(endpoint)) => {
                    return Err(match endpoint.circuit.admit() {
                        // It admits again, just now.
                        Ok(permit) => {
                            drop(permit);
                            continue;
                        }
                        Err(refused) => refused,
                    });
                }
                Err(Unpicked::Out {
                    endpoint,
                    why,
                    retry_at,
                    of,
                }) => return Err(self.out(endpoint, why, retry_at, of)),
            }
        }
    }

    fn no_endpoint(&self, reason: impl Into<Arc<str>>, retry_in: Option<Duration>) -> CallError {
        CallError::NoEndpoint {
            target: self.target.clone(),
            reason: reason.into(),
            retry_in,
        }
    }

    fn out(
        &self,
        endpoint: Option<Arc<Endpoint>>,
        why: Option<Out>,
        retry_at: Option<Instant>,
        of: usize,
    ) -> CallError {
        let retry_in = retry_at.map(|at| at.saturating_duration_since(Instant::now()));
        let (Some(endpoint), Some(why)) = (endpoint, why) else {
            let reason = self.picker.choice().no_endpoint.clone();
            return self.no_endpoint(reason.unwrap_or_else(|| "the name has no address".into()), None);
        };
        if of > 1 {
            let reason = format!("none of {of} takes calls, {} not: {why}", endpoint.name);
            return self.no_endpoint(reason, retry_in);
        }
        match why {
            Out::CircuitOpen(_) => match endpoint.circuit.admit() {
                Err(refused) => refused,
                Ok(_) => self.no_endpoint(why.to_string(), retry_in),
            },
            Out::NotConnected(reason) => CallError::NotConnected {
                target: self.target.clone(),
                reason,
            },
            Out::Unwell(reason) => self.no_endpoint(reason, retry_in),
        }
    }
}
