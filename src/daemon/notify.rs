//! The ways out, built from the configuration.

use std::sync::Arc;

use secrecy::ExposeSecret;

use crate::adapters::http::{self, HttpClient};
use crate::adapters::secrets;
use crate::adapters::smtp::{self, Login, Smtp};
use crate::config::{Mailing, Notify, UrlRef, Webhook};
use crate::error::{Error, Kind, Result};
use crate::model::{MailAddress, WebAddress};
use crate::notify::channel::Terms;
use crate::notify::{Channel, Way};
use crate::ports::{Http, Mail};

/// A configured way, or why it cannot be used.
pub struct Opened {
    pub way: Way,
    pub channel: Result<Channel>,
}

/// Every configured way, in the order of the configuration: the recipients of mail, then the
/// webhooks. One whose secret cannot be read stands in nobody else's way.
pub fn channels(notify: &Notify) -> Vec<Opened> {
    let mut all = Vec::new();
    if let Some(mailing) = &notify.mail {
        all.extend(recipients(mailing));
    }
    if !notify.webhooks.is_empty() {
        let http = open_http();
        all.extend(notify.webhooks.iter().map(|webhook| Opened {
            way: Way::Webhook { name: webhook.name.clone() },
            channel: shared(&http).and_then(|http| open_webhook(webhook, http)),
        }));
    }
    all
}

/// What is called while all is well, if anything: to be given to `notify::channel::beat`.
///
/// # Errors
/// Of kind `Config`: the secret cannot be read, or is no URL.
pub fn heartbeat(notify: &Notify) -> Result<Option<(Arc<dyn Http>, WebAddress)>> {
    let Some(url) = &notify.heartbeat_url else { return Ok(None) };
    Ok(Some((open_http()?, read_url(url)?)))
}

fn recipients(mailing: &Mailing) -> Vec<Opened> {
    let mail = open_mail(mailing);
    let open = |to: &MailAddress| Opened {
        way: Way::Mail { to: to.clone() },
        channel: shared(&mail).map(|mail| Channel::mail(mail, mailing.from.clone(), to.clone())),
    };
    mailing.to.iter().map(open).collect()
}

fn open_mail(mailing: &Mailing) -> Result<Arc<dyn Mail>> {
    let login = match &mailing.login {
        None => None,
        Some(login) => {
            let password = secrets::read_secret(&login.password)?;
            Some(Login { user: login.user.clone(), password })
        }
    };
    Ok(Arc::new(Smtp::new(mailing.server.clone(), login, smtp::PATIENCE)?))
}

fn open_http() -> Result<Arc<dyn Http>> {
    Ok(Arc::new(HttpClient::new(http::PATIENCE)?))
}

fn open_webhook(webhook: &Webhook, http: Arc<dyn Http>) -> Result<Channel> {
    let secret = webhook.secret.as_ref().map(secrets::read_secret).transpose()?;
    let terms = Terms { format: webhook.format, secret, wanted: webhook.events };
    Ok(Channel::webhook(webhook.name.clone(), http, read_url(&webhook.url)?, terms))
}

fn read_url(url: &UrlRef) -> Result<WebAddress> {
    match url {
        UrlRef::Given(address) => Ok(address.clone()),
        UrlRef::Kept(secret) => {
            let text = secrets::read_secret(secret)?;
            let address: Result<WebAddress> = text.expose_secret().parse();
            address.map_err(|error| error.with_kind(Kind::Config))
        }
    }
}

/// The part that several ways share, or for each of them why there is none.
fn shared<T: ?Sized>(part: &Result<Arc<T>>) -> Result<Arc<T>> {
    part.as_ref().map(Arc::clone).map_err(|error| {
        let again = Error::new(error.kind(), error.chain());
        match error.hint_text() {
            Some(hint) => again.hint(hint),
            None => again,
        }
    })
}
