//! Takes images in over HTTP, records them and announces them.
