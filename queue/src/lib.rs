//! The wake-up queue: NSQ, or a table in the embedded database.
