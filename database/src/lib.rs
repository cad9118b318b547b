//! The record of every image: migrations, stores and the outbox, for MySQL and SQLite.
