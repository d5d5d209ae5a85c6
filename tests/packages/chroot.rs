//! A chroot over the files of this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::output_of;

/// Mounts the layers in $1, and runs the script $2 in them, with a loopback network of its own. What the
/// script starts ends with it.
const ENTER: &str = r#"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
    mount -t proc proc "$1/root/proc"
    mount --rbind /dev "$1/root/dev"
    mount -t tmpfs tmpfs "$1/root/run"
    ip link set lo up
    exec chroot "$1/root" /bin/sh -euc "$2"
"#;

/// Files of this machine, with changes of its own.
pub(crate) struct Chroot {
    layers: TempDir,
}

impl Chroot {
    /// `None`, with a line that says why, if this machine does not allow one.
    pub(crate) fn new() -> Option<Self> {
        let layers = TempDir::new_in("/dev/shm").unwrap();
        for name in ["upper", "work", "root"] {
            fs::create_dir(layers.path().join(name)).unwrap();
        }
        let chroot = Self { layers };
        let outcome = chroot.command("true").output().unwrap();
        if outcome.status.success() {
            return Some(chroot);
        }
        println!(
            "skipped: no chroot (it needs root, namespaces and overlayfs): {}",
            String::from_utf8_lossy(&outcome.stderr)
        );
        None
    }

    /// Copies a file into it.
    pub(crate) fn add(&self, file: &Path) -> PathBuf {
        let name = file.file_name().unwrap();
        let directory = self.layers.path().join("upper/srv");
        fs::create_dir_all(&directory).unwrap();
        fs::copy(file, directory.join(name)).unwrap();
        Path::new("/srv").join(name)
    }

    /// Runs a script as root, and gives its standard output.
    pub(crate) fn run(&self, script: &str) -> String {
        // What a gateway in the background has said, if the script fails.
        let report = "trap 'test $? = 0 || cat /srv/log >&2' EXIT\n";
        output_of(&mut self.command(&format!("{report}{script}")))
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "/bin/sh",
            "-euc",
            ENTER,
            "enter",
        ]);
        command
            .arg(self.layers.path())
            .arg(script)
            .env_clear()
            .env("LANG", "C.UTF-8")
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }
}
