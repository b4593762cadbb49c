//! Every history: all orders of arrival, each fact doubled, with crashes, time-outs and late calls at every point.
//!
//! A search through the whole space of a payment, one provider and one worker. Where it ends, the money must be
//! right by the provider's own ledger.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{REFUND, charge, transaction};
use crate::domain::*;
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Fact {
    OrderPlaced,
    StockReserved,
    OrderCancelled,
}

/// A provider as the trait `Provider` demands: the same key gets the same answer, a void forbids what comes late.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Ledger(BTreeMap<Step, bool>);

impl Ledger {
    fn act(&mut self, step: Step, refuses: Option<Step>) -> bool {
        let approved = |step| self.0.get(&step) == Some(&true);
        let possible = match step {
            Step::Authorize => !approved(Step::Void),
            Step::CheckFraud => true,
            Step::Capture => approved(Step::Authorize) && !approved(Step::Void),
            Step::Void => !approved(Step::Capture),
            Step::Refund => approved(Step::Capture),
        };
        let answer = possible && refuses != Some(step);
        // A refused void is not remembered: the answer is what holds now.
        if step == Step::Void && !answer {
            return false;
        }
        *self.0.entry(step).or_insert(answer)
    }

    fn approved(&self, step: Step) -> bool {
        self.0.get(&step) == Some(&true)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Worker {
    Idle,
    /// The task was stored as taken; the provider has not acted.
    Asking(Task),
    /// The provider has answered; the answer is not stored.
    Holding(Step, Report),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Model {
    payment: Payment,
    facts: Vec<Fact>,
    worker: Worker,
    ledger: Ledger,
    /// Calls given up by their caller, still on their way to the provider.
    late: BTreeSet<Step>,
    faults_left: u8,
    completed: u8,
    declined: u8,
    refunded: u8,
}

fn report_of(step: Step, approved: bool) -> Report {
    Report::Answered(if approved {
        Answer::Approved { transaction_id: transaction(step.name()) }
    } else {
        Answer::Declined { reason: "no".to_owned() }
    })
}

impl Model {
    fn new(facts: &[Fact], faults: u8) -> Self {
        Self {
            payment: Payment {
                order_id: OrderId(Uuid::from_u128(1)),
                payment_id: PaymentId(Uuid::from_u128(2)),
                state: State::Unknown,
            },
            facts: facts.iter().flat_map(|fact| [*fact, *fact]).collect(),
            worker: Worker::Idle,
            ledger: Ledger::default(),
            late: BTreeSet::new(),
            faults_left: faults,
            completed: 0,
            declined: 0,
            refunded: 0,
        }
    }

    /// Every model that may follow in one move.
    fn moves(&self, refuses: Option<Step>) -> Vec<Self> {
        let mut next = Vec::new();
        for (index, fact) in self.facts.iter().enumerate() {
            let mut model = self.clone();
            model.facts.remove(index);
            match fact {
                Fact::OrderPlaced => model.payment.order_placed(charge()).expect("one order"),
                Fact::StockReserved => model.payment.stock_reserved(),
                Fact::OrderCancelled => model.payment.order_cancelled(),
            }
            next.push(model);
        }
        for step in &self.late {
            let mut model = self.clone();
            model.late.remove(step);
            model.ledger.act(*step, refuses);
            next.push(model);
        }
        match &self.worker {
            Worker::Idle => {
                if let Some(task) = self.payment.due() {
                    let mut model = self.clone();
                    model.payment.begin_call();
                    model.worker = Worker::Asking(task);
                    next.push(model);
                }
            }
            Worker::Asking(task) => next.extend(self.calls(*task, refuses)),
            Worker::Holding(step, report) => {
                next.push(self.stores(*step, report.clone()));
                next.extend(self.fault(|_| {})); // CrashAfterProviderActed: the answer is lost
            }
        }
        next
    }

    fn calls(&self, task: Task, refuses: Option<Step>) -> Vec<Self> {
        let step = task.step();
        let mut next = Vec::new();
        let known = self.ledger.0.get(&step).copied();
        let answer = |model: &mut Self, report| model.worker = Worker::Holding(step, report);
        let asks = match (task, known) {
            (Task::Ask(_), _) | (Task::LookUpThenAsk(_), None) => true,
            (Task::LookUp(_) | Task::LookUpThenAsk(_), Some(_)) | (Task::LookUp(_), None) => false,
        };
        let mut model = self.clone();
        if asks {
            let approved = model.ledger.act(step, refuses);
            answer(&mut model, report_of(step, approved));
            // Timed out, and the call is still under way.
            next.extend(self.fault(|model| {
                model.late.insert(step);
            }));
            if matches!(task, Task::Ask(_)) {
                next.extend(self.fault(|model| answer(model, Report::Unavailable)));
            }
        } else {
            answer(&mut model, known.map_or(Report::Absent, |approved| report_of(step, approved)));
        }
        next.push(model);
        next.extend(self.fault(|_| {})); // CrashBeforeCall
        next.extend(self.fault(|model| answer(model, Report::Unknown)));
        next
    }

    /// One of the few faults of this history: the worker is free again and knows nothing, then `what`.
    fn fault(&self, what: impl FnOnce(&mut Self)) -> Option<Self> {
        let mut model = self.clone();
        model.faults_left = model.faults_left.checked_sub(1)?;
        model.worker = Worker::Idle;
        what(&mut model);
        Some(model)
    }

    fn stores(&self, step: Step, report: Report) -> Self {
        let mut model = self.clone();
        model.worker = Worker::Idle;
        match model.payment.report(step, report, REFUND) {
            Some(PaymentEvent::Completed { .. }) => model.completed += 1,
            Some(PaymentEvent::Declined { .. }) => model.declined += 1,
            Some(PaymentEvent::Refunded { .. }) => model.refunded += 1,
            Some(PaymentEvent::Voided) | None => {}
        }
        model
    }

    fn check_end(&self, facts: &[Fact], refuses: Option<Step>) {
        let cancelled = facts.contains(&Fact::OrderCancelled);
        let started = facts.contains(&Fact::OrderPlaced) && facts.contains(&Fact::StockReserved);
        let captured = self.ledger.approved(Step::Capture);
        let refunded = self.ledger.approved(Step::Refund);
        let held = self.ledger.approved(Step::Authorize) && !captured && !self.ledger.approved(Step::Void);
        let declines = matches!(refuses, Some(Step::Authorize | Step::CheckFraud | Step::Capture));
        assert!(!held, "an authorization is left: {self:?}");
        assert_eq!(captured && !refunded, started && !cancelled && !declines, "money is wrong: {self:?}");
        assert_eq!(self.refunded, u8::from(refunded), "refunds published: {self:?}");
        assert!(self.completed + self.declined <= 1, "published twice: {self:?}");
        if started && !cancelled {
            assert_eq!(self.completed, u8::from(!declines), "{self:?}");
            assert_eq!(self.declined, u8::from(declines), "{self:?}");
        }
        let rests = match &self.payment.state {
            State::AwaitingStock { .. } | State::AwaitingOrder | State::Unknown => !started && !cancelled,
            State::Completed { .. } => started && !cancelled,
            State::Declined { .. } => started && declines,
            State::Voided { .. } | State::Refunded { .. } => started && cancelled,
            State::Cancelled => cancelled,
            State::InProgress { .. } => false,
        };
        assert!(rests, "a wrong end: {self:?}");
    }
}

/// Searches everything that follows and gives the number of different models and of ends.
fn explore(facts: &[Fact], refuses: Option<Step>, faults: u8) -> (usize, usize) {
    let mut seen = HashSet::new();
    let mut open = vec![Model::new(facts, faults)];
    let mut ends = 0;
    while let Some(model) = open.pop() {
        if !seen.insert(model.clone()) {
            continue;
        }
        let moves = model.moves(refuses);
        if moves.is_empty() {
            model.check_end(facts, refuses);
            ends += 1;
        }
        open.extend(moves);
    }
    (seen.len(), ends)
}

#[test]
fn every_history_ends_with_the_money_where_it_belongs() {
    use Fact::{OrderCancelled, OrderPlaced, StockReserved};
    let subsets: [&[Fact]; 8] = [
        &[],
        &[OrderPlaced],
        &[StockReserved],
        &[OrderCancelled],
        &[OrderPlaced, StockReserved],
        &[OrderPlaced, OrderCancelled],
        &[StockReserved, OrderCancelled],
        &[OrderPlaced, StockReserved, OrderCancelled],
    ];
    let (mut models, mut ends) = (0, 0);
    for facts in subsets {
        for refuses in [None, Some(Step::Authorize), Some(Step::CheckFraud), Some(Step::Capture)] {
            let found = explore(facts, refuses, 3);
            models += found.0;
            ends += found.1;
        }
    }
    println!("{models} models and {ends} ends searched");
    assert!(ends > 100, "the search found only {ends} ends");
}
