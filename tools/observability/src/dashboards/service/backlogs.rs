//! Mails and money in motion: what waits at a foreign system, since when, and what that system answers.

use super::Page;
use crate::dashboards::model::Panel;

impl Page {
    pub(super) fn payments(&self) -> Vec<Panel> {
        vec![
            Panel::graph(
                "Payments per second",
                "reqps",
                "By outcome; a refunded payment was completed before.",
                vec![self.rate("payments_total", "outcome", "{{outcome}}")],
            ),
            Panel::graph(
                "Steps that are not done",
                "short",
                "Due, under way, or waiting for another attempt, by the state of their payments.",
                vec![self.query("max by (state) (payment_steps_due{JOB})", "{{state}}")],
            ),
            Panel::graph(
                "Age of the oldest step",
                "s",
                "Since the step began, whatever attempts it has had.",
                vec![self.query("max by (state) (payment_oldest_step_age_seconds{JOB})", "{{state}}")],
            ),
            Panel::graph(
                "Calls to the provider per second",
                "reqps",
                "By step and outcome; refunds that the provider refused are tried again.",
                vec![
                    self.rate("payment_provider_calls_total", "step, outcome", "{{step}}, {{outcome}}"),
                    self.query(
                        "sum(rate(payment_refunds_refused_total{JOB}[$__rate_interval]))",
                        "refunds refused",
                    ),
                ],
            ),
        ]
    }

    pub(super) fn mails(&self) -> Vec<Panel> {
        vec![
            Panel::graph(
                "Mails per second",
                "reqps",
                "Sent, or failed for good.",
                vec![self.rate("mails_ended_total", "status", "{{status}}")],
            ),
            Panel::graph(
                "Time from event to mail",
                "s",
                "",
                self.quantiles(
                    "mails_time_to_end_seconds",
                    "status",
                    ["half, {{status}}", "99 %, {{status}}"],
                ),
            ),
            Panel::graph(
                "Mails that wait or have failed",
                "short",
                "",
                vec![self.query("max by (status) (mails{JOB})", "{{status}}")],
            ),
            Panel::graph(
                "Age of the oldest mail that waits",
                "s",
                "",
                vec![self.query("max(mails_oldest_pending_age_seconds{JOB})", "age")],
            ),
            Panel::graph(
                "Attempts to send mails per second",
                "reqps",
                "Transport: the mail server is away or refuses everybody, which fails no mail.",
                vec![self.rate("mail_attempts_total", "outcome", "{{outcome}}")],
            ),
        ]
    }
}
