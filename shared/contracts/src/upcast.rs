//! Upcasters: stored events of old versions become events of the newest, step by step, in one place.
//!
//! Avro's resolution serves where a field came or went. Where meaning changed (a field split, a unit converted), a
//! step from version n to n + 1 says how. Readers of the store then know the newest version only.

use std::collections::BTreeMap;

use serde_json::Value;

/// A step from one version to the next.
type Step = Box<dyn Fn(Value) -> Result<Value, String> + Send + Sync>;

/// The steps of all event types of one store.
#[derive(Default)]
pub struct Upcasters {
    types: BTreeMap<&'static str, Chain>,
}

struct Chain {
    newest: u32,
    /// By the version that the step begins with.
    steps: BTreeMap<u32, Step>,
}

/// Why a stored event can't become one of the newest version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpcastError {
    /// Nobody declared this type.
    #[error("{event_type} is no stored event of this service")]
    UnknownType {
        /// The stored type.
        event_type: String,
    },
    /// Written by a newer program than this one, or never (versions begin with 1).
    #[error("{event_type} version {version} is outside this program's 1 to {newest}")]
    UnknownVersion {
        /// The stored type.
        event_type: String,
        /// The stored version.
        version: u32,
        /// The newest version that this program knows.
        newest: u32,
    },
    /// The chain has a gap.
    #[error("no upcaster leads {event_type} from version {from} to {}", from + 1)]
    MissingStep {
        /// The stored type.
        event_type: String,
        /// The version that no step begins with.
        from: u32,
    },
    /// A step does not find what its version should hold.
    #[error("{event_type} can't be lifted from version {from}: {detail}")]
    Failed {
        /// The stored type.
        event_type: String,
        /// The version that the step begins with.
        from: u32,
        /// What the step missed.
        detail: String,
    },
}

impl Upcasters {
    /// No types yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares `event_type`, whose newest version is `newest`.
    #[must_use]
    pub fn newest(mut self, event_type: &'static str, newest: u32) -> Self {
        self.types.entry(event_type).or_insert_with(Chain::new).newest = newest;
        self
    }

    /// Leads `event_type` from version `from` to the one after it; the error says what was missing.
    #[must_use]
    pub fn step(
        mut self,
        event_type: &'static str,
        from: u32,
        lift: impl Fn(Value) -> Result<Value, String> + Send + Sync + 'static,
    ) -> Self {
        self.types.entry(event_type).or_insert_with(Chain::new).steps.insert(from, Box::new(lift));
        self
    }

    /// The newest version's number of a declared type: what to store beside the data.
    pub fn newest_version(&self, event_type: &str) -> Option<u32> {
        self.types.get(event_type).map(|chain| chain.newest)
    }

    /// The data of a stored event, in the newest version of its type.
    ///
    /// # Errors
    /// When the type or version is unknown, a step is missing, or a step refuses the data.
    pub fn upcast(&self, event_type: &str, version: u32, data: Value) -> Result<Value, UpcastError> {
        let named = || event_type.to_owned();
        let chain =
            self.types.get(event_type).ok_or_else(|| UpcastError::UnknownType { event_type: named() })?;
        if version == 0 || version > chain.newest {
            return Err(UpcastError::UnknownVersion { event_type: named(), version, newest: chain.newest });
        }
        (version..chain.newest).try_fold(data, |data, from| match chain.steps.get(&from) {
            Some(lift) => {
                lift(data).map_err(|detail| UpcastError::Failed { event_type: named(), from, detail })
            }
            None => Err(UpcastError::MissingStep { event_type: named(), from }),
        })
    }
}

impl Chain {
    const fn new() -> Self {
        Self { newest: 1, steps: BTreeMap::new() }
    }
}

impl std::fmt::Debug for Upcasters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(self.types.iter().map(|(event_type, chain)| (event_type, chain.newest)))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn upcasters() -> Upcasters {
        Upcasters::new()
            .newest("Moved", 3)
            .step("Moved", 1, |mut data| {
                let metres = data["metres"].as_i64().ok_or("metres is missing")?;
                data["millimetres"] = json!(metres * 1_000);
                Ok(data)
            })
            .step("Moved", 2, |data| Ok(json!({ "distance": { "mm": data["millimetres"] } })))
            .newest("Turned", 2)
    }

    #[test]
    fn an_old_event_takes_every_step_and_a_newest_one_none() {
        let newest = json!({ "distance": { "mm": 2_000 } });
        assert_eq!(upcasters().upcast("Moved", 1, json!({ "metres": 2 })), Ok(newest.clone()));
        assert_eq!(upcasters().upcast("Moved", 2, json!({ "millimetres": 2_000 })), Ok(newest.clone()));
        assert_eq!(upcasters().upcast("Moved", 3, newest.clone()), Ok(newest));
        assert_eq!(upcasters().newest_version("Moved"), Some(3));
    }

    #[test]
    fn what_can_not_be_lifted_is_a_typed_error() {
        let upcast = |event_type, version| upcasters().upcast(event_type, version, json!({})).unwrap_err();
        let event_type = "Moved".to_owned();
        assert_eq!(
            upcast("Turned", 1),
            UpcastError::MissingStep { event_type: "Turned".to_owned(), from: 1 }
        );
        assert_eq!(upcast("Sunk", 1), UpcastError::UnknownType { event_type: "Sunk".to_owned() });
        for version in [0, 4] {
            let event_type = event_type.clone();
            assert_eq!(
                upcast("Moved", version),
                UpcastError::UnknownVersion { event_type, version, newest: 3 }
            );
        }
        let detail = "metres is missing".to_owned();
        assert_eq!(upcast("Moved", 1), UpcastError::Failed { event_type, from: 1, detail });
    }
}
