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
    If $REPO/keys holds more than one of NAME.vault-N, its key was changed since: a snapshot whose
    manifest (step 4) says "epoch":N opens with that N here, and lies in $REPO/postgres/NAME/vault
    where N is 1, in …/vault-N where it is more. Take that folder in the steps 3 and 5.
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
    $REPO/postgres/NAME/wal/SYSTEM-ID, K to identity.txt and S to wal_segment_size in bytes (all
    paths absolute). T is the timeline to recover to; set it to the one of step 7, in eight
    hexadecimal digits, if that shall not be the newest:
{FETCH}
 7. In DIR/pgdata: an empty file recovery.signal, and in postgresql.auto.conf
      restore_command = '/path/to/fetch.sh %f %p'
      recovery_target_timeline = 'latest'        (or a number, as T; or recovery_target_time)
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

/// A `restore_command` of public tools, printed in the kit. It obeys RULES 1 to 3 as `wal fetch`
/// does: a parent's segment at or past the switch is refused, exit 1 means that nothing later is
/// stored, and everything else kills the script's own shell, because PostgreSQL takes every plain
/// failure for the end of the log. POSIX sh; zstd adds nothing but decompression.
pub const FETCH_SCRIPT: &str = r#"      #!/bin/sh
      W=…; K=…; S=16777216
      T=$(ls "$W" | LC_ALL=C sort | tail -n 1)
      LC_ALL=C; export LC_ALL; name=$1; to=$2; at=0; way=; owner=
      stop() { echo "fetch.sh: $1" >&2; kill -KILL $$; exit 9; }
      less() { [ "$(expr "x$1" \< "x$2")" = 1 ]; }
      open() { if age -d -i "$K" "$1" > "$to.z" && zstd -dcqf "$to.z" > "$2"; then :
        else stop "cannot read $1"; fi; }
      put() { mv "$to.p" "$to" || stop "cannot write $to"; exit 0; }
      trap 'rm -f "$to".[zhup]' EXIT
      [ -n "$T" ] || stop "cannot list $W"
      t=$(echo "$name" | cut -c1-8); n=$(echo "$name" | cut -c9-24); whole="$W/$t/$name.zst.age"
      case "$name" in *.history)
        if [ -f "$whole" ]; then open "$whole" "$to.p"; put; fi
        [ "$t" = 00000001 ] || [ ! -d "$W/$t" ] || stop "$name is missing"
        exit 1;; esac
      # Which timeline has segment n on the way to T: the first one that did not end by then.
      if [ "$T" != 00000001 ]; then
        open "$W/$T/$T.history.zst.age" "$to.h"
        while read -r line end rest; do
          case "$line" in [1-9]*) ;; *) continue;; esac
          line=$(printf %08X "$line"); way="$way $line"
          end=$(printf %08X%08X "0x${end%/*}" "$((0x${end#*/} / S))")
          [ -n "$owner" ] || { less "$n" "$end" && owner=$line; }
        done < "$to.h"
      fi
      case "$way $T" in *"$t"*) ;; *) stop "timeline $t does not lead to $T";; esac
      : "${owner:=$T}"
      less "$t" "$owner" && stop "$name contains or follows the end of timeline $t"
      [ "$t" = "$owner" ] || exit 1
      names=$(ls "$W/$t") || stop "cannot list $W/$t"
      if [ -f "$whole" ]; then open "$whole" "$to.p"; at=$S; else
        : > "$to.p"
        for part in $(echo "$names" | grep "^$name\.[0-9A-F]*-[0-9A-F]*\.zst\.age$" | sort); do
          from=$((0x$(echo "$part" | cut -c26-33))); end=$((0x$(echo "$part" | cut -c35-42)))
          [ "$from" -le "$at" ] || stop "$name is missing from byte $at to $from"
          [ "$end" -gt "$at" ] || continue
          open "$W/$t/$part" "$to.u"; tail -c "+$((at - from + 1))" "$to.u" >> "$to.p"; at=$end
        done
      fi
      [ "$(wc -c < "$to.p")" -eq "$at" ] || stop "$name has another length than its name says"
      [ "$at" -lt "$S" ] || put
      # The rest is missing. That is the end only if nothing was stored later.
      [ "$t" = "$T" ] || stop "$name is missing from byte $at, and timeline $T goes on"
      last=$(echo "$names" | cut -c1-24 | grep -E '^[0-9A-F]{24}$' | sort | tail -n 1)
      less "$name" "$last" && stop "$name is missing from byte $at, and $last is stored"
      [ "$at" -gt 0 ] || exit 1
      head -c "$((S - at))" /dev/zero >> "$to.p"; put"#;
