//! Whether a file that the gateway believes can be changed by others.
//!
//! Others are all users but root, the user of this process and, where root runs it, the owner of the
//! file. A group may write when it is root's, one of those of this process, or the private group of the
//! file's owner, which has the number of the user.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A file or directory that others can change.
#[derive(Debug, thiserror::Error)]
pub enum InsecurePermissions {
    /// World may write to it.
    #[error("{} can be changed by everybody (mode {mode:03o}): chmod o-w it", path.display())]
    World {
        /// It.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A group may write to it that is neither root's nor this process's.
    #[error(
        "{} can be changed by the group {gid} (mode {mode:03o}): chmod g-w it", path.display()
    )]
    Group {
        /// It.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its group.
        gid: u32,
    },
    /// Another user owns it.
    #[error("{} belongs to another user (uid {uid}): chown it", path.display())]
    Owner {
        /// It.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
}

/// Who asks.
#[derive(Debug)]
struct Process {
    uid: u32,
    /// Its group, and those that it is in besides.
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

/// The most links that a path is followed through.
const MAX_LINKS: usize = 40;

/// What a file is to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It is read: root, who runs commands for the user of the gateway, may read that user's.
    Data,
    /// It is run, so nobody else's will do.
    Code,
}

/// Refuses what others can change: the file or directory, and any directory on the way to it in which
/// everybody can exchange what leads there. Of a symbolic link the target is judged, and the directories
/// of both. What is not there is no fault here.
///
/// # Errors
/// When others can change it.
pub fn check_permissions(path: &Path, role: Role) -> Result<(), InsecurePermissions> {
    // Who may not look at it is told so by whoever opens it.
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

/// Refuses a path with a directory in which everybody can exchange what is in it. In a sticky one, such
/// as /tmp, everybody exchanges only what is their own.
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
    fn what_everybody_may_write_is_refused_and_so_is_a_link_to_it() {
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
    fn a_directory_in_which_everybody_may_exchange_it_is_refused_unless_it_is_sticky() {
        let directory = TempDir::new().unwrap();
        let inner = directory.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let file = inner.join("file");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(&inner, Permissions::from_mode(0o777)).unwrap();
        assert!(refusal(&file).contains("inner can be changed by everybody"), "{}", refusal(&file));
        fs::set_permissions(&inner, Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(refusal(&file), "");
        // As the state directory it is refused all the same.
        assert!(refusal(&inner).contains("everybody"));
    }

    #[test]
    fn every_directory_on_the_way_is_judged_also_that_of_a_link() {
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
            assert!(refusal(path).contains("links can be changed by everybody"), "{path:?}");
        }
        fs::set_permissions(&links, Permissions::from_mode(0o755)).unwrap();
        open(&outer);
        for path in [&file, &link, &other] {
            assert!(refusal(path).contains("outer can be changed by everybody"), "{path:?}");
        }
    }

    #[test]
    fn groups_and_owners_are_judged_by_who_asks() {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        if chown(&file, Some(4321), Some(1234)).is_err() {
            println!("not run: to give files away needs root");
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
        assert!(!asked(0o644, Role::Data, 99, 1), "another user's");
        assert!(asked(0o644, Role::Data, 0, 0), "root runs a command for the gateway's user");
        assert!(!asked(0o644, Role::Code, 0, 0), "and runs nobody else's code");
        assert!(!asked(0o664, Role::Data, 4321, 1), "a group of others");
        assert!(asked(0o664, Role::Data, 4321, 1234), "the process's own group");
        assert!(
            asked_in(0o664, Role::Data, 4321, &[1, 1234]),
            "one that the process is in besides"
        );
        chown(&file, Some(4321), Some(4321)).unwrap();
        assert!(asked(0o664, Role::Data, 0, 0), "a private group");
        chown(&file, Some(4321), Some(0)).unwrap();
        assert!(asked(0o664, Role::Data, 4321, 1), "root's group, as in an image");
    }
}
