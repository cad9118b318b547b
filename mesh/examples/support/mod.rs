//! What the examples have in common: servers that fall ill when told to, and a story with the time beside it.
#![allow(dead_code, reason = "no example uses all of it")]

pub(crate) mod recognizer;
pub(crate) mod story;

use std::error::Error;
use std::time::Duration;

use safelight_mesh::{DescriptorError, Methods, Target};
use tokio::time::{Instant, sleep};

/// Waits until so many of the target's endpoints take calls.
pub(crate) async fn ready(target: &Target, endpoints: usize) -> Result<(), Box<dyn Error>> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let snapshot = target.snapshot();
        let takes_calls = |standing: &str| standing == "ready";
        let ready = snapshot
            .endpoints
            .iter()
            .filter(|endpoint| takes_calls(endpoint.standing));
        if ready.count() == endpoints {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{endpoints} endpoints should take calls: {snapshot:#?}").into());
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// What the proto says about the recognizer's methods: `Identify` may be called again.
pub(crate) fn methods() -> Result<Methods, DescriptorError> {
    Methods::default().descriptor_set(safelight_proto::FILE_DESCRIPTOR_SET)
}

/// Fails the example unless what it claims came true.
pub(crate) fn claim(holds: bool, what: impl Into<String>) -> Result<(), Box<dyn Error>> {
    if holds {
        return Ok(());
    }
    Err(format!("this did not come true: {}", what.into()).into())
}
