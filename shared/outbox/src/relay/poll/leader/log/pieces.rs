//! What the log brings, piece by piece: handed out, found to be settled, or made pending.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::relay::failpoint::Failpoint;
use crate::relay::poll::buffer::Logged;
use crate::relay::poll::leader::Leader;
use crate::relay::poll::leader::blocks::gap;
use crate::relay::poll::pending::Seen;
use crate::relay::row::Row;
use crate::relay::wal::decode::Appended;
use crate::relay::wal::stream::Piece;

/// How long the log is not read for a partition without room. Then what comes for it becomes pending.
pub(super) const WAIT_FOR_ROOM: Duration = Duration::from_millis(250);
/// The pauses before it is looked again for a commit that no snapshot shows: the first time at once, because the log tells of each
/// commit a moment before it is visible; then longer each time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

impl Leader {
    /// Hands out what the log has brought, as far as it was looked for and there is room.
    pub(in crate::relay::poll::leader) fn take_pieces(&mut self) {
        let now = Instant::now();
        let mut rows: HashMap<String, Vec<(i32, Box<Row>)>> = HashMap::new();
        while let Some(piece) = self.log.queue.pop_front() {
            match piece {
                Piece::Committed(end) => self.log.progress.reach(end, true),
                Piece::Position(position) => self.log.progress.reach(position, false),
                Piece::Appended(appended) => {
                    if let Some(back) = self.take_appended(appended, now, &mut rows) {
                        self.log.queue.push_front(Piece::Appended(back));
                        break;
                    }
                    (self.log.no_room_since, self.log.look_pause) = (None, Duration::ZERO);
                }
            }
        }
        if !rows.is_empty() {
            self.relay.failpoints.reached(Failpoint::Read);
        }
        for (topic, rows) in rows {
            self.hand_over_rows(&topic, rows);
        }
    }

    /// Takes one message; gives it back when it has to wait.
    fn take_appended(
        &mut self,
        mut appended: Appended,
        now: Instant,
        rows: &mut HashMap<String, Vec<(i32, Box<Row>)>>,
    ) -> Option<Appended> {
        let id = appended.row.id;
        let predecessor_published = match self.log.looked.get(&id) {
            None => return Some(appended),
            Some(Seen::NotYet) => {
                self.log.looked.remove(&id);
                self.log.look_at = now + self.log.look_pause;
                self.log.look_pause = (self.log.look_pause * 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
                return Some(appended);
            }
            Some(Seen::Settled) => {
                self.begin_message(&appended.row, now);
                self.log.progress.settle(id);
                return None;
            }
            Some(Seen::Unpublished { predecessor_published }) => *predecessor_published,
        };
        let before = appended.row.previous_id.filter(|before| self.log.spilling.contains(before));
        appended.row.predecessor_published = before.map_or(predecessor_published, |_| Some(false));
        let topic = appended.row.topic.clone();
        let slow = &self.log.slow;
        let place = self.buffer.room(&appended.row, |share| slow.contains(&(topic.clone(), share)));
        let (share, has_room) = place.unwrap_or((-1, false));
        if place.is_none() {
            // Its partitions are asked for.
            self.publisher(&topic);
        }
        let slow = (topic.clone(), share);
        if !has_room && !self.log.slow.contains(&slow) && !self.buffer.is_busy(&appended.row) {
            let since = *self.log.no_room_since.get_or_insert(now);
            if now < since + WAIT_FOR_ROOM {
                return Some(appended);
            }
            self.log.slow.insert(slow.clone());
        }
        self.begin_message(&appended.row, now);
        if !has_room || self.buffer.is_busy(&appended.row) {
            self.spill(&appended.row);
            return None;
        }
        self.log.slow.remove(&slow);
        match self.buffer.admit_logged(&appended.row, share) {
            Logged::Admitted => rows.entry(topic).or_default().push((share, appended.row)),
            Logged::Behind => self.spill(&appended.row),
            Logged::Again => self.log.progress.settle(id),
            Logged::Gap => {
                // The missing one as well: if it comes back, it is published from the table, too, before this one.
                self.add_spills(appended.row.previous_id.into_iter(), &topic);
                self.spill(&appended.row);
                self.blocks.push(gap(&appended.row));
            }
        }
        None
    }

    fn begin_message(&mut self, row: &Row, now: Instant) {
        self.log.looked.remove(&row.id);
        self.log.topics.insert(row.topic.clone());
        self.log.progress.begin(row.id, now);
        self.log.is_dirty = true;
    }

    /// Makes a message pending, with what is here of its key before it.
    fn spill(&mut self, row: &Row) {
        let before = self.buffer.make_pending(row);
        self.add_spills(before.into_iter().chain([row.id]), &row.topic);
        if self.buffer.left_in_table(&row.topic, row.id, row.key.as_deref()) {
            self.full_scan_wanted = true;
        }
    }

    pub(super) fn add_spills(&mut self, ids: impl Iterator<Item = i64>, topic: &str) {
        for id in ids {
            self.log.spilling.insert(id);
            self.log.spills.push((id, topic.to_owned()));
        }
    }

    /// The broker has acknowledged these. Those that only the log has brought need no more than that.
    pub(in crate::relay::poll::leader) fn settle_acknowledged(&mut self, ids: Vec<i64>) {
        let (logged, others): (Vec<i64>, Vec<i64>) =
            ids.into_iter().partition(|id| self.buffer.is_logged(*id));
        self.acknowledged.extend(others);
        for id in &logged {
            self.log.progress.settle(*id);
        }
        self.buffer.release(&logged);
    }

    /// These are not published from here for now: the table has to have them.
    pub(in crate::relay::poll::leader) fn leave_to_table(&mut self, ids: &[i64]) {
        for id in ids {
            if let Some(topic) = self.buffer.make_one_pending(*id) {
                self.add_spills([*id].into_iter(), &topic);
                self.full_scan_wanted = true;
            }
        }
    }
}
