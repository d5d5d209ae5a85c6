//! The recipes of the containers. Their steps run in a chroot: the machines of the tests have no container
//! engine.

use std::fmt::Write as _;
use std::fs;

use crate::built::Built;
use crate::chroot::Chroot;

/// The steps of a recipe as a script, which ends with its program in the background.
fn steps(recipe: &str) -> String {
    let text = fs::read_to_string(recipe).unwrap();
    let (mut script, mut user) = (String::new(), "root");
    let (mut entry, mut command) = (String::new(), String::new());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (instruction, rest) = line.split_once(' ').unwrap();
        let words = || serde_json::from_str::<Vec<String>>(rest).unwrap().join(" ");
        match instruction {
            "FROM" | "EXPOSE" | "VOLUME" => {}
            // The package lies there.
            "COPY" => assert_eq!(rest, "hsmgate_*.deb /srv/"),
            "RUN" => {
                // The chroot has no network, and contains SoftHSM2.
                let run = rest
                    .replace(
                        "apt-get update && apt-get install -y --no-install-recommends",
                        "dpkg -i",
                    )
                    .replace(" softhsm2", "")
                    .replace(" /srv/*", "");
                writeln!(script, "({run}) >&2").unwrap();
            }
            "USER" => user = rest,
            "WORKDIR" => writeln!(script, "cd {rest}").unwrap(),
            "ENTRYPOINT" => entry = words(),
            "CMD" => command = words(),
            _ => panic!("{line}"),
        }
    }
    format!(
        "{script}start() {{ runuser -u {user} -- {entry} \"$@\"; }}\nstart {command} 2> /srv/log &\n"
    )
}

#[test]
fn the_recipe_for_development_serves_beyond_loopback() {
    let Some(chroot) = Chroot::new() else { return };
    chroot.add(&Built::get().with_suffix(".deb"));
    let told = chroot.run(&format!(
        "export HSMGATE_DEV_ACCESS_KEY_ID=ci HSMGATE_DEV_ACCESS_KEY_SECRET=secret
         {}
         hsmgate ready
         hsmgate ready --url http://127.0.0.1:8201
         ip address add 10.1.2.3/32 dev lo
         export HSMGATE_ENDPOINT=http://10.1.2.3:8200 HSMGATE_ACCESS_KEY_ID=ci HSMGATE_ACCESS_KEY_SECRET=secret
         echo hello | hsmgate encrypt alias/demo | hsmgate decrypt",
        steps("packaging/container/Containerfile.dev")
    ));
    assert_eq!(told.trim().lines().last(), Some("hello"), "{told}");
}

#[test]
fn the_recipe_for_production_serves_as_its_own_user() {
    let Some(chroot) = Chroot::new() else { return };
    chroot.add(&Built::get().with_suffix(".deb"));
    // The mounts of a container: configuration, PINs, and the token of a module.
    let script = steps("packaging/container/Containerfile").replace(
        "start serve",
        "(
            sed -i 's/^account = .*/account = \"1234567890123457\"/' /etc/hsmgate/hsmgate.toml
            for name in pin so-pin; do printf 1234567890 | install -o hsmgate -m 600 /dev/stdin /etc/hsmgate/$name; done
            usermod -aG softhsm hsmgate
            start init --so-pin-file /etc/hsmgate/so-pin
         ) >&2
         start serve",
    );
    let told = chroot.run(&format!("{script}\nhsmgate ready\nps -o user= -C hsmgate | sort -u"));
    assert!(told.lines().any(|line| line == "hsmgate"), "{told}");
    assert!(!told.lines().any(|line| line == "root"), "{told}");
}
