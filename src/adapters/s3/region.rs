//! Where a bucket really lies, against where data may lie (RULES 23).

use aws_sdk_s3::config::http::HttpResponse;

use crate::error::{Error, Result};
use crate::model::BucketPlace;

use super::failure::{Failure, retried};
use super::objects::Objects;

impl Objects {
    /// Refuses a bucket that lies elsewhere than its data may; asks only where that is restricted.
    pub async fn check_region(&self) -> Result<()> {
        if self.place.allowed_regions.is_empty() {
            return Ok(());
        }
        let told = self.told_region().await?;
        decide(&self.place, told.as_deref())
    }

    /// What the store says; `None` if it says nothing.
    async fn told_region(&self) -> Result<Option<String>> {
        let what = format!("ask where the {} lies", self.describe());
        let bucket = &self.place.bucket;
        let head = retried(|| async {
            let request = self.client.head_bucket().bucket(bucket);
            request.send().await.map_err(|e| Failure::of(&what, &e))
        });
        let region = or_silent(head.await)?.and_then(|head| head.bucket_region);
        if region.as_ref().is_some_and(|region| !region.is_empty()) {
            return Ok(region);
        }
        let location = retried(|| async {
            match self.client.get_bucket_location().bucket(bucket).send().await {
                Ok(location) => Ok(Some(location)),
                // Well answered, in a form that is not AWS's: that store has no regions to tell.
                Err(e) if is_success(e.raw_response()) => Ok(None),
                Err(e) => Err(Failure::of(&what, &e)),
            }
        });
        let Some(location) = or_silent(location.await)?.flatten() else { return Ok(None) };
        let constraint = location.location_constraint().map(|region| region.as_str());
        Ok(region_of(constraint.unwrap_or_default(), self.place.endpoint.is_none()))
    }
}

fn is_success(answer: Option<&HttpResponse>) -> bool {
    answer.is_some_and(|answer| answer.status().is_success())
}

/// A store may know nothing of such a question, or not answer it to this key.
fn or_silent<T>(answered: Result<T, Failure>) -> Result<Option<T>> {
    match answered {
        Ok(answer) => Ok(Some(answer)),
        Err(failure) if failure.again => Err(failure.error),
        Err(failure) => {
            tracing::debug!(error = %failure.error.chain(), "the store does not tell its region");
            Ok(None)
        }
    }
}

/// The region that a location constraint means: at AWS none is the first region, and `EU` the
/// first in Europe (S3 API reference, GetBucketLocation). Of other stores none says nothing.
fn region_of(constraint: &str, is_aws: bool) -> Option<String> {
    match constraint {
        "" if is_aws => Some("us-east-1".to_owned()),
        "" => None,
        "EU" => Some("eu-west-1".to_owned()),
        region => Some(region.to_owned()),
    }
}

/// Whether data may lie there: `told` is the region by the store's own word. A store that is not
/// AWS need not have regions; where it says nothing, the configuration answers for it.
fn decide(place: &BucketPlace, told: Option<&str>) -> Result<()> {
    let bucket = &place.bucket;
    let configured = place.endpoint.as_ref().and(place.region.as_deref());
    let Some(region) = told.or(configured) else {
        let what = format!("cannot tell in which region the bucket {bucket} lies");
        return Err(Error::refused(what).hint(match place.endpoint {
            None => "Allow s3:ListBucket and s3:GetBucketLocation to this key.",
            Some(_) => "Set `region`: the store does not say where it is.",
        }));
    };
    if place.allowed_regions.iter().any(|allowed| allowed == region) {
        return Ok(());
    }
    let what = format!(
        "the bucket {bucket} lies in {region}, and data may lie in {} only",
        place.allowed_regions.join(", ")
    );
    Err(Error::refused(what)
        .hint("Use a bucket in an allowed region, or change `allowed_regions` with the promise."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::model::Checksums;

    fn place(region: Option<&str>, endpoint: Option<&str>) -> BucketPlace {
        BucketPlace {
            bucket: "copies".to_owned(),
            prefix: String::new(),
            region: region.map(str::to_owned),
            endpoint: endpoint.map(str::to_owned),
            path_style: false,
            sse: None,
            checksums: Checksums::WhenSupported,
            allowed_regions: vec!["eu-south-1".to_owned(), "eu-west-1".to_owned()],
        }
    }

    #[test]
    fn data_lies_only_where_it_may() {
        let own = Some("https://s3.example.org");
        let cases = [
            (place(Some("eu-south-1"), None), Some("eu-south-1"), None),
            // Another than the configured one, and allowed all the same.
            (place(Some("eu-south-1"), None), Some("eu-west-1"), None),
            (place(Some("eu-south-1"), None), Some("us-east-1"), Some("lies in us-east-1")),
            (place(Some("eu-south-1"), None), None, Some("cannot tell")),
            (place(Some("eu-south-1"), own), None, None),
            (place(Some("eu-south-1"), own), Some("us-east-1"), Some("lies in us-east-1")),
            (place(Some("us-east-1"), own), None, Some("lies in us-east-1")),
            (place(None, own), Some("eu-west-1"), None),
            (place(None, own), None, Some("cannot tell")),
        ];
        for (place, told, refused) in cases {
            let error = decide(&place, told).err();
            assert_eq!(error.is_some(), refused.is_some(), "{place:?} {told:?}");
            let Some((error, refused)) = error.zip(refused) else { continue };
            assert_eq!(error.kind(), Kind::Refused);
            assert!(error.chain().contains(refused), "{error:?}");
            assert!(error.hint_text().is_some());
        }
    }

    #[test]
    fn a_location_constraint_is_not_always_a_region() {
        assert_eq!(region_of("", true).as_deref(), Some("us-east-1"));
        assert_eq!(region_of("", false), None);
        assert_eq!(region_of("EU", true).as_deref(), Some("eu-west-1"));
        assert_eq!(region_of("eu-south-1", false).as_deref(), Some("eu-south-1"));
    }
}
