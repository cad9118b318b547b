//! Whatever a peer says, takes and breaks, a connection to it ends with a typed error, in bounded memory.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| async_nsq::fuzz_connection(script));
