//! What is buffered of each partition of a topic, and from where the table is read on for it.
//!
//! The table does not know partitions. A read looks at one page of a topic's messages in id order, and takes those whose
//! partitions have room; the others stay in the table and count for nothing. Positions are hints: they spare walks over
//! messages that were seen already. A message that appears below them is found by a full scan (docs/adr/0001).

use std::collections::BTreeSet;

use messaging::partition_for_key;

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
#[derive(Clone, Debug, PartialEq, Eq, sqlx_macros::FromRow)]
pub(super) struct Candidate {
    pub(super) id: i64,
    pub(super) topic: String,
    pub(super) key: Option<Vec<u8>>,
    pub(super) bytes: i64,
}

/// A message that is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) id: i64,
    pub(super) partition: i32,
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
    /// The first message of each share that found no room. Those behind it are left out too: they may follow it.
    left_out: Vec<Option<i64>>,
    /// The last message taken of each share.
    taken: Vec<Option<i64>>,
    last_id: Option<i64>,
    /// There may be messages behind the last one.
    is_cut: bool,
}

impl Page {
    /// Chooses from the candidates, which are in id order. `is_cut` when there may be more of them.
    pub(super) fn choose(&mut self, candidates: &[Candidate], is_cut: bool) -> Vec<Choice> {
        (self.last_id, self.is_cut) = (candidates.last().map(|candidate| candidate.id), is_cut);
        candidates.iter().filter_map(|candidate| self.take(candidate)).collect()
    }

    fn take(&mut self, candidate: &Candidate) -> Option<Choice> {
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
        room.take(usize::try_from(candidate.bytes).unwrap_or(0) + ROW_OVERHEAD_BYTES);
        self.taken[share] = Some(candidate.id);
        Some(Choice { id: candidate.id, partition: i32::try_from(share).ok()? })
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
    pub(super) fn page(&self, topic: &str, scope: Scope, rows: usize) -> Option<Page> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { rows: 8, bytes: 1_000_000 };
    const PAGE: usize = 8;

    /// A key of each of two partitions.
    fn key(partition: i32) -> Vec<u8> {
        let keys = (0..).map(|n: u32| n.to_string().into_bytes());
        keys.into_iter().find(|key| partition_for_key(key, 2) == partition).unwrap()
    }

    fn candidate(id: i64, partition: Option<i32>) -> Candidate {
        Candidate { id, topic: "orders".to_owned(), key: partition.map(key), bytes: 10 }
    }

    /// Messages of partition 0 up to id 20, and one of partition 1 behind them.
    fn table() -> Vec<Candidate> {
        (1..=20).map(|id| candidate(id, Some(0))).chain([candidate(21, Some(1))]).collect()
    }

    /// Reads a page as the table would give it, and holds what was chosen.
    fn read(partitions: &mut Partitions, table: &[Candidate], scope: Scope) -> Option<Vec<i64>> {
        let mut page = partitions.page("orders", scope, PAGE)?;
        let buffered: BTreeSet<i64> =
            partitions.shares.iter().flat_map(|share| share.ids.iter().copied()).collect();
        let unseen =
            |candidate: &&Candidate| candidate.id > page.above_id && !buffered.contains(&candidate.id);
        let shown: Vec<Candidate> = table.iter().filter(unseen).take(page.rows).cloned().collect();
        let chosen = page.choose(&shown, shown.len() == page.rows);
        for choice in &chosen {
            partitions.hold(choice.partition, choice.id, 10);
        }
        partitions.note(&page, scope);
        Some(chosen.into_iter().map(|choice| choice.id).collect())
    }

    #[test]
    fn a_full_scan_passes_the_rows_of_a_full_partition_page_by_page() {
        let mut partitions = Partitions::new(2, 2, LIMIT);
        partitions.begin_full_scan();
        assert_eq!(read(&mut partitions, &table(), Scope::FullScan), Some(vec![1, 2, 3, 4]));
        assert_eq!(read(&mut partitions, &table(), Scope::FullScan), Some(vec![]));
        assert_eq!(read(&mut partitions, &table(), Scope::FullScan), Some(vec![21]));
        assert!(!partitions.is_in_full_scan());
    }

    #[test]
    fn a_full_scan_ends_where_no_partition_has_room() {
        let mut partitions = Partitions::new(2, 2, LIMIT);
        let many: Vec<_> = (1..=40).map(|id| candidate(id, Some(i32::from(id % 2 == 0)))).collect();
        partitions.begin_full_scan();
        assert_eq!(read(&mut partitions, &many, Scope::FullScan), Some((1..=8).collect()));
        assert_eq!(read(&mut partitions, &many, Scope::FullScan), Some(vec![]));
        assert!(!partitions.is_in_full_scan());
    }

    #[test]
    fn what_was_left_out_is_read_from_there_once_half_is_free_and_before_what_follows_it() {
        let mut partitions = Partitions::new(2, 2, LIMIT);
        let mut table = table();
        partitions.begin_full_scan();
        while partitions.is_in_full_scan() {
            read(&mut partitions, &table, Scope::FullScan);
        }
        partitions.release(0, 1, 10);
        table.push(candidate(22, Some(0)));
        assert_eq!(read(&mut partitions, &table, Scope::Backlog), None);
        assert_eq!(read(&mut partitions, &table, Scope::Newest), Some(vec![]), "22 may follow 5");
        partitions.release(0, 2, 10);
        table.retain(|candidate| candidate.id > 2);
        assert_eq!(read(&mut partitions, &table, Scope::Backlog), Some(vec![5, 6]));
    }

    #[test]
    fn new_messages_are_read_whatever_lies_between_them_and_the_lowest_that_is_held() {
        let mut partitions = Partitions::new(2, 2, LIMIT);
        let mut table: Vec<_> =
            [candidate(1, Some(1))].into_iter().chain((2..=100).map(|id| candidate(id, Some(0)))).collect();
        partitions.begin_full_scan();
        while partitions.is_in_full_scan() {
            read(&mut partitions, &table, Scope::FullScan);
        }
        table.push(candidate(101, Some(1)));
        assert_eq!(read(&mut partitions, &table, Scope::Newest), Some(vec![101]));
    }

    #[test]
    fn a_message_without_a_key_goes_where_most_room_is() {
        let mut partitions = Partitions::new(2, 2, LIMIT);
        for id in 1..=3 {
            partitions.hold(0, id, 10);
        }
        let mut page = partitions.page("orders", Scope::Newest, PAGE).unwrap();
        let chosen = page.choose(&[candidate(5, None), candidate(6, None)], false);
        assert_eq!(chosen, [Choice { id: 5, partition: 1 }, Choice { id: 6, partition: 1 }]);
    }

    #[test]
    fn no_more_than_its_share_of_bytes_and_one_message_is_read_of_a_partition() {
        let mut partitions = Partitions::new(2, 2, Limit { rows: 8, bytes: 2 * 1_200 });
        partitions.begin_full_scan();
        assert_eq!(read(&mut partitions, &table(), Scope::FullScan), Some(vec![1, 2, 3]));
    }
}
