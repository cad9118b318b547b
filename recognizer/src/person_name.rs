/// The longest person's name, in characters.
pub(crate) const MAX_NAME_CHARS: usize = 255;

/// The person that a file of known people shows: `ann_1.jpg` and `ann.jpg` both show `ann`.
pub(crate) fn of_file(file_name: &str) -> &str {
    let stem = file_name.rsplit_once('.').map_or(file_name, |(stem, _)| stem);
    match stem.rsplit_once('_') {
        Some((name, number))
            if !name.is_empty() && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) =>
        {
            name
        }
        _ => stem,
    }
}

/// A name as it is kept: without blanks around it.
///
/// # Errors
/// What is wrong with it, for whoever sent it.
pub(crate) fn checked(name: &str) -> Result<&str, &'static str> {
    let name = name.trim();
    if name.is_empty() {
        return Err("the person's name is empty");
    }
    if name.chars().nth(MAX_NAME_CHARS).is_some() {
        return Err("the person's name is longer than 255 characters");
    }
    if name.chars().any(char::is_control) {
        return Err("the person's name has a control character in it");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_behind_the_name_is_not_part_of_it() {
        for (file, person) in [
            ("ann_1.jpg", "ann"),
            ("ann.jpg", "ann"),
            ("mary_ann_12.png", "mary_ann"),
            ("mary_ann.png", "mary_ann"),
            ("ann2.jpg", "ann2"),
            ("_1.jpg", "_1"),
            ("ann_.jpg", "ann_"),
            ("ann", "ann"),
        ] {
            assert_eq!(of_file(file), person, "{file}");
        }
    }

    #[test]
    fn names_that_nobody_bears_are_refused() {
        assert_eq!(checked(" Ann Lee "), Ok("Ann Lee"));
        assert!(checked("  ").is_err());
        assert!(checked("a\nb").is_err());
        assert!(checked(&"é".repeat(255)).is_ok());
        assert!(checked(&"é".repeat(256)).is_err());
    }
}
