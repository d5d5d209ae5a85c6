//! The life of a gateway on each token: every kind of key, its use, imports, rotation, restarts, a kill,
//! due deletions, the doctor, and recovery after the loss of the database; between them, what another
//! program sees in the token.
//!
//! `results/` has what each product did; `UPDATE_DOCS=1` writes it, and `tests/docs` makes the table of
//! docs/tokens.md from it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on shall fail"
)]

mod crypto;
mod end;
mod imports;
mod keys;
mod life;
mod limits;
mod manners;
mod record;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;

use life::{Extent, Life};
use support::installation::Installation;
use support::tokens::Product;

async fn live(product: Product) {
    if product.is_installed() {
        let found = live_on(Installation::on(product), Extent::Whole).await;
        compare(product, &found);
    }
}

/// Lives on the token of an installation, and returns what happened.
async fn live_on(installation: Installation, extent: Extent) -> String {
    let mut life = Life::begin(installation, extent);
    keys::create(&mut life).await;
    crypto::use_keys(&mut life).await;
    imports::import(&mut life).await;
    crypto::rotate(&mut life).await;
    end::restart(&mut life).await;
    end::destroy(&mut life).await;
    end::recover(&mut life).await;
    life.record.to_string()
}

/// Compares what happened with the file of the product; with `UPDATE_DOCS` set, writes it first.
fn compare(product: Product, found: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/life/results");
    let file = directory.join(product.name()).with_extension("txt");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, found).unwrap();
    }
    assert!(!found.contains("FAILED"), "{}:\n{found}", product.name());
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(found, expected, "{} is out of date: UPDATE_DOCS=1", file.display());
}

#[tokio::test]
async fn a_life_on_softhsm2() {
    live(Product::SoftHsm).await;
}

#[tokio::test]
async fn a_life_on_kryoptic() {
    live(Product::Kryoptic).await;
}

#[tokio::test]
async fn a_life_on_nss() {
    live(Product::Nss).await;
}

#[tokio::test]
async fn a_life_on_opencryptoki() {
    live(Product::OpenCryptoki).await;
}

#[tokio::test]
async fn a_life_behind_a_socket() {
    live(Product::Remote).await;
}
