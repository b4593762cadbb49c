//! What is buffered of each partition of a topic, and from where the table is read on for it.
//!
//! The table does not know partitions. A read looks at one page of a topic's messages in id order, and takes those whose
//! partitions have room; the others stay in the table and count for nothing. Positions are hints: they spare walks over
//! messages that were seen already. A message that appears below them is found by a full scan (docs/adr/0001).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use messaging::partition_for_key;

use super::deferred::{Choice, KeyRooms, Place};

#[cfg(test)]
mod tests;

/// How many messages of a topic a read looks at.
pub(super) const PAGE_ROWS: usize = 4_000;
/// What one row costs in memory beside its key, value and headers.
pub(super) const ROW_OVERHEAD_BYTES: usize = 512;

/// How much is buffered, or may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

impl Limit {
    const fn is_exhausted(self) -> bool {
        self.rows == 0 || self.bytes == 0
    }

    fn take(&mut self, bytes: usize) {
        self.rows = self.rows.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Which messages a read looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of them, from the lowest unpublished one, a page at a time.
    FullScan,
    /// New ones, of the partitions of which nothing was left in the table.
    Newest,
    /// What was left in the table of partitions that have room now.
    Backlog,
}

/// A message that could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: i64,
    pub(super) key: Option<Arc<[u8]>>,
    /// Those of its key and its value.
    pub(super) bytes: usize,
}

/// The next messages of a topic, and what is to be taken of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) topic: String,
    pub(super) above_id: i64,
    /// How many messages are looked at.
    pub(super) rows: usize,
    /// How many partitions the topic has.
    partitions: i32,
    /// The room of each share; none for a share that this read leaves alone.
    rooms: Vec<Option<Limit>>,
    pub(super) key_rooms: KeyRooms,
    /// The first message of each share that found no room. Those behind it are left out too: they may follow it.
    left_out: Vec<Option<i64>>,
    /// The last message taken of each share.
    taken: Vec<Option<i64>>,
    last_id: Option<i64>,
    /// There may be messages behind the last one.
    is_cut: bool,
}

impl Page {
    /// Whether the whole rows of the page are read at once, because nearly all of them will be taken: no partition is left
    /// out or has much less room than another, and no key has many rows.
    pub(super) fn is_of_rows(&self) -> bool {
        let rooms = || self.rooms.iter().map(|room| room.filter(|room| !room.is_exhausted()));
        let fewest = rooms().map(|room| room.map_or(0, |room| room.rows)).min().unwrap_or_default();
        let most = rooms().map(|room| room.map_or(0, |room| room.rows)).max().unwrap_or_default();
        fewest > 0 && fewest * 2 >= most && self.key_rooms.are_unlimited()
    }

    /// How many bytes its partitions have room for.
    pub(super) fn bytes(&self) -> usize {
        self.rooms.iter().flatten().map(|room| room.bytes).sum()
    }

    /// Chooses from the candidates, which are in id order. `is_cut` when there may be more of them.
    pub(super) fn choose(&mut self, candidates: &[Candidate], is_cut: bool) -> Vec<Choice> {
        (self.last_id, self.is_cut) = (candidates.last().map(|candidate| candidate.id), is_cut);
        let mut taken = HashMap::new();
        let mut take = |candidate| self.take(candidate, &mut taken);
        candidates.iter().filter_map(&mut take).collect()
    }

    /// `taken` counts the rows taken of each key.
    fn take<'c>(&mut self, candidate: &'c Candidate, taken: &mut HashMap<&'c [u8], usize>) -> Option<Choice> {
        let Some(share) = self.share_of(candidate) else {
            // Without a key it would have gone anywhere.
            for (left_out, _) in self.left_out.iter_mut().zip(&self.rooms).filter(|(_, room)| room.is_some())
            {
                left_out.get_or_insert(candidate.id);
            }
            return None;
        };
        let room = self.rooms[share].as_mut()?;
        if room.is_exhausted() || self.left_out[share].is_some() {
            self.left_out[share].get_or_insert(candidate.id);
            return None;
        }
        let choice = Choice { id: candidate.id, partition: i32::try_from(share).ok()? };
        if let Some(key) = candidate.key.as_deref() {
            let of_key = taken.entry(key).or_default();
            match self.key_rooms.place(key, *of_key, choice) {
                Place::Row => *of_key += 1,
                Place::Id => return None,
                Place::None => {
                    self.left_out[share] = Some(candidate.id);
                    return None;
                }
            }
        }
        room.take(candidate.bytes + ROW_OVERHEAD_BYTES);
        self.taken[share] = Some(candidate.id);
        Some(choice)
    }

    /// A message without a key goes where most room is.
    fn share_of(&self, candidate: &Candidate) -> Option<usize> {
        if let Some(key) = &candidate.key {
            return Some(share_of_key(key, self.partitions, self.rooms.len()));
        }
        let rooms = self.rooms.iter().enumerate().zip(&self.left_out);
        rooms
            .filter(|(_, left_out)| left_out.is_none())
            .filter_map(|((share, room), _)| Some((share, (*room)?)))
            .filter(|(_, room)| !room.is_exhausted())
            .max_by_key(|(_, room)| room.rows)
            .map(|(share, _)| share)
    }
}

fn share_of_key(key: &[u8], partitions: i32, shares: usize) -> usize {
    usize::try_from(partition_for_key(key, partitions.max(1))).unwrap_or_default() % shares.max(1)
}

/// The partitions of a topic. With very many of them several are one share.
#[derive(Debug)]
pub(super) struct Partitions {
    count: i32,
    shares: Vec<Share>,
    /// How much is buffered of each share at most.
    limit: Limit,
    /// Where the full scan that is under way goes on.
    scan_above_id: Option<i64>,
}

#[derive(Clone, Debug, Default)]
struct Share {
    ids: BTreeSet<i64>,
    bytes: usize,
    /// Everything up to here was seen by some read.
    seen_to: i64,
    /// The table may have more behind that.
    more: bool,
    /// The full scan that is under way has found more than there was room for.
    full_in_scan: bool,
}

impl Partitions {
    /// `limit` is the topic's.
    pub(super) fn new(count: i32, shares: usize, limit: Limit) -> Self {
        let shares = shares.max(1);
        let limit = Limit { rows: (limit.rows / shares).max(1), bytes: (limit.bytes / shares).max(1) };
        Self { count, shares: vec![Share::default(); shares], limit, scan_above_id: None }
    }

    /// In which partition a message is counted that was not chosen from a page.
    pub(super) fn partition_of(&self, id: i64, key: Option<&[u8]>) -> i32 {
        let shares = self.shares.len();
        let share = match key {
            Some(key) => share_of_key(key, self.count, shares),
            None => usize::try_from(id).unwrap_or_default() % shares,
        };
        i32::try_from(share).unwrap_or_default()
    }

    /// The shares of which something is buffered.
    pub(super) fn waiting(&self) -> impl Iterator<Item = i32> {
        let waiting = (0..).zip(&self.shares).filter(|(_, share)| !share.ids.is_empty());
        waiting.map(|(number, _)| number)
    }

    /// The partitions that are counted as this share.
    pub(super) fn of_share(&self, share: i32) -> impl Iterator<Item = i32> {
        (share..self.count).step_by(self.shares.len())
    }

    pub(super) fn hold(&mut self, partition: i32, id: i64, bytes: usize) {
        if let Some(share) = self.share_mut(partition) {
            share.ids.insert(id);
            share.bytes += bytes;
        }
    }

    pub(super) fn release(&mut self, partition: i32, id: i64, bytes: usize) {
        if let Some(share) = self.share_mut(partition)
            && share.ids.remove(&id)
        {
            share.bytes -= bytes;
        }
    }

    fn share_mut(&mut self, partition: i32) -> Option<&mut Share> {
        self.shares.get_mut(usize::try_from(partition).ok()?)
    }

    fn room(&self, share: &Share) -> Limit {
        Limit {
            rows: self.limit.rows.saturating_sub(share.ids.len()),
            bytes: self.limit.bytes.saturating_sub(share.bytes),
        }
    }

    /// A share with more to come is left alone until half of it is free, so that reading costs little per row. The others
    /// that have room are read together with it.
    fn wants_more(&self, share: &Share) -> bool {
        share.more && share.ids.len() * 2 <= self.limit.rows && share.bytes * 2 <= self.limit.bytes
    }

    /// Whether a share has more to come and room for it.
    pub(super) fn want_more(&self) -> bool {
        self.shares.iter().any(|share| self.wants_more(share))
    }

    /// Whether a message that no page has shown can be buffered. A share of which the table has more leaves a quarter to pages.
    pub(super) fn has_room(&self, partition: i32, is_slow: bool) -> bool {
        let share = usize::try_from(partition).ok().and_then(|number| self.shares.get(number));
        share.is_some_and(|share| {
            let (part, of) = if is_slow {
                (1, 2)
            } else if share.more {
                (3, 4)
            } else {
                (1, 1)
            };
            share.ids.len() < (self.limit.rows * part / of).max(1)
                && share.bytes < (self.limit.bytes * part / of).max(1)
        })
    }

    /// The table has this message, which no page has shown. Returns whether only a full scan can show it.
    pub(super) fn left_in_table(&mut self, id: i64, key: Option<&[u8]>) -> bool {
        let partition = self.partition_of(id, key);
        self.share_mut(partition).is_none_or(|share| {
            let seen = id <= share.seen_to;
            share.more |= !seen;
            seen
        })
    }

    pub(super) fn begin_full_scan(&mut self) {
        self.scan_above_id = Some(0);
        for share in &mut self.shares {
            share.full_in_scan = false;
        }
    }

    pub(super) const fn is_in_full_scan(&self) -> bool {
        self.scan_above_id.is_some()
    }

    /// What a read of this scope looks at; `rows` is the length of a page.
    pub(super) fn page(&self, topic: &str, scope: Scope, rows: usize, key_rooms: KeyRooms) -> Option<Page> {
        let takes_part = |share: &Share| match scope {
            Scope::FullScan => !share.full_in_scan,
            Scope::Newest => !share.more && !self.room(share).is_exhausted(),
            Scope::Backlog => share.more && !self.room(share).is_exhausted(),
        };
        let part = || self.shares.iter().filter(|share| takes_part(share));
        let above_id = match scope {
            Scope::FullScan => self.scan_above_id?,
            Scope::Newest => {
                // What was committed late has an id among those that are still buffered, mostly. Half of the page is left
                // for new messages, whatever lies in between.
                let half = i64::try_from(rows / 2).unwrap_or(i64::MAX);
                let lowest = |share: &Share| share.ids.first().map_or(share.seen_to, |lowest| lowest - 1);
                part().map(lowest).min()?.max(self.seen_to() - half)
            }
            Scope::Backlog => part().map(|share| share.seen_to).min().filter(|_| self.want_more())?,
        };
        let rows = match scope {
            Scope::FullScan | Scope::Newest => rows,
            // What is looked at and not taken is looked at again.
            Scope::Backlog => {
                let room: usize = part().map(|share| self.room(share).rows).sum();
                (room + room / 4).clamp(rows / 16, rows)
            }
        };
        let room = |share: &Share| takes_part(share).then(|| self.room(share));
        let shares = self.shares.len();
        Some(Page {
            topic: topic.to_owned(),
            above_id,
            rows,
            partitions: self.count,
            rooms: self.shares.iter().map(room).collect(),
            key_rooms,
            left_out: vec![None; shares],
            taken: vec![None; shares],
            last_id: None,
            is_cut: false,
        })
    }

    fn seen_to(&self) -> i64 {
        self.shares.iter().map(|share| share.seen_to).max().unwrap_or_default()
    }

    /// Takes note of what a read saw.
    pub(super) fn note(&mut self, page: &Page, scope: Scope) {
        let last_id = page.last_id.unwrap_or(page.above_id);
        let seen_to = self.seen_to().max(last_id);
        let rooms = page.rooms.iter().zip(&page.left_out).zip(&page.taken);
        for (share, ((room, left_out), taken)) in self.shares.iter_mut().zip(rooms) {
            let Some(room) = room else { continue };
            if let Some(left_out) = left_out {
                (share.seen_to, share.more, share.full_in_scan) = (left_out - 1, true, true);
            } else if room.is_exhausted() {
                let taken = taken.unwrap_or(share.seen_to);
                (share.seen_to, share.more) = (share.seen_to.max(taken), true);
            } else if !page.is_cut {
                (share.seen_to, share.more) = (seen_to, false);
            } else if last_id > share.seen_to {
                (share.seen_to, share.more) = (last_id, true);
            }
        }
        if scope == Scope::FullScan {
            let goes_on = page.is_cut && self.shares.iter().any(|share| !share.full_in_scan);
            self.scan_above_id = goes_on.then_some(last_id);
        }
    }
}
