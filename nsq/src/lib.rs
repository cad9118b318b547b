//! An async client for NSQ.
