//! The pages name what there is: a setting, flag or metric that is added and not described fails here.
#![allow(clippy::unwrap_used, clippy::expect_used)]

const README: &str = include_str!("../README.md");
const SETTINGS_PAGE: &str = include_str!("../docs/settings.md");

/// The names of the public fields of the structs in a source file.
fn fields(source: &str) -> Vec<&str> {
    source
        .lines()
        .take_while(|line| !line.starts_with("mod tests"))
        .filter_map(|line| line.strip_prefix("    pub ")?.split_once(": "))
        .map(|(name, _)| name)
        .filter(|name| {
            name.chars()
                .all(|letter| letter.is_ascii_lowercase() || letter == '_')
        })
        .collect()
}

/// The names of the metrics in a source file.
fn metrics(source: &str) -> Vec<&str> {
    source
        .split('"')
        .filter(|text| text.starts_with("mesh_") && !text.contains(char::is_whitespace))
        .collect()
}

#[test]
fn the_page_of_settings_has_a_row_for_every_field() {
    // Of an error of the settings, and not settings.
    let not_settings = ["setting", "value", "expected"];
    for (source, least) in [
        (include_str!("../src/settings.rs"), 20),
        (include_str!("../src/discovery/settings.rs"), 3),
        (include_str!("../src/server/settings.rs"), 12),
        (include_str!("../src/breaker/policy.rs"), 12),
    ] {
        let fields = fields(source);
        assert!(fields.len() >= least, "{fields:?}");
        for field in fields {
            let named = SETTINGS_PAGE.contains(&format!("`{field}`"));
            assert!(
                named || not_settings.contains(&field),
                "{field} is not on the page"
            );
        }
    }
}

#[test]
fn the_readme_names_every_metric() {
    for (source, least) in [
        (include_str!("../src/metric_names.rs"), 19),
        (include_str!("../src/server/metric_names.rs"), 8),
    ] {
        let metrics = metrics(source);
        assert!(metrics.len() >= least, "{metrics:?}");
        for metric in metrics {
            assert!(
                README.contains(&format!("`{metric}`")),
                "{metric} is not in the README"
            );
        }
    }
}

#[cfg(feature = "clap")]
mod flags {
    use clap::{Args, Command};
    use safelight_mesh::MeshArgs;

    use super::SETTINGS_PAGE;

    /// As people write it: `1 s` and `1,024`.
    fn written(default: &str) -> String {
        if let Some(seconds) = default.strip_suffix('s') {
            return format!("{seconds} s");
        }
        match default.parse::<u32>() {
            Ok(number) if number >= 1_000 => format!("{},{:03}", number / 1_000, number % 1_000),
            _ => default.to_owned(),
        }
    }

    #[test]
    fn the_page_of_settings_has_every_flag_with_its_default() {
        let command = MeshArgs::augment_args(Command::new("program"));
        let mut count = 0;
        for argument in command.get_arguments() {
            let flag = argument.get_long().unwrap();
            let variable = argument.get_env().unwrap().to_str().unwrap();
            assert_eq!(
                variable,
                flag.to_uppercase().replace('-', "_"),
                "as the page says"
            );
            let row = SETTINGS_PAGE
                .lines()
                .find(|line| line.starts_with('|') && line.contains(&format!("`--{flag}")))
                .unwrap_or_else(|| panic!("--{flag} is not on the page"));
            for default in argument.get_default_values() {
                let default = written(default.to_str().unwrap());
                assert!(row.contains(&format!("| {default} |")), "not {default}: {row}");
            }
            count += 1;
        }
        assert!(count >= 20, "{count} flags");
    }
}
