//! A batch of frames, allocated once and reused by every system call.

/// Frames per system call. At 32 the cost of the call itself is small for each frame, and a batch fits into the first-level
/// cache.
pub const BATCH: usize = 32;

/// Bytes for one frame: the longest on a link with the usual MTU. A solicitation that is secured (RFC 3971) has several hundred.
/// Longer frames are truncated, and the parser refuses them.
pub const FRAME_LENGTH: usize = 1514;

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
    /// Returns the number of frames.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Returns whether the batch has no frame.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns whether the batch has no room for another frame.
    pub const fn is_full(&self) -> bool {
        self.count == BATCH
    }

    /// Removes all frames.
    pub const fn clear(&mut self) {
        self.count = 0;
    }

    /// Returns the frames in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let filled = self.buffers.iter().zip(&self.lengths).take(self.count);
        filled.map(|(buffer, length)| &buffer[..*length])
    }

    /// Adds a frame that `write` writes into the next buffer; `write` returns a value and the length of the frame. Adds nothing
    /// when `write` fails.
    ///
    /// # Errors
    /// Those of `write`.
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
    fn frames_are_returned_as_they_were_added_and_a_failed_write_adds_none() {
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
    fn a_batch_has_room_for_its_number_of_frames() {
        let mut frames = Frames::default();
        while !frames.is_full() {
            frames.push(|_| Ok::<_, ()>(((), 60))).expect("pushed");
        }
        assert_eq!(frames.len(), BATCH);
    }
}
