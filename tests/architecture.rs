//! Rules of dependencies between rooms, checked by reading the sources.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on shall fail"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from the bottom up; those of one row do not use each other.
const ROOMS: &[&[&str]] = &[
    &["error", "model"],
    &["config"],
    &["telemetry"],
    &["server", "store", "token"],
    &["authn"],
    &["authz"],
    &["audit"],
    &["keyring"],
    &["ops"],
    &["jobs", "pipeline"],
    &["api"],
    &["app"],
    &["cli"],
];

/// Crates that only one room may name.
const OWNED_CRATES: &[(&str, &[&str])] = &[
    ("cryptoki", &["token"]),
    ("sqlx", &["store"]),
    ("axum", &["api", "server", "cli"]),
    ("hyper", &["server", "cli"]),
    ("rustls", &["server", "store", "cli"]),
    ("anyhow", &["cli", "main"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|is| is == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file without comments and without the tests at its end.
fn code_of(text: &str) -> String {
    let is_tests = |end: &&str| end.lines().nth(1).is_some_and(|line| line.contains("mod tests"));
    let ends = text.match_indices("\n#[cfg(test)]").map(|(at, _)| &text[at + 1..]);
    let tests = ends.filter(is_tests).map(str::len).next().unwrap_or_default();
    let code = text[..text.len() - tests].lines();
    let code = code.filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| [line, "\n"]).collect()
}

/// The code of every room, without comments and tests.
fn rooms() -> BTreeMap<String, String> {
    let sources_root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&sources_root, &mut files);
    let mut rooms: BTreeMap<String, String> = BTreeMap::new();
    for file in files {
        if file.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        let code = code_of(&fs::read_to_string(&file).unwrap());
        let first = file.strip_prefix(&sources_root).unwrap().components().next().unwrap();
        let room = Path::new(first.as_os_str()).file_stem().unwrap().to_str().unwrap().to_owned();
        rooms.entry(room).or_default().push_str(&code);
    }
    rooms
}

fn height(room: &str) -> Option<usize> {
    ROOMS.iter().position(|row| row.contains(&room))
}

/// The rooms that `code` names as `crate::room` or within `use crate::{room, …}`.
fn used_rooms(code: &str) -> Vec<String> {
    let mut used = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        assert!(!rest.starts_with('{'), "write `use crate::room::…`, one line a room");
        used.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
    }
    used
}

#[test]
fn a_room_uses_only_rooms_below_it() {
    for (room, code) in rooms() {
        if room == "lib" || room == "main" {
            continue;
        }
        let own = height(&room).unwrap_or_else(|| panic!("the room {room} has no place"));
        for used in used_rooms(&code) {
            let below = height(&used).unwrap_or_else(|| panic!("{room} uses the unknown {used}"));
            let is_error_in_model = used == "model" && room == "error";
            assert!(
                below < own || used == room || is_error_in_model,
                "{room} uses {used}, which does not stand below it"
            );
        }
    }
}

#[test]
fn a_crate_of_one_room_is_named_nowhere_else() {
    for (room, code) in rooms() {
        for (name, owners) in OWNED_CRATES {
            let named = [format!("{name}::"), format!("use {name};")];
            assert!(
                owners.contains(&room.as_str()) || !named.iter().any(|name| code.contains(name)),
                "{room} names {name}"
            );
        }
    }
}

/// What of the rooms below it the HTTP server may name: nothing of keys, callers or the API.
const SERVER_USES: &[&str] = &[
    "config::secret::read_private_text",
    "config::{CertificateFiles, KeyExchange, SecretError}",
    "model::AddressRange;",
    "model::clock;",
    "model::{AddressRange, clock, source_of}",
    "model::{Time, clock}",
    "model::{clock, source_of}",
    "server::",
    "telemetry::{Counter, Family, Gauge, NoLabels, label_sets, metrics}",
    "telemetry::Counter",
];

#[test]
fn the_http_server_knows_nothing_of_what_is_served() {
    let code = &rooms()["server"];
    for (at, _) in code.match_indices("crate::") {
        let used = &code[at + "crate::".len()..];
        let is_allowed = SERVER_USES.iter().any(|allowed| used.starts_with(allowed));
        assert!(is_allowed, "server uses {}", used.lines().next().unwrap());
    }
}

/// A room counts in its own metrics. Only `app` registers them, in one registry; another room may
/// name them as unregistered ones.
#[test]
fn the_metrics_of_a_room_are_used_by_that_room() {
    let rooms = rooms();
    let mut owners = BTreeMap::new();
    for (room, code) in &rooms {
        for (_, rest) in code.match_indices("metrics! {").map(|(at, _)| code.split_at(at)) {
            let name = rest.split("pub struct ").nth(1).unwrap().split(' ').next().unwrap();
            owners.insert(name, room);
        }
    }
    assert!(owners.len() >= 9, "only {} rooms declare metrics", owners.len());
    for (room, code) in rooms.iter().filter(|(room, _)| *room != "app") {
        assert!(!code.contains("Registry::default()"), "{room} makes a registry of metrics");
        for (name, owner) in owners.iter().filter(|(_, owner)| **owner != room) {
            let used = code.matches(name).count();
            let unregistered = code.matches(&format!("{name}::default()")).count();
            assert_eq!(used, unregistered, "{room} uses {name} of {owner}");
        }
    }
    let is_static = |line: &&str| line.split(' ').any(|word| word == "static");
    let types = ["Metrics", "Registry", "Counter", "Gauge", "Family", "Throttled"];
    for (room, code) in &rooms {
        let mut statics = code.lines().filter(is_static);
        let global = statics.find(|line| types.iter().any(|name| line.contains(name)));
        assert_eq!(global, None, "{room} has global metrics");
    }
}

#[test]
fn no_code_reads_the_value_of_a_key() {
    for (room, code) in rooms() {
        for name in ["AttributeType::Value,", "AttributeType::Value]", "CKA_VALUE,"] {
            assert!(!code.contains(name), "{room} names {name}");
        }
    }
}

/// Conditions on the encryption context can only hold if the context is told when leave is asked.
#[test]
fn an_operation_with_an_encryption_context_asks_leave_in_it() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops"), &mut files);
    let mut checked = 0;
    for file in files {
        let code = fs::read_to_string(&file).unwrap();
        if code.contains(".aad_bytes()") {
            assert!(!code.contains("cx.key::") && !code.contains("cx.key("), "{}", file.display());
            checked += 1;
        }
    }
    assert!(checked >= 7, "only {checked} operations with a context were found");
}

/// A dry run cannot be executed past its checks because nothing else gives out what the keyring
/// demands for it.
#[test]
fn only_the_context_of_an_operation_gives_permission_to_execute() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    files.retain(|file| fs::read_to_string(file).unwrap().contains("Execution::unless"));
    let files: Vec<_> = files.iter().map(|file| file.to_string_lossy()).collect();
    assert!(files.len() == 1 && files[0].ends_with("src/ops/mod.rs"), "{files:?}");
}

#[test]
fn the_front_page_of_the_crate_and_the_page_of_architecture_have_one_picture() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let front = fs::read_to_string(root.join("src/lib.rs")).unwrap();
    let lines = front.lines().filter_map(|line| line.strip_prefix("//!"));
    let front: String =
        lines.flat_map(|line| [line.strip_prefix(' ').unwrap_or(line), "\n"]).collect();
    let page = fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let picture = |text: &str| {
        let (_, rest) = text.split_once("```text\n").unwrap();
        rest.split_once("```").unwrap().0.to_owned()
    };
    assert_eq!(picture(&front), picture(&page));
}

/// The path of a module: `["token", "objects", "query"]`.
type Module = Vec<String>;

/// The code of every file without comments and tests, by the path of its module.
fn modules() -> BTreeMap<Module, String> {
    let sources_root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&sources_root, &mut files);
    let module_of = |file: &Path| {
        let path = file.strip_prefix(&sources_root).unwrap().with_extension("");
        let names = path.iter().map(|name| name.to_str().unwrap().to_owned());
        names.filter(|name| name != "mod").collect()
    };
    files
        .iter()
        .map(|file| (module_of(file), code_of(&fs::read_to_string(file).unwrap())))
        .collect()
}

/// The parts of a path, `super::a::B` as `["super", "a", "B"]`.
fn path(text: &str) -> Vec<String> {
    let text = text.split(" as ").next().unwrap();
    text.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// The paths in the tree of a `use` declaration, such as `a::{b, c::{d, e}}`.
fn paths_of_use(tree: &str) -> Vec<Vec<String>> {
    let Some((prefix, rest)) = tree.split_once('{') else { return vec![path(tree)] };
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let mut depth = 0;
    let branches = inner.split(|c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    let below = branches.filter(|branch| !branch.trim().is_empty()).flat_map(paths_of_use);
    below.map(|below| [path(prefix), below].concat()).collect()
}

/// The `use` declarations of a file, with whether each re-exports its names.
fn uses(code: &str) -> Vec<(bool, Vec<String>)> {
    let statements = code.split(';').filter_map(|statement| {
        let (before, tree) = statement.rsplit_once("use ")?;
        let before = before.rsplit(['\n', '}', '{']).next()?.trim();
        (before.is_empty() || before.starts_with("pub")).then_some((!before.is_empty(), tree))
    });
    let paths = |(is_pub, tree)| paths_of_use(tree).into_iter().map(move |path| (is_pub, path));
    statements.flat_map(paths).collect()
}

/// The paths in code outside of `use` declarations.
fn inline_paths(code: &str) -> Vec<Vec<String>> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = code.split(|c| !is_part(c));
    let prefixes = ["crate::", "super::", "self::"];
    let paths = words.filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix)));
    paths.map(path).collect()
}

/// The code of files, by the paths of their modules.
///
/// A file uses the file that defines a name: a name that a `mod.rs` re-exports from a child counts as
/// the child's. A `mod.rs` may use its children and they may use its types, because it declares,
/// re-exports and calls them; this use does not count.
struct Files(BTreeMap<Module, String>);

impl Files {
    /// The file that a path in a module refers to.
    fn target(&self, from: &Module, path: &[String]) -> Option<Module> {
        let (mut at, rest) = match path.first()?.as_str() {
            "crate" => (Module::new(), &path[1..]),
            "self" => (from.clone(), &path[1..]),
            _ => (from.clone(), path),
        };
        for (index, part) in rest.iter().enumerate() {
            let below = [at.as_slice(), std::slice::from_ref(part)].concat();
            if part == "super" {
                at.pop();
            } else if self.0.contains_key(&below) {
                at = below;
            } else if let Some(behind) = self.re_exported(&at, part) {
                return self.target(&at, &[behind.as_slice(), &rest[index + 1..]].concat());
            } else {
                break;
            }
        }
        Some(at).filter(|at| self.0.contains_key(at))
    }

    /// The path of a name that a module re-exports from its children.
    fn re_exported(&self, module: &Module, name: &str) -> Option<Vec<String>> {
        let re_exported = uses(self.0.get(module)?).into_iter().filter(|(is_pub, _)| *is_pub);
        let mut paths = re_exported.map(|(_, path)| path);
        paths.find(|path| {
            let is_child = |child: &String| {
                self.0.contains_key(&[module.as_slice(), std::slice::from_ref(child)].concat())
            };
            let first = path.iter().find(|part| *part != "self");
            path.last().is_some_and(|last| last == name)
                && path.len() > 1
                && first.is_some_and(is_child)
        })
    }

    /// The files of its room that a file uses, without its children.
    fn used_by(&self, module: &Module) -> Vec<Module> {
        let code = &self.0[module];
        let paths = uses(code).into_iter().map(|(_, path)| path).chain(inline_paths(code));
        let targets = paths.filter_map(|path| self.target(module, &path));
        targets.filter(|used| used.first() == module.first() && !used.starts_with(module)).collect()
    }

    /// An import cycle, if there is one.
    fn cycle(&self) -> Option<Vec<String>> {
        let mut used: BTreeMap<_, _> =
            self.0.keys().map(|file| (file, self.used_by(file))).collect();
        // A file that uses none of the remaining files is in no cycle.
        while let Some(free) =
            used.iter().find(|(_, uses)| !uses.iter().any(|one| used.contains_key(one)))
        {
            let free = *free.0;
            used.remove(free);
        }
        let mut at = *used.keys().next()?;
        let mut visited = Vec::new();
        while !visited.contains(&at) {
            visited.push(at);
            at =
                used[at].iter().find_map(|next| used.get_key_value(next)).map(|(next, _)| *next)?;
        }
        let start = visited.iter().position(|file| *file == at)?;
        Some(visited[start..].iter().map(|file| file.join("::")).collect())
    }
}

#[test]
fn no_files_of_a_room_form_an_import_cycle() {
    let cycle = Files(modules()).cycle();
    assert!(cycle.is_none(), "these files form an import cycle: {cycle:?}");
}

#[test]
fn an_import_cycle_is_found_through_re_exports() {
    let files = |sources: &[(&str, &str)]| {
        Files(sources.iter().map(|(module, code)| (path(module), (*code).to_owned())).collect())
    };
    let room = "mod a;\nmod b;\npub use self::a::{A, Other};\n";
    let cycle = [("room", room), ("room::a", "use super::b::B;"), ("room::b", "use super::A;")];
    assert_eq!(files(&cycle).cycle().unwrap(), ["room::a", "room::b"]);
    let inline = [("room::a", "fn a() { super::b::b() }"), ("room::b", "use crate::room::{a::A};")];
    assert!(files(&[&[("room", "mod a;\nmod b;\n")][..], &inline].concat()).cycle().is_some());
    let down = [("room", room), ("room::a", "use super::Here;"), ("room::b", "use super::a::A;")];
    assert_eq!(files(&down).cycle(), None);
}
