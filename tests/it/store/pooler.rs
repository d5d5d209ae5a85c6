//! A store behind PgBouncer, with a real server.

use super::postgresql::configure;
use crate::support::installation::{AccessKey, Installation};
use crate::support::pgbouncer::{IGNORED, PgBouncer};
use crate::support::postgresql;

const MODE: &str = "pool_mode = transaction";

fn notify_url(url: &str) -> String {
    format!("notify_url = \"{url}\"\n")
}

#[test]
fn a_pooler_that_loses_sessions_is_refused_until_a_direct_way_is_named() {
    let database = postgresql::server().create_database();
    let init = |url: &str, further: &str| {
        let installation = Installation::new();
        configure(&installation, url, further);
        installation.init()
    };
    let pgbouncer = PgBouncer::start(&database, |text| *text = text.replace(IGNORED, ""));
    let refused = init(&pgbouncer.url_of(&database), "").failed(2);
    assert!(refused.contains("ignore_startup_parameters"), "{refused}");
    drop(pgbouncer);

    for pool_size in [1, 20] {
        let size = format!("default_pool_size = {pool_size}");
        let edit = |text: &mut String| *text = text.replace("default_pool_size = 20", &size);
        let pgbouncer = PgBouncer::start(&database, edit);
        let url = pgbouncer.url_of(&database);
        let refused = init(&url, "").failed(2);
        assert!(refused.contains("Set store.notify_url"), "{refused}");
        let refused = init(&url, &notify_url(&url)).failed(2);
        assert!(refused.contains("store.notify_url leads to a pooler"), "{refused}");
        let other = postgresql::server().create_database();
        let refused = init(&url, &notify_url(&other.url())).failed(2);
        assert!(refused.contains("another database"), "{refused}");
    }
    assert_eq!(database.execute("SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public'"), "0");

    let pgbouncer = PgBouncer::start(&database, |text| {
        *text = text.replace(MODE, "pool_mode = session");
    });
    let installation = Installation::new();
    configure(&installation, &pgbouncer.url_of(&database), "");
    AccessKey::of(&installation.init().json());
    let server = installation.serve();
    assert_eq!(server.stop(), Some(0));
}
