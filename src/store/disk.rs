//! The seam between the store and the disk: what tests may watch and disturb.
//!
//! The store runs the same code over [`RealDisk`] and over a test's own; only
//! the answers differ. It does not stand between sled and its file: what sled
//! writes itself can't be intercepted here.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What the store asks of the disk beside what sled does on its own.
pub trait Disk: Send + Sync {
    /// Bytes that an ordinary user can still write under `dir`.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;

    /// Makes the contents of a file or directory survive a power cut. Called
    /// once per batch; never again after it failed.
    fn sync(&self, file: &File) -> io::Result<()>;
}

/// The operating system's disk.
#[derive(Debug, Default, Clone, Copy)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// `fdatasync`: it carries the length and the extents of a file, and leaves
    /// out only times, which nothing here reads.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

/// The steps by which a batch becomes durable, in the order in which they must
/// happen. `through` is the last position that the step covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The batch is in sled's memory.
    Wrote {
        /// The last position covered.
        through: u64,
    },
    /// sled has handed it to the operating system.
    Flushed {
        /// The last position covered.
        through: u64,
    },
    /// The device has it. Only now may it be acknowledged.
    Synced {
        /// The last position covered.
        through: u64,
    },
}

/// Is told each [`Step`] when it is done, on the writer's thread.
pub type Observer = Arc<dyn Fn(Step) + Send + Sync>;
