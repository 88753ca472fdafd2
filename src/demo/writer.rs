//! A writer into the demo's database, whose commits can be counted afterwards.

use crate::demo::data::DataSize;
use crate::demo::names::SUBJECTS;

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

#[cfg(test)]
mod tests {
    use super::*;

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
