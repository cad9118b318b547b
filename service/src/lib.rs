//! What every Safelight service has: configuration, logs, probes, metrics, a graceful end.
