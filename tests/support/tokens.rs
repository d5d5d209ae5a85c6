//! The tokens that tests run on, beside SoftHSM2 itself: `tests/tokens/setup.sh` provides them.
//!
//! openCryptoki and p11-kit are in a tree of Debian 13, and so are the programs that use them: a process
//! of `tests/tokens/serve.sh` has the token, and its namespaces and root are theirs.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::softhsm;

/// PINs that every token accepts: those of openCryptoki have at most eight characters.
pub(crate) const PIN: &str = "648219";
pub(crate) const SO_PIN: &str = "7315508";

const KRYOPTIC: &str = "kryoptic/debug/libkryoptic_token.so";
/// A tree of Debian 13.
const TREE: &str = "debian-13";
// Names of libraries below the directory of the processor's architecture.
const NSS: &str = "libsoftokn3.so";
const OPENCRYPTOKI: &str = "opencryptoki/libopencryptoki.so.0";
const REMOTE_MODULE: &str = "pkcs11/p11-kit-client.so";
const PROXY: &str = "p11-kit-proxy.so";
const PROXY_MODULES: &str = "/usr/share/p11-kit/modules";

/// A PKCS#11 product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Product {
    SoftHsm,
    Kryoptic,
    /// The soft token of NSS, without its library.
    Nss,
    /// The soft token of openCryptoki.
    OpenCryptoki,
    /// SoftHSM2 behind a socket of p11-kit.
    Remote,
}

/// A token of one test. It is removed with its directory.
pub(crate) struct TestToken {
    pub(crate) product: Product,
    /// The PKCS#11 module, for programs that [`TestToken::command`] starts.
    pub(crate) module: PathBuf,
    /// The string of C_Initialize, for modules that need one.
    pub(crate) init_arguments: Option<String>,
    /// Whether it has the label and the PINs; otherwise C_InitToken gives them.
    pub(crate) is_initialized: bool,
    environment: Vec<(&'static str, PathBuf)>,
    /// The directory with a configuration of p11-kit, for programs that cannot give the string.
    proxy: Option<PathBuf>,
    served: Option<Served>,
}

/// A token in the Debian 13 tree, until this is dropped.
struct Served {
    process: Child,
    /// Its end ends the process, also when this process is killed.
    stdin: Option<ChildStdin>,
}

impl Product {
    pub(crate) const ALL: [Self; 5] =
        [Self::SoftHsm, Self::Kryoptic, Self::Nss, Self::OpenCryptoki, Self::Remote];

    /// Its name in the documentation, in the names of files and in variables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::SoftHsm => "softhsm2",
            Self::Kryoptic => "kryoptic",
            Self::Nss => "nss",
            Self::OpenCryptoki => "opencryptoki",
            Self::Remote => "p11-kit",
        }
    }

    /// Whether it, or pkcs11-tool with it, runs in namespaces of its own.
    const fn needs_namespaces(self) -> bool {
        matches!(self, Self::Nss | Self::OpenCryptoki | Self::Remote)
    }

    /// Whether it is installed and can be used. If it is not, this prints a line; with `CI` set it fails.
    pub(crate) fn is_installed(self) -> bool {
        let missing = match self {
            Self::SoftHsm => None,
            Self::Kryoptic => is_missing(&installed(KRYOPTIC)),
            Self::Nss => is_missing(&library_in("/".as_ref(), NSS)),
            Self::OpenCryptoki | Self::Remote => is_missing(&installed(TREE).join("packages")),
        };
        let line = match missing {
            Some(missing) => {
                format!("{} is not there; make setup-tokens provides it", missing.display())
            }
            None if self.needs_namespaces() && !may_make_namespaces() => {
                "this user may not make mount namespaces; root may".to_owned()
            }
            None => return true,
        };
        assert!(std::env::var_os("CI").is_none(), "{line}");
        println!("skipped on {}: {line}", self.name());
        false
    }
}

/// Whether this process may have a token, or pkcs11-tool, in namespaces of its own.
fn may_make_namespaces() -> bool {
    let tried = Command::new("unshare").args(["--mount", "--ipc", "true"]).output();
    tried.is_ok_and(|tried| tried.status.success())
}

impl TestToken {
    /// A token with its state in a directory.
    pub(crate) fn new(product: Product, directory: &Path, label: &str) -> Self {
        let mut token = Self {
            product,
            module: PathBuf::new(),
            init_arguments: None,
            is_initialized: false,
            environment: Vec::new(),
            proxy: None,
            served: None,
        };
        match product {
            Product::SoftHsm => {
                token.module = softhsm::module();
                token.environment = vec![("SOFTHSM2_CONF", softhsm::configure(directory))];
            }
            Product::Kryoptic => {
                token.module = installed(KRYOPTIC);
                token.environment = vec![("KRYOPTIC_CONF", configure_kryoptic(directory))];
            }
            Product::Nss => {
                token.module = library_in("/".as_ref(), NSS);
                let arguments = create_nss_database(directory, label);
                token.proxy = Some(configure_proxy(directory, &token.module, &arguments));
                token.init_arguments = Some(arguments);
                token.is_initialized = true;
            }
            Product::OpenCryptoki => {
                token.module = library_in(&installed(TREE), OPENCRYPTOKI);
                token.serve(directory, label);
            }
            Product::Remote => {
                token.module = library_in(&installed(TREE), REMOTE_MODULE);
                let socket = directory.join("p11-kit.socket");
                let address = format!("unix:path={}", socket.display());
                token.environment = vec![("P11_KIT_SERVER_ADDRESS", address.into())];
                token.serve(directory, label);
            }
        }
        token
    }

    /// SoftHSM2 with a configuration that is there.
    pub(crate) fn of_softhsm(configuration: PathBuf) -> Self {
        Self {
            product: Product::SoftHsm,
            module: softhsm::module(),
            init_arguments: None,
            is_initialized: true,
            environment: vec![("SOFTHSM2_CONF", configuration)],
            proxy: None,
            served: None,
        }
    }

    /// Starts a token in the tree.
    fn serve(&mut self, directory: &Path, label: &str) {
        let (root, target) = (Path::new(env!("CARGO_MANIFEST_DIR")), target());
        let mut process = Command::new("unshare")
            .args(["--mount", "--ipc"])
            .arg(root.join("tests/tokens/serve.sh"))
            .arg(installed(TREE))
            .args([self.product.name(), label, PIN, SO_PIN])
            .args([directory, root, target])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = process.stdin.take();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.served = Some(Served { process, stdin });
        assert_eq!(line, "ready\n", "{} cannot be served", self.product.name());
        self.is_initialized = true;
    }

    /// The environment variables that the module needs.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.environment.iter().map(|(name, value)| (*name, value.as_path()))
    }

    /// A program where the token is, without the token's environment variables.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.command_under(&[], program)
    }

    /// pkcs11-tool with the module of the token. It cannot give a string to C_Initialize: p11-kit gives it,
    /// whose configuration is in a fixed place, which the mount namespace of the program replaces.
    pub(crate) fn pkcs11_tool(&self) -> Command {
        let (mut command, module) = if let Some(directory) = &self.proxy {
            let bind = format!("mount --bind \"$0\" {PROXY_MODULES} && exec pkcs11-tool \"$@\"");
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", &bind]).arg(directory);
            (command, library_in("/".as_ref(), PROXY))
        } else {
            (self.command("pkcs11-tool"), self.module.clone())
        };
        command.envs(self.environment()).arg("--module").arg(module);
        command
    }

    /// pkcs11-tool that lists all objects of the token with this label.
    pub(crate) fn object_listing(&self, label: &str, pin: &str) -> Command {
        let mut command = self.pkcs11_tool();
        command.args(["--token-label", label, "--login", "--pin", pin, "--list-objects"]);
        command
    }

    /// As [`TestToken::command`], executed by another program (`prlimit` for instance).
    pub(crate) fn command_under(&self, starter: &[&str], program: impl AsRef<OsStr>) -> Command {
        let enter = self.served.as_ref().map_or_else(Vec::new, Served::enter);
        let mut words = enter.iter().map(String::as_str).chain(starter.iter().copied());
        let Some(first) = words.next() else { return Command::new(program) };
        let mut command = Command::new(first);
        command.args(words).arg(program);
        command
    }
}

impl Served {
    /// The command that enters the root and the namespaces of the token. It executes a program without
    /// another process.
    fn enter(&self) -> Vec<String> {
        let target = self.process.id().to_string();
        ["nsenter", "--target", &target, "--mount", "--ipc", "--root", "--wd"]
            .map(str::to_owned)
            .to_vec()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stdin.take());
        self.process.wait().ok();
    }
}

/// The directory that cargo builds in.
fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}

fn installed(path: &str) -> PathBuf {
    target().join("tokens").join(path)
}

/// The path, in a tree, of a library in the directory of an architecture, such as
/// `/usr/lib/aarch64-linux-gnu`. A library that is not there has a path where it could be.
fn library_in(tree: &Path, name: &str) -> PathBuf {
    const LIBRARIES: &str = "usr/lib";
    let directories = fs::read_dir(tree.join(LIBRARIES)).into_iter().flatten().flatten();
    let names =
        directories.map(|directory| Path::new("/").join(LIBRARIES).join(directory.file_name()));
    let is_there = |directory: &PathBuf| {
        let inside = directory.strip_prefix("/").unwrap_or(directory);
        tree.join(inside).join(name).exists()
    };
    names.into_iter().find(is_there).unwrap_or_else(|| Path::new("/").join(LIBRARIES)).join(name)
}

fn is_missing(path: &Path) -> Option<PathBuf> {
    (!path.exists()).then(|| path.to_owned())
}

fn configure_kryoptic(directory: &Path) -> PathBuf {
    let file = directory.join("kryoptic.conf");
    let database = directory.join("kryoptic.sql");
    let text =
        format!("[[slots]]\nslot = 1\ndbtype = \"sqlite\"\ndbargs = \"{}\"\n", database.display());
    fs::write(&file, text).unwrap();
    file
}

/// Creates a database with the PIN, and returns the string of C_Initialize that names it.
fn create_nss_database(directory: &Path, label: &str) -> String {
    let (database, pin) = (directory.join("nss"), directory.join("nss-pin"));
    fs::create_dir(&database).unwrap();
    fs::write(&pin, PIN).unwrap();
    let database = format!("sql:{}", database.display());
    let status =
        Command::new("certutil").args(["-N", "-d", &database, "-f"]).arg(&pin).status().unwrap();
    assert!(status.success(), "certutil creates no database: {status}");
    format!("configdir='{database}' secmod='secmod.db' dbTokenDescription='{label}'")
}

/// A configuration of p11-kit with one module, which has a string for C_Initialize.
fn configure_proxy(directory: &Path, module: &Path, arguments: &str) -> PathBuf {
    let modules = directory.join("p11-kit");
    fs::create_dir(&modules).unwrap();
    let text = format!("module: {}\nx-init-reserved: {arguments}\n", module.display());
    fs::write(modules.join("token.module"), text).unwrap();
    modules
}
