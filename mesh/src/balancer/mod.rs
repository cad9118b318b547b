//! The endpoints of a target, and the choice between them.
//!
//! An endpoint is in the choice only with a live connection, a passed probe and an admitting circuit. Connecting,
//! probing and discovery run in tasks of their own: nothing here waits for somebody to call. The choice itself is
//! one step from any thread, with no task and no queue between.

mod balance;
mod choice;
mod endpoint;
mod load;
mod supervisor;

pub(crate) use balance::{Balance, BalanceSettings};
pub(crate) use choice::{Choice, Picked, Picker, Unpicked};
pub(crate) use endpoint::{Endpoint, Out, Standing};
pub(crate) use load::{InFlight, Load};
