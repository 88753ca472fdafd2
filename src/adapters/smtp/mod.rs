//! Mail by SMTP (RFC 5321), in which lettre writes the messages and speaks the protocol.
//!
//! One connection for each mail, and one recipient: lettre gives up at the first recipient that
//! is refused, and nobody knows of a connection that was kept whether it still stands.

mod byte_by_byte;
mod failure;

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use lettre::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands;
use lettre::transport::smtp::extension::ClientId;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::adapters::driver::Driver;
use crate::adapters::{system, tls};
use crate::error::{Attempt, Result};
use crate::model::host::is_host;
use crate::model::{MailServer, MailTls};
use crate::ports::Mail;
use crate::ports::mail::Message;

use byte_by_byte::ByteByByte;
use failure::Step;

/// For the dialogue up to the mail itself.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Until the server has taken the mail, which it may look through first: who goes earlier, and
/// comes again, has it delivered twice (RFC 5321, section 4.5.3.2.6).
const LAST_PATIENCE: Duration = Duration::from_secs(600);
/// For the farewell, on which nothing depends.
const QUIT_PATIENCE: Duration = Duration::from_secs(5);

/// A server, and as whom it is spoken to.
pub struct Smtp {
    server: MailServer,
    login: Option<Login>,
    patience: Duration,
    driver: Driver,
}

/// SMTP AUTH (RFC 4954), by PLAIN or LOGIN.
#[derive(Debug, Clone)]
pub struct Login {
    pub user: String,
    pub password: SecretString,
}

/// One mail on its way; nothing in it is borrowed.
struct Delivery {
    host: String,
    port: u16,
    way: Way,
    login: Option<Credentials>,
    from: Address,
    to: Address,
    mail: Vec<u8>,
}

enum Way {
    Implicit(TlsParameters),
    StartTls(TlsParameters),
    Clear,
}

impl Smtp {
    /// Nothing is connected yet. `patience` is for the dialogue up to the mail itself.
    pub fn new(server: MailServer, login: Option<Login>, patience: Duration) -> Result<Smtp> {
        let driver = Driver::start("the mail client", "smtp", 1)?;
        Ok(Smtp { server, login, patience, driver })
    }

    fn delivery(&self, message: &Message) -> Result<Delivery> {
        let address = |text: &str| {
            text.parse::<Address>().attempt(|| format!("use `{text}` as an address of mail"))
        };
        let (from, to) = (address(message.from.as_str())?, address(message.to.as_str())?);
        let way = match self.server.tls {
            MailTls::Implicit => Way::Implicit(self.tls()?),
            MailTls::StartTls => Way::StartTls(self.tls()?),
            MailTls::None => Way::Clear,
        };
        let login = self.login.as_ref().map(|login| {
            Credentials::new(login.user.clone(), login.password.expose_secret().to_owned())
        });
        let mail = written(message, &from, &to)?;
        let (host, port) = (self.server.host.clone(), self.server.port);
        Ok(Delivery { host, port, way, login, from, to, mail })
    }

    /// Certificates are read for each mail, so that renewed ones are used without a restart.
    fn tls(&self) -> Result<TlsParameters> {
        let mut parameters = TlsParameters::builder(self.server.host.clone());
        let own = self.server.ca_file.as_deref().map(tls::read_certificates);
        for certificate in own.transpose()?.unwrap_or_default() {
            let certificate = Certificate::from_der(certificate.to_vec())
                .map_err(|error| Step::Connect.explain(&error))?;
            parameters = parameters.add_root_certificate(certificate);
        }
        parameters.build_rustls().map_err(|error| Step::Connect.explain(&error))
    }
}

impl Mail for Smtp {
    fn describe(&self) -> String {
        format!("{}:{}", self.server.host, self.server.port)
    }

    fn send(&self, message: &Message) -> Result<()> {
        let delivery = self.delivery(message);
        let sent = delivery.and_then(|delivery| self.driver.run(deliver(delivery, self.patience)));
        sent.attempt(|| format!("send mail to {} by {}", message.to, self.describe()))
    }
}

/// As it goes over the wire: in ASCII, whatever it says.
fn written(message: &Message, from: &Address, to: &Address) -> Result<Vec<u8>> {
    // RFC 3834, section 5: nobody's holiday notice answers this.
    let automatic = HeaderValue::new(
        HeaderName::new_from_ascii_str("Auto-Submitted"),
        "auto-generated".to_owned(),
    );
    let mail = lettre::Message::builder()
        .from(Mailbox::new(None, from.clone()))
        .to(Mailbox::new(None, to.clone()))
        .subject(message.subject.replace(char::is_control, " "))
        // The format knows no time before it.
        .date(SystemTime::from(message.date.max(Timestamp::UNIX_EPOCH)))
        .message_id(Some(message.message_id.clone()))
        .raw_header(automatic)
        .singlepart(SinglePart::plain(message.body.clone()))
        .attempt(|| "write the mail".to_owned())?;
    Ok(mail.formatted())
}

async fn deliver(delivery: Delivery, patience: Duration) -> Result<()> {
    let begun = timeout(patience, Box::pin(delivery.begin())).await;
    let mut connection = begun.map_err(|_| failure::too_slow(patience))??;
    let taken = timeout(LAST_PATIENCE, connection.message(&delivery.mail)).await;
    let taken = taken.map_err(|_| failure::too_slow(LAST_PATIENCE))?;
    taken.map_err(|error| Step::Content.explain(&error))?;
    // It is the server's now, whatever comes of this.
    let _ = timeout(QUIT_PATIENCE, connection.quit()).await;
    Ok(())
}

impl Delivery {
    /// Everything before the mail itself.
    async fn begin(&self) -> Result<AsyncSmtpConnection> {
        let mut connection = self.connect().await?;
        if let Some(login) = &self.login {
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            let let_in = connection.auth(&mechanisms, login).await;
            let_in.map_err(|error| Step::Login.explain(&error))?;
        }
        let sender = commands::Mail::new(Some(self.from.clone()), Vec::new());
        let known = connection.command(sender).await;
        known.map_err(|error| Step::Sender.explain(&error))?;
        let recipient = commands::Rcpt::new(self.to.clone(), Vec::new());
        let known = connection.command(recipient).await;
        known.map_err(|error| Step::Recipient.explain(&error))?;
        let ready = connection.command(commands::Data).await;
        ready.map_err(|error| Step::Content.explain(&error))?;
        Ok(connection)
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection> {
        let place = (self.host.as_str(), self.port);
        let hello = hello();
        let connected = match &self.way {
            Way::Implicit(tls) => {
                let tls = Some(tls.clone());
                // With all that TLS needs, too large to be moved about.
                Box::pin(AsyncSmtpConnection::connect_tokio1(place, None, &hello, tls, None)).await
            }
            Way::StartTls(_) => {
                let stream = ByteByByte(self.reach().await?);
                AsyncSmtpConnection::connect_with_transport(Box::new(stream), &hello).await
            }
            Way::Clear => {
                let stream = self.reach().await?;
                AsyncSmtpConnection::connect_with_transport(Box::new(stream), &hello).await
            }
        };
        let mut connection = connected.map_err(|error| Step::Connect.explain(&error))?;
        if let Way::StartTls(tls) = &self.way {
            let encrypted = Box::pin(connection.starttls(tls.clone(), &hello)).await;
            encrypted.map_err(|error| Step::StartTls.explain(&error))?;
        }
        Ok(connection)
    }

    async fn reach(&self) -> Result<TcpStream> {
        let reached = TcpStream::connect((self.host.as_str(), self.port)).await;
        reached.map_err(|error| Step::Connect.failed(error.to_string()).later())
    }
}

/// How to introduce oneself (RFC 5321, section 4.1.1.1): by a full name, else by an address.
fn hello() -> ClientId {
    let name = system::host_name();
    match name.contains('.') && is_host(&name) {
        true => ClientId::Domain(name),
        false => ClientId::default(),
    }
}
