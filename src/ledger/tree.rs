//! The Merkle tree over the journal, as in RFC 9162 (hashing as in RFC 6962, SHA-256): whoever keeps one small hash of
//! it can be shown, by some twenty more, that an event is in it and that nothing before was changed.
//!
//! A leaf is the stored bytes of an event, exactly; the event at position 1 is leaf 0. Of every complete subtree the
//! hash is kept, level by level in flat lists: two hashes an event, 64 bytes. Those never change, so a proof can be made
//! for any earlier size as well. Knows bytes and hashes only; signed roots are in `checkpoint.rs`.

use sha2::{Digest as _, Sha256};

use crate::budget::digest::Digest;

/// The hash of a leaf: SHA-256 over a zero byte and its bytes.
pub fn leaf_hash(bytes: &[u8]) -> Digest {
    Digest(Sha256::new().chain_update([0]).chain_update(bytes).finalize().into())
}

/// The hash of two neighbours: SHA-256 over a byte of one and both hashes.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// The largest power of two below `count`, which is at least 2.
fn split(count: u64) -> u64 {
    1 << (u64::BITS - 1 - (count - 1).leading_zeros())
}

/// A tree that only grows.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// The hashes of the complete subtrees of 1, 2, 4… leaves.
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// A tree of these leaf hashes.
    pub fn of(leaves: impl IntoIterator<Item = Digest>) -> Tree {
        let mut tree = Tree::default();
        leaves.into_iter().for_each(|leaf| tree.push(leaf));
        tree
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Digest) {
        let mut hash = leaf;
        for height in 0.. {
            if self.levels.len() == height {
                self.levels.push(Vec::new());
            }
            let Some(level) = self.levels.get_mut(height) else { return };
            level.push(hash);
            match level.as_slice() {
                [.., left, right] if level.len() % 2 == 0 => hash = node_hash(left, right),
                _ => return,
            }
        }
    }

    /// How many leaves it has.
    pub fn size(&self) -> u64 {
        self.leaves().len() as u64
    }

    /// The hashes of its leaves.
    pub fn leaves(&self) -> &[Digest] {
        self.levels.first().map_or(&[], Vec::as_slice)
    }

    /// The root of its first `size` leaves; none if it has fewer. Without leaves it is the SHA-256 of nothing.
    pub fn root(&self, size: u64) -> Option<Digest> {
        match size {
            0 => Some(Digest::of(&[])),
            size => self.hash(0, size),
        }
    }

    /// The root that it would have with these leaves behind its own.
    pub fn root_with(&self, leaves: &[Digest]) -> Digest {
        // The complete subtrees side by side, the largest first: none is as large as the one before it.
        let mut edge: Vec<(u32, Digest)> = Vec::new();
        let (size, mut from) = (self.size(), 0);
        for height in (0..u64::BITS).rev().filter(|height| size >> height & 1 == 1) {
            edge.extend(self.hash(from, from + (1 << height)).map(|hash| (height, hash)));
            from += 1 << height;
        }
        for leaf in leaves {
            let mut subtree = (0, *leaf);
            while let Some((height, left)) = edge.pop_if(|(height, _)| *height == subtree.0) {
                subtree = (height + 1, node_hash(&left, &subtree.1));
            }
            edge.push(subtree);
        }
        let root = edge.into_iter().map(|(_, hash)| hash).rev().reduce(|right, left| node_hash(&left, &right));
        root.unwrap_or_else(|| Digest::of(&[]))
    }

    /// Proof that the leaf at `index` is in the tree of the first `size` leaves: the hashes beside its way to the root,
    /// lowest first. None if there is no such leaf in it.
    pub fn inclusion(&self, index: u64, size: u64) -> Option<Vec<Digest>> {
        if index >= size || size > self.size() {
            return None;
        }
        let (mut from, mut to) = (0, size);
        let mut path = Vec::new();
        while to - from > 1 {
            let middle = from + split(to - from);
            if index < middle {
                path.push(self.hash(middle, to)?);
                to = middle;
            } else {
                path.push(self.hash(from, middle)?);
                from = middle;
            }
        }
        path.reverse();
        Some(path)
    }

    /// Proof that the first `old` leaves are the beginning of the first `size`. None unless 0 < old ≤ size and it has
    /// so many; empty if they are the same.
    pub fn consistency(&self, old: u64, size: u64) -> Option<Vec<Digest>> {
        if old == 0 || old > size || size > self.size() {
            return None;
        }
        let (mut from, mut to) = (0, size);
        let mut path = Vec::new();
        // Whether what is left of the old tree is the whole of it: then its hash is known already.
        let mut whole = true;
        while to != old {
            let middle = from + split(to - from);
            if old <= middle {
                path.push(self.hash(middle, to)?);
                to = middle;
            } else {
                path.push(self.hash(from, middle)?);
                from = middle;
                whole = false;
            }
        }
        if !whole {
            path.push(self.hash(from, to)?);
        }
        path.reverse();
        Some(path)
    }

    /// The hash of the leaves `from..to`, where `from` is a multiple of the largest power of two that fits.
    fn hash(&self, from: u64, to: u64) -> Option<Digest> {
        let count = to - from;
        if count.is_power_of_two() {
            let height = count.trailing_zeros();
            let level = self.levels.get(usize::try_from(height).ok()?)?;
            return level.get(usize::try_from(from >> height).ok()?).copied();
        }
        let middle = from + split(count);
        Some(node_hash(&self.hash(from, middle)?, &self.hash(middle, to)?))
    }
}

/// The root that an inclusion proof leads to (RFC 9162, 2.1.3.2); none if it is not one for such a leaf.
pub fn root_of_inclusion(leaf: &Digest, index: u64, size: u64, path: &[Digest]) -> Option<Digest> {
    if index >= size {
        return None;
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for beside in path {
        if last == 0 {
            return None;
        }
        if node % 2 == 1 || node == last {
            hash = node_hash(beside, &hash);
            while node.is_multiple_of(2) && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, beside);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    (last == 0).then_some(hash)
}

/// Whether a consistency proof shows that the tree with the old root is the beginning of the one with the new root
/// (RFC 9162, 2.1.4.2).
pub fn is_consistent(old: (u64, &Digest), new: (u64, &Digest), path: &[Digest]) -> bool {
    let ((old_size, old_root), (size, root)) = (old, new);
    if old_size == size {
        return path.is_empty() && old_root == root;
    }
    if old_size == 0 || old_size > size {
        return false;
    }
    let mut path = path.iter();
    let (mut node, mut last) = (old_size - 1, size - 1);
    while node % 2 == 1 {
        (node, last) = (node >> 1, last >> 1);
    }
    // A complete old tree is a node of the new one: its root is known, and not in the proof.
    let first = if old_size.is_power_of_two() { Some(old_root) } else { path.next() };
    let Some(first) = first else { return false };
    let (mut from_old, mut from_new) = (*first, *first);
    for beside in path {
        if last == 0 {
            return false;
        }
        if node % 2 == 1 || node == last {
            from_old = node_hash(beside, &from_old);
            from_new = node_hash(beside, &from_new);
            while node.is_multiple_of(2) && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            from_new = node_hash(&from_new, beside);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && from_old == *old_root && from_new == *root
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The leaves and roots that the reference implementation of RFC 6962 is tested with.
    const LEAVES: [&[u8]; 8] = [
        b"",
        &[0x00],
        &[0x10],
        &[0x20, 0x21],
        &[0x30, 0x31],
        &[0x40, 0x41, 0x42, 0x43],
        &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
        &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
    ];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn hex(texts: &[&str]) -> Vec<Digest> {
        texts.iter().map(|text| Digest::from_hex(text).unwrap()).collect()
    }

    fn known() -> Tree {
        Tree::of(LEAVES.iter().map(|leaf| leaf_hash(leaf)))
    }

    #[test]
    fn roots_are_those_of_the_reference_implementation() {
        let tree = known();
        for (size, root) in ROOTS.iter().enumerate() {
            assert_eq!(tree.root(size as u64).unwrap().to_string(), *root, "{size}");
        }
        assert_eq!(tree.root(9), None);
    }

    #[test]
    fn proofs_are_those_of_the_reference_implementation() {
        let tree = known();
        assert_eq!(tree.inclusion(0, 1).unwrap(), []);
        let path = [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ];
        assert_eq!(tree.inclusion(0, 8).unwrap(), hex(&path));
        let path = [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ];
        assert_eq!(tree.inclusion(5, 8).unwrap(), hex(&path));
        let path = [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ];
        assert_eq!(tree.consistency(6, 8).unwrap(), hex(&path));
        let path = [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ];
        assert_eq!(tree.consistency(2, 5).unwrap(), hex(&path));
        assert_eq!(tree.consistency(8, 8).unwrap(), []);
    }

    /// The definition of RFC 9162, 2.1.1, word for word.
    fn by_definition(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => Digest::of(&[]),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
                node_hash(&by_definition(left), &by_definition(right))
            }
        }
    }

    #[test]
    fn a_root_with_more_leaves_is_that_of_the_tree_with_them() {
        let leaves: Vec<Digest> = (0..40u8).map(|n| leaf_hash(&[n])).collect();
        for size in 0..=40 {
            let tree = Tree::of(leaves[..size].iter().copied());
            for more in size..=40 {
                assert_eq!(
                    tree.root_with(&leaves[size..more]),
                    by_definition(&leaves[..more]),
                    "{size} and then {more}"
                );
            }
        }
    }

    #[test]
    fn every_proof_of_every_small_tree_holds_and_no_other_does() {
        let leaves: Vec<Digest> = (0..40u8).map(|n| leaf_hash(&[n])).collect();
        let tree = Tree::of(leaves.iter().copied());
        for size in 1..=40u64 {
            let root = tree.root(size).unwrap();
            assert_eq!(root, by_definition(&leaves[..size as usize]));
            for index in 0..size {
                let path = tree.inclusion(index, size).unwrap();
                let another = leaf_hash(b"another");
                let proved =
                    |leaf: &Digest, at, of, path: &[Digest]| root_of_inclusion(leaf, at, of, path) == Some(root);
                let leaf = &leaves[index as usize];
                assert!(proved(leaf, index, size, &path));
                assert!(!proved(&another, index, size, &path));
                for other in (0..size).filter(|other| *other != index) {
                    assert!(!proved(leaf, other, size, &path), "{index} as {other} of {size}");
                }
                let longer = [path.clone(), vec![root]].concat();
                assert_eq!(root_of_inclusion(leaf, index, size, &longer), None, "too long");
                let shorter = path.split_last().map(|(_, rest)| root_of_inclusion(leaf, index, size, rest));
                assert_eq!(shorter.flatten(), None, "too short");
                assert!(path.is_empty() || !proved(leaf, index, size, &path[1..]));
            }
            for old in 1..=size {
                let path = tree.consistency(old, size).unwrap();
                let old_root = tree.root(old).unwrap();
                assert!(is_consistent((old, &old_root), (size, &root), &path), "{old} {size}");
                let another = leaf_hash(b"another");
                assert!(!is_consistent((old, &another), (size, &root), &path));
                assert!(!is_consistent((old, &old_root), (size, &another), &path));
                for at in 0..path.len() {
                    let mut changed = path.clone();
                    changed[at] = another;
                    assert!(!is_consistent((old, &old_root), (size, &root), &changed), "{old} {size} {at}");
                }
                let longer = [path.clone(), vec![root]].concat();
                assert!(!is_consistent((old, &old_root), (size, &root), &longer));
            }
        }
    }

    /// A key may sign what is no tree: a size and a root that don't belong together are seen by a proof's length.
    #[test]
    fn a_proof_is_as_long_as_its_sizes_say() {
        let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|n: u8| leaf_hash(&[n]));
        assert_eq!(root_of_inclusion(&b, 0, 1, &[a]), None, "the root of two leaves, signed as that of one");
        let four = Tree::of([a, b, c, d]).root(4).unwrap();
        assert!(!is_consistent((4, &four), (8, &four), &[]), "four leaves, signed as eight");
        let deeper = |last: &Digest| node_hash(&e, &node_hash(&a, last));
        let (three, four) = (deeper(&c), deeper(&node_hash(&c, &d)));
        assert!(!is_consistent((3, &three), (4, &four), &[c, d, a, e]), "deeper than three and four leaves are");
    }

    #[test]
    fn what_is_not_there_has_no_proof() {
        let tree = known();
        assert_eq!((tree.inclusion(8, 8), tree.inclusion(0, 9), tree.inclusion(0, 0)), (None, None, None));
        // One more than there is: all beside its way is there, but it isn't.
        assert_eq!((tree.inclusion(8, 9), tree.root(9)), (None, None));
        assert_eq!((tree.consistency(0, 8), tree.consistency(5, 4), tree.consistency(4, 9)), (None, None, None));
        assert_eq!(root_of_inclusion(&Digest::default(), 0, 0, &[]), None);
        assert!(!is_consistent((0, &Digest::of(&[])), (8, &tree.root(8).unwrap()), &[]));
    }
}
