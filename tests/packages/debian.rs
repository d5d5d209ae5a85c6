//! The Debian package.

use std::fmt::Write as _;
use std::process::Command;

use crate::built::Built;
use crate::chroot::Chroot;
use crate::{code_after, output_of};

/// The account of the configuration.
const ACCOUNT: &str = "1234567890123457";

#[test]
fn lintian_finds_nothing() {
    let package = Built::get().with_suffix(".deb");
    let found = output_of(
        Command::new("lintian").args(["--allow-root", "--fail-on", "error,warning"]).arg(package),
    );
    assert!(!found.contains("E: ") && !found.contains("W: "), "{found}");
}

/// The commands of README.md, with what this machine has in place of a person, a network and systemd.
fn production_start(package: &str) -> String {
    let commands = code_after("README.md", "## A production start");
    let mut script = String::new();
    let mut replaced = 0;
    for line in commands.lines() {
        let command = line.split("  #").next().unwrap().trim();
        let instead = match command.split(' ').next().unwrap() {
            "apt-get" => format!("dpkg -i {package}"),
            "editor" => {
                format!(
                    "sed -i 's/^account = .*/account = \"{ACCOUNT}\"/' /etc/hsmgate/hsmgate.toml"
                )
            }
            "install" => format!("printf 1234567890 | {command}"),
            "runuser" => format!("{command} --json > /srv/access-key"),
            "systemctl" => String::from(
                "unit=/lib/systemd/system/hsmgate.service
                 test \"$(sed -n 's/^User=//p' $unit)\" = hsmgate
                 runuser -u hsmgate -- $(sed -n 's/^ExecStart=//p' $unit) 2> /srv/log &",
            ),
            _ => {
                writeln!(script, "{command}").unwrap();
                continue;
            }
        };
        replaced += 1;
        writeln!(script, "{instead}").unwrap();
    }
    assert_eq!(replaced, 6, "{commands}");
    script
}

#[test]
fn the_production_start_of_the_readme_leads_to_a_first_encryption() {
    let Some(chroot) = Chroot::new() else { return };
    let package = chroot.add(&Built::get().with_suffix(".deb"));
    let start = production_start(&package.display().to_string());
    let checkout = std::env::current_dir().unwrap().display().to_string();
    let encryption = format!(
        "{start}
        get() {{ sed 's/.*\"'$1'\":\"\\([^\"]*\\)\".*/\\1/' /srv/access-key; }}
        export HSMGATE_ENDPOINT=http://127.0.0.1:8200
        export HSMGATE_ACCESS_KEY_ID=$(get access_key_id) HSMGATE_ACCESS_KEY_SECRET=$(get access_key_secret)
        hsmgate key create --alias demo
        {checkout}/target/sdk/python/bin/python /usr/share/doc/hsmgate/examples/first_encryption.py
        ps -o user= -C hsmgate | sort -u > /srv/users
        grep -x hsmgate /srv/users && ! grep -x root /srv/users"
    );
    let told = chroot.run(&encryption);
    assert!(told.contains("decrypted: hello"), "{told}");
}

#[test]
fn an_upgrade_keeps_the_configuration_and_a_removal_keeps_the_keys() {
    let Some(chroot) = Chroot::new() else { return };
    let package = chroot.add(&Built::get().with_suffix(".deb"));
    let package = package.display();
    chroot.run(&format!(
        "dpkg -i {package}
         test -z \"$(find /etc/hsmgate /var/lib/hsmgate -perm /o=rwx)\"
         test \"$(stat -c '%a %U %G' /var/lib/hsmgate)\" = '700 hsmgate hsmgate'
         test \"$(stat -c '%a %U %G' /etc/hsmgate/hsmgate.toml)\" = '640 root hsmgate'
         runuser -u hsmgate -- hsmgate --version
         test -s /usr/share/man/man1/hsmgate-key-create.1.gz
         unit=/lib/systemd/system/hsmgate.service
         test -s \"$(sed -n 's,^Documentation=file://,,p' $unit)\"
         # A minimal system has no /bin/kill.
         sed -n 's/^ExecReload=//p' $unit | grep '^/bin/sh '
         bash -c '. /usr/share/bash-completion/completions/hsmgate && complete -p hsmgate'

         echo '# mine' >> /etc/hsmgate/hsmgate.toml
         touch /var/lib/hsmgate/hsmgate.db
         dpkg -i {package}
         grep '^# mine' /etc/hsmgate/hsmgate.toml

         dpkg -r hsmgate
         test ! -e /usr/bin/hsmgate
         test -e /etc/hsmgate/hsmgate.toml
         dpkg -P hsmgate
         test ! -e /etc/hsmgate/hsmgate.toml
         test -e /var/lib/hsmgate/hsmgate.db"
    ));
}

#[test]
fn systemd_accepts_the_unit_and_finds_it_closed() {
    let Some(chroot) = Chroot::new() else { return };
    let package = chroot.add(&Built::get().with_suffix(".deb"));
    let told = chroot.run(&format!(
        "dpkg -i {} >&2
         systemd-analyze verify --man=no /lib/systemd/system/hsmgate.service 2>&1
         systemd-analyze security --offline=true --threshold=20 /lib/systemd/system/hsmgate.service >&2
         logrotate --debug /etc/logrotate.d/hsmgate >&2",
        package.display()
    ));
    assert_eq!(told, "", "what systemd says of the unit");
}
