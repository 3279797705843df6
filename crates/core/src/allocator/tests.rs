//! Tests of the whole allocator.
