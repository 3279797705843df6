//! An embedded Kubernetes API over plain HTTP/1.1, in memory. **A development tool.**

mod admit;
mod api;
mod cluster;
mod counts;
mod crd;
mod decode;
mod delete;
mod discovery;
mod endpoints;
mod faults;
mod kinds;
mod names;
mod object;
mod openapi;
mod patch;
mod reply;
mod request;
mod resources;
mod schema;
mod selector;
mod server;
mod services;
mod status;
mod store;
mod table;
mod view;
mod watch;
mod write;

pub use counts::RequestCounts;
pub use faults::Faults;
pub use server::{Options, Server};
