//! The table at the end: what is required, what was measured, and whether that suffices.

use super::measure::{Taken, median};

/// Results in the order of measuring.
#[derive(Default)]
pub struct Report {
    rows: Vec<[String; 4]>,
    missed: u32,
}

impl Report {
    /// One line of the table.
    pub fn add(&mut self, line: &str, required: &str, measured: String, met: bool) {
        let verdict = if met { "met" } else { "MISSED" };
        self.missed += u32::from(!met);
        println!("  => {line}: {measured} ({required}): {verdict}");
        self.rows.push([line.into(), required.into(), measured, verdict.into()]);
    }

    /// How many times as fast `ours` is as `theirs`.
    pub fn faster(&mut self, line: &str, at_least: f64, ours: &[Taken], theirs: &[Taken]) {
        let ratio = times(theirs, ours);
        let measured = format!("{ratio:.2} times ({})", pair(ours, theirs));
        self.add(line, &format!("at least {at_least} times"), measured, ratio >= at_least);
    }

    /// What share of the folder's speed a bucket reaches, 1 being all of it.
    pub fn share(&mut self, line: &str, at_least: f64, bucket: &[Taken], folder: &[Taken]) {
        let share = times(folder, bucket);
        let both = against(bucket, "the folder's", folder);
        let measured = format!("{:.0} % ({both})", share * 100.0);
        let required = format!("at least {:.0} % of the folder's speed", at_least * 100.0);
        self.add(line, &required, measured, share >= at_least);
    }

    /// The table in Markdown; true if every line is met.
    pub fn print(&self) -> bool {
        println!("\n| line | required | measured | verdict |\n|---|---|---|---|");
        for row in &self.rows {
            println!("| {} |", row.join(" | "));
        }
        self.missed == 0
    }
}

/// How many times as long `longer` takes as `shorter`: the median over pairs of runs that followed
/// each other, because a machine's speed drifts.
pub fn times(longer: &[Taken], shorter: &[Taken]) -> f64 {
    median(longer.iter().zip(shorter).map(|(longer, shorter)| longer.seconds / shorter.seconds))
}

/// `8.1 s against 12.3 s`, medians.
pub fn pair(ours: &[Taken], theirs: &[Taken]) -> String {
    against(ours, "theirs", theirs)
}

fn against(ours: &[Taken], whose: &str, theirs: &[Taken]) -> String {
    let times = |all: &[Taken]| {
        let cpu = median(all.iter().map(|taken| taken.cpu_seconds));
        format!("{:.2} s, {cpu:.2} s of processors", wall(all))
    };
    format!("{}; {whose} {}", times(ours), times(theirs))
}

/// Median of the wall clock, in seconds.
fn wall(all: &[Taken]) -> f64 {
    median(all.iter().map(|taken| taken.seconds))
}

/// Says what one run took.
pub fn say(what: &str, bytes: u64, taken: &Taken) {
    println!(
        "  {what}: {:.2} s, {:.0} MB/s, {:.2} s of processors, {:.0} MB of memory",
        taken.seconds,
        bytes as f64 / 1e6 / taken.seconds,
        taken.cpu_seconds,
        taken.peak_bytes as f64 / 1e6
    );
}
