//! The worst RPO exposure of each day. Losing it costs the days so far, no more.

use jiff::civil::Date;
use rusqlite::{OptionalExtension, params};

use crate::error::{Attempt, Result};
use crate::model::{ResourceName, Span};

use super::store::Catalog;

/// Days are remembered this long: a year, and the month in which somebody looks back on it.
const KEPT_DAYS: i64 = 400;

/// One day of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayExposure {
    pub day: Date,
    /// The greatest that was measured, in whole seconds, rounded up; `None` if none was.
    pub most: Option<Span>,
    /// Measurements by which it could not be told; there is one a minute.
    pub unknown_minutes: u64,
}

impl Catalog {
    /// Notes what every resource was exposed to in one minute of `day`, a date in the configured
    /// zone; `None` where that could not be told. In one step, since there may be hundreds. The
    /// first note of a day forgets days that are too old.
    pub fn note_exposures(&self, day: Date, all: &[(ResourceName, Option<Span>)]) -> Result<()> {
        let what = || "note the exposure".to_owned();
        let Some((first, _)) = all.first() else { return Ok(()) };
        let date = day.to_string();
        let mut connection = self.lock();
        let transaction = connection.transaction().attempt(what)?;
        let begun = "select 1 from exposure where resource = ?1 and day = ?2";
        let begun: Option<i64> = transaction
            .query_row(begun, params![first.as_str(), date], |row| row.get(0))
            .optional()
            .attempt(what)?;
        if begun.is_none() {
            let oldest = day.saturating_sub(jiff::Span::new().days(KEPT_DAYS)).to_string();
            let forget = "delete from exposure where day < ?1";
            transaction.execute(forget, params![oldest]).attempt(what)?;
        }
        {
            // With one of the two unknown the other counts: `max` of nothing is nothing.
            let note = "insert into exposure values (?1, ?2, ?3, ?4) \
                        on conflict (resource, day) do update set most_seconds = \
                        max(coalesce(most_seconds, excluded.most_seconds), \
                        coalesce(excluded.most_seconds, most_seconds)), \
                        unknown_minutes = unknown_minutes + excluded.unknown_minutes";
            let mut statement = transaction.prepare_cached(note).attempt(what)?;
            for (resource, exposure) in all {
                let seconds = exposure.map(|span| span.as_seconds().ceil() as i64);
                let unknown = i64::from(exposure.is_none());
                let row = params![resource.as_str(), date, seconds, unknown];
                statement.execute(row).attempt(what)?;
            }
        }
        transaction.commit().attempt(what)
    }

    /// The days of a resource from `since` on, oldest first. A day on which nobody measured is not
    /// among them.
    pub fn worst_exposures(
        &self,
        resource: &ResourceName,
        since: Date,
    ) -> Result<Vec<DayExposure>> {
        let what = || format!("look up the exposure of {resource}");
        let connection = self.lock();
        let select = "select day, most_seconds, unknown_minutes from exposure \
                      where resource = ?1 and day >= ?2 order by day";
        let mut statement = connection.prepare(select).attempt(what)?;
        let rows = statement
            .query_map(params![resource.as_str(), since.to_string()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .attempt(what)?;
        let mut days = Vec::new();
        for row in rows {
            let (day, most, unknown): (String, Option<i64>, i64) = row.attempt(what)?;
            days.push(DayExposure {
                day: day.parse::<Date>().attempt(what)?,
                most: most.map(|seconds| Span::seconds(seconds.unsigned_abs())),
                unknown_minutes: unknown.unsigned_abs(),
            });
        }
        Ok(days)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::civil::date;

    use super::*;

    fn catalog() -> Catalog {
        Catalog::open(std::path::Path::new(":memory:")).unwrap()
    }

    fn name(text: &str) -> ResourceName {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_keeps_its_worst_and_counts_the_minutes_it_could_not_be_told() {
        let (catalog, of) = (catalog(), name("registro"));
        let day = date(2026, 11, 22);
        let note = |day, seconds: Option<f64>| {
            let exposure = seconds.map(|seconds| Span(Duration::from_secs_f64(seconds)));
            catalog.note_exposures(day, &[(name("other"), None), (of.clone(), exposure)]).unwrap();
        };
        let known = |since| -> Vec<(Date, Option<u64>, u64)> {
            let days = catalog.worst_exposures(&of, since).unwrap().into_iter();
            days.map(|one| (one.day, one.most.map(|span| span.0.as_secs()), one.unknown_minutes))
                .collect()
        };
        catalog.note_exposures(day, &[]).unwrap();
        assert!(known(day).is_empty());
        let minutes: [(Option<f64>, Option<u64>, u64); 6] = [
            (None, None, 1),
            (Some(60.2), Some(61), 1),
            (None, Some(61), 2),
            (Some(30.0), Some(61), 2),
            (Some(61.5), Some(62), 2),
            (Some(0.0), Some(62), 2),
        ];
        for (exposure, most, unknown) in minutes {
            note(day, exposure);
            assert_eq!(known(day), [(day, most, unknown)], "{exposure:?}");
        }
        let next = date(2026, 11, 23);
        note(next, Some(5.0));
        assert_eq!(known(day), [(day, Some(62), 2), (next, Some(5), 0)]);
        assert_eq!(known(next), [(next, Some(5), 0)]);
        assert!(catalog.worst_exposures(&name("third"), day).unwrap().is_empty());
    }

    #[test]
    fn days_are_forgotten_after_a_year_and_a_month() {
        let (catalog, of) = (catalog(), name("registro"));
        let note = |day| catalog.note_exposures(day, &[(of.clone(), None)]).unwrap();
        let days = || -> Vec<Date> {
            let all = catalog.worst_exposures(&of, Date::MIN).unwrap();
            all.into_iter().map(|one| one.day).collect()
        };
        let (first, second) = (date(2026, 1, 1), date(2026, 1, 2));
        let on = |days: i64| first.checked_add(jiff::Span::new().days(days)).unwrap();
        note(first);
        note(second);
        note(on(KEPT_DAYS));
        assert_eq!(days(), [first, second, on(KEPT_DAYS)]);
        note(on(KEPT_DAYS + 1));
        assert_eq!(days(), [second, on(KEPT_DAYS), on(KEPT_DAYS + 1)]);
    }
}
