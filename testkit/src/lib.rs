//! Private servers for tests: MariaDB, nsqd, nsqlookupd, a mail server, S3, Azure Blob, and a proxy that
//! breaks connections.
//!
//! Every server is a child process on a free port of 127.0.0.1 with a directory of its own. It dies with
//! the test process however that ends, and its directory goes with it; nothing that already runs on the
//! machine is touched. What cannot be started panics with the end of the server's log, because a test can
//! do nothing better with it.

mod azure;
mod ffmpeg;
mod mariadb;
mod nsq;
mod proxy;
mod s3;
mod server_process;
mod skip;
mod smtp;

pub use azure::{AzureServer, azure_available_or_skipped};
pub use ffmpeg::ffmpeg_available_or_skipped;
pub use mariadb::MariaDb;
pub use nsq::{ChannelStats, NsqLookupd, Nsqd, NsqdOptions, nsq_available, nsq_available_or_skipped};
pub use proxy::Proxy;
pub use s3::{S3Server, s3_available_or_skipped};
pub use server_process::{ServerDirectory, ServerProcess, free_port};
pub use smtp::{
    ReceivedMail, SmtpBehavior, SmtpOptions, SmtpSecurity, SmtpServer, smtp_available_or_skipped,
};
