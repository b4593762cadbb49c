//! How services are started: the prefix of their topics, settings beside the defaults, replicas, binaries.

use std::path::{Path, PathBuf};

use embedded::otlp::OtlpReceiver;

use crate::servers::Servers;

/// What ships with its default settings and without traces, unless something else is said.
#[derive(Clone, Debug)]
pub(crate) struct Deployment {
    prefix: String,
    /// Variables of the environment.
    settings: Vec<(String, String)>,
    replicas: usize,
    binaries: Option<PathBuf>,
    /// How many traces of a hundred are recorded.
    traces: Option<u64>,
    /// Whether its settings have the names of the commit that the row `earlier` measures.
    is_earlier: bool,
}

impl Deployment {
    pub(crate) fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            settings: Vec::new(),
            replicas: 1,
            binaries: None,
            traces: None,
            is_earlier: false,
        }
    }

    /// Binaries of this folder, which were built of the commit that the row `earlier` measures.
    pub(crate) fn earlier(prefix: impl Into<String>, folder: PathBuf) -> Self {
        Self { is_earlier: true, ..Self::new(prefix).binaries(folder) }
    }

    /// With another value of a setting of docs/configuration.md.
    pub(crate) fn set(mut self, setting: &str, value: &impl ToString) -> Self {
        self.settings.push((variable(setting), value.to_string()));
        self
    }

    /// With so many processes of each service.
    pub(crate) const fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// With binaries of this folder.
    pub(crate) fn binaries(mut self, folder: PathBuf) -> Self {
        self.binaries = Some(folder);
        self
    }

    /// With traces, so many of a hundred of which are recorded.
    pub(crate) const fn traces(mut self, per_cent: u64) -> Self {
        self.traces = Some(per_cent);
        self
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) const fn replica_count(&self) -> usize {
        self.replicas
    }

    /// The setting that names the brokers.
    pub(crate) const fn brokers_setting(&self) -> &'static str {
        if self.is_earlier { "kafka.brokers" } else { "kafka.bootstrap_servers" }
    }

    /// The field of a request that has the lines of an order.
    pub(crate) const fn lines_field(&self) -> &'static str {
        if self.is_earlier { "items" } else { "lines" }
    }

    /// The variables of the environment of each service.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let prefix = (variable("topics.prefix"), self.prefix.clone());
        std::iter::once(prefix).chain(self.settings.iter().cloned()).collect()
    }

    /// The binary of a service.
    pub(crate) fn binary(&self, servers: &Servers, service: &str) -> PathBuf {
        let folder: &Path = self.binaries.as_deref().unwrap_or(&servers.binaries);
        folder.join(service)
    }

    /// The deployment with the receiver of its traces, if it has any: in this process, as `tidings up` has it.
    ///
    /// # Errors
    /// When it can't listen.
    pub(crate) async fn with_receiver(&self) -> anyhow::Result<(Self, Option<OtlpReceiver>)> {
        let Some(per_cent) = self.traces else { return Ok((self.clone(), None)) };
        let receiver = OtlpReceiver::start().await?;
        let deployment = self.clone().set("telemetry.otlp_endpoint", &receiver.url());
        // The earlier commit records every trace, and has no setting of it.
        let deployment = match self.is_earlier {
            true => deployment,
            false => deployment.set("telemetry.traces_sample_ratio", &(per_cent as f64 / 100.0)),
        };
        Ok((deployment, Some(receiver)))
    }
}

/// `consumer.max_batch_records` as a variable.
pub(crate) fn variable(setting: &str) -> String {
    format!("TIDINGS_{}", setting.to_ascii_uppercase().replace('.', "__"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_setting_is_a_variable_and_traces_have_a_receiver_and_a_ratio() {
        let deployment = Deployment::new("a").set("consumer.max_batch_records", &7).traces(1);
        let (with_receiver, receiver) = deployment.with_receiver().await.unwrap();
        let receiver = receiver.unwrap();
        let expected = [
            ("TIDINGS_TOPICS__PREFIX", "a"),
            ("TIDINGS_CONSUMER__MAX_BATCH_RECORDS", "7"),
            ("TIDINGS_TELEMETRY__OTLP_ENDPOINT", &receiver.url()),
            ("TIDINGS_TELEMETRY__TRACES_SAMPLE_RATIO", "0.01"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(with_receiver.variables(), expected);
        receiver.stop().await;
        assert!(Deployment::new("a").with_receiver().await.unwrap().1.is_none());
    }

    #[tokio::test]
    async fn an_earlier_commit_gets_only_settings_that_it_has() {
        let deployment = Deployment::earlier("a", PathBuf::from("/earlier")).traces(100);
        let (with_receiver, receiver) = deployment.with_receiver().await.unwrap();
        let names: Vec<String> = with_receiver.variables().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["TIDINGS_TOPICS__PREFIX", "TIDINGS_TELEMETRY__OTLP_ENDPOINT"]);
        assert_eq!(
            (with_receiver.brokers_setting(), with_receiver.lines_field()),
            ("kafka.brokers", "items")
        );
        receiver.unwrap().stop().await;
    }
}
