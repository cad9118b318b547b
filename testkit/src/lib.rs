//! Private servers for tests: MariaDB, nsqd, nsqlookupd, and a proxy that breaks connections.
