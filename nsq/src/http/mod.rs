//! The HTTP sides of nsqd and nsqlookupd, as far as services need them.

mod answer;
mod config;
mod error;
mod exchange;
mod lookupd;
mod nsqd;
mod stats;

pub use config::HttpConfig;
pub use error::HttpError;
pub use lookupd::{Lookup, LookupdHttp, Node};
pub use nsqd::{NsqdHttp, NsqdInfo, NsqdLimits};
pub use stats::{ChannelStats, ClientStats, NsqdStats, StatsQuery, TopicStats};
