//! The recovery kit: one page, printed once, kept on paper. With it and the bucket, data comes
//! back by public tools alone. Pure.

use crate::repository::format::FormatFile;

/// The text of the kit. `identity` is the secret line; `where_it_is` says how to reach the store.
pub fn text(file: &FormatFile, identity: Option<&str>, where_it_is: &str) -> String {
    let identity =
        identity.unwrap_or("(not made here: it was yours before; keep it with this page)");
    let recipients = file.recipients.join("\n             ");
    format!(
        r#"FENICE RECOVERY KIT                      keep on paper, away from the servers

repository   {where_it_is}
id           {id}
made         {made}
recipients   {recipients}
identity     {identity}

Whoever holds the identity can read every copy. Whoever loses it can read none.

TO GET DATA BACK WITHOUT FENICE
You need the repository (here as folder $REPO), and the public tools age, zstd, restic and a
PostgreSQL of the same major version. NAME is the resource, such as registro.

 1. Put the identity line into a file:            identity.txt   (mode 0600)
 2. The vault's password:
      age -d -i identity.txt $REPO/keys/postgres.NAME.vault-1.age > password
 3. What there is, and whether it is whole:
      export RESTIC_PASSWORD_FILE=password
      restic -r $REPO/postgres/NAME/vault --no-lock snapshots
      restic -r $REPO/postgres/NAME/vault --no-lock check --read-data
 4. The manifest of a snapshot (its log begins at start_lsn; "snapshot" is restic's id):
      age -d -i identity.txt $REPO/postgres/NAME/snapshots/TIME.json.age | zstd -dc
 5. The files, into a new place:
      restic -r $REPO/postgres/NAME/vault --no-lock restore ID --target DIR
    DIR/pgdata is the data directory. Tablespaces, if any, lie in DIR/tablespaces/OID and are
    linked from DIR/pgdata/pg_tblspc; their old places are listed in DIR/tablespace_map, which
    must stay outside pgdata. Files of configuration lie in DIR/config.
    Leave DIR/pgdata/backup_label where it is. Never run pg_resetwal.
 6. The log, as PostgreSQL asks for it. Save as fetch.sh, mode 0755, with W set to
    $REPO/postgres/NAME/wal/SYSTEM-ID, K to identity.txt and S to wal_segment_size in bytes:
{FETCH}
 7. In DIR/pgdata: an empty file recovery.signal, and in postgresql.auto.conf
      restore_command = '/path/to/fetch.sh %f %p'
      recovery_target_timeline = 'latest'        (or a number; or recovery_target_time)
      archive_mode = off
      primary_conninfo = ''
      primary_slot_name = ''
      synchronous_standby_names = ''
      listen_addresses = ''
    Where the configuration lay outside the data directory (DIR/config), start with
      -c config_file=… -c hba_file=… -c ident_file=…   copied and adapted from there.
 8. chown -R postgres DIR; chmod 700 DIR/pgdata; start the server as user postgres and read its
    log until "database system is ready to accept connections".
 9. Check: pg_amcheck --all, and the newest row of fenice.heartbeat dates the data.

restic never writes with --no-lock. Do not run restic prune, forget or rebuild-index here.
"#,
        id = file.repository_id,
        made = file.created_at,
        FETCH = FETCH_SCRIPT,
    )
}

/// A `restore_command` of public tools, printed in the kit. It obeys RULES 1: exit 1 only if no
/// stored object lies at or after the one asked for, else it stops the server by SIGKILL of its
/// own shell, because PostgreSQL takes every plain failure for the end of the log.
pub const FETCH_SCRIPT: &str = r#"      #!/bin/sh
      W=…; K=…; S=16777216
      stop() { echo "fetch.sh: $1" >&2; kill -KILL $$; }
      t=$(printf %s "$1" | cut -c1-8)
      whole="$W/$t/$1.zst.age"
      if [ -f "$whole" ]; then
        age -d -i "$K" "$whole" > "$2.z" && zstd -dcq "$2.z" > "$2.p" || stop "cannot read $1"
        rm "$2.z"; mv "$2.p" "$2"; exit 0
      fi
      case "$1" in *.history) ls "$W" > /dev/null || stop "cannot list"; exit 1;; esac
      : > "$2.p"; at=0
      for part in $(ls "$W/$t" 2> /dev/null | grep "^$1\.[0-9A-F]*-[0-9A-F]*\.zst\.age$" | sort); do
        from=$(printf %d 0x$(echo "$part" | cut -c26-33))
        [ "$from" -eq "$at" ] || stop "a part of $1 is missing at $at"
        age -d -i "$K" "$W/$t/$part" > "$2.z" && zstd -dcq "$2.z" >> "$2.p" || stop "cannot read $part"
        at=$(printf %d 0x$(echo "$part" | cut -c35-42))
      done
      rm -f "$2.z"
      if [ "$at" -gt 0 ]; then truncate -s "$S" "$2.p"; mv "$2.p" "$2"; exit 0; fi
      rm "$2.p"; ls "$W" > /dev/null || stop "cannot list"
      for name in $(cd "$W" && ls */ | cut -c1-24 | grep -E "^[0-9A-F]{24}$"); do
        later=$(printf '%s\n%s\n' "$1" "$name" | sort | tail -n 1)
        [ "$name" = "$later" ] && [ "$name" != "$1" ] && stop "$1 is missing, $name is stored"
      done
      exit 1"#;
