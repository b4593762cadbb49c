//! What each payment-method token makes the built-in provider do.

use crate::domain::Step;

/// How the provider treats one step of a payment by one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Behaviour {
    /// Why it refuses, if it does.
    pub(super) refuses: Option<&'static str>,
    /// How often it answers "later" first.
    pub(super) interruptions: i32,
    /// How fast it answers.
    pub(super) speed: Speed,
}

/// When the answer comes; the provider has acted by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speed {
    AtOnce,
    Slow,
    TooLate,
}

/// | token | behaviour |
/// |---|---|
/// | `tok_declined`, or anything that doesn't begin with `tok_` | the authorization is refused |
/// | `tok_fraud` | the fraud check refuses |
/// | `tok_capture_declined` | the capture is refused |
/// | `tok_slow` | answers late, within the time-out |
/// | `tok_timeout` | acts, then answers after the time-out |
/// | `tok_flaky` | unavailable the first two times, then works |
/// | any other `tok_…`, such as `tok_visa` | works |
///
/// What undoes a payment is never refused.
pub(super) fn behaviour(token: &str, step: Step) -> Behaviour {
    let works = Behaviour { refuses: None, interruptions: 0, speed: Speed::AtOnce };
    let refuses = |reason| Behaviour { refuses: Some(reason), ..works };
    match (token, step) {
        ("tok_declined", Step::Authorize) => refuses("card_declined"),
        ("tok_fraud", Step::CheckFraud) => refuses("fraud_suspected"),
        ("tok_capture_declined", Step::Capture) => refuses("capture_declined"),
        ("tok_slow", _) => Behaviour { speed: Speed::Slow, ..works },
        ("tok_timeout", _) => Behaviour { speed: Speed::TooLate, ..works },
        ("tok_flaky", _) => Behaviour { interruptions: 2, ..works },
        (token, Step::Authorize) if !token.starts_with("tok_") => refuses("unknown_payment_method"),
        (_, Step::Authorize | Step::CheckFraud | Step::Capture | Step::Void | Step::Refund) => works,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_refuses_where_it_says_and_nothing_refuses_to_give_money_back() {
        let refused_at = |token| Step::ALL.into_iter().find(|step| behaviour(token, *step).refuses.is_some());
        assert_eq!(refused_at("tok_visa"), None);
        assert_eq!(refused_at("tok_of_somebody"), None);
        assert_eq!(refused_at("tok_declined"), Some(Step::Authorize));
        assert_eq!(refused_at("4111111111111111"), Some(Step::Authorize));
        assert_eq!(refused_at("tok_fraud"), Some(Step::CheckFraud));
        assert_eq!(refused_at("tok_capture_declined"), Some(Step::Capture));
    }
}
