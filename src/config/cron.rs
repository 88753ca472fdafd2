//! Schedules in five cron fields, with the standard meaning (crontab(5), POSIX `crontab`).
//!
//! Evaluated on civil time; what a clock change does to it is the planner's business.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use jiff::civil::{Date, Weekday};

use crate::error::Error;
use crate::model::Span;

/// A schedule: minute, hour, day of month, month, day of week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
}

/// The values a field allows, as bits, and whether it began with `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Field {
    bits: u64,
    star: bool,
}

impl Field {
    fn has(self, value: i8) -> bool {
        (0..64).contains(&value) && self.bits & (1 << value) != 0
    }

    /// The least value it allows from `value` on, which is 0 to 60.
    fn least_from(self, value: i8) -> Option<i8> {
        let left = self.bits >> value;
        (left != 0).then(|| value + left.trailing_zeros() as i8)
    }

    /// The greatest value it allows before `value`, which is 0 to 60.
    fn greatest_before(self, value: i8) -> Option<i8> {
        let left = self.bits & ((1 << value) - 1);
        (left != 0).then(|| 63 - left.leading_zeros() as i8)
    }
}

/// How one of the five fields is written.
struct Syntax {
    name: &'static str,
    range: RangeInclusive<u8>,
    words: &'static [&'static str],
}

const FIELDS: [Syntax; 5] = [
    Syntax { name: "minute", range: 0..=59, words: &[] },
    Syntax { name: "hour", range: 0..=23, words: &[] },
    Syntax { name: "day of month", range: 1..=31, words: &[] },
    Syntax {
        name: "month",
        range: 1..=12,
        words: &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    },
    Syntax {
        name: "day of week",
        range: 0..=7,
        words: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    },
];

/// The longest each month gets, January first.
const MONTH_DAYS: [i8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

impl Cron {
    /// The text it was read from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it runs on that civil date. Where day of month and day of week are both given
    /// (neither begins with `*`), either is enough: crontab(5).
    pub fn runs_on(&self, date: Date) -> bool {
        let day = self.days.has(date.day());
        let weekday = self.weekdays.has(date.weekday().to_sunday_zero_offset());
        let dated = match self.days.star || self.weekdays.star {
            true => day && weekday,
            false => day || weekday,
        };
        dated && self.months.has(date.month())
    }

    /// The civil times of a day on which it runs, as (hour, minute), in order.
    pub fn times(&self) -> impl Iterator<Item = (i8, i8)> {
        let (hours, minutes) = (self.hours, self.minutes);
        let hour = (0..24).filter(move |hour| hours.has(*hour));
        hour.flat_map(move |hour| {
            (0..60).filter(move |minute| minutes.has(*minute)).map(move |minute| (hour, minute))
        })
    }

    /// The first civil time of a day at or after `hour:minute`; the minute may be 60.
    pub fn first_from(&self, hour: i8, minute: i8) -> Option<(i8, i8)> {
        let within = self.hours.has(hour).then(|| self.minutes.least_from(minute)).flatten();
        match within {
            Some(minute) => Some((hour, minute)),
            None => Some((self.hours.least_from(hour + 1)?, self.minutes.least_from(0)?)),
        }
    }

    /// The last civil time of a day before `hour:minute`; the hour may be 24.
    pub fn last_before(&self, hour: i8, minute: i8) -> Option<(i8, i8)> {
        let within = self.hours.has(hour).then(|| self.minutes.greatest_before(minute)).flatten();
        match within {
            Some(minute) => Some((hour, minute)),
            None => Some((self.hours.greatest_before(hour)?, self.minutes.greatest_before(60)?)),
        }
    }

    /// The longest time between two runs by the wall clock, up to a day; `None` if it does not run
    /// on every day.
    pub fn longest_pause(&self) -> Option<Span> {
        let of_day = |(hour, minute): (i8, i8)| {
            60 * u64::from(hour.unsigned_abs()) + u64::from(minute.unsigned_abs())
        };
        let minutes: Vec<u64> = self.times().map(of_day).collect();
        let overnight = minutes.first()? + 24 * 60 - minutes.last()?;
        let by_day = minutes.windows(2).map(|pair| pair[1] - pair[0]);
        let longest = by_day.chain([overnight]).max()?;
        self.is_daily().then(|| Span::seconds(60 * longest))
    }

    /// Whether it runs on every date there is.
    fn is_daily(&self) -> bool {
        let days = (1..=31).all(|day| self.days.has(day));
        let weekdays = (0..7).all(|day| self.weekdays.has(day));
        let dated = match self.days.star || self.weekdays.star {
            true => days && weekdays,
            false => days || weekdays,
        };
        dated && (1..=12).all(|month| self.months.has(month))
    }

    /// Whether some run can ever fall on that day of the week.
    pub fn can_run_on(&self, weekday: Weekday) -> bool {
        let named = self.weekdays.has(weekday.to_sunday_zero_offset());
        named || !(self.days.star || self.weekdays.star)
    }

    /// Whether no year has such a date: the 30th of February.
    fn is_impossible(&self) -> bool {
        let by_weekday = !self.days.star && !self.weekdays.star;
        let exists = (1..=12).zip(MONTH_DAYS).any(|(month, length)| {
            self.months.has(month) && (1..=length).any(|day| self.days.has(day))
        });
        !exists && !by_weekday
    }
}

impl FromStr for Cron {
    type Err = Error;

    fn from_str(text: &str) -> Result<Cron, Error> {
        let parts: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts[..] else {
            return Err(Error::usage(format!(
                "`{text}` has {} fields instead of five",
                parts.len()
            ))
            .hint(
                "Write minute, hour, day of month, month, day of week: \"0 2 * * *\" is every day \
                 at 02:00.",
            ));
        };
        let [minutes, hours, days, months, mut weekdays] = [
            FIELDS[0].parse(minute)?,
            FIELDS[1].parse(hour)?,
            FIELDS[2].parse(day)?,
            FIELDS[3].parse(month)?,
            FIELDS[4].parse(weekday)?,
        ];
        weekdays.bits |= (weekdays.bits >> 7) & 1; // 7 is Sunday as 0 is
        let cron = Cron { text: text.to_owned(), minutes, hours, days, months, weekdays };
        match cron.is_impossible() {
            false => Ok(cron),
            true => Err(Error::usage(format!("`{text}` never comes: no year has such a date"))
                .hint("Choose a day that the month has.")),
        }
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Syntax {
    fn parse(&self, text: &str) -> Result<Field, Error> {
        let star = text.starts_with('*');
        let mut bits = 0;
        for item in text.split(',') {
            bits |= self.parse_item(item)?;
        }
        Ok(Field { bits, star })
    }

    /// One item of a list: `*`, `*/5`, `3`, `1-5`, `8-18/2`.
    fn parse_item(&self, item: &str) -> Result<u64, Error> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (*self.range.start(), *self.range.end()),
            Some((first, last)) => (self.parse_value(first)?, self.parse_value(last)?),
            None if step.is_some() => {
                return Err(self.wrong(item, "Before `/` stands `*` or a range such as 8-18."));
            }
            None => (self.parse_value(range)?, self.parse_value(range)?),
        };
        if first > last {
            return Err(self.wrong(item, "Write the lower end first, or two ranges with a comma."));
        }
        let step = match step.map(|step| (digits(step), step)) {
            None => 1,
            Some((Some(step), _)) if step > 0 => step,
            Some(_) => return Err(self.wrong(item, "After `/` stands a number from 1.")),
        };
        // `*` counts each weekday once, so that `*/2` means Sunday, Tuesday, Thursday, Saturday.
        let last = if range == "*" { self.once() } else { last };
        Ok((first..=last).step_by(usize::from(step)).fold(0, |bits, value| bits | 1 << value))
    }

    /// The last value that is not another name of the first.
    fn once(&self) -> u8 {
        if *self.range.end() == 7 { 6 } else { *self.range.end() }
    }

    fn parse_value(&self, text: &str) -> Result<u8, Error> {
        let lower = text.to_ascii_lowercase();
        let word = self.words.iter().position(|word| *word == lower);
        let named = word.and_then(|at| u8::try_from(at).ok()).map(|at| at + self.first_word());
        let value = named.or_else(|| digits(text)).filter(|value| self.range.contains(value));
        value.ok_or_else(|| {
            let (from, to) = (self.range.start(), self.range.end());
            let or = self.words.first().map_or(String::new(), |word| format!(", or {word} …"));
            self.wrong(text, &format!("It goes from {from} to {to}{or}."))
        })
    }

    /// What the first of the words counts as: January is 1, Sunday is 0.
    fn first_word(&self) -> u8 {
        *self.range.start()
    }

    fn wrong(&self, item: &str, hint: &str) -> Error {
        Error::usage(format!("`{item}` does not fit the field `{}`", self.name)).hint(hint)
    }
}

/// A number of one or two digits, without a sign.
pub(super) fn digits(text: &str) -> Option<u8> {
    let plain = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}
