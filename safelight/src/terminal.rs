//! Text of others on a terminal.

/// Text in one line that cannot command the terminal: control characters are shown as spaces.
pub(crate) fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(shown).collect()
}

/// [`printable`], and of at most so many characters.
pub(crate) fn printable_cut(text: &str, longest: usize) -> String {
    let mut characters = text.chars();
    let mut shown = printable(&characters.by_ref().take(longest).collect::<String>());
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_stays_in_its_line_and_commands_nothing() {
        assert_eq!(printable("a\x1b[2J\nred\u{9b}b"), "a [2J red b");
    }

    #[test]
    fn text_that_is_cut_says_so() {
        assert_eq!(printable_cut("äbc", 3), "äbc");
        assert_eq!(printable_cut("äbcd", 3), "äbc…");
    }
}
