//! A number that differs where routes differ, but for rare cases.

use core::hash::{Hash, Hasher};

use crate::wire::{Nlri, PathAttributes};

/// The sum over all announced routes, so that a change costs the same however many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    /// That of no routes.
    pub(super) const NONE: Self = Self(0);

    pub(super) fn add(&mut self, nlri: Nlri, attributes: &PathAttributes) {
        self.0 = self.0.wrapping_add(hash(nlri, attributes));
    }

    pub(super) fn remove(&mut self, nlri: Nlri, attributes: &PathAttributes) {
        self.0 = self.0.wrapping_sub(hash(nlri, attributes));
    }
}

/// FNV-1a of 64 bits.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

fn hash(nlri: Nlri, attributes: &PathAttributes) -> u64 {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    (nlri, attributes).hash(&mut hasher);
    hasher.finish()
}
