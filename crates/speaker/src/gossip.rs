//! Gossip membership around a SWIM library.
