//! Pages of metrics that clients are reading.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use axum::body::Bytes;
use futures::{Stream, stream};

/// Pages at a time: one for 10 000 Services has megabytes, and stays in memory until a slow client has read it. One more
/// takes the place of the oldest: a client that is slow keeps nobody out.
pub(super) const PAGES: usize = 4;
/// Bytes of a page that are handed to a connection at a time.
const PIECE: usize = 64 * 1024;

/// What a client has still to read; `None` when another page took its place.
type Rest = Mutex<Option<Bytes>>;

/// The pages that are being read, oldest first.
#[derive(Clone, Default)]
pub(super) struct Pages(Arc<Mutex<VecDeque<Weak<Rest>>>>);

impl Pages {
    /// Adds a page and returns its pieces. They end with an error when another page takes its place.
    pub(super) fn add(&self, text: Vec<u8>) -> impl Stream<Item = io::Result<Bytes>> + use<> {
        let rest: Arc<Rest> = Arc::new(Mutex::new(Some(text.into())));
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pages.retain(|page| page.strong_count() > 0);
        if pages.len() >= PAGES
            && let Some(oldest) = pages.pop_front().and_then(|page| page.upgrade())
        {
            *oldest.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        pages.push_back(Arc::downgrade(&rest));
        stream::unfold(rest, async |rest| Some((next_piece(&rest)?, rest)))
    }
}

/// Returns a piece of its own, which does not keep the whole page in memory.
fn next_piece(rest: &Rest) -> Option<io::Result<Bytes>> {
    let mut rest = rest.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(rest) = rest.as_mut() else {
        return Some(Err(io::Error::other("another page took its place")));
    };
    let piece = rest.split_to(PIECE.min(rest.len()));
    (!piece.is_empty()).then(|| Ok(Bytes::copy_from_slice(&piece)))
}
