//! `docs/configuration.md`, written from the table of settings.

use std::fmt::Write as _;

use hsmgate::config::settings::{
    ENVIRONMENT, SECTIONS, SETTINGS, Setting, SettingKind, WhenAbsent,
};

use crate::check_page;

const HEAD: &str = "\
# Configuration

`hsmgate serve`, `hsmgate init` and the commands of operators read one TOML file: that of `--config`, else of the variable
`HSMGATE_CONFIG`, else `/etc/hsmgate/hsmgate.toml`.
[`hsmgate.sample.toml`](hsmgate.sample.toml) is a complete sample with comments.

The file is parsed strictly: a setting that is not listed here is an error, and so is a value of
another type or out of range. All errors are reported at once, each with its line. The file contains
no secrets; it names the files that contain them.

An environment variable replaces a setting, for containers: `HSMGATE_STORE__URL` for `url` in `[store]`, and so for every
setting. The items of a list are separated by commas. A variable that begins with `HSMGATE_`, the name of a section and two
underscores, and is none of a setting, is an error. `hsmgate config print` shows each setting with its value and where it comes from;
`hsmgate config check` reports all errors.

This page is generated from the table in `src/config/settings.rs`. After a change there,
`UPDATE_DOCS=1 cargo test --test docs` updates it.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for (section, doc) in SECTIONS {
        write!(page, "\n## `[{section}]`\n\n{doc}\n\n").unwrap();
        page.push_str("| setting | value | default | meaning |\n| --- | --- | --- | --- |\n");
        for setting in SETTINGS.iter().filter(|setting| setting.parts().0 == *section) {
            writeln!(
                page,
                "| `{}` | {} | {} | {} |",
                setting.parts().1,
                setting.kind,
                default(setting),
                setting.doc
            )
            .unwrap();
        }
    }
    page.push_str("\n## Environment\n\n| variable | meaning |\n| --- | --- |\n");
    for (name, doc) in ENVIRONMENT {
        writeln!(page, "| `{name}` | {doc} |").unwrap();
    }
    page
}

fn default(setting: &Setting) -> String {
    match (setting.default, setting.kind) {
        (WhenAbsent::Required, _) => "none, must be set".to_owned(),
        (WhenAbsent::OrElse(other), _) => format!("none, this or `{other}` must be set"),
        (WhenAbsent::Unset(meaning), _) => meaning.to_owned(),
        (WhenAbsent::Value(value), SettingKind::Text(_) | SettingKind::Word(_)) => {
            format!("`\"{value}\"`")
        }
        (
            WhenAbsent::Value(value),
            SettingKind::Flag | SettingKind::Number(..) | SettingKind::List(_),
        ) => {
            format!("`{value}`")
        }
    }
}

#[test]
fn the_page_in_the_repository_is_the_one_that_the_table_gives() {
    check_page("docs/configuration.md", &page());
}
