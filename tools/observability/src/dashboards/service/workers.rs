//! What the workers of a service do.

use super::Page;
use crate::dashboards::model::Panel;

impl Page {
    pub(super) fn progress(&self) -> Panel {
        Panel::graph(
            "Workers without progress",
            "short",
            "Stalled: work is due, and none is completed. Paused: its calls get no answer, and others may take the work.",
            vec![
                self.query("sum by (worker) (worker_stalled{JOB})", "{{worker}}, stalled"),
                self.query("sum by (worker) (worker_paused{JOB})", "{{worker}}, paused"),
            ],
        )
    }

    pub(super) fn corrupt_rows(&self) -> Panel {
        Panel::graph(
            "Corrupt rows set aside per second",
            "short",
            "Rows that can't be read or changed: workers set them aside for five minutes, lists leave them out.",
            vec![self.rate("corrupt_rows_total", "table", "{{table}}")],
        )
    }
}
