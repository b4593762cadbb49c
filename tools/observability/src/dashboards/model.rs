//! A dashboard in our words, and as the JSON that Grafana provisions.

use serde_json::{Value, json};

/// Grafana's grid is so many columns wide.
const COLUMNS: u32 = 24;

/// A dashboard.
#[derive(Clone, Debug)]
pub struct Dashboard {
    /// Its name in addresses and files.
    pub uid: String,
    /// Its name for people.
    pub title: String,
    /// From top to bottom.
    pub rows: Vec<Row>,
}

/// Panels side by side under a heading; each as wide as the others.
#[derive(Clone, Debug)]
pub struct Row {
    /// The heading.
    pub title: &'static str,
    /// From left to right.
    pub panels: Vec<Panel>,
}

/// One graph, or one number.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What it shows.
    pub title: &'static str,
    /// What a reader should know.
    pub description: &'static str,
    /// Grafana's name of the unit.
    pub unit: &'static str,
    /// The value from which a single number turns red; none for a graph.
    pub red_from: Option<f64>,
    /// What is asked.
    pub queries: Vec<Query>,
}

/// One question to Prometheus.
#[derive(Clone, Debug)]
pub struct Query {
    /// In PromQL.
    pub expression: String,
    /// The name of each line.
    pub legend: &'static str,
}

impl Query {
    /// A question.
    pub(super) fn new(expression: impl Into<String>, legend: &'static str) -> Self {
        Self { expression: expression.into(), legend }
    }
}

impl Panel {
    /// A graph over time.
    pub(super) fn graph(
        title: &'static str,
        unit: &'static str,
        description: &'static str,
        queries: Vec<Query>,
    ) -> Self {
        Self { title, description, unit, red_from: None, queries }
    }

    /// A number, red from `red_from` on.
    pub(super) fn number(
        title: &'static str,
        unit: &'static str,
        description: &'static str,
        red_from: f64,
        expression: &str,
    ) -> Self {
        let queries = vec![Query::new(expression, "")];
        Self { title, description, unit, red_from: Some(red_from), queries }
    }

    fn to_json(&self, id: usize, place: &Value) -> Value {
        let targets: Vec<Value> =
            self.queries.iter().zip('A'..).map(|(query, name)| query.to_json(name)).collect();
        let (kind, color, thresholds) = match self.red_from {
            None => ("timeseries", "palette-classic", json!([{ "color": "green", "value": null }])),
            Some(red_from) => (
                "stat",
                "thresholds",
                json!([{ "color": "green", "value": null }, { "color": "red", "value": red_from }]),
            ),
        };
        let options = match self.red_from {
            None => json!({
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
            Some(_) => json!({
                "colorMode": "background",
                "graphMode": "area",
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
            }),
        };
        json!({
            "id": id,
            "type": kind,
            "title": self.title,
            "description": self.description,
            "datasource": datasource(),
            "gridPos": place,
            "fieldConfig": {
                "defaults": {
                    "unit": self.unit,
                    "min": 0,
                    "color": { "mode": color },
                    "thresholds": { "mode": "absolute", "steps": thresholds },
                },
                "overrides": [],
            },
            "options": options,
            "targets": targets,
        })
    }
}

impl Query {
    fn to_json(&self, name: char) -> Value {
        json!({
            "refId": name.to_string(),
            "datasource": datasource(),
            "expr": self.expression,
            "legendFormat": self.legend,
            "range": true,
        })
    }
}

impl Dashboard {
    /// As Grafana reads it.
    pub fn to_json(&self) -> Value {
        let mut panels = Vec::new();
        let mut y = 0;
        for row in &self.rows {
            let place = json!({ "x": 0, "y": y, "w": COLUMNS, "h": 1 });
            let (id, title) = (panels.len() + 1, row.title);
            panels.push(json!({
                "id": id, "type": "row", "title": title, "collapsed": false, "gridPos": place, "panels": [],
            }));
            y += 1;
            let width = COLUMNS / u32::try_from(row.panels.len().max(1)).unwrap_or(COLUMNS);
            let height = if row.panels.iter().all(|panel| panel.red_from.is_some()) { 4 } else { 8 };
            for (panel, column) in row.panels.iter().zip(0_u32..) {
                let place = json!({ "x": column * width, "y": y, "w": width, "h": height });
                panels.push(panel.to_json(panels.len() + 1, &place));
            }
            y += height;
        }
        json!({
            "uid": self.uid,
            "title": self.title,
            "tags": ["tidings"],
            "schemaVersion": 39,
            "version": 1,
            "editable": false,
            "graphTooltip": 1,
            "refresh": "10s",
            "time": { "from": "now-30m", "to": "now" },
            "links": [{
                "type": "dashboards", "title": "Tidings", "tags": ["tidings"], "asDropdown": true, "keepTime": true,
                "includeVars": false, "targetBlank": false, "icon": "external link", "tooltip": "",
            }],
            "templating": { "list": [{
                "name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source",
            }] },
            "annotations": { "list": [] },
            "panels": panels,
        })
    }
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}
