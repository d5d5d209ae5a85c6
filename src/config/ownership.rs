//! Checks whether other users can change a file that the gateway trusts.
//!
//! Other users are all except root, the user of this process and, if root runs it, the owner of the
//! file. A group may write if it is root's, one of this process's groups, or the private group of
//! the file's owner, which has the owner's number.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A file or directory that other users can change.
#[derive(Debug, thiserror::Error)]
pub enum InsecurePermissions {
    /// It is world-writable.
    #[error("{} is writable by all users (mode {mode:03o}): run chmod o-w on it", path.display())]
    World {
        /// Its path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A group can write to it that is neither root's nor this process's.
    #[error(
        "{} is writable by group {gid} (mode {mode:03o}): run chmod g-w on it", path.display()
    )]
    Group {
        /// Its path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its group.
        gid: u32,
    },
    /// Another user owns it.
    #[error("{} belongs to another user (uid {uid}): run chown on it", path.display())]
    Owner {
        /// Its path.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
}

/// The process whose access is compared.
#[derive(Debug)]
struct Process {
    uid: u32,
    /// Its group and supplementary groups.
    groups: Vec<u32>,
}

impl Process {
    fn this() -> Self {
        let besides = rustix::process::getgroups().unwrap_or_default();
        let groups = std::iter::once(rustix::process::getegid()).chain(besides);
        Self {
            uid: rustix::process::geteuid().as_raw(),
            groups: groups.map(rustix::process::Gid::as_raw).collect(),
        }
    }
}

/// Maximum number of links to follow in a path.
const MAX_LINKS: usize = 40;

/// How this process uses a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It reads the file. Root, who runs commands for the gateway's user, may read that user's
    /// files.
    Data,
    /// It executes the file, so the owner must be trusted.
    Code,
}

/// Refuses a file or directory that other users can change, or whose path has a directory in which
/// every user can replace entries. For a symbolic link, checks the target and the directories of
/// both. A missing file is accepted.
///
/// # Errors
/// When other users can change it.
pub fn check_permissions(path: &Path, role: Role) -> Result<(), InsecurePermissions> {
    // A file that this process cannot access causes an error when it is opened.
    let Ok(real) = path.canonicalize() else { return Ok(()) };
    let Ok(metadata) = real.metadata() else { return Ok(()) };
    check(&real, &metadata, role, &Process::this())?;
    check_directories_of(&real)?;
    let Ok(mut link) = std::path::absolute(path) else { return Ok(()) };
    for _link in 0..MAX_LINKS {
        check_directories_of(&link)?;
        let Ok(target) = link.read_link() else { break };
        link = link.parent().unwrap_or(Path::new("/")).join(target);
    }
    Ok(())
}

/// Refuses a path with a directory in which every user can replace entries. In a sticky directory
/// such as /tmp, users can replace only their own entries.
fn check_directories_of(path: &Path) -> Result<(), InsecurePermissions> {
    for directory in path.ancestors().skip(1) {
        let mode = directory.metadata().map_or(0, |metadata| metadata.mode());
        if mode & 0o1002 == 0o002 {
            return Err(InsecurePermissions::World {
                path: directory.to_owned(),
                mode: mode & 0o777,
            });
        }
    }
    Ok(())
}

fn check(
    path: &Path,
    metadata: &Metadata,
    role: Role,
    process: &Process,
) -> Result<(), InsecurePermissions> {
    let (mode, uid, gid) = (metadata.mode(), metadata.uid(), metadata.gid());
    let path = || path.to_owned();
    if mode & 0o002 != 0 {
        return Err(InsecurePermissions::World { path: path(), mode: mode & 0o777 });
    }
    let is_trusted_group = gid == 0 || process.groups.contains(&gid) || gid == uid;
    if mode & 0o020 != 0 && !is_trusted_group {
        return Err(InsecurePermissions::Group { path: path(), mode: mode & 0o777, gid });
    }
    let may_belong_to_file_owner = role == Role::Data && process.uid == 0;
    if uid == 0 || uid == process.uid || may_belong_to_file_owner {
        return Ok(());
    }
    Err(InsecurePermissions::Owner { path: path(), uid })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use tempfile::TempDir;

    use super::*;

    fn refusal(path: &Path) -> String {
        check_permissions(path, Role::Data)
            .map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn a_world_writable_file_and_a_link_to_it_are_refused() {
        let directory = TempDir::new().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "").unwrap();
        symlink(&file, &link).unwrap();
        for (mode, is_fine) in
            [(0o600, true), (0o644, true), (0o664, true), (0o666, false), (0o602, false)]
        {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            for path in [&file, &link] {
                let told = refusal(path);
                assert_eq!(told.is_empty(), is_fine, "{mode:o}: {told}");
                assert!(is_fine || told.contains("chmod o-w"), "{told}");
            }
        }
        assert_eq!(refusal(&directory.path().join("absent")), "");
    }

    #[test]
    fn a_world_writable_directory_is_refused_unless_it_is_sticky() {
        let directory = TempDir::new().unwrap();
        let inner = directory.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let file = inner.join("file");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(&inner, Permissions::from_mode(0o777)).unwrap();
        assert!(refusal(&file).contains("inner is writable by all users"), "{}", refusal(&file));
        fs::set_permissions(&inner, Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(refusal(&file), "");
        // As the state directory it is refused nevertheless.
        assert!(refusal(&inner).contains("all users"));
    }

    #[test]
    fn every_directory_of_the_path_and_of_a_link_is_checked() {
        let directory = TempDir::new().unwrap();
        let (outer, inner) = (directory.path().join("outer"), directory.path().join("outer/inner"));
        fs::create_dir_all(&inner).unwrap();
        let file = inner.join("file");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let links = directory.path().join("links");
        fs::create_dir(&links).unwrap();
        let (link, other) = (links.join("link"), directory.path().join("other"));
        symlink("../outer/inner/file", &link).unwrap();
        symlink(&link, &other).unwrap();
        for path in [&file, &link, &other] {
            assert_eq!(refusal(path), "");
        }
        let open = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
        open(&links);
        assert_eq!(refusal(&file), "");
        for path in [&link, &other] {
            assert!(refusal(path).contains("links is writable by all users"), "{path:?}");
        }
        fs::set_permissions(&links, Permissions::from_mode(0o755)).unwrap();
        open(&outer);
        for path in [&file, &link, &other] {
            assert!(refusal(path).contains("outer is writable by all users"), "{path:?}");
        }
    }

    #[test]
    fn groups_and_owners_are_compared_with_the_process() {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        if chown(&file, Some(4321), Some(1234)).is_err() {
            println!("not run: changing the owner of files needs root");
            return;
        }
        let asked_in = |mode, role, uid, groups: &[u32]| {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let process = Process { uid, groups: groups.to_vec() };
            check(&file, &file.metadata().unwrap(), role, &process).is_ok()
        };
        let asked = |mode, role, uid, gid| asked_in(mode, role, uid, &[gid]);
        assert!(asked(0o644, Role::Data, 4321, 1));
        assert!(asked(0o644, Role::Code, 4321, 1));
        assert!(!asked(0o644, Role::Data, 99, 1), "file of another user");
        assert!(asked(0o644, Role::Data, 0, 0), "root runs a command for the gateway's user");
        assert!(!asked(0o644, Role::Code, 0, 0), "root executes only its own code");
        assert!(!asked(0o664, Role::Data, 4321, 1), "a foreign group");
        assert!(asked(0o664, Role::Data, 4321, 1234), "the process's own group");
        assert!(
            asked_in(0o664, Role::Data, 4321, &[1, 1234]),
            "a supplementary group of the process"
        );
        chown(&file, Some(4321), Some(4321)).unwrap();
        assert!(asked(0o664, Role::Data, 0, 0), "a private group");
        chown(&file, Some(4321), Some(0)).unwrap();
        assert!(asked(0o664, Role::Data, 4321, 1), "root's group, as in an image");
    }
}
