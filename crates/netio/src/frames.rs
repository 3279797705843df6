//! A batch of frames, allocated once and used again for every system call.

/// Frames per system call. At 32 the call's own cost is spread thin already, and a batch stays within the first
/// level cache.
pub const BATCH: usize = 32;

/// Room for one frame: an ARP packet or a solicitation with several options; longer ones are cut, and refused by
/// the parser then.
pub const FRAME_LENGTH: usize = 256;

/// Up to [`BATCH`] frames.
pub struct Frames {
    pub(crate) buffers: Box<[[u8; FRAME_LENGTH]; BATCH]>,
    pub(crate) lengths: [usize; BATCH],
    pub(crate) count: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            buffers: Box::new([[0; FRAME_LENGTH]; BATCH]),
            lengths: [0; BATCH],
            count: 0,
        }
    }
}

impl Frames {
    /// How many frames there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether there is no room for another.
    pub const fn is_full(&self) -> bool {
        self.count == BATCH
    }

    /// Forgets all frames.
    pub const fn clear(&mut self) {
        self.count = 0;
    }

    /// The frames in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let filled = self.buffers.iter().zip(&self.lengths).take(self.count);
        filled.map(|(buffer, length)| &buffer[..*length])
    }

    /// Lets `write` fill the next buffer, and keeps as much of it as `write` says; nothing when it fails.
    ///
    /// # Errors
    /// That of `write`.
    ///
    /// # Panics
    /// When the batch is full.
    pub fn push<T, E>(&mut self, write: impl FnOnce(&mut [u8]) -> Result<(T, usize), E>) -> Result<T, E> {
        let (value, length) = write(&mut self.buffers[self.count])?;
        self.lengths[self.count] = length.min(FRAME_LENGTH);
        self.count += 1;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_and_failures_leave_nothing() {
        let mut frames = Frames::default();
        frames
            .push(|buffer| {
                buffer[..2].copy_from_slice(&[1, 2]);
                Ok::<_, ()>(((), 2))
            })
            .expect("pushed");
        let failed: Result<(), &str> = frames.push(|_| Err("no"));
        assert_eq!(failed, Err("no"));
        assert_eq!(frames.iter().collect::<Vec<_>>(), [&[1, 2]]);
        frames.clear();
        assert!(frames.is_empty());
    }

    #[test]
    fn a_batch_fills_up() {
        let mut frames = Frames::default();
        while !frames.is_full() {
            frames.push(|_| Ok::<_, ()>(((), 60))).expect("pushed");
        }
        assert_eq!(frames.len(), BATCH);
    }
}
