//! What goes out at one time: news, the daily summary, or a test. Pure.

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;

use super::decide::Telling;
use super::wire;
use crate::model::{ResourceName, Span, Wanted};

/// One message, before it is written for a mail or a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub at: Timestamp,
    /// Who speaks: the name of this machine.
    pub host: String,
    pub about: About,
}

/// What a notice says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    News(Vec<Telling>),
    Summary(Summary),
    /// Nothing: it was asked whether it arrives.
    Test,
}

/// How everything stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// In the order of the configuration.
    pub resources: Vec<Facts>,
    /// What concerns no single resource, a line each, such as messages that were given up.
    pub notes: Vec<String>,
}

/// How one resource stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub resource: ResourceName,
    pub last_snapshot_at: Option<Timestamp>,
    /// What a loss of the source would cost now; `None`: it cannot be told.
    pub exposure: Option<Span>,
    /// When a drill last passed.
    pub last_proof_at: Option<Timestamp>,
    /// Everything that is not as promised; empty is green.
    pub reds: Vec<String>,
    /// What is due next.
    pub next: Option<Due>,
}

/// Something that will be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Such as "snapshot".
    pub what: String,
    pub at: Timestamp,
}

impl Notice {
    /// What of it somebody is told who wants so much; `None` if that is nothing.
    pub fn for_who_wants(&self, wanted: Wanted) -> Option<Notice> {
        let about = match (&self.about, wanted) {
            (About::Summary(_), Wanted::Red) => return None,
            (About::News(news), Wanted::Red) => {
                About::News(news.iter().filter(|one| one.concerns_red()).cloned().collect())
            }
            (about, _) => about.clone(),
        };
        let empty = matches!(&about, About::News(news) if news.is_empty());
        (!empty).then(|| Notice { at: self.at, host: self.host.clone(), about })
    }

    /// 32 hexadecimal digits made of all it says, so that the same notice, decided again after a
    /// crash, has the same.
    pub fn id(&self) -> String {
        identify(&wire::content(self).to_string())
    }
}

/// 32 hexadecimal digits made of a text: half of its SHA-256.
pub(super) fn identify(text: &str) -> String {
    let whole = digest(&SHA256, text.as_bytes());
    let bytes: &[u8] = whole.as_ref();
    hex::encode(&bytes[..16])
}
