//! What became of a packet or a connection, and why.

/// What a program decided.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It goes on unchanged.
    Forward = 1,
    /// It ends here; the drop reason says why.
    Drop = 2,
    /// It goes on to a backend instead of the frontend it named.
    Translate = 3,
    /// The caller is told at once that nobody answers.
    Refuse = 4,
    /// It was handed straight to the local pod it is for.
    Redirect = 5,
}

impl Verdict {
    /// The verdict with that number.
    pub const fn from_raw(value: u8) -> Option<Self> {
        match value {
            1 => Some(Verdict::Forward),
            2 => Some(Verdict::Drop),
            3 => Some(Verdict::Translate),
            4 => Some(Verdict::Refuse),
            5 => Some(Verdict::Redirect),
            _ => None,
        }
    }

    /// Its name in the CLI and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Forward => "forward",
            Verdict::Drop => "drop",
            Verdict::Translate => "translate",
            Verdict::Refuse => "refuse",
            Verdict::Redirect => "redirect",
        }
    }
}

/// Declares the reasons once: number, variant and name cannot drift apart.
macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $number:literal $variant:ident $name:literal,)+) => {
        /// Why a packet or a connection ended. Append only: numbers are never reused, retired ones stay reserved.
        #[repr(u16)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason { $($(#[$doc])* $variant = $number,)+ }

        impl DropReason {
            /// Every reason, by number.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)+];

            /// The reason with that number; `None` also for zero, which means "not dropped".
            pub const fn from_raw(value: u16) -> Option<Self> {
                match value {
                    $($number => Some(DropReason::$variant),)+
                    _ => None,
                }
            }

            /// Its name in the CLI and in metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(DropReason::$variant => $name,)+
                }
            }
        }
    };
}

drop_reasons! {
    /// The Service has no backend that could take the connection; the caller gets ECONNREFUSED.
    1 NoBackend "no_backend",
    /// A pod sent from an address that is not its own.
    2 SpoofedSource "spoofed_source",
    /// The packet ends inside one of its headers.
    3 Truncated "truncated",
    /// A header contradicts itself: version, header length or total length.
    4 Malformed "malformed",
    /// A policy selects the endpoint and no rule allows this.
    5 PolicyDenied "policy_denied",
    /// A frontend names a backend that is not in the map: the reconciler was caught between two writes.
    6 BackendMissing "backend_missing",
    /// The link-layer addresses could not be written.
    7 RewriteFailed "rewrite_failed",
    /// Connection tracking is full: a new connection cannot be remembered, so it is not begun.
    8 ConntrackFull "conntrack_full",
    /// Every source port tried is taken.
    9 SnatExhausted "snat_exhausted",
    /// The Service admits other source addresses only.
    10 SourceRange "source_range",
    /// The Service serves outsiders only from nodes with a backend, and this one has none.
    11 NoLocalBackend "no_local_backend",
    /// A piece of a datagram whose first piece was not seen.
    12 FragmentUnknown "fragment_unknown",
    /// The routing table has no way to the backend.
    13 NoRoute "no_route",
    /// The packet has travelled too far.
    14 HopLimit "hop_limit",
    /// A chain of extension headers too long to look through.
    15 UnknownHeader "unknown_header",
    /// It cannot be rewritten as asked: new ports for SCTP (its checksum covers the whole packet) or for what has no ports,
    /// or an address of the other family.
    16 Untranslatable "untranslatable",
    /// The frontend that direct server return has to tell does not fit beside it on the link.
    17 TooLong "too_long",
}
