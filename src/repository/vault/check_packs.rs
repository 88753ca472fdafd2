//! Checking stored bytes: each pack is read once and must hash to its name, carry the header the
//! index says, and hold blobs that decrypt, decompress and hash to their ids.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::thread;

use super::Vault;
use super::check::{Finding, Problem};
use super::id::Id;
use super::index::IndexPack;
use super::pack::{LENGTH_BYTES, PackedBlob, decode_header, header_bytes, pack_bytes};
use super::read::{BlobFault, BlobOpener};
use super::write::lock;
use crate::error::{Error, Result};

/// Threads that read; each holds one pack.
const WORKERS: usize = 2;

impl Vault {
    /// Reads the packs that are listed in full size; the others are findings already.
    pub(super) fn check_packs(
        &self,
        packs: &BTreeMap<Id, IndexPack>,
        listed: &BTreeMap<Id, u64>,
    ) -> Result<Vec<Finding>> {
        let whole = |pack: &&IndexPack| listed.get(&pack.id) == Some(&pack_bytes(&pack.blobs));
        let waiting = Mutex::new(packs.values().filter(whole));
        let work = || -> Result<Vec<Finding>> {
            let mut findings = Vec::new();
            let mut opener = BlobOpener::new()?;
            let mut body = Vec::new();
            loop {
                let next = lock(&waiting).next();
                let Some(pack) = next else { return Ok(findings) };
                self.check_pack(pack, &mut body, &mut opener, &mut findings);
            }
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
            let mut findings = Vec::new();
            for thread in threads {
                findings.extend(thread.join().unwrap_or_else(|panic| resume_unwind(panic))?);
            }
            findings.sort_by_key(|finding| (finding.pack, finding.problem));
            Ok(findings)
        })
    }

    /// Every fault of one pack.
    ///
    /// # Errors
    /// The store failed: nothing is known of the content.
    pub(super) fn findings_of(&self, pack: &IndexPack) -> Result<Vec<Finding>> {
        let (mut findings, mut opener) = (Vec::new(), BlobOpener::new()?);
        let body = self.store().get(&self.layout().pack(&pack.id))?;
        let bytes = pack_bytes(&pack.blobs);
        match body {
            Some(mut body) if body.len() as u64 == bytes => {
                self.check_body(pack, &mut body, &mut opener, &mut findings);
            }
            Some(body) => {
                let detail = format!("it has {} bytes, the index says {bytes}", body.len());
                let lost = pack.blobs.iter().map(|blob| Finding {
                    pack: Some(pack.id),
                    blob: Some(blob.id),
                    ..Finding::new(Problem::WrongPackSize, detail.clone())
                });
                findings.extend(lost);
            }
            None => {
                let detail = "an index names a pack that is not there";
                let finding = Finding::new(Problem::MissingPack, detail);
                findings.push(Finding { pack: Some(pack.id), ..finding });
            }
        }
        Ok(findings)
    }

    fn check_pack(
        &self,
        pack: &IndexPack,
        body: &mut Vec<u8>,
        opener: &mut BlobOpener,
        findings: &mut Vec<Finding>,
    ) {
        body.resize(pack_bytes(&pack.blobs) as usize, 0);
        if let Err(error) = self.store().read_range(&self.layout().pack(&pack.id), 0, body) {
            let finding = Finding::new(Problem::UnreadablePack, error.chain());
            return findings.push(Finding { pack: Some(pack.id), ..finding });
        }
        self.check_body(pack, body, opener, findings);
    }

    fn check_body(
        &self,
        pack: &IndexPack,
        body: &mut [u8],
        opener: &mut BlobOpener,
        findings: &mut Vec<Finding>,
    ) {
        let mut report = |problem, blob: Option<Id>, detail: String| {
            let finding = Finding::new(problem, detail);
            findings.push(Finding { pack: Some(pack.id), blob, ..finding });
        };
        let actual = Id::of(body);
        if actual != pack.id {
            report(Problem::WrongPackId, None, format!("its content has the id {actual}"));
        }
        match self.header_of(body) {
            Ok(blobs) if same_blobs(&blobs, &pack.blobs) => {}
            Ok(_) => {
                let detail = "its header lists other blobs than the index".into();
                report(Problem::WrongHeader, None, detail);
            }
            Err(error) => report(Problem::WrongHeader, None, error.chain()),
        }
        for blob in &pack.blobs {
            let end = blob.offset as usize + blob.length as usize;
            let Some(sealed) = body.get_mut(blob.offset as usize..end) else {
                report(Problem::WrongOffsets, Some(blob.id), "it ends beyond its pack".into());
                continue;
            };
            if let Err(fault) = opener.open(self.cipher(), blob, sealed) {
                let problem = match fault {
                    BlobFault::WrongMac => Problem::WrongMac,
                    BlobFault::WrongLength { .. } => Problem::WrongLength,
                    BlobFault::WrongId { .. } => Problem::WrongId,
                };
                report(problem, Some(blob.id), fault.to_string());
            }
        }
    }

    /// The header inside a whole pack, which is left as it is.
    fn header_of(&self, body: &[u8]) -> Result<Vec<PackedBlob>> {
        let (rest, last) = body
            .split_last_chunk::<LENGTH_BYTES>()
            .ok_or_else(|| Error::failed("it is too short for a header"))?;
        let header = header_bytes(*last, body.len() as u64)?;
        let mut sealed = rest[rest.len() - header..].to_vec();
        decode_header(self.cipher().open_in_place(&mut sealed)?)
    }
}

/// Index and header may list the blobs in different order.
fn same_blobs(header: &[PackedBlob], index: &[PackedBlob]) -> bool {
    let mut index: Vec<_> = index.iter().collect();
    index.sort_by_key(|blob| blob.offset);
    header.iter().eq(index)
}
