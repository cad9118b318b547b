//! A queue with its server, for one test.

use std::time::Duration;

use safelight_database::{Database, Options};
use safelight_queue::{EmbeddedSettings, NsqConfig, Queue};
use safelight_testkit::{Nsqd, NsqdOptions};
use tempfile::TempDir;

/// How long a delivery may be held in these tests.
pub(crate) const HOLD: Duration = Duration::from_secs(2);

/// What a queue stands on; ends with the test.
pub(crate) struct Backend {
    pub(crate) queue: Queue,
    _server: Server,
}

enum Server {
    Nsq { _nsqd: Nsqd },
    Embedded { _database: Database, _folder: TempDir },
}

// === impl Backend ===

impl Backend {
    pub(crate) async fn nsq() -> Self {
        let nsqd = Nsqd::start(NsqdOptions::default()).await;
        // nsqd looks for timeouts in channels it has known for a while more often than in new ones.
        nsqd.create_channel("images", "ch").await;
        let config = NsqConfig {
            producer: Some(nsqd.tcp_address().to_string()),
            msg_timeout: Some(HOLD),
            ..NsqConfig::default()
        };
        Self {
            queue: Queue::nsq(config).unwrap(),
            _server: Server::Nsq { _nsqd: nsqd },
        }
    }

    pub(crate) async fn embedded() -> Self {
        let (database, folder) = sqlite().await;
        // So rare a look at the table cannot be what makes a test pass.
        let settings = EmbeddedSettings {
            lease: HOLD,
            poll_interval: Duration::from_secs(3600),
        };
        let queue = Queue::embedded_with(database.embedded_queue().unwrap(), settings);
        Self {
            queue,
            _server: Server::Embedded {
                _database: database,
                _folder: folder,
            },
        }
    }
}

pub(crate) async fn sqlite() -> (Database, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("safelight.db").display());
    let database = Database::connect(&url, &Options::default()).await.unwrap();
    database.migrate().await.unwrap();
    (database, folder)
}
