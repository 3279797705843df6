//! Random bytes of the operating system, for the seal.

use ring::rand::{SecureRandom as _, SystemRandom};

/// The error of an operating system that returns no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub(super) struct NoRandomness;

/// The source of sessions and nonces.
pub(super) struct Random(SystemRandom);

impl Random {
    pub(super) fn new() -> Self {
        Self(SystemRandom::new())
    }

    /// Returns unpredictable bytes.
    pub(super) fn bytes<const N: usize>(&self) -> Result<[u8; N], NoRandomness> {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_draws_are_the_same() {
        let random = Random::new();
        let draws = [random.bytes::<12>(), random.bytes(), Ok([0; 12])];
        assert!(draws.iter().all(Result::is_ok));
        assert!(draws[0] != draws[1] && draws[1] != draws[2] && draws[0] != draws[2]);
    }
}
