//! What broken files are told: the whole text, word for word.

use fenice::config::parse;
use fenice::error::{Error, Kind};
use proptest::prelude::*;

use super::{LEAST, bad, good};

#[track_caller]
fn told(text: &str, expected: &str) {
    let problems = bad(text);
    let shown = format!("{problems}\n");
    assert_eq!(shown, expected, "\n{shown}");
    for hidden in ["hunter2", "HUNTER2", "AGE-SECRET-KEY-1"] {
        assert!(!shown.contains(hidden) && !format!("{problems:?}").contains(hidden));
    }
}

#[test]
fn syntax_and_semantics_together() {
    let text = r#"[daemon]
listen = 127.0.0.1:9797
timezone = "Europe/Roma"

[repository.main]
path = "/srv/fenice

[policy.standard]
daily = 35d
keep_min = 0
"#;
    let expected = r#"fenice.toml:2:15: invalid float, expected nothing
 2 | listen = 127.0.0.1:9797
   |               ^^^^^^^^^
hint: Write `key = value`, one a line, text in double quotes (https://toml.io).

fenice.toml:3:12: there is no time zone `Europe/Roma`
 3 | timezone = "Europe/Roma"
   |            ^^^^^^^^^^^^^
hint: Write a name of the IANA time zone database, such as "Europe/Rome".

fenice.toml:6:20: invalid basic string, expected `"`
 6 | path = "/srv/fenice
   |                    ^
hint: Write `key = value`, one a line, text in double quotes (https://toml.io).

fenice.toml:9:9: string values must be quoted, expected literal string
 9 | daily = 35d
   |         ^^^
hint: Write `key = value`, one a line, text in double quotes (https://toml.io).

fenice.toml:10:12: `keep_min` is 0
 10 | keep_min = 0
    |            ^
hint: The last snapshot always stays: write a number from 1 to 1000.
"#;
    told(text, expected);
}

#[test]
fn a_broken_line_hides_what_may_be_a_secret() {
    let text = r#"[repository.main]
path = "/srv/fenice"
identity = hunter2
"#;
    let expected = r#"fenice.toml:3:12: string values must be quoted, expected literal string
 3 | identity = …
   | ^^^^^^^^
hint: Write `key = value`, one a line, text in double quotes (https://toml.io).
"#;
    told(text, expected);
}

#[test]
fn an_unknown_key_and_a_misplaced_one() {
    let text = r#"[repository.main]
path = "/srv/fenice"
rpo = "1h"

[policy.standard]
dayly = "35d"
colour = "red"
"#;
    let expected = r#"fenice.toml:3:1: [repository.main] has no key `rpo`
 3 | rpo = …
   | ^^^
hint: It belongs to [policy.NAME].

fenice.toml:6:1: [policy.standard] has no key `dayly`
 6 | dayly = …
   | ^^^^^
hint: Did you mean `daily`?

fenice.toml:7:1: [policy.standard] has no key `colour`
 7 | colour = …
   | ^^^^^^
hint: Known are `snapshot`, `ship_every`, `daily`, `weekly_day`, `weekly_extra`, `copy_to`, `replicate`, `keep_min`, `heartbeat_every`, `detection_allowance`, `rto`, `rpo`, `compression_level`, `chunk`, `pack`.
"#;
    told(text, expected);
}

#[test]
fn unknown_sections() {
    let text = r#"verbose = true
state_dir = "/x"
[repositry.main]
path = "/srv/fenice"
"#;
    let expected = r#"fenice.toml:1:1: `verbose` stands outside every section
 1 | verbose = …
   | ^^^^^^^
hint: Known are `daemon`, `repository`, `policy`, `resource`, `service`.

fenice.toml:1:1: no repository is configured
 1 | verbose = true
   | ^
hint: Add `[repository.main]` with `path` or `bucket`.

fenice.toml:2:1: `state_dir` stands outside every section
 2 | state_dir = …
   | ^^^^^^^^^
hint: It belongs to [daemon].

fenice.toml:3:2: there is no section `repositry`
 3 | [repositry.main]
   |  ^^^^^^^^^
hint: Did you mean `repository`?
"#;
    told(text, expected);
}

#[test]
fn wrong_shapes() {
    let text = r#"daemon = 5
service = "x"
[repository]
path = "/srv/fenice"
[resource]
name = "registro"
"#;
    let expected = r#"fenice.toml:1:10: `daemon` is a number, not a table
 1 | daemon = 5
   |          ^
hint: Write `[daemon]` on its own line.

fenice.toml:2:11: `service` is text, not a list of tables
 2 | service = "x"
   |           ^^^
hint: Write `[[service]]` on its own line, once for each.

fenice.toml:4:1: `path` stands in `[repository]`, which needs a name
 4 | path = …
   | ^^^^
hint: Write `[repository.NAME]`, and refer to it by that name.

fenice.toml:5:1: `resource` is a table, not a list of tables
 5 | [resource]
   | ^^^^^^^^^^
hint: Write `[[resource]]` on its own line, once for each.
"#;
    told(text, expected);
}

#[test]
fn wrong_types() {
    let text = r#"[repository.main]
path = "/srv/fenice"
recipients = "age1x"
[policy.p]
ship_every = 5
keep_min = "2"
snapshot = ["0 2 * * *"]
compression_level = -1
"#;
    let expected = r#"fenice.toml:3:14: expected a list, found text
 3 | recipients = "age1x"
   |              ^^^^^^^
hint: Write a list in brackets: ["one", "two"].

fenice.toml:5:14: expected text, found a number
 5 | ship_every = 5
   |              ^
hint: Put it in double quotes, with its unit where it has one: "5m", "64MiB".

fenice.toml:6:12: expected a number, found text
 6 | keep_min = "2"
   |            ^^^
hint: Write a whole number without quotes.

fenice.toml:7:12: expected text, found a list
 7 | snapshot = ["0 2 * * *"]
   |            ^^^^^^^^^^^^^
hint: Put one text in double quotes.

fenice.toml:8:21: -1 is out of range
 8 | compression_level = -1
   |                     ^^
hint: Write a whole number from 0 to 4294967295.
"#;
    told(text, expected);
}

#[test]
fn an_inline_secret() {
    let text = r#"[repository.main]
path = "/srv/fenice"
identity = "hunter2-identity"
[repository.b]
path = "/srv/b"
identity = { file = "/a", env = "HUNTER2" }
[repository.c]
path = "/srv/c"
identity = { value = "hunter2" }
recipients = ["AGE-SECRET-KEY-1HUNTER2"]
"#;
    let expected = r#"fenice.toml:3:12: a reference to a secret is needed here, not a value
 3 | identity = "…"
   |            ^^^
hint: Secrets are never in this file. Write { credential = "name" } (systemd LoadCredential=), { file = "/path" } or { env = "NAME" }.

fenice.toml:6:12: a reference to a secret has exactly one key
 6 | identity = "…"
   |            ^^^
hint: Secrets are never in this file. Write { credential = "name" } (systemd LoadCredential=), { file = "/path" } or { env = "NAME" }.

fenice.toml:9:12: a reference to a secret has no key `value`
 9 | identity = "…"
   |            ^^^
hint: Secrets are never in this file. Write { credential = "name" } (systemd LoadCredential=), { file = "/path" } or { env = "NAME" }.

fenice.toml:10:15: this is an identity, a secret, where a recipient is needed
 10 | recipients = ["…"
    |               ^^^
hint: A recipient is the line after `public key:` of age-keygen, from `age1` on, copied whole.
"#;
    told(text, expected);
}

#[test]
fn empty() {
    let text = r#""#;
    let expected = r#"fenice.toml:1:1: no repository is configured
 1 | 
   | ^
hint: Add `[repository.main]` with `path` or `bucket`.
"#;
    told(text, expected);
}

#[test]
fn a_kind_of_later() {
    let text = r#"[repository.main]
path = "/srv/fenice"
[policy.standard]
[[resource]]
name = "rds"
kind = "rds"
instance = "prod-1"
repository = "main"
[[service]]
name = "scuola"
resources = ["rds"]
"#;
    let expected = r#"fenice.toml:6:8: the kind `rds` is not supported by this version
 6 | kind = "rds"
   |        ^^^^^
hint: This version protects `postgres` only: remove the resource until its kind is supported.
"#;
    told(text, expected);
}

#[test]
fn objectives_out_of_reach() {
    let text = r#"[repository.main]
path = "/srv/fenice"
[policy.p]
ship_every = "10m"
rpo = "5m"
rto = "15m"
"#;
    let expected = r#"fenice.toml:5:7: `rpo` is 5m, shorter than `ship_every`, which is 10m
 5 | rpo = "5m"
   |       ^^^^
hint: What has not left the source is lost with it: do it more often, or promise less.

fenice.toml:6:7: `rto` is 15m, and `detection_allowance` alone is 15m
 6 | rto = "15m"
   |       ^^^^^
hint: The measured RTO includes the allowance: promise more time, or notice sooner.
"#;
    told(text, expected);
}

#[test]
fn retention_without_sense() {
    let text = r#"[repository.main]
path = "/srv/fenice"
[policy.a]
daily = "12h"
keep_min = 0
weekly_extra = "3d"
replicate = "daily"
[policy.b]
snapshot = "0 2 * * mon-sat"
[policy.c]
weekly_extra = "99999999999999d"
heartbeat_every = "0s"
ship_every = "2h"
"#;
    let expected = r#"fenice.toml:4:9: `daily` is 12h, less than a day
 4 | daily = "12h"
   |         ^^^^^
hint: Write how far back every instant must be reachable, such as "35d".

fenice.toml:5:12: `keep_min` is 0
 5 | keep_min = 0
   |            ^
hint: The last snapshot always stays: write a number from 1 to 1000.

fenice.toml:6:16: `weekly_extra` is 3d, less than a week
 6 | weekly_extra = "3d"
   |                ^^^^
hint: A weekly snapshot that stays less than a week longer leaves days without any: write at least "7d", or "0d" for none.

fenice.toml:7:13: `replicate` is given, and `copy_to` names no repository
 7 | replicate = "daily"
   |             ^^^^^^^
hint: Add `copy_to = "offsite"` with the repository of the copies, or remove `replicate`.

fenice.toml:9:12: `snapshot` is never due on sunday, whose snapshot `weekly_extra` keeps
 9 | snapshot = "0 2 * * mon-sat"
   |            ^^^^^^^^^^^^^^^^^
hint: Choose a `weekly_day` on which a snapshot is due, or `weekly_extra = "0d"`.

fenice.toml:11:16: 99999999999999d is too long
 11 | weekly_extra = "99999999999999d"
    |                ^^^^^^^^^^^^^^^^^
hint: Write at most 36500d.

fenice.toml:12:19: `heartbeat_every` is 0s
 12 | heartbeat_every = "0s"
    |                   ^^^^
hint: Write from "1s" to "1h".

fenice.toml:13:14: `ship_every` is 2h
 13 | ship_every = "2h"
    |              ^^^^
hint: Write from "1s" to "1h".
"#;
    told(text, expected);
}

#[test]
fn places_that_contradict() {
    let text = r#"[repository.main]
path = "/srv/fenice"
bucket = "fenice"
[repository.a]
bucket = "fenice"
allowed_regions = ["eu-south-1"]
region = "us-east-1"
[repository.b]
region = "eu-south-1"
[repository.c]
path = "srv"
prefix = "x"
[repository.d]
bucket = "s3://x"
[repository.e]
path = "/srv/e"
[repository.f]
path = "/srv/e/"
"#;
    let expected = r#"fenice.toml:3:10: [repository.main] has both `path` and `bucket`
 3 | bucket = "fenice"
   |          ^^^^^^^^
hint: Keep one of them.

fenice.toml:7:10: the region is not one of `allowed_regions`
 7 | region = "us-east-1"
   |          ^^^^^^^^^^^
hint: Data must stay in the allowed regions: change the bucket, or the promise.

fenice.toml:8:13: [repository.b] has neither `path` nor `bucket`
 8 | [repository.b]
   |             ^
hint: Write `path = "/srv/fenice"`.

fenice.toml:11:8: `srv` is not an absolute path
 11 | path = "srv"
    |        ^^^^^
hint: Write the whole path, from `/`.

fenice.toml:12:10: `prefix` belongs to a bucket, and this repository is a folder
 12 | prefix = "x"
    |          ^^^
hint: Remove it.

fenice.toml:13:13: [repository.d] lacks `region`
 13 | [repository.d]
    |             ^
hint: Write `region = "eu-south-1"`.

fenice.toml:14:10: this is not the name of a bucket
 14 | bucket = "s3://x"
    |          ^^^^^^^^
hint: Use 3 to 63 lower-case letters, digits, `.` and `-`; no `s3://`.

fenice.toml:18:8: `f` is the same place as `e`
 18 | path = "/srv/e/"
    |        ^^^^^^^^^
hint: Give each repository its own place.
"#;
    told(text, expected);
}

#[test]
fn names_that_lead_nowhere() {
    let text = r#"[repository.main]
path = "/srv/fenice"
[policy.standard]
copy_to = "offsite"
[policy.copied]
copy_to = "main"
[[resource]]
name = "registro"
kind = "postgres"
repository = "mian"
policy = "standart"
connection = "host=a"
data_dir = "/srv/fenice/data"
[[resource]]
name = "registro"
kind = "postgres"
repository = "main"
policy = "copied"
connection = "host=a"
data_dir = "/srv/fenice/data"
[[service]]
name = "registro"
resources = ["registro", "registro", "registo"]
"#;
    let expected = r#"fenice.toml:2:8: the repository `main` and the data directory of `registro` contain each other
 2 | path = "/srv/fenice"
   |        ^^^^^^^^^^^^^
hint: Keep the repository apart from what it protects.

fenice.toml:2:8: the repository `main` and the data directory of `registro` contain each other
 2 | path = "/srv/fenice"
   |        ^^^^^^^^^^^^^
hint: Keep the repository apart from what it protects.

fenice.toml:4:11: there is no repository `offsite`
 4 | copy_to = "offsite"
   |           ^^^^^^^^^
hint: Known are `main`.

fenice.toml:10:14: there is no repository `mian`
 10 | repository = "mian"
    |              ^^^^^^
hint: Did you mean `main`?

fenice.toml:11:10: there is no policy `standart`
 11 | policy = "standart"
    |          ^^^^^^^^^^
hint: Did you mean `standard`?

fenice.toml:15:8: the name `registro` is used twice
 15 | name = "registro"
    |        ^^^^^^^^^^
hint: Give each its own name.

fenice.toml:17:14: the policy `copied` copies to `main`, where the original is
 17 | repository = "main"
    |              ^^^^^^
hint: Let `copy_to` name a second repository, preferably in another place.

fenice.toml:22:8: the service `registro` has the name of a resource
 22 | name = "registro"
    |        ^^^^^^^^^^
hint: Commands take either by name: choose another for the service.

fenice.toml:23:26: `registro` stands twice in the service
 23 | resources = ["registro", "registro", "registo"]
    |                          ^^^^^^^^^^
hint: Keep one of them.

fenice.toml:23:38: there is no resource `registo`
 23 | resources = ["registro", "registro", "registo"]
    |                                      ^^^^^^^^^
hint: Did you mean `registro`?
"#;
    told(text, expected);
}

#[test]
fn required_keys() {
    let text = r#"[repository.main]
path = "/srv/fenice"
[[resource]]
[[resource]]
kind = "postgres"
[[resource.check]]
[[service]]
name = "scuola"
resources = []
"#;
    let expected = r#"fenice.toml:3:1: [[resource]] lacks `kind`
 3 | [[resource]]
   | ^^^^^^^^^^^^
hint: Write `kind = "postgres"`.

fenice.toml:3:1: [[resource]] lacks `name`
 3 | [[resource]]
   | ^^^^^^^^^^^^
hint: Write `name = "registro"`.

fenice.toml:3:1: [[resource]] lacks `repository`
 3 | [[resource]]
   | ^^^^^^^^^^^^
hint: Write `repository = "main"`.

fenice.toml:3:1: [[resource]] lacks `policy`
 3 | [[resource]]
   | ^^^^^^^^^^^^
hint: Write `policy = "standard"`.

fenice.toml:3:1: [[resource]] lacks `connection`
 3 | [[resource]]
   | ^^^^^^^^^^^^
hint: Write `connection = "host=/run/postgresql port=5432 user=fenice dbname=postgres"`.

fenice.toml:3:1: [[resource]] lacks `data_dir`
 3 | [[resource]]
   | ^^^^^^^^^^^^
hint: Write `data_dir = "/var/lib/postgresql/15/main"`.

fenice.toml:4:1: [[resource]] lacks `name`
 4 | [[resource]]
   | ^^^^^^^^^^^^
hint: Write `name = "registro"`.

fenice.toml:4:1: [[resource]] lacks `repository`
 4 | [[resource]]
   | ^^^^^^^^^^^^
hint: Write `repository = "main"`.

fenice.toml:4:1: [[resource]] lacks `policy`
 4 | [[resource]]
   | ^^^^^^^^^^^^
hint: Write `policy = "standard"`.

fenice.toml:4:1: [[resource]] lacks `connection`
 4 | [[resource]]
   | ^^^^^^^^^^^^
hint: Write `connection = "host=/run/postgresql port=5432 user=fenice dbname=postgres"`.

fenice.toml:4:1: [[resource]] lacks `data_dir`
 4 | [[resource]]
   | ^^^^^^^^^^^^
hint: Write `data_dir = "/var/lib/postgresql/15/main"`.

fenice.toml:6:1: [[resource.check]] lacks `name`
 6 | [[resource.check]]
   | ^^^^^^^^^^^^^^^^^^
hint: Write `name = "pupils"`.

fenice.toml:6:1: [[resource.check]] lacks `sql`
 6 | [[resource.check]]
   | ^^^^^^^^^^^^^^^^^^
hint: Write `sql = "SELECT count(*) > 0 FROM pupils"`.

fenice.toml:9:13: the service has no resources
 9 | resources = []
   |             ^^
hint: Name at least one resource.
"#;
    told(text, expected);
}

#[test]
fn resource_details() {
    let text = r#"[repository.main]
path = "/srv/fenice"
[policy.p]
[[resource]]
name = "Registro"
kind = "postgrse"
repository = "main"
policy = "p"
connection = "host=a"
[[resource]]
name = "b"
kind = "postgres"
repository = "main"
policy = "p"
connection = "host=a"
method = "stream"
data_dir = "/d"
slot = "No-Slot"
workers = 0
[resource.drill]
row_count_tolerance_percent = 101
max_duration = "0s"
[[resource.check]]
name = "a"
sql = " "
[[resource.check]]
name = "a"
sql = "x"
"#;
    let expected = r#"fenice.toml:4:1: [[resource]] lacks `data_dir`
 4 | [[resource]]
   | ^^^^^^^^^^^^
hint: Write `data_dir = "/var/lib/postgresql/15/main"`.

fenice.toml:5:8: `Registro` is not a resource name
 5 | name = "Registro"
   |        ^^^^^^^^^^
hint: Use up to 55 lower-case letters, digits, `_` and `-`, starting with a letter or digit.

fenice.toml:6:8: `postgrse` is not one of the words known here
 6 | kind = "postgrse"
   |        ^^^^^^^^^^
hint: Did you mean `postgres`?

fenice.toml:17:12: `data_dir` is given, and the method `stream` reads no files
 17 | data_dir = "/d"
    |            ^^^^
hint: Remove `data_dir`, or write `method = "files"`.

fenice.toml:18:8: this is not the name of a replication slot
 18 | slot = "No-Slot"
    |        ^^^^^^^^^
hint: Use up to 63 lower-case letters, digits and `_`.

fenice.toml:19:11: this is not a number of workers
 19 | workers = 0
    |           ^
hint: Write a number from 1 to 256, or leave it out for one a core.

fenice.toml:21:31: the tolerance is 101 %
 21 | row_count_tolerance_percent = 101
    |                               ^^^
hint: Write a number from 0 to 100.

fenice.toml:22:16: `max_duration` is zero
 22 | max_duration = "0s"
    |                ^^^^
hint: Write a length of time, at least "1s".

fenice.toml:25:7: `sql` is empty
 25 | sql = " "
    |       ^^^
hint: Write it, or remove the key.

fenice.toml:27:8: the resource has two checks `a`
 27 | name = "a"
    |        ^^^
hint: Give each check its own name.
"#;
    told(text, expected);
}

#[test]
fn connections() {
    let text = r#"[repository.main]
path = "/srv/fenice"
[policy.p]
[[resource]]
name = "a"
kind = "postgres"
repository = "main"
policy = "p"
connection = "host=a password=hunter2 prot=5432"
primary_connection = "postgresql://fenice:hunter2@db/postgres"
method = "stream"
[[resource]]
name = "b"
kind = "postgres"
repository = "main"
policy = "p"
connection = "host=a hunter2"
primary_connection = "host='a"
method = "stream"
[[resource]]
name = "c"
kind = "postgres"
repository = "main"
policy = "p"
connection = "host=a host=b"
primary_connection = ""
method = "stream"
"#;
    let expected = r#"fenice.toml:9:14: `connection` contains `password=`: secrets are never in this file
 9 | connection = "…"
   |              ^^^
hint: Put the password into a file in the format of .pgpass, mode 0600, and write `passfile=/path` instead.

fenice.toml:9:14: libpq knows no connection parameter `prot`
 9 | connection = "…"
   |              ^^^
hint: Did you mean `port`?

fenice.toml:10:22: `primary_connection` is a URI, which may carry a password
 10 | primary_connection = "…"
    |                      ^^^
hint: Write key=value pairs: "host=/run/postgresql port=5432 user=fenice dbname=postgres".

fenice.toml:17:14: `connection` has a word without `=`
 17 | connection = "…"
    |              ^^^
hint: Write key=value pairs: "host=/run/postgresql port=5432 user=fenice dbname=postgres".

fenice.toml:18:22: `primary_connection` has a quote that is not closed
 18 | primary_connection = "…"
    |                      ^^^
hint: Write key=value pairs: "host=/run/postgresql port=5432 user=fenice dbname=postgres".

fenice.toml:25:14: `connection` says `host=` twice
 25 | connection = "host=a host=b"
    |              ^^^^^^^^^^^^^^^
hint: Hosts, ports and the like take lists: host=a,b.

fenice.toml:26:22: `primary_connection` is empty
 26 | primary_connection = "…"
    |                      ^^^
hint: Write key=value pairs: "host=/run/postgresql port=5432 user=fenice dbname=postgres".
"#;
    told(text, expected);
}

#[test]
fn columns_count_characters_after_tabs_and_accents() {
    let text = "[repository.main]\r\n\tpath = \"è\"\r\n[policy.p]\r\nsnapshot = \"però 2 * * *\" # più\r\n";
    let expected = "fenice.toml:2:9: `è` is not an absolute path\n 2 | \tpath = \"è\"\n   | \t       ^^^\nhint: Write the whole path, from `/`.\n\nfenice.toml:4:12: `però` does not fit the field `minute`\n 4 | snapshot = \"però 2 * * *\" # più\n   |            ^^^^^^^^^^^^^^\nhint: It goes from 0 to 59.\n";
    told(text, expected);
}

#[test]
fn twelve_mistakes_are_all_reported_in_order() {
    let text = r#"[daemon]
timezone = "Europe/Roma"
listen = "localhost:9797"

[repository.main]
path = "/srv/fenice"
bucket = "fenice"
identity = "AGE-SECRET-KEY-1QQQ"

[policy.standard]
snapshot = "0 0 30 2 *"
ship_every = "2h"
daily = "35 days"
copy_to = "offsite"
keep_min = 0

[[resource]]
name = "registro"
kind = "postgres"
repository = "main"
policy = "standard"
connection = "host=/run/postgresql password=hunter2"
data_dri = "/var/lib/postgresql/15/main"

[[service]]
name = "scuola"
resources = ["registri"]
"#;
    let expected = r#"fenice.toml:2:12: there is no time zone `Europe/Roma`
 2 | timezone = "Europe/Roma"
   |            ^^^^^^^^^^^^^
hint: Write a name of the IANA time zone database, such as "Europe/Rome".

fenice.toml:3:10: `localhost:9797` is not an address to listen on
 3 | listen = "localhost:9797"
   |          ^^^^^^^^^^^^^^^^
hint: Write a numeric address and a port: "127.0.0.1:9797" or "[::1]:9797".

fenice.toml:7:10: [repository.main] has both `path` and `bucket`
 7 | bucket = "fenice"
   |          ^^^^^^^^
hint: Keep one of them.

fenice.toml:8:12: a reference to a secret is needed here, not a value
 8 | identity = "…"
   |            ^^^
hint: Secrets are never in this file. Write { credential = "name" } (systemd LoadCredential=), { file = "/path" } or { env = "NAME" }.

fenice.toml:11:12: `0 0 30 2 *` never comes: no year has such a date
 11 | snapshot = "0 0 30 2 *"
    |            ^^^^^^^^^^^^
hint: Choose a day that the month has.

fenice.toml:12:14: `ship_every` is 2h
 12 | ship_every = "2h"
    |              ^^^^
hint: Write from "1s" to "1h".

fenice.toml:13:9: `35 days` is not a length of time
 13 | daily = "35 days"
    |         ^^^^^^^^^
hint: Write a whole number and a unit: 30s, 5m, 4h, 35d.

fenice.toml:14:11: there is no repository `offsite`
 14 | copy_to = "offsite"
    |           ^^^^^^^^^
hint: Known are `main`.

fenice.toml:15:12: `keep_min` is 0
 15 | keep_min = 0
    |            ^
hint: The last snapshot always stays: write a number from 1 to 1000.

fenice.toml:22:14: `connection` contains `password=`: secrets are never in this file
 22 | connection = "…"
    |              ^^^
hint: Put the password into a file in the format of .pgpass, mode 0600, and write `passfile=/path` instead.

fenice.toml:23:1: [[resource]] has no key `data_dri`
 23 | data_dri = …
    | ^^^^^^^^
hint: Did you mean `data_dir`?

fenice.toml:27:14: there is no resource `registri`
 27 | resources = ["registri"]
    |              ^^^^^^^^^^
hint: Did you mean `registro`?
"#;
    told(text, expected);
    assert_eq!(bad(text).problems.len(), 12);
}

#[test]
fn the_error_carries_the_whole_list_and_its_exit_code() {
    let error = Error::from(bad("[repository.main]\npath = 5\n"));
    assert_eq!(error.kind(), Kind::Config);
    let expected = "the configuration has 1 problem\n\nfenice.toml:2:8: expected text, found a \
                    number\n 2 | path = 5\n   |        ^\nhint: Put it in double quotes, with its \
                    unit where it has one: \"5m\", \"64MiB\".";
    assert_eq!(error.chain(), expected);
}

#[test]
fn noise_is_bounded() {
    let noise = "x = \n".repeat(5_000);
    let problems = bad(&noise);
    assert_eq!(problems.problems.len(), 200);
    assert!(problems.to_string().ends_with(&format!("and {} more", problems.omitted)));
    let long = bad(&format!("[policy.p]\ncolour = \"{}\"\n", "x".repeat(5_000)));
    assert!(long.to_string().lines().all(|line| line.len() < 300));
    assert_eq!(bad(&"#".repeat((1 << 20) + 1)).problems.len(), 1);
}

#[test]
fn debug_of_a_configuration_shows_references_only() {
    let identity = "path = \"/srv/fenice\"\nidentity = { env = \"FENICE_IDENTITY\" }";
    let config = good(&LEAST.replace("path = \"/srv/fenice\"", identity));
    let shown = format!("{config:?}");
    assert!(shown.contains("Env(\"FENICE_IDENTITY\")"), "{shown}");
    for word in ["password", "AGE-SECRET-KEY"] {
        assert!(!shown.contains(word), "{shown}");
    }
}

/// Pieces of which files are made, right and wrong ones.
fn piece() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "[repository.main]",
        "[policy.p]",
        "[[resource]]",
        "[[resource.check]]",
        "[resource.drill]",
        "[[service]]",
        "[daemon]",
        "[repository]",
        "path",
        "bucket",
        "identity",
        "daily",
        "snapshot",
        "copy_to",
        "recipients",
        "connection",
        "kind",
        "name",
        "drill",
        "check",
        "resources",
        " = ",
        "=",
        "\"35d\"",
        "\"main\"",
        "\"postgres\"",
        "\"host=a password='\\\\\"",
        "\"0 0 30 2 *\"",
        "35d",
        "-1",
        "99999999999999999999",
        "0x1F",
        "1e400",
        "true",
        "1979-05-27",
        "\"\u{e8}\u{1f426}\"",
        "{ file = \"/x\" }",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\"\"\"",
        "'",
        "\n",
        "\r\n",
        "\t",
        "#",
        "\u{feff}",
        "\u{0}",
        "\u{e8}",
    ]);
    prop_oneof![4 => words.prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_input_panics(pieces in prop::collection::vec(piece(), 0..60)) {
        if let Err(problems) = parse(&pieces.concat(), "fenice.toml") {
            prop_assert!(!problems.problems.is_empty());
            prop_assert!(!problems.to_string().is_empty());
        }
    }

    #[test]
    fn no_value_panics(row in prop::sample::select(fenice::config::reference::KEYS), value in piece()) {
        let line = format!("{} = {value}\n", row.name);
        let text = LEAST.replace("[policy.standard]\n", &format!("[policy.standard]\n{line}"));
        let _ = parse(&text, "fenice.toml").map_err(|problems| problems.to_string());
        let _ = parse(&format!("{LEAST}{line}"), "fenice.toml").map_err(|problems| problems.to_string());
    }

    #[test]
    fn no_schedule_panics(text in "[-*/0-9a-z, ]{0,24}") {
        if let Ok(cron) = text.parse::<fenice::config::Cron>() {
            prop_assert!(cron.times().count() > 0);
        }
    }
}
