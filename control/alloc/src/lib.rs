//! Pure allocators: addresses, ranges, identities.
//!
//! In: what is in use, and a wish. Out: the lowest or the hashed free choice. Deterministic, rebuilt from objects at any time.
//! Refuses: remembering anything outside the value itself; no store, no clock, no randomness.
//!
//! ```
//! use beeline_alloc::IpRange;
//! let mut range = IpRange::new("10.43.0.0/16".parse::<ipnet::IpNet>().unwrap());
//! range.set_aside("10.43.0.1".parse().unwrap());
//! assert_eq!(range.allocate_next().unwrap().to_string(), "10.43.0.2");
//! ```

mod identities;
mod ips;
mod pod_cidrs;

pub use identities::{FIRST_IDENTITY, Identities, IdentityError, canonical_labels};
pub use ips::{IpError, IpRange};
pub use pod_cidrs::{PodCidrError, PodCidrs};
