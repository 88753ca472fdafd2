//! How long work comes along: a bar on a terminal, else a line every ten seconds.

use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use super::output::Output;
use crate::engines::progress::Progress;
use crate::model::ByteSize;

const REDRAW_EVERY: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(10);
const BAR: &str = "{msg:<28} {bytes:>10} / {total_bytes} {binary_bytes_per_sec} {wide_bar}";

/// Shows progress until it is dropped. Needs a tokio runtime.
pub struct Shown {
    task: JoinHandle<()>,
    bar: Option<ProgressBar>,
}

impl Shown {
    pub fn start(progress: Arc<Progress>, output: Output) -> Shown {
        if !output.is_live() {
            return Shown { task: tokio::spawn(write_lines(progress, output)), bar: None };
        }
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template(BAR) {
            bar.set_style(style);
        }
        Shown { task: tokio::spawn(redraw(progress, bar.clone())), bar: Some(bar) }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

async fn redraw(progress: Arc<Progress>, bar: ProgressBar) {
    loop {
        let (done, total) = progress.bytes();
        bar.set_length(total.max(done));
        bar.set_position(done);
        bar.set_message(progress.phase());
        bar.tick();
        tokio::time::sleep(REDRAW_EVERY).await;
    }
}

async fn write_lines(progress: Arc<Progress>, output: Output) {
    loop {
        tokio::time::sleep(LINE_EVERY).await;
        let (done, total) = progress.bytes();
        let (done, total) = (ByteSize(done), ByteSize(total.max(done)));
        output.note(format_args!("{}: {done} of {total}", progress.phase()));
    }
}
