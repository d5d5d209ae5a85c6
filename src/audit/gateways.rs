//! The audit files of the gateways of a cluster. Each gateway has a chain of its own, and the opening
//! records of its files have its name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use super::line::{Line, is_opening};

/// The files of each gateway. A gateway outside a cluster has no name.
pub type FilesByGateway = BTreeMap<Option<String>, Vec<PathBuf>>;

/// What a file says about its gateway.
struct FileOfGateway {
    name: Option<String>,
    /// The number of its first record.
    first: Option<u64>,
}

/// Sorts audit files by the name of their gateway. Files from before a gateway had a name belong to the
/// only gateway whose named files do not begin with record 1.
///
/// # Errors
/// When one cannot be read.
pub fn by_gateway(files: &[PathBuf]) -> Result<FilesByGateway, (PathBuf, io::Error)> {
    let mut found = FilesByGateway::new();
    let mut firsts: BTreeMap<String, u64> = BTreeMap::new();
    for path in files {
        let file = FileOfGateway::read(path).map_err(|error| (path.clone(), error))?;
        if let (Some(name), Some(number)) = (&file.name, file.first) {
            let first = firsts.entry(name.clone()).or_insert(number);
            *first = number.min(*first);
        }
        found.entry(file.name).or_default().push(path.clone());
    }
    let mut later = firsts.iter().filter(|(_name, first)| **first > 1);
    let owner = match (firsts.len(), later.next(), later.next()) {
        (1, _, _) => firsts.first_key_value().map(|(name, _first)| name),
        (_, Some((name, _first)), None) => Some(name),
        _ => None,
    };
    if let Some(owner) = owner
        && let Some(unnamed) = found.remove(&None)
    {
        found.entry(Some(owner.clone())).or_default().extend(unnamed);
    }
    Ok(found)
}

impl FileOfGateway {
    fn read(path: &Path) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(256 * 1024, File::open(path)?);
        let mut file = Self { name: None, first: None };
        let (mut line, mut is_first) = (Vec::new(), true);
        while file.name.is_none() && reader.read_until(b'\n', &mut line)? > 0 {
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            if (is_first || is_opening(text))
                && let Some(parsed) = Line::parse(text)
            {
                file.name = parsed.frame.gateway;
                file.first = file.first.or(Some(parsed.frame.sequence));
            }
            is_first = false;
            line.clear();
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::chain::Head;
    use super::super::line::{self, Kind};
    use super::*;

    /// A file with an opening record after `before` and, in the middle, one of this gateway.
    fn write(directory: &Path, name: &str, before: u64, gateway: Option<&str>) -> PathBuf {
        let path = directory.join(name);
        let mut lines = Vec::new();
        let head = Head { sequence: before, ..Head::START };
        let opening = line::members(&json!({"reason": "start"}));
        let head = line::append(&mut lines, head, Kind::Open, &opening);
        let head = line::append(&mut lines, head, Kind::Event, &line::members(&json!({})));
        let named = gateway.map_or(json!({"reason": "start"}), |name| json!({"gateway": name}));
        line::append(&mut lines, head, Kind::Open, &line::members(&named));
        std::fs::write(&path, lines).unwrap();
        path
    }

    #[test]
    fn files_without_a_name_belong_to_the_gateway_that_continues_them() {
        let directory = tempfile::TempDir::new().unwrap();
        let file = |name: &str, before, gateway| write(directory.path(), name, before, gateway);
        let unnamed = file("1", 0, None);
        let (a, b) = (file("2", 3, Some("a")), file("3", 0, Some("b")));
        let sorted = |files: &[&PathBuf]| {
            let files: Vec<PathBuf> = files.iter().map(|file| (*file).clone()).collect();
            by_gateway(&files).unwrap().into_iter().collect::<Vec<_>>()
        };
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(sorted(&[&unnamed]), [(None, vec![unnamed.clone()])]);
        assert_eq!(
            sorted(&[&b, &unnamed, &a]),
            [(name("a"), vec![a.clone(), unnamed.clone()]), (name("b"), vec![b.clone()])]
        );
        assert_eq!(sorted(&[&unnamed, &b]), [(name("b"), vec![b.clone(), unnamed.clone()])]);
        let c = file("4", 7, Some("c"));
        let three = sorted(&[&unnamed, &a, &c]);
        assert_eq!(three.len(), 3, "two gateways could continue it: {three:?}");
    }
}
