//! The demo's configuration: the file that every command of the demo reads. Pure.

use std::path::Path;

use super::cluster::DemoCluster;

/// The text of `fenice.toml` for a demo in `dir`.
pub fn text(dir: &Path, cluster: &DemoCluster, bin_dir: &Path) -> String {
    let below = |name: &str| dir.join(name).display().to_string();
    format!(
        r#"# The demo's configuration; every key is explained in config/fenice.toml.
[daemon]
state_dir = "{state}"
timezone = "Europe/Rome"

[repository.main]
path = "{repository}"
identity = {{ file = "{identity}" }}

[policy.standard]
ship_every = "1s"
heartbeat_every = "1s"
rto = "4h"
rpo = "24h"

[[resource]]
name = "registro"
kind = "postgres"
repository = "main"
policy = "standard"
connection = "{conninfo}"
method = "files"
data_dir = "{data_dir}"
bin_dir = "{bin_dir}"

[[resource.check]]
name = "every mark belongs to a pupil of its school"
sql = """
select count(*) = 0 from registro.marks m left join registro.pupils p on p.id = m.pupil_id
where p.school_code is distinct from m.school_code"""
"#,
        state = below("state"),
        repository = below("repository"),
        identity = below("identity.age"),
        conninfo = cluster.conninfo,
        data_dir = cluster.data_dir.display(),
        bin_dir = bin_dir.display(),
    )
}
