//! The one place that opens media: by URI, beneath its roots, within its limits.
