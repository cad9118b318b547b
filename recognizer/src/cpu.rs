/// Whether this machine has the instructions that the program was compiled for.
///
/// The C++ parts are compiled with the compiler flags in `CXXFLAGS`; with `-mavx2` or `-mfma` among them they
/// would end in an illegal instruction on an older machine, in the middle of the first picture. Call this
/// first and end the program with the error.
///
/// # Errors
/// One line that names what is missing and what to do.
pub fn check_cpu() -> Result<(), String> {
    require(&[
        ("AVX2", cfg!(needs_avx2), has_avx2()),
        ("FMA", cfg!(needs_fma), has_fma()),
    ])
}

/// Each with its name, whether it is needed and whether it is there.
fn require(instructions: &[(&str, bool, bool)]) -> Result<(), String> {
    let missing: Vec<&str> = instructions
        .iter()
        .filter(|(_, needed, there)| *needed && !there)
        .map(|(name, ..)| *name)
        .collect();
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
fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
}

#[cfg(target_arch = "x86_64")]
fn has_fma() -> bool {
    std::arch::is_x86_feature_detected!("fma")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn has_fma() -> bool {
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_needed_and_missing_is_named() {
        let error = require(&[("AVX2", true, false), ("FMA", true, false)]).unwrap_err();
        assert!(
            error.contains("a CPU with AVX2 and FMA, which this machine lacks"),
            "{error}"
        );
        assert!(!error.contains('\n'));
    }

    #[test]
    fn what_is_not_needed_may_be_missing() {
        assert_eq!(require(&[("AVX2", false, false), ("FMA", true, true)]), Ok(()));
    }
}
