/// What a picture takes from which on its memory is given back at once, in bytes.
const LARGE: u64 = 16 << 20;

/// Gives freed memory back to the system after a picture that took this many bytes, if that was much.
///
/// glibc keeps what a thread has freed for that thread, which no other can use. For small pictures that is
/// what makes the next one quick; after large ones it would be tens of megabytes a worker for good.
pub(crate) fn give_back_after(bytes: u64) {
    if bytes >= LARGE {
        trim();
    }
}

#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
fn trim() {
    // SAFETY: takes a number and may be called by any thread at any time; glibc locks its own state
    // (malloc_trim(3)).
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn trim() {}
