//! `form`: form sets — those in force on a server, those in a folder, and the JSON Schema of their filings.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Done;
use super::attempt::Attempt;
use super::check::{find, forms, read_folder};
use super::client::Client;
use super::output::{Answer, Failure, Grid, Look, Sheet, Show, strong};
use super::rules::{rule_json, rules_text};
use super::settings::{Settings, is_filled};
use super::table_file::receipt;
use super::words::{hex, say, short_digest};
use crate::budget::digest::Digest;
use crate::budget::form_set::{Column, ColumnKind, FormFault, FormFiles, FormSet, RollUp, Rows, Table};
use crate::budget::money::Decimals;
use crate::proto::api::{self, ListFormSetsResponse};
use crate::submission_file::schema;
use crate::wording::{Language, label, sentence};

/// What `form` is told.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Verb {
    /// Lists the form sets in force.
    List(SourceArgs),
    /// Shows the tables of one.
    Show(ShowArgs),
    /// Prints the JSON Schema of its filings.
    Schema(ShowArgs),
    /// Puts the form set of a folder in force.
    Publish(FolderArgs),
    /// Checks the form set of a folder and changes nothing.
    Check(FolderArgs),
    /// Writes the files of one into a folder.
    Save(SaveArgs),
}

impl Verb {
    pub(super) fn asks_a_server(&self) -> bool {
        match self {
            Verb::List(source) | Verb::Show(ShowArgs { source, .. }) | Verb::Schema(ShowArgs { source, .. }) => {
                !source.is_offline()
            }
            Verb::Save(SaveArgs { shown, .. }) => !shown.source.is_offline(),
            Verb::Publish(_) => true,
            Verb::Check(_) => false,
        }
    }
}

/// Where form sets are looked for: on the server unless said otherwise.
#[derive(Clone, Debug, clap::Args)]
pub struct SourceArgs {
    #[arg(long)]
    pub(super) offline: bool,
    #[arg(long, value_name = "DIR")]
    pub(super) forms: Option<PathBuf>,
}

impl SourceArgs {
    fn is_offline(&self) -> bool {
        self.offline || self.forms.is_some()
    }
}

/// What `form show` and `form schema` are told.
#[derive(Clone, Debug, clap::Args)]
pub struct ShowArgs {
    pub(super) id: String,
    #[command(flatten)]
    pub(super) source: SourceArgs,
}

/// What `form save` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct SaveArgs {
    #[command(flatten)]
    shown: ShowArgs,
    #[arg(id = "save_dir", value_name = "DIR")]
    dir: PathBuf,
}

/// What `form publish` and `form check` are told.
#[derive(Clone, Debug, clap::Args)]
pub struct FolderArgs {
    #[arg(value_name = "DIR")]
    pub(super) dir: PathBuf,
}

/// Runs `form`.
///
/// # Errors
/// A folder that can't be read, a refusal, or a server that can't be reached.
pub async fn run(verb: Verb, settings: &Settings) -> Result<Answer, Failure> {
    match verb {
        Verb::List(args) => list(&args, settings).await,
        Verb::Show(args) => Ok(settings.answer(&Layout(form_set(&args, settings).await?))),
        Verb::Schema(args) => {
            let form = form_set(&args, settings).await?;
            Ok(Answer::clean(format!("{:#}\n", schema(&form))))
        }
        Verb::Publish(args) => publish(args, settings).await,
        Verb::Check(args) => check(&args, settings),
        Verb::Save(args) => save(&args, settings).await,
    }
}

async fn list(args: &SourceArgs, settings: &Settings) -> Result<Answer, Failure> {
    if args.is_offline() {
        let summary = |form: &Arc<FormSet>| api::FormSetSummary {
            id: form.id.to_string(),
            title: form.title.clone(),
            year: u32::from(form.year),
            digest: form.digest.0.to_vec(),
            tables: u32::try_from(form.tables.len()).unwrap_or(u32::MAX),
        };
        let form_sets = forms(args.forms.as_deref(), settings)?.iter().map(summary).collect();
        return Ok(settings.answer(&FormSets(ListFormSetsResponse { form_sets })));
    }
    let client = Client::connect(settings).await?;
    let answer = client.registry().list_form_sets(api::ListFormSetsRequest {}).await;
    Ok(settings.answer(&FormSets(answer.map_err(|status| client.failure(&status))?.into_inner())))
}

async fn form_set(args: &ShowArgs, settings: &Settings) -> Result<Arc<FormSet>, Failure> {
    if args.source.is_offline() {
        return find(&forms(args.source.forms.as_deref(), settings)?, &args.id).cloned();
    }
    Ok(Arc::new(Client::connect(settings).await?.form_set(&args.id).await?))
}

/// Writes the files of a form set into a folder that is new or empty: from there the next year's is made.
async fn save(args: &SaveArgs, settings: &Settings) -> Result<Answer, Failure> {
    let folder = args.dir.display().to_string();
    let unwritable = |error: std::io::Error| {
        let facts = [("file", folder.as_str()), ("error", &error.to_string())];
        Failure::Failed(settings.say("file-unwritable", &facts))
    };
    if is_filled(&args.dir).map_err(unwritable)? {
        return Err(Failure::Usage(settings.say("folder-not-empty", &[("folder", &folder)])));
    }
    let form = form_set(&args.shown, settings).await?;
    std::fs::create_dir_all(&args.dir).map_err(unwritable)?;
    for (name, bytes) in form.files.iter() {
        // Names come from the server: none may lead out of the folder.
        let plain = std::path::Path::new(name).file_name().is_some_and(|file| file == name.as_str());
        if !plain {
            return Err(unwritable(std::io::Error::other(name.clone())));
        }
        std::fs::write(args.dir.join(name), bytes).map_err(unwritable)?;
    }
    let facts = [("id", form.id.to_string()), ("n", form.files.len().to_string()), ("folder", folder.clone())];
    let files: Vec<&String> = form.files.keys().collect();
    let json = json!({ "id": form.id.as_str(), "digest": form.digest.to_string(), "folder": folder, "files": files });
    Ok(settings.answer(&Done::new("form-saved", &facts, false, json)))
}

async fn publish(args: FolderArgs, settings: &Settings) -> Result<Answer, Failure> {
    let files = read_folder(&args.dir, settings)?;
    let warnings = match FormSet::load(files.clone()) {
        Ok(form) => form.rules.warnings,
        Err(faults) => {
            return Ok(Answer { code: 1, ..settings.answer(&Checked { faults, id: String::new(), digest: None }) });
        }
    };
    let client = Client::connect(settings).await?;
    let actor = settings.actor_text();
    let digest = FormSet::digest_of(&files);
    let request = [settings.server.as_bytes(), actor.as_bytes(), b"form set", &digest.0];
    let attempt = Attempt::open(&args.dir, &request);
    let request = api::PublishFormSetRequest { idempotency_key: attempt.key().to_owned(), files: messages(files) };
    let answer = client.registry().publish_form_set(request).await;
    let answer = receipt(answer, attempt, &client)?;
    let facts = [
        ("id", answer.id.clone()),
        ("digest", short_digest(&answer.digest)),
        ("position", answer.position.to_string()),
    ];
    let json = json!({
        "id": answer.id,
        "digest": hex(&answer.digest),
        "position": answer.position,
        "repeated": answer.repeated,
        "warnings": warnings.iter().map(fault_json).collect::<Vec<_>>(),
    });
    let done = Done::new("form-published", &facts, answer.repeated, json);
    Ok(settings.answer(&Published { warnings, done }))
}

/// A form set that was published, and what is allowed in it but probably not meant.
struct Published {
    warnings: Vec<FormFault>,
    done: Done,
}

impl Show for Published {
    fn text(&self, look: &Look) -> String {
        warnings_text(&self.warnings, look.language) + &self.done.text(look)
    }

    fn json(&self) -> Value {
        self.done.json()
    }

    fn sheet(&self) -> Sheet {
        self.done.sheet()
    }
}

fn faults_text(faults: &[FormFault], language: Language) -> String {
    let line = |fault: &FormFault| {
        let said = sentence(&fault.remark, language);
        format!("{}:{}:{}  {said} ({})\n", fault.file, fault.line, fault.column, fault.remark.reason)
    };
    faults.iter().map(line).collect()
}

fn warnings_text(warnings: &[FormFault], language: Language) -> String {
    match warnings.len() {
        0 => String::new(),
        n => {
            let count = say(language, "form-warnings", &[("n", &n.to_string())]);
            format!("{}{count}\n", faults_text(warnings, language))
        }
    }
}

fn fault_json(fault: &FormFault) -> Value {
    json!({
        "file": fault.file,
        "line": fault.line,
        "column": fault.column,
        "reason": fault.remark.reason.code(),
        "sentence_zh": sentence(&fault.remark, Language::Chinese),
        "sentence_en": sentence(&fault.remark, Language::English),
    })
}

fn messages(files: FormFiles) -> Vec<api::FormFile> {
    files.into_iter().map(|(name, content)| api::FormFile { name, content }).collect()
}

fn check(args: &FolderArgs, settings: &Settings) -> Result<Answer, Failure> {
    let checked = match FormSet::load(read_folder(&args.dir, settings)?) {
        Ok(form) => Checked { faults: form.rules.warnings.clone(), id: form.id.to_string(), digest: Some(form.digest) },
        Err(faults) => Checked { faults, id: String::new(), digest: None },
    };
    Ok(Answer { code: u8::from(checked.digest.is_none()), ..settings.answer(&checked) })
}

/// What was found in the form set of a folder.
#[derive(Debug)]
struct Checked {
    faults: Vec<FormFault>,
    id: String,
    digest: Option<Digest>,
}

impl Show for Checked {
    fn text(&self, look: &Look) -> String {
        let language = look.language;
        match &self.digest {
            None => {
                let n = self.faults.len().to_string();
                faults_text(&self.faults, language) + &say(language, "form-faults", &[("n", &n)])
            }
            Some(digest) => {
                warnings_text(&self.faults, language)
                    + &say(language, "form-sound", &[("id", &self.id), ("digest", &digest.short())])
            }
        }
    }

    fn json(&self) -> Value {
        let digest = self.digest.map(|digest| digest.to_string());
        let told = self.faults.iter().map(fault_json).collect::<Vec<_>>();
        // What is published all the same is a warning.
        let (faults, warnings) = if self.digest.is_some() { (Vec::new(), told) } else { (told, Vec::new()) };
        json!({ "id": self.id, "digest": digest, "faults": faults, "warnings": warnings })
    }

    fn sheet(&self) -> Sheet {
        let row = |fault: &FormFault| {
            vec![
                fault.file.clone(),
                fault.line.to_string(),
                fault.column.to_string(),
                fault.remark.reason.code().to_owned(),
                sentence(&fault.remark, Language::Chinese),
                sentence(&fault.remark, Language::English),
            ]
        };
        let columns = vec!["file", "line", "column", "reason", "sentence_zh", "sentence_en"];
        Sheet { columns, rows: self.faults.iter().map(row).collect() }
    }
}

/// The form sets in force.
#[derive(Debug)]
struct FormSets(ListFormSetsResponse);

impl Show for FormSets {
    fn text(&self, look: &Look) -> String {
        let word = |key| label(key, look.language);
        let mut grid = Grid::new()
            .text(word("head-id"))
            .text(word("head-title"))
            .text(word("head-year"))
            .figures(word("head-tables"))
            .text(word("head-digest"));
        for form in &self.0.form_sets {
            grid.row(vec![
                form.id.clone(),
                form.title.clone(),
                form.year.to_string(),
                form.tables.to_string(),
                short_digest(&form.digest),
            ]);
        }
        grid.draw(look)
    }

    fn json(&self) -> Value {
        let form = |form: &api::FormSetSummary| {
            json!({
                "id": form.id,
                "title": form.title,
                "year": form.year,
                "digest": hex(&form.digest),
                "tables": form.tables,
            })
        };
        json!({ "form_sets": self.0.form_sets.iter().map(form).collect::<Vec<_>>() })
    }

    fn sheet(&self) -> Sheet {
        let row = |form: &api::FormSetSummary| {
            let (year, tables) = (form.year.to_string(), form.tables.to_string());
            vec![form.id.clone(), form.title.clone(), year, tables, hex(&form.digest)]
        };
        let columns = vec!["id", "title", "year", "tables", "digest"];
        Sheet { columns, rows: self.0.form_sets.iter().map(row).collect() }
    }
}

/// The tables of one form set.
#[derive(Debug)]
struct Layout(Arc<FormSet>);

fn rows_text(form: &FormSet, table: &Table, language: Language) -> String {
    match &table.rows {
        Rows::Record => label("rows-record", language).to_owned(),
        Rows::Fixed { rows, .. } => say(language, "rows-fixed", &[("n", &rows.len().to_string())]),
        Rows::Keyed { total, axes } => {
            let names: Vec<&str> =
                axes.iter().filter_map(|axis| form.axes.get(*axis)).map(|axis| axis.name.as_str()).collect();
            let names = names.join(" × ");
            total.as_ref().map_or(names.clone(), |total| format!("{total} > {names}"))
        }
    }
}

fn roll_up_name(roll_up: RollUp, language: Language) -> &'static str {
    match roll_up {
        RollUp::Sum => label("roll-up-sum", language),
        RollUp::List => label("roll-up-list", language),
        RollUp::None => label("roll-up-none", language),
    }
}

/// The type as forms write it.
fn type_text(column: &Column) -> String {
    let with = |name: &str, decimals: Decimals| match decimals {
        Decimals::Fixed(decimals) => format!("{name}.{decimals}"),
        Decimals::AsWritten => format!("{name}.~"),
    };
    match column.kind {
        ColumnKind::Amount { denomination, decimals } => with(denomination.as_str(), decimals),
        ColumnKind::Percent { decimals } => with("%", decimals),
        ColumnKind::Count => "count".to_owned(),
        ColumnKind::Year => "year".to_owned(),
        ColumnKind::Time => "time".to_owned(),
        ColumnKind::Text => "text".to_owned(),
        ColumnKind::Calculation => "calculation".to_owned(),
        ColumnKind::Name => "name".to_owned(),
    }
}

impl Show for Layout {
    fn text(&self, look: &Look) -> String {
        let form = &self.0;
        let language = look.language;
        let (year, digest) = (form.year.to_string(), form.digest.short());
        let facts = [("id", form.id.as_str()), ("title", &form.title), ("year", &year), ("digest", &digest)];
        let mut out = format!("{}\n", strong(&say(language, "form-title", &facts)));
        for table in &form.tables {
            let title = format!("{} {} {}", table.id, table.name, table.title);
            let (rows, roll_up) = (rows_text(form, table, language), roll_up_name(table.roll_up, language));
            let facts = [("rows", rows.as_str()), ("roll_up", roll_up)];
            out.push_str(&format!("\n{}\n  {}\n", strong(&title), say(language, "form-table", &facts)));
            let columns =
                table.columns.iter().map(|column| format!("{} {}（{}）", column.id, column.label, type_text(column)));
            for column in columns {
                out.push_str(&format!("    {column}\n"));
            }
        }
        out + &rules_text(form, language)
    }

    fn json(&self) -> Value {
        let form = &self.0;
        let column = |column: &Column| {
            json!({
                "id": column.id.as_str(),
                "label": column.label,
                "type": type_text(column),
                "assigned": column.assigned,
                "grouped": column.grouped,
                "signed": column.signed,
                "required": column.required,
            })
        };
        let fixed = |table: &Table| match &table.rows {
            Rows::Fixed { rows, .. } => {
                rows.iter().map(|row| json!({ "row": row.key.as_str(), "label": row.label })).collect()
            }
            Rows::Record | Rows::Keyed { .. } => Vec::new(),
        };
        let table = |table: &Table| {
            json!({
                "id": table.id.as_str(),
                "name": table.name,
                "title": table.title,
                "rows": rows_text(form, table, Language::English),
                "fixed_rows": fixed(table),
                "roll_up": match table.roll_up { RollUp::Sum => "sum", RollUp::List => "list", RollUp::None => "none" },
                "columns": table.columns.iter().map(column).collect::<Vec<_>>(),
            })
        };
        json!({
            "id": form.id.as_str(),
            "title": form.title,
            "year": form.year,
            "digest": form.digest.to_string(),
            "tables": form.tables.iter().map(table).collect::<Vec<_>>(),
            "rules": form.rules.rules.iter().map(rule_json).collect::<Vec<_>>(),
        })
    }

    fn sheet(&self) -> Sheet {
        let mut rows = Vec::new();
        for table in &self.0.tables {
            for column in &table.columns {
                let cells = [&table.id, &column.id].map(|id| id.to_string());
                let [table_id, column_id] = cells;
                rows.push(vec![table_id, table.name.clone(), column_id, column.label.clone(), type_text(column)]);
            }
        }
        Sheet { columns: vec!["table", "table_name", "column", "column_label", "type"], rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples::settings;

    #[tokio::test]
    async fn embedded_form_sets_are_listed_and_shown_without_a_server() {
        let source = SourceArgs { offline: true, forms: None };
        let listed = run(Verb::List(source.clone()), &settings()).await.unwrap();
        let id = crate::consolidator::embedded_form_sets().into_iter().next().map(FormSet::load);
        let id = id.unwrap().unwrap().id.to_string();
        assert!(listed.text.contains(&id), "{}", listed.text);
        let shown = run(Verb::Show(ShowArgs { id, source }), &settings()).await.unwrap();
        assert_eq!(shown.code, 0);
    }

    #[test]
    fn faults_of_a_folder_are_said_with_their_place() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("forms.toml"), "id = 5\n").unwrap();
        let answer = check(&FolderArgs { dir: folder.path().to_owned() }, &settings()).unwrap();
        assert!(answer.code == 1 && answer.text.contains("forms.toml:1:"), "{}", answer.text);
    }
}
