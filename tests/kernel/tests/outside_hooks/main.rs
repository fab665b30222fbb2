//! One frame through `from_outside`, `to_outside` or `edge`: verdict, each byte of the frame, counts, events, tracked connections.
#![expect(clippy::unwrap_used, reason = "a test whose world cannot be made fails")]

mod connections;
mod errors;
mod frontends;
mod masquerade;
mod pieces;
mod routes;
mod strangers;
mod table;
mod world;
