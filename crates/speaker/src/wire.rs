//! The wire task: a thread that owns the sockets and the announcer.
