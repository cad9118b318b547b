use std::sync::Once;

/// Makes the C library give the memory of a decoded picture back to the system as soon as it is freed.
///
/// By default glibc raises the size from which blocks are mapped by themselves with every large block that
/// is freed, up to 32 MiB; from then on pictures are kept in each thread's heap. A fixed size costs a few
/// milliseconds for a picture of 12 megapixels and saves tens of megabytes.
pub(crate) fn give_pictures_back() {
    static ONCE: Once = Once::new();
    ONCE.call_once(set_mapping_threshold);
}

#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
fn set_mapping_threshold() {
    const BYTES: libc::c_int = 1 << 20;
    // SAFETY: takes two numbers and may be called at any time; glibc locks its own state (mallopt(3)).
    let set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, BYTES) };
    tracing::debug!(worked = set == 1, "fixed the size from which memory is mapped");
}

#[cfg(not(target_env = "gnu"))]
fn set_mapping_threshold() {}
