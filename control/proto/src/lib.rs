//! The gRPC contract between control and nodes.
//!
//! In: `proto/feed.proto`. Out: the generated messages, client and server. Holds no logic: each
//! side turns these messages into its own types in its `convert.rs`.

/// The feed: a node's share of the world down, its status up.
pub mod feed {
    #![expect(
        missing_docs,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        unused_qualifications,
        clippy::too_many_lines,
        reason = "generated code; the comments are in proto/feed.proto"
    )]
    tonic::include_proto!("beeline.feed.v1");
}
