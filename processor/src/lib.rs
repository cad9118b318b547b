//! Takes every accepted image to the services that work on it.
