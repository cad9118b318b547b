//! A call: from the channel it is made on, over one try or several, to the end of its response.

mod attempt;
mod body;
mod budget;
mod bulkhead;
mod caller;
mod channel;
mod methods;
mod pick;
mod replay;

pub(crate) use body::MeshBody;
pub(crate) use budget::Budget;
pub(crate) use bulkhead::{Bulkhead, Slot};
pub(crate) use caller::{Caller, Meters};
pub use channel::{MeshChannel, MeshFuture};
pub use methods::{DescriptorError, Idempotency, Methods};
pub(crate) use replay::{Replay, ReplayBody};
