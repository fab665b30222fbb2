//! Maglev tables: which backend a connection takes, the same on every node, and hardly another when backends come or go.
//!
//! Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4. A table depends only on
//! the backends' addresses and ports, never on ids, so that nodes which know the same backends agree.

use std::net::IpAddr;

/// Sizes of tables, primes. A table has at least fifty places for each backend, so that shares differ by a few per cent.
const SIZES: [u32; 6] = [61, 251, 1_021, 4_093, 16_381, 65_521];
const PLACES_EACH: u32 = 50;

/// The size of a table for so many backends. One backend needs no table.
pub(crate) fn size(backends: usize) -> u32 {
    let backends = u32::try_from(backends).unwrap_or(u32::MAX);
    if backends <= 1 {
        return backends;
    }
    let wanted = backends.saturating_mul(PLACES_EACH);
    SIZES.into_iter().find(|size| *size >= wanted).unwrap_or(SIZES[SIZES.len() - 1])
}

/// For each place the index of its backend. `backends` must be in an order that all nodes share.
pub(crate) fn table(backends: &[(IpAddr, u16)]) -> Vec<usize> {
    let size = size(backends.len());
    let mut walks: Vec<Walk> = backends.iter().map(|backend| Walk::new(*backend, size)).collect();
    let mut table = vec![usize::MAX; size as usize];
    let mut filled = 0;
    while filled < table.len() {
        for (index, walk) in walks.iter_mut().enumerate() {
            let place = loop {
                let place = walk.next();
                if table[place] == usize::MAX {
                    break place;
                }
            };
            table[place] = index;
            filled += 1;
            if filled == table.len() {
                break;
            }
        }
    }
    table
}

/// The order in which one backend asks for places. The size is a prime, so every step visits them all.
struct Walk {
    at: u32,
    skip: u32,
    size: u32,
}

impl Walk {
    fn new((address, port): (IpAddr, u16), size: u32) -> Self {
        let (at, skip) = (hash(address, port, 1), hash(address, port, 2));
        let fold = |hash: u64, below: u32| u32::try_from(hash % u64::from(below)).unwrap_or(0);
        let skip = if size > 1 { fold(skip, size - 1) + 1 } else { 0 };
        Self { at: fold(at, size), skip, size }
    }

    fn next(&mut self) -> usize {
        let place = self.at;
        self.at = (self.at + self.skip) % self.size;
        place as usize
    }
}

/// FNV-1a over seed, address and port, finished with splitmix64 so that near addresses part.
fn hash(address: IpAddr, port: u16, seed: u8) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut eat = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    eat(&[seed]);
    match address {
        IpAddr::V4(address) => eat(&address.octets()),
        IpAddr::V6(address) => eat(&address.octets()),
    }
    eat(&port.to_be_bytes());
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn backends(count: u8) -> Vec<(IpAddr, u16)> {
        (0..count).map(|n| (Ipv4Addr::new(10, 42, 0, n).into(), 8080)).collect()
    }

    #[test]
    fn shares_are_even() {
        for count in [2u8, 3, 10, 100] {
            let table = table(&backends(count));
            let share = |index| table.iter().filter(|place| **place == index).count();
            let (least, most) = (
                (0..usize::from(count)).map(share).min().unwrap(),
                (0..usize::from(count)).map(share).max().unwrap(),
            );
            assert!(most - least <= 1, "{count} backends: {least} to {most} places");
        }
    }

    #[test]
    fn a_backend_that_leaves_moves_few_others() {
        let all = backends(10);
        let before = table(&all);
        let after = table(&all[..9]);
        assert_eq!(before.len(), after.len());
        let moved = before.iter().zip(&after).filter(|(a, b)| a != b && **a != 9).count();
        assert!(moved * 100 / before.len() < 10, "{moved} of {} places moved", before.len());
    }

    #[test]
    fn one_backend_needs_no_table() {
        assert_eq!((table(&backends(1)), size(0)), (vec![0], 0));
    }
}
