//! Queues of outputs.

use alloc::collections::VecDeque;

/// Room that an empty queue keeps.
const KEPT: usize = 64;

/// Removes the first of a queue. An empty queue gives the memory of its longest time back: after a list, or when each address
/// moves, there are thousands of outputs at once, and never again that many.
pub fn pop<T>(queue: &mut VecDeque<T>) -> Option<T> {
    let first = queue.pop_front();
    if first.is_none() && queue.capacity() > KEPT {
        queue.shrink_to(KEPT);
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_queue_keeps_no_memory_of_a_burst() {
        let mut queue: VecDeque<usize> = (0..10_000).collect();
        let popped: VecDeque<usize> = core::iter::from_fn(|| pop(&mut queue)).collect();
        assert!(popped.iter().copied().eq(0..10_000));
        assert!(queue.capacity() < 10 * KEPT, "{}", queue.capacity());
    }
}
