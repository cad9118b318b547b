use std::sync::Once;

/// Makes OpenBLAS compute in the thread that calls it.
///
/// The pool already has a thread for every core; threads within threads would fight for the cores and keep
/// a buffer each. The variable `OPENBLAS_NUM_THREADS` is read before `main`, too early to be set here.
pub(crate) fn compute_in_the_calling_thread() {
    static ONCE: Once = Once::new();
    ONCE.call_once(set_one_thread);
}

#[allow(unsafe_code)]
fn set_one_thread() {
    unsafe extern "C" {
        // OpenBLAS, cblas.h: void openblas_set_num_threads(int num_threads);
        fn openblas_set_num_threads(threads: libc::c_int);
    }
    // SAFETY: the declaration is that of cblas.h, and the library is linked, as dlib needs it. The function
    // takes no pointers. It must not race with a computation: `Once`, and it is called before the first
    // worker is started.
    unsafe { openblas_set_num_threads(1) }
}
