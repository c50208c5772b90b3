//! What can be set about an embedded server, and the limits that it shares with etcd.

use std::path::PathBuf;
use std::time::Duration;

/// The largest request that writes, in encoded bytes: etcd's default (`--max-request-bytes`), 1.5 MiB.
pub(super) const MAX_REQUEST_BYTES: usize = 3 * 512 * 1024;

/// The largest message that is decoded at all. Between [`MAX_REQUEST_BYTES`] and this a request is refused in etcd's own
/// words; what is larger is refused by the transport before it takes memory.
pub(super) const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;

/// Operations, or compares, in one transaction: etcd's default (`--max-txn-ops`).
pub(super) const MAX_TXN_OPS: usize = 128;

/// A watch response that would be larger than this is split if the client asked for fragments: etcd's figure, the
/// largest request plus 512 KiB for what gRPC adds.
pub(super) const FRAGMENT_BYTES: usize = MAX_REQUEST_BYTES + 512 * 1024;

/// The longest interval: the clock of a server that runs for some years does not end within it.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// How much an [`EmbeddedEtcd`](super::EmbeddedEtcd) may hold, where it keeps it, and how often it reports progress.
///
/// ```
/// use million::etcd_service::embedded::EmbeddedOptions;
///
/// let options = EmbeddedOptions::default().history_revisions(10_000);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct EmbeddedOptions {
    pub(super) history_revisions: u32,
    pub(super) history_bytes: usize,
    pub(super) quota_bytes: usize,
    pub(super) progress_interval: Duration,
    /// `None`: everything stays in memory.
    pub(super) data_dir: Option<PathBuf>,
    pub(super) fsync: bool,
    pub(super) rewrite_bytes: u64,
}

impl EmbeddedOptions {
    /// 100,000 revisions: at a steady 500 writes a second a watcher may be away for three minutes and still resume,
    /// and the records' own overhead stays in the tens of megabytes.
    pub const DEFAULT_HISTORY_REVISIONS: u32 = 100_000;

    /// 64 MiB: enough for all default revisions at 500 bytes a value, small beside what a service itself uses.
    pub const DEFAULT_HISTORY_BYTES: usize = 64 * 1024 * 1024;

    /// 2 GiB: etcd's own default (`--quota-backend-bytes`).
    pub const DEFAULT_QUOTA_BYTES: usize = 2 * 1024 * 1024 * 1024;

    /// Ten minutes: etcd's own default (`--experimental-watch-progress-notify-interval`).
    pub const DEFAULT_PROGRESS_INTERVAL: Duration = Duration::from_secs(600);

    /// 64 MiB: a start reads twice as much in a second, and writing so much anew takes less, some times a minute at the worst.
    pub const DEFAULT_REWRITE_BYTES: u64 = 64 * 1024 * 1024;

    /// Keeps the last `revisions` revisions for reads of the past and for watches that resume; what is older is
    /// compacted by itself after each write. At least 1 is kept.
    ///
    /// ```
    /// # use million::etcd_service::embedded::EmbeddedOptions;
    /// let options = EmbeddedOptions::default().history_revisions(1_000);
    /// ```
    pub fn history_revisions(mut self, revisions: u32) -> Self {
        self.history_revisions = revisions.max(1);
        self
    }

    /// Keeps at most about `bytes` of keys, values and bookkeeping in the history, however few revisions that is.
    ///
    /// ```
    /// # use million::etcd_service::embedded::EmbeddedOptions;
    /// let options = EmbeddedOptions::default().history_bytes(16 * 1024 * 1024);
    /// ```
    pub fn history_bytes(mut self, bytes: usize) -> Self {
        self.history_bytes = bytes;
        self
    }

    /// Refuses puts with `RESOURCE_EXHAUSTED` while the live keys and values take `bytes` or more. Deleting always works.
    ///
    /// ```
    /// # use million::etcd_service::embedded::EmbeddedOptions;
    /// let options = EmbeddedOptions::default().quota_bytes(256 * 1024 * 1024);
    /// ```
    pub fn quota_bytes(mut self, bytes: usize) -> Self {
        self.quota_bytes = bytes;
        self
    }

    /// Keeps everything in one file, `etcd.log`, in `folder`, which is made if it is missing: nothing that was acknowledged is lost when the
    /// process is killed. One server at a time may use a folder.
    ///
    /// A start reads the file: keys, the history for watches that resume, the compacted revision, leases, each with its whole
    /// time to live again, and the ids of cluster and member. Answers come once they are on disk, so writing is as fast as
    /// the disk; those that come together share one fsync.
    ///
    /// ```
    /// # use million::etcd_service::embedded::EmbeddedOptions;
    /// let options = EmbeddedOptions::default().data_dir("/var/lib/million/etcd");
    /// ```
    pub fn data_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(folder.into());
        self
    }

    /// Whether each batch is forced onto the disk (`fsync`) before it is acknowledged: by default it is. Without, what was
    /// acknowledged outlives the process but not the machine: a power failure may lose the last writes, or leave a file that
    /// a start refuses. It means something only with a [`data_dir`](Self::data_dir).
    ///
    /// ```
    /// # use million::etcd_service::embedded::EmbeddedOptions;
    /// let options = EmbeddedOptions::default().data_dir("/tmp/etcd").fsync(false);
    /// ```
    pub fn fsync(mut self, fsync: bool) -> Self {
        self.fsync = fsync;
        self
    }

    /// Writes the file anew, without what nobody can read any more, when it has grown by so many bytes and to twice of what
    /// it began with. It means something only with a [`data_dir`](Self::data_dir).
    ///
    /// ```
    /// # use million::etcd_service::embedded::EmbeddedOptions;
    /// let options = EmbeddedOptions::default().data_dir("/tmp/etcd").rewrite_bytes(1024 * 1024);
    /// ```
    pub fn rewrite_bytes(mut self, bytes: u64) -> Self {
        self.rewrite_bytes = bytes;
        self
    }

    /// How often a watch that asked for it (`progress_notify`) hears of the current revision while nothing happens to its keys.
    /// At least 1 ms and at most a year, which stands for never.
    ///
    /// ```
    /// # use million::etcd_service::embedded::EmbeddedOptions;
    /// use std::time::Duration;
    /// let options = EmbeddedOptions::default().progress_interval(Duration::from_secs(5));
    /// ```
    pub fn progress_interval(mut self, interval: Duration) -> Self {
        self.progress_interval = interval.clamp(Duration::from_millis(1), YEAR);
        self
    }
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            history_revisions: Self::DEFAULT_HISTORY_REVISIONS,
            history_bytes: Self::DEFAULT_HISTORY_BYTES,
            quota_bytes: Self::DEFAULT_QUOTA_BYTES,
            progress_interval: Self::DEFAULT_PROGRESS_INTERVAL,
            data_dir: None,
            fsync: true,
            rewrite_bytes: Self::DEFAULT_REWRITE_BYTES,
        }
    }
}
