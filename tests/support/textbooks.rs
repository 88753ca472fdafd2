//! Real data: the school textbooks adopted in two Italian regions, if the folder is there.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::Cluster;

const COLUMNS: &str = "codicescuola, annocorso, sezioneanno, tipogradoscuola, combinazione, \
    disciplina, codiceisbn, autori, titolo, sottotitolo, volume, editore, prezzo, nuovaadoz, \
    daacquist, consigliato";

/// The files `textbooks-*.csv.gz` in `../shared/data` (or `$FENICE_SHARED/data`), sorted; `None`,
/// said aloud, if there are none.
pub fn textbooks() -> Option<Vec<PathBuf>> {
    let shared = match std::env::var_os("FENICE_SHARED") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"),
    };
    let mut files: Vec<PathBuf> = match std::fs::read_dir(shared.join("data")) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => Vec::new(),
    };
    files.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("textbooks-") && name.ends_with(".csv.gz")
    });
    files.sort();
    if files.is_empty() {
        // Past the capture of the test harness, which would hide it.
        let _ = writeln!(
            std::io::stderr(),
            "NOT TESTED ON REAL DATA: no textbooks-*.csv.gz in {}/data (see FENICE_SHARED)",
            shared.display()
        );
        return None;
    }
    Some(files)
}

/// Loads the textbooks into a new table `adozioni` (text columns); the number of rows.
#[track_caller]
pub fn load_textbooks(cluster: &Cluster, database: &str) -> Option<u64> {
    let files = textbooks()?;
    let columns: Vec<String> = COLUMNS.split(", ").map(|name| format!("{name} text")).collect();
    let mut sql = format!("create table adozioni ({});\n", columns.join(", "));
    for file in files {
        let file = file.to_str().expect("a path in UTF-8");
        assert!(!file.contains(['\'', '"', '\\', '`', '$']), "cannot quote {file}");
        sql += &format!(
            "\\copy adozioni from program 'gzip -dc \"{file}\"' with (format csv, header)\n"
        );
    }
    sql += "select count(*) from adozioni;\n";
    Some(cluster.psql(database, &sql).parse().expect("a count"))
}
