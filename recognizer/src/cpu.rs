/// Whether this machine has the instructions that the program was compiled for.
///
/// The C++ parts are compiled with the compiler flags in `CXXFLAGS`; with `-mavx2` or `-mfma` among them they
/// would end in an illegal instruction on an older machine, in the middle of the first picture. Call this
/// first and end the program with the error.
///
/// # Errors
/// One line that names what is missing and what to do.
pub fn check_cpu() -> Result<(), String> {
    let missing = missing_instructions();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "this program was compiled for a CPU with {}, which this machine lacks; \
         compile it without -mavx2 and -mfma in CXXFLAGS",
        missing.join(" and ")
    ))
}

#[cfg(target_arch = "x86_64")]
fn missing_instructions() -> Vec<&'static str> {
    let mut missing = Vec::new();
    if cfg!(needs_avx2) && !std::arch::is_x86_feature_detected!("avx2") {
        missing.push("AVX2");
    }
    if cfg!(needs_fma) && !std::arch::is_x86_feature_detected!("fma") {
        missing.push("FMA");
    }
    missing
}

#[cfg(not(target_arch = "x86_64"))]
fn missing_instructions() -> Vec<&'static str> {
    Vec::new()
}
