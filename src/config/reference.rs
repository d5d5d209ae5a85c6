//! The configuration reference, written from the table of settings.

use std::fmt::Write as _;

use super::reader::form;
use super::settings::{ENVIRONMENT, Kind, SECTIONS, SETTINGS, Setting, WhenAbsent};

const HEAD: &str = "\
# Configuration

`hsmgate serve`, `hsmgate init` and `hsmgate access-key` read one TOML file, named with `--config`.
[`hsmgate.sample.toml`](hsmgate.sample.toml) is a complete sample with comments.

The file is read strictly: a setting that is not listed here is a fault, and so is a value of
another form or beyond its bounds. All faults are told at once, each with its line. Secrets do not
stand in the file; it names the files that hold them.

This page is written from the table in `src/config/settings.rs` and checked against it; after a
change there, `UPDATE_DOCS=1 cargo test config` writes it anew.
";

/// The text of `docs/configuration.md`.
pub fn render() -> String {
    let mut page = HEAD.to_owned();
    for (section, doc) in SECTIONS {
        let _ = write!(page, "\n## `[{section}]`\n\n{doc}\n\n");
        page.push_str("| setting | value | default | meaning |\n| --- | --- | --- | --- |\n");
        for setting in SETTINGS.iter().filter(|setting| setting.parts().0 == *section) {
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {} |",
                setting.parts().1,
                form(setting),
                default(setting),
                setting.doc
            );
        }
    }
    page.push_str("\n## Environment\n\n| variable | meaning |\n| --- | --- |\n");
    for (name, doc) in ENVIRONMENT {
        let _ = writeln!(page, "| `{name}` | {doc} |");
    }
    page
}

fn default(setting: &Setting) -> String {
    match (setting.default, setting.kind) {
        (WhenAbsent::Required, _) => "none, must be set".to_owned(),
        (WhenAbsent::OrElse(other), _) => format!("none, this or `{other}` must be set"),
        (WhenAbsent::Unset(meaning), _) => meaning.to_owned(),
        (WhenAbsent::Value(value), Kind::Text(_) | Kind::Word(_)) => format!("`\"{value}\"`"),
        (WhenAbsent::Value(value), Kind::Flag | Kind::Number(..) | Kind::List(_)) => {
            format!("`{value}`")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_repository_is_the_one_that_the_table_gives() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, render()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            page == render(),
            "docs/configuration.md is stale: UPDATE_DOCS=1 cargo test config"
        );
    }
}
