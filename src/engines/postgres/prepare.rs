//! What a source needs before it can be protected: a role with few rights, the heartbeat table, and
//! settings that fit. The SQL is pure text for a DBA to read and run; checks come all at once.

use crate::error::{Attempt, Error, Kind, Result};
use crate::ports::postgres::{Row, Session};

use super::heartbeat::SCHEMA_SQL;
use super::ship::position::is_synchronous;
use super::source::field;

/// What is to be prepared.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The role that Fenice connects as.
    pub role: String,
    /// The name of its connections; also checked against `synchronous_standby_names`.
    pub name: String,
    pub slot: String,
    /// Snapshots come over the replication protocol: files of configuration are read by SQL.
    pub stream: bool,
}

/// What the checks found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Each must be mended first: what it is, and what to do.
    pub problems: Vec<(String, String)>,
    /// Worth knowing, not in the way.
    pub advice: Vec<String>,
    /// Commits would wait for Fenice (RULES 13).
    pub unsafe_to_connect: bool,
}

/// SQL for a superuser to run in the database of `connection`, on the primary. Safe to run again.
pub fn sql(wanted: &Wanted) -> String {
    let (role, text) = (identifier(&wanted.role), literal(&wanted.role));
    let name = &wanted.role;
    let mut sql = format!(
        "-- Run as superuser on the primary, in the database that `connection` names.
-- pg_hba.conf needs lines that let the role in, for SQL and for replication, such as
--   host  all,replication  {name}  ADDRESS/32  scram-sha-256
-- Give it a password with \\password {name}, and put that into passfile=.
do $$ begin
  if not exists (select from pg_roles where rolname = {text}) then
    create role {role} login replication;
  end if;
end $$;
alter role {role} login replication;

-- Positions, settings and the state of replication.
grant pg_monitor to {role};
-- Base backups.
grant execute on function pg_backup_start(text, boolean), pg_backup_stop(boolean) to {role};
-- Table statistics of every database, for the checks of drills.
do $$ declare name text; begin
  for name in select datname from pg_database where datallowconn loop
    execute format('grant connect on database %I to %I', name, {text});
  end loop;
end $$;
"
    );
    if wanted.stream {
        sql.push_str(&format!(
            "-- Method `stream` only: files of configuration outside the data directory, and
-- pages that were being written while they were sent.
grant pg_read_server_files to {role};
grant execute on function pg_read_binary_file(text),
  pg_read_binary_file(text, bigint, bigint, boolean), pg_ls_dir(text) to {role};
"
        ));
    }
    sql.push_str(&format!(
        "
-- Heartbeats: one small row a minute, by which restored data is dated.
{SCHEMA_SQL}
alter schema fenice owner to {role};
alter table fenice.heartbeat owner to {role};
"
    ));
    sql
}

/// Runs [`sql`].
///
/// # Errors
/// Refused if the session's role is no superuser.
pub async fn apply(session: &mut dyn Session, wanted: &Wanted) -> Result<()> {
    session.query(&sql(wanted)).await.attempt(|| "prepare the source".to_owned()).map(drop)
}

/// Whether the session's role may run [`sql`].
pub async fn is_superuser(session: &mut dyn Session) -> Result<bool> {
    let rows = session.query("select current_setting('is_superuser')").await?;
    Ok(field::<String>(rows.first().unwrap_or(&Vec::new()), 0)? == "on")
}

const RIGHTS: &str = "select rolreplication or rolsuper, \
    pg_has_role(current_user, 'pg_monitor', 'usage'), \
    has_function_privilege('pg_backup_start(text, boolean)', 'execute') \
    and has_function_privilege('pg_backup_stop(boolean)', 'execute'), \
    coalesce(has_table_privilege(to_regclass('fenice.heartbeat'), 'insert') \
    and has_table_privilege(to_regclass('fenice.heartbeat'), 'delete'), false) \
    from pg_roles where rolname = current_user";

const SETTINGS: &str = "select current_setting('wal_level'), current_setting('max_wal_senders'), \
    current_setting('max_replication_slots'), current_setting('full_page_writes'), \
    current_setting('data_checksums'), current_setting('synchronous_standby_names'), \
    (select setting from pg_settings where name = 'max_slot_wal_keep_size'), \
    (select count(*) from pg_replication_slots), \
    exists (select from pg_replication_slots where slot_name = '{slot}')";

/// Looks whether rights and settings are as needed.
pub async fn check(session: &mut dyn Session, wanted: &Wanted) -> Result<Findings> {
    let what = || "check the source".to_owned();
    let mut findings = Findings::default();
    let rows = session.query(RIGHTS).await.attempt(what)?;
    rights(rows.first().unwrap_or(&Vec::new()), &mut findings)?;
    // A slot's name is checked by the configuration: a-z, 0-9 and `_`.
    let rows = session.query(&SETTINGS.replace("{slot}", &wanted.slot)).await.attempt(what)?;
    settings(rows.first().unwrap_or(&Vec::new()), wanted, &mut findings)?;
    Ok(findings)
}

fn rights(row: &Row, findings: &mut Findings) -> Result<()> {
    let lacking = [
        "the role has not the attribute REPLICATION",
        "the role is not a member of pg_monitor",
        "the role may not execute pg_backup_start and pg_backup_stop",
        "the role cannot write to the table fenice.heartbeat",
    ];
    for (index, what) in lacking.into_iter().enumerate() {
        if field::<String>(row, index)? != "t" {
            let hint = "Have a superuser run what --print-sql prints.";
            findings.problems.push((what.to_owned(), hint.to_owned()));
        }
    }
    Ok(())
}

fn settings(row: &Row, wanted: &Wanted, findings: &mut Findings) -> Result<()> {
    let text = |index: usize| field::<String>(row, index);
    let number = |index: usize| field::<i64>(row, index);
    let mut problem = |what: String, hint: &str| findings.problems.push((what, hint.to_owned()));
    let wal_level = text(0)?;
    if wal_level == "minimal" {
        let hint = "Set wal_level = replica and restart the server.";
        problem(format!("wal_level is {wal_level}"), hint);
    }
    // One ships, one takes a base backup.
    if number(1)? < 2 {
        let hint = "Set max_wal_senders = 10 and restart the server.";
        problem(format!("max_wal_senders is {}, and 2 are needed", number(1)?), hint);
    }
    let (slots, used, has_ours) = (number(2)?, number(7)?, text(8)? == "t");
    if !has_ours && used >= slots {
        let hint = "Raise max_replication_slots and restart the server, or drop an unused slot.";
        problem(format!("all {slots} replication slots are taken"), hint);
    }
    let synchronous = text(5)?;
    if is_synchronous(&synchronous, &wanted.name) {
        let what = format!(
            "commits would wait for Fenice: synchronous_standby_names is '{synchronous}', which \
             matches {}",
            wanted.name
        );
        problem(what, "Name the synchronous standbys one by one instead of `*`.");
        findings.unsafe_to_connect = true;
    }
    let mut advise = |what: &str| findings.advice.push(what.to_owned());
    if text(3)? != "on" {
        advise("full_page_writes is off: a crash may tear pages; standbys cannot be backed up");
    }
    if text(4)? != "on" {
        advise("the cluster has no data checksums: damaged pages cannot be seen (pg_checksums)");
    }
    if number(6)? < 0 {
        advise(
            "max_slot_wal_keep_size is unlimited: while Fenice is away the log may fill the disk; \
             set it well below the free space",
        );
    }
    Ok(())
}

impl Findings {
    /// All problems as one error; nothing, if there are none.
    pub fn verdict(&self) -> Result<()> {
        let Some((_, first_hint)) = self.problems.first() else { return Ok(()) };
        let all: Vec<String> = self.problems.iter().map(|(what, _)| what.clone()).collect();
        let mut hints: Vec<&str> = vec![first_hint];
        for (_, hint) in &self.problems {
            if !hints.contains(&hint.as_str()) {
                hints.push(hint);
            }
        }
        let kind = if self.unsafe_to_connect { Kind::Refused } else { Kind::Failed };
        Err(Error::new(kind, "the source is not ready")
            .because(Error::new(kind, all.join("; ")))
            .hint(hints.join(" ")))
    }
}

/// An SQL identifier.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// An SQL string.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(stream: bool) -> Wanted {
        Wanted {
            role: "o'fen\"ice".to_owned(),
            name: "fenice_registro".to_owned(),
            slot: "fenice_registro".to_owned(),
            stream,
        }
    }

    #[test]
    fn only_streams_may_read_the_servers_files() {
        assert!(!sql(&wanted(false)).contains("pg_read_server_files"));
        assert!(sql(&wanted(true)).contains("grant pg_read_server_files to \"o'fen\"\"ice\";"));
        assert!(sql(&wanted(false)).contains("rolname = 'o''fen\"ice'"));
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let row = |values: &[&str]| values.iter().map(|v| Some((*v).to_owned())).collect::<Row>();
        let mut findings = Findings::default();
        rights(&row(&["f", "t", "t", "f"]), &mut findings).unwrap();
        let bad = ["minimal", "1", "3", "off", "off", "*", "-1", "3", "f"];
        settings(&row(&bad), &wanted(false), &mut findings).unwrap();
        assert_eq!((findings.problems.len(), findings.advice.len()), (6, 3));
        assert_eq!(findings.verdict().unwrap_err().kind(), Kind::Refused);
        let mut findings = Findings::default();
        let good = ["replica", "10", "10", "on", "on", "", "1024", "10", "t"];
        settings(&row(&good), &wanted(false), &mut findings).unwrap();
        assert_eq!(findings, Findings::default());
        assert!(findings.verdict().is_ok());
    }
}
