//! A believable database of many schools, as SQL text made from a seed; everyone in it is invented.
//!
//! The same seed and size give the same text, and the text the same rows on every server. Rows
//! come from `generate_series` and a hash of seed, table and number, so that loading takes seconds
//! and needs no client-side data. Identity columns are numbered without holes, which lets children
//! find their parents by arithmetic. Deliberately absent: real schools, real people, tax codes.

use std::fmt::Write as _;

use crate::demo::names::{FAMILY_NAMES, GIVEN_NAMES, HONOUREES, PLACES, REMARKS, SUBJECTS};

/// The schema that holds everything.
pub const SCHEMA: &str = "registro";

/// How much to generate. Every count is at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataSize {
    /// At most 9,999.
    pub schools: u32,
    pub teachers_per_school: u32,
    pub classes_per_school: u32,
    pub pupils_per_class: u32,
    pub marks_per_pupil: u32,
    pub absences_per_pupil: u32,
    pub notes_per_class: u32,
    pub sessions: u32,
}

impl Default for DataSize {
    /// About 300,000 rows in 240 schools.
    fn default() -> DataSize {
        DataSize {
            schools: 240,
            teachers_per_school: 12,
            classes_per_school: 6,
            pupils_per_class: 20,
            marks_per_pupil: 5,
            absences_per_pupil: 2,
            notes_per_class: 25,
            sessions: 2_000,
        }
    }
}

impl DataSize {
    pub fn teachers(&self) -> u64 {
        u64::from(self.schools) * u64::from(self.teachers_per_school)
    }

    pub fn classes(&self) -> u64 {
        u64::from(self.schools) * u64::from(self.classes_per_school)
    }

    pub fn pupils(&self) -> u64 {
        self.classes() * u64::from(self.pupils_per_class)
    }

    /// Rows of each table after loading, in the order of loading.
    pub fn rows(&self) -> [(&'static str, u64); 12] {
        [
            ("schools", u64::from(self.schools)),
            ("subjects", SUBJECTS.len() as u64),
            ("teachers", self.teachers()),
            ("classes", self.classes()),
            ("pupils", self.pupils()),
            ("enrolments", self.pupils()),
            ("marks", self.pupils() * u64::from(self.marks_per_pupil)),
            ("absences", self.pupils() * u64::from(self.absences_per_pupil)),
            ("notes", self.classes() * u64::from(self.notes_per_class)),
            ("documents", u64::from(self.schools.div_ceil(SCHOOLS_PER_DOCUMENT))),
            ("sessions", u64::from(self.sessions)),
            ("demo_writes", 0),
        ]
    }
}

const SCHOOLS_PER_DOCUMENT: u32 = 40;

/// One step of building the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// For progress: `marks`.
    pub name: &'static str,
    /// One or more statements, to be sent in one go.
    pub sql: String,
}

/// Everything from an empty database to a loaded and analysed one, in order.
pub fn steps(seed: u64, size: &DataSize) -> Vec<Step> {
    let load = Load { seed, size: *size };
    let step = |name, sql| Step { name, sql };
    vec![
        step("tables", TABLES.to_owned()),
        step("schools", load.schools()),
        step("subjects", subjects()),
        step("teachers", load.teachers()),
        step("classes", load.classes()),
        step("pupils", load.pupils()),
        step("enrolments", load.enrolments()),
        step("marks", load.marks()),
        step("absences", load.absences()),
        step("notes", load.notes()),
        step("documents", load.documents()),
        step("sessions", load.sessions()),
        step("keys and indexes", KEYS.to_owned()),
        step("statistics", statistics()),
    ]
}

/// One statement, so one transaction, of a writer: a mark and an absence of some pupil, and the
/// row of `demo_writes` that names both. `(client, serial)` is what an acknowledged commit leaves
/// in an independent log; after a recovery the two are compared.
pub fn write_sql(client: u32, serial: u64, size: &DataSize) -> String {
    let pupil = 1 + spread(u64::from(client), serial) % size.pupils();
    let subject = SUBJECTS[(serial % SUBJECTS.len() as u64) as usize].0;
    let quarters = 16 + spread(serial, u64::from(client)) % 25; // 4.00 to 10.00
    let teachers = size.teachers_per_school;
    format!(
        "WITH p AS (SELECT p.id, p.school_code, (s.number - 1) * {teachers} + 1 AS teacher_id
  FROM registro.pupils p JOIN registro.schools s USING (school_code) WHERE p.id = {pupil}),
m AS (INSERT INTO registro.marks
  (school_code, pupil_id, teacher_id, subject_code, kind, value, given_on, remark)
  SELECT school_code, id, teacher_id, '{subject}', 'oral', {quarters} / 4.0, current_date,
    'written by client {client}' FROM p RETURNING id, school_code),
a AS (INSERT INTO registro.absences (school_code, pupil_id, on_day, kind, minutes, justified)
  SELECT school_code, id, current_date, 'late', {minutes}, false FROM p RETURNING id)
INSERT INTO registro.demo_writes (client, serial, at, school_code, mark_id, absence_id)
  SELECT {client}, {serial}, clock_timestamp(), m.school_code, m.id, a.id FROM m, a",
        minutes = 5 + serial % 20,
    )
}

/// Every write the database holds, for the comparison: `client`, `serial`, in order.
pub const WRITES_SQL: &str =
    "SELECT client, serial FROM registro.demo_writes ORDER BY client, serial";

/// Writes whose mark or absence is missing: half a transaction. Must return no row.
pub const TORN_WRITES_SQL: &str = "SELECT w.client, w.serial FROM registro.demo_writes w
LEFT JOIN registro.marks m ON m.id = w.mark_id
LEFT JOIN registro.absences a ON a.id = w.absence_id
WHERE m.id IS NULL OR a.id IS NULL ORDER BY 1, 2";

/// A fixed mixing of two numbers (the finaliser of SplitMix64), so that writers touch all schools.
fn spread(a: u64, b: u64) -> u64 {
    let mut x = a.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(b);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// `'…'` with quotes doubled; the lists hold no backslash.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn array<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let items: Vec<String> = items.into_iter().map(quoted).collect();
    format!("ARRAY[{}]", items.join(","))
}

/// SQL: an element of `array`, chosen by bytes `byte` and `byte + 1` of the row's hash `r`.
fn pick(array: &str, count: usize, byte: usize) -> String {
    format!("({array})[1 + {}]", below(count as u64, byte))
}

/// SQL: a number from 0 up to, not including, `limit` (at most 65,536), from two bytes of `r`.
fn below(limit: u64, byte: usize) -> String {
    format!("(get_byte(r, {byte}) * 256 + get_byte(r, {})) % {limit}", byte + 1)
}

/// SQL: a school day of autumn 2026; Sundays become Mondays.
fn school_day(byte: usize) -> String {
    let day = format!("(date '2026-09-14' + {})", below(66, byte));
    format!("({day} + (extract(dow FROM {day}) = 0)::int)")
}

struct Load {
    seed: u64,
    size: DataSize,
}

impl Load {
    /// SQL: numbers `n` from 1 to `count`, each with sixteen bytes `r` of its own. `OFFSET 0`
    /// keeps the planner from hashing again for each byte.
    fn numbers(&self, table: &str, count: u64) -> String {
        let seed = self.seed;
        format!(
            "(SELECT n, decode(md5('{seed}:{table}:' || n), 'hex') AS r \
             FROM generate_series(1, {count}) AS n OFFSET 0) AS x"
        )
    }

    fn schools(&self) -> String {
        const KINDS: [(&str, &str); 5] = [
            ("IC", "Istituto Comprensivo"),
            ("IS", "Istituto di Istruzione Superiore"),
            ("PS", "Liceo Scientifico"),
            ("PC", "Liceo Classico"),
            ("TD", "Istituto Tecnico Economico"),
        ];
        let place = format!("1 + {}", below(PLACES.len() as u64, 0));
        let kind = format!("1 + {}", below(KINDS.len() as u64, 2));
        format!(
            "INSERT INTO registro.schools SELECT
  ({provinces})[{place}] || ({kind_codes})[{kind}] || (90000 + n)::text
    || substr('ABCDEFGHJKLMNPQRSTUVWXYZ', 1 + get_byte(r, 4) % 24, 1),
  n, ({kind_names})[{kind}] || ' \"' || {honouree} || '\"', ({towns})[{place}],
  ({provinces})[{place}],
  jsonb_build_object('giorni', 5 + get_byte(r, 7) % 2, 'valutazione', 'decimale',
    'moduli', jsonb_build_array('registro', 'scrutini', 'colloqui'))
FROM {numbers};\n",
            provinces = array(PLACES.iter().map(|(province, _)| *province)),
            towns = array(PLACES.iter().map(|(_, town)| *town)),
            kind_codes = array(KINDS.iter().map(|(code, _)| *code)),
            kind_names = array(KINDS.iter().map(|(_, name)| *name)),
            honouree = pick(&array(HONOUREES.iter().copied()), HONOUREES.len(), 5),
            numbers = self.numbers("schools", u64::from(self.size.schools)),
        )
    }

    fn people(&self, table: &str, count: u64) -> (String, String, String) {
        let given = pick(&array(GIVEN_NAMES.iter().copied()), GIVEN_NAMES.len(), 0);
        let family = pick(&array(FAMILY_NAMES.iter().copied()), FAMILY_NAMES.len(), 2);
        (given, family, self.numbers(table, count))
    }

    fn teachers(&self) -> String {
        let (given, family, numbers) = self.people("teachers", self.size.teachers());
        let hired = below(9_000, 4);
        format!(
            "INSERT INTO registro.teachers
  (school_code, given_name, family_name, email, hired_on)
SELECT s.school_code, {given}, {family}, 'docente' || n || '@scuola.example',
  date '2001-09-01' + {hired}
FROM {numbers} JOIN registro.schools s ON s.number = 1 + (n - 1) / {per} ORDER BY n;\n",
            per = self.size.teachers_per_school,
        )
    }

    fn classes(&self) -> String {
        format!(
            "INSERT INTO registro.classes (school_code, year, section, tutor_id)
SELECT s.school_code, 1 + (n - 1) % {per} % 5, chr(65 + (n - 1) % {per} / 5),
  (s.number - 1) * {teachers} + 1 + {tutor}
FROM {numbers} JOIN registro.schools s ON s.number = 1 + (n - 1) / {per} ORDER BY n;\n",
            per = self.size.classes_per_school,
            teachers = self.size.teachers_per_school,
            tutor = below(u64::from(self.size.teachers_per_school), 0),
            numbers = self.numbers("classes", self.size.classes()),
        )
    }

    fn pupils(&self) -> String {
        let (given, family, numbers) = self.people("pupils", self.size.pupils());
        let remark = pick(&array(REMARKS.iter().copied()), REMARKS.len(), 8);
        format!(
            "INSERT INTO registro.pupils
  (school_code, given_name, family_name, born_on, contacts)
SELECT c.school_code, {given}, {family},
  make_date(2016 - c.year, 1, 1) + {born},
  jsonb_build_object('telefono', '+39 000 ' || lpad(({phone})::text, 5, '0'),
    'email', 'famiglia' || n || '@posta.example', 'nota', {remark})
FROM {numbers} JOIN registro.classes c ON c.id = 1 + (n - 1) / {per} ORDER BY n;\n",
            born = below(365, 4),
            phone = below(65_536, 6),
            per = self.size.pupils_per_class,
        )
    }

    fn enrolments(&self) -> String {
        format!(
            "INSERT INTO registro.enrolments
SELECT p.id, '2026/27', p.school_code, 1 + (p.id - 1) / {per}, date '2026-01-20'
FROM registro.pupils p ORDER BY p.id;\n",
            per = self.size.pupils_per_class,
        )
    }

    fn marks(&self) -> String {
        let pupils_per_school = self.size.classes_per_school * self.size.pupils_per_class;
        format!(
            "INSERT INTO registro.marks
  (school_code, pupil_id, teacher_id, subject_code, kind, value, given_on, remark)
SELECT p.school_code, p.id, (p.id - 1) / {pupils_per_school} * {teachers} + 1 + {teacher},
  {subject}, (ARRAY['oral','written','practical'])[1 + get_byte(r, 4) % 3],
  round((get_byte(r, 5) + get_byte(r, 6) + get_byte(r, 7)) * 24 / 765.0) / 4 + 4,
  {day}, CASE WHEN get_byte(r, 10) < 40 THEN {remark} END
FROM {numbers} JOIN registro.pupils p ON p.id = 1 + (n - 1) / {per} ORDER BY n;\n",
            teachers = self.size.teachers_per_school,
            teacher = below(u64::from(self.size.teachers_per_school), 0),
            subject = pick(&array(SUBJECTS.iter().map(|(code, _)| *code)), SUBJECTS.len(), 2),
            day = school_day(8),
            remark = pick(&array(REMARKS.iter().copied()), REMARKS.len(), 11),
            numbers =
                self.numbers("marks", self.size.pupils() * u64::from(self.size.marks_per_pupil)),
            per = self.size.marks_per_pupil,
        )
    }

    fn absences(&self) -> String {
        let count = self.size.pupils() * u64::from(self.size.absences_per_pupil);
        format!(
            "INSERT INTO registro.absences
  (school_code, pupil_id, on_day, kind, minutes, justified, reason)
SELECT p.school_code, p.id, {day}, k.kind,
  CASE WHEN k.kind = 'day' THEN NULL ELSE 5 + get_byte(r, 3) % 55 END,
  get_byte(r, 4) < 220, (ARRAY['famiglia','salute','trasporti',NULL])[1 + get_byte(r, 5) % 4]
FROM {numbers} JOIN registro.pupils p ON p.id = 1 + (n - 1) / {per}
CROSS JOIN LATERAL
  (SELECT (ARRAY['day','day','late','early'])[1 + get_byte(r, 2) % 4] AS kind) AS k
ORDER BY n;\n",
            day = school_day(0),
            numbers = self.numbers("absences", count),
            per = self.size.absences_per_pupil,
        )
    }

    fn notes(&self) -> String {
        let count = self.size.classes() * u64::from(self.size.notes_per_class);
        format!(
            "INSERT INTO registro.notes (school_code, class_id, teacher_id, at, body, detail)
SELECT c.school_code, c.id, c.tutor_id,
  ({day} + time '08:00' + make_interval(mins => get_byte(r, 2) * 300 / 256))
    AT TIME ZONE 'Europe/Rome',
  {remark}, jsonb_build_object('visto', get_byte(r, 5) < 180, 'riga', n)
FROM {numbers} JOIN registro.classes c ON c.id = 1 + (n - 1) / {per} ORDER BY n;\n",
            day = school_day(0),
            remark = pick(&array(REMARKS.iter().copied()), REMARKS.len(), 3),
            numbers = self.numbers("notes", count),
            per = self.size.notes_per_class,
        )
    }

    /// Large objects of some 100 kB that do not compress away.
    fn documents(&self) -> String {
        format!(
            "INSERT INTO registro.documents (school_code, name, content)
SELECT s.school_code, 'PTOF 2026-2029.pdf', lo_from_bytea(0, d.bytes)
FROM registro.schools s CROSS JOIN LATERAL
  (SELECT string_agg(decode(md5('{seed}:document:' || s.number || ':' || n), 'hex'), ''::bytea
    ORDER BY n) AS bytes FROM generate_series(1, 6400) AS n) AS d
WHERE s.number % {per} = 1 ORDER BY s.number;\n",
            seed = self.seed,
            per = SCHOOLS_PER_DOCUMENT,
        )
    }

    fn sessions(&self) -> String {
        format!(
            "INSERT INTO registro.sessions
SELECT md5('{seed}:session:' || n)::uuid, s.school_code, 'docente' || n,
  timestamptz '2026-11-21 08:00+01' + make_interval(secs => n)
FROM {numbers} JOIN registro.schools s ON s.number = 1 + n % {schools} ORDER BY n;\n",
            seed = self.seed,
            schools = self.size.schools,
            numbers = self.numbers("sessions", u64::from(self.size.sessions)),
        )
    }
}

fn subjects() -> String {
    let row = |(code, name): &(&str, &str)| format!("({}, {})", quoted(code), quoted(name));
    let rows: Vec<String> = SUBJECTS.iter().map(row).collect();
    format!("INSERT INTO registro.subjects VALUES {};\n", rows.join(", "))
}

fn statistics() -> String {
    let mut sql = String::new();
    for (table, _) in DataSize::default().rows() {
        // Writing to a string cannot fail.
        let _ = writeln!(sql, "ANALYZE {SCHEMA}.{table};");
    }
    sql
}

const TABLES: &str = include_str!("tables.sql");
const KEYS: &str = include_str!("keys.sql");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_text_and_another_seed_another() {
        let size = DataSize::default();
        assert_eq!(steps(7, &size), steps(7, &size));
        assert_ne!(steps(7, &size), steps(8, &size));
    }

    #[test]
    fn the_default_is_about_three_hundred_thousand_rows() {
        let total: u64 = DataSize::default().rows().iter().map(|(_, rows)| rows).sum();
        assert!((290_000..310_000).contains(&total), "{total}");
    }

    #[test]
    fn names_with_apostrophes_are_quoted() {
        assert!(FAMILY_NAMES.iter().any(|name| name.contains('\'')));
        for step in steps(1, &DataSize::default()) {
            assert!(step.sql.matches('\'').count().is_multiple_of(2), "{}", step.name);
        }
    }

    #[test]
    fn writers_reach_pupils_that_exist() {
        let size = DataSize { schools: 2, ..DataSize::default() };
        for serial in 0..500 {
            let sql = write_sql(3, serial, &size);
            let id = sql.split("p.id = ").nth(1).and_then(|rest| rest.split(')').next());
            let id: u64 = id.and_then(|id| id.parse().ok()).expect("a pupil is named");
            assert!((1..=size.pupils()).contains(&id), "{sql}");
        }
    }
}
