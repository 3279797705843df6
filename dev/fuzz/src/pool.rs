//! Any text in `spec.addresses`.

use herald_core::address::AddressRange;
use herald_core::config::{Catalog, RawPool};

/// Each line is an entry of a pool's `spec.addresses`: an entry that can be read is one that can be written and read again,
/// and a pool is in force or has its mistakes named, never both.
///
/// # Panics
/// When the invariant is broken.
pub fn pool(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let entries: Vec<String> = text.split('\n').map(str::to_owned).collect();
    for entry in &entries {
        if let Ok(range) = entry.parse::<AddressRange>() {
            assert!(range.first() <= range.last(), "{entry:?}");
            let written = format!("{}-{}", range.first(), range.last());
            assert_eq!(
                written.parse().as_ref(),
                Ok(&range),
                "{entry:?} was written as {written:?}"
            );
        }
    }
    let mut catalog = Catalog::new();
    catalog.set_pools(vec![RawPool {
        name: "pool".to_owned(),
        addresses: entries,
        ..RawPool::default()
    }]);
    assert_ne!(catalog.pools().is_empty(), catalog.problems().is_empty());
    let told: usize = catalog
        .problems()
        .iter()
        .map(|problem| problem.to_string().len())
        .sum();
    assert!(
        told <= 1000 + 1000 * bytes.len(),
        "{told} bytes about {} bytes",
        bytes.len()
    );
}
