//! What `avro/` holds: per folder a module, per event its versions, the newest one parsed.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use apache_avro::Schema;
use apache_avro::schema::{EnumSchema, RecordSchema};

/// All modules, by folder name.
pub(crate) struct Catalogue {
    pub(crate) modules: BTreeMap<String, Module>,
}

/// One aggregate: a folder in `avro/`, a namespace, a Rust module, a topic.
#[derive(Default)]
pub(crate) struct Module {
    pub(crate) name: String,
    /// By event name.
    pub(crate) events: BTreeMap<String, Event>,
    /// Enums and nested records of all events by name, each once.
    pub(crate) enums: BTreeMap<String, EnumSchema>,
    pub(crate) records: BTreeMap<String, RecordSchema>,
}

pub(crate) struct Event {
    /// Every version's number, ascending.
    pub(crate) versions: Vec<u32>,
    /// The newest version.
    pub(crate) newest: RecordSchema,
}

impl Module {
    /// The variant of `contracts::topics::Topic` that carries this aggregate's events.
    pub(crate) fn topic(&self) -> anyhow::Result<&'static str> {
        Ok(match self.name.as_str() {
            "order" => "Orders",
            "reservation" => "Reservations",
            "payment" => "Payments",
            "stock" => "Stock",
            other => bail!("no topic is known for the folder avro/{other}"),
        })
    }
}

impl Catalogue {
    pub(crate) fn read(avro: &Path) -> anyhow::Result<Self> {
        let mut modules = BTreeMap::new();
        for (folder, path) in entries(avro)? {
            if folder == "golden" || !path.is_dir() {
                continue;
            }
            modules.insert(folder.clone(), read_module(folder, &path)?);
        }
        Ok(Self { modules })
    }
}

fn entries(folder: &Path) -> anyhow::Result<Vec<(String, std::path::PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    found.sort();
    Ok(found)
}

fn read_module(name: String, folder: &Path) -> anyhow::Result<Module> {
    let mut module = Module { name, ..Module::default() };
    for (file, path) in entries(folder)? {
        let (event, version) = file
            .strip_suffix(".avsc")
            .and_then(|stem| stem.split_once(".v"))
            .and_then(|(event, version)| Some((event.to_owned(), version.parse::<u32>().ok()?)))
            .with_context(|| format!("{} is not named <Event>.v<N>.avsc", path.display()))?;
        let text = std::fs::read_to_string(&path)?;
        let Schema::Record(record) =
            Schema::parse_str(&text).with_context(|| format!("parsing {}", path.display()))?
        else {
            bail!("{} is not a record", path.display());
        };
        let known = module
            .events
            .entry(event)
            .or_insert_with(|| Event { versions: Vec::new(), newest: record.clone() });
        if known.versions.iter().all(|other| *other < version) {
            known.newest = record;
        }
        known.versions.push(version);
        known.versions.sort_unstable();
    }
    let newest: Vec<RecordSchema> = module.events.values().map(|event| event.newest.clone()).collect();
    for record in newest {
        for field in &record.fields {
            collect(&mut module, &field.schema)?;
        }
    }
    Ok(module)
}

/// Gathers the named types below `schema`; two events may share one only if they define it alike.
fn collect(module: &mut Module, schema: &Schema) -> anyhow::Result<()> {
    match schema {
        Schema::Record(record) => {
            let name = record.name.name().to_owned();
            for field in &record.fields {
                collect(module, &field.schema)?;
            }
            if let Some(other) = module.records.insert(name.clone(), record.clone()) {
                ensure!(
                    Schema::Record(other) == *schema,
                    "{name} is defined in two ways in avro/{}",
                    module.name
                );
            }
        }
        Schema::Enum(symbols) => {
            let name = symbols.name.name().to_owned();
            if let Some(other) = module.enums.insert(name.clone(), symbols.clone()) {
                ensure!(
                    other.symbols == symbols.symbols,
                    "{name} is defined in two ways in avro/{}",
                    module.name
                );
            }
        }
        Schema::Array(array) => collect(module, &array.items)?,
        Schema::Union(union) => {
            for variant in union.variants() {
                collect(module, variant)?;
            }
        }
        _ => {}
    }
    Ok(())
}
