//! Logging in: trust, cleartext (only where nobody can listen), MD5, SCRAM-SHA-256 and
//! SCRAM-SHA-256-PLUS (RFC 5802, 7677, 5929; PostgreSQL manual, "SASL Authentication").

use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding as Binding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;
use secrecy::{ExposeSecret, SecretString};

use crate::adapters::postgres::conninfo::ChannelBinding;
use crate::adapters::postgres::message::{Reader, unexpected, violation};
use crate::adapters::postgres::wire::Wire;
use crate::error::{Attempt, Error, Kind, Result};

/// What the login may rely on.
pub(super) struct Login<'a> {
    pub user: &'a str,
    /// The password, or why there is none.
    pub password: std::result::Result<SecretString, String>,
    pub channel_binding: ChannelBinding,
    pub channel: Channel,
}

/// How the bytes travel.
pub(super) enum Channel {
    /// A Unix socket.
    Local,
    /// TCP as it is.
    Open,
    /// TLS; with `tls-server-end-point` where the certificate allows it.
    Encrypted { end_point: Option<Vec<u8>> },
}

/// Answers what the server asks until it lets us in.
///
/// # Errors
/// A wrong or missing password, a method that is not supported or not safe here, a server that
/// cannot prove that it knows the password.
pub(super) async fn log_in(wire: &mut Wire, login: &Login<'_>) -> Result<()> {
    let mut bound = false;
    loop {
        let frame = wire.read().await?;
        match frame.tag {
            b'R' => {}
            b'E' => return Err(wire.failed(frame).await),
            b'v' => return Err(violation("it does not know protocol 3.0")),
            other => return Err(unexpected(other)),
        }
        let mut reader = Reader(frame.body);
        match reader.i32()? {
            0 if login.channel_binding == ChannelBinding::Require && !bound => {
                return Err(unbound("the server let us in without it"));
            }
            0 => {
                wire.trust();
                return Ok(());
            }
            3 => clear_text(wire, login).await?,
            5 => {
                let salt = [reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?];
                let password = password(login)?.expose_secret().as_bytes();
                let answer = md5_hash(login.user.as_bytes(), password, salt);
                no_binding_needed(login)?;
                wire.send(|buffer| frontend::password_message(answer.as_bytes(), buffer)).await?;
            }
            10 => bound = scram(wire, login, reader).await?,
            method => {
                let what = format!("the server asks for login method {method}");
                return Err(Error::failed(what).hint(
                    "Supported in pg_hba.conf: trust, peer, cert, password, md5, scram-sha-256.",
                ));
            }
        }
    }
}

fn password<'a>(login: &'a Login<'_>) -> Result<&'a SecretString> {
    login.password.as_ref().map_err(|why| {
        let what = format!("the server asks for the password of `{}`", login.user);
        Error::new(Kind::Config, what).because(why.as_str())
    })
}

async fn clear_text(wire: &mut Wire, login: &Login<'_>) -> Result<()> {
    if matches!(login.channel, Channel::Open) {
        let what = "the server asks for the password in clear over an open network";
        return Err(Error::refused(what).hint("Use TLS, or scram-sha-256 in pg_hba.conf."));
    }
    no_binding_needed(login)?;
    let password = password(login)?.expose_secret().as_bytes();
    wire.send(|buffer| frontend::password_message(password, buffer)).await
}

fn no_binding_needed(login: &Login<'_>) -> Result<()> {
    match login.channel_binding {
        ChannelBinding::Require => Err(unbound("the server asks for another login method")),
        _ => Ok(()),
    }
}

fn unbound(why: &str) -> Error {
    Error::refused("the login is not bound to the TLS channel, which channel_binding=require asks")
        .because(why)
}

/// One SCRAM exchange; says whether it was bound to the TLS channel.
async fn scram(wire: &mut Wire, login: &Login<'_>, mut reader: Reader) -> Result<bool> {
    let mut offered = Vec::new();
    loop {
        match reader.text()? {
            end if end.is_empty() => break,
            mechanism => offered.push(mechanism),
        }
    }
    let (mechanism, binding) = choose(login, &offered)?;
    let password = password(login)?.expose_secret().as_bytes();
    let mut scram = ScramSha256::new(password, binding);
    let first = scram.message().to_vec();
    wire.send(|buffer| frontend::sasl_initial_response(mechanism, &first, buffer)).await?;

    let challenge = sasl_message(wire, SASL_CONTINUE).await?;
    scram.update(&challenge).attempt(|| "answer the server's SCRAM challenge".to_owned())?;
    let proof = scram.message().to_vec();
    wire.send(|buffer| frontend::sasl_response(&proof, buffer)).await?;

    let outcome = sasl_message(wire, SASL_FINAL).await?;
    scram.finish(&outcome).map_err(|cause| {
        Error::refused("the server could not prove that it knows the password")
            .because(cause)
            .hint("Someone may be posing as the server; check the network and its certificate.")
    })?;
    Ok(mechanism == SCRAM_SHA_256_PLUS)
}

/// The strongest mechanism both sides have.
fn choose(login: &Login<'_>, offered: &[String]) -> Result<(&'static str, Binding)> {
    let offers = |name: &str| offered.iter().any(|mechanism| mechanism == name);
    let wanted = login.channel_binding;
    if let Channel::Encrypted { end_point: Some(hash) } = &login.channel
        && wanted != ChannelBinding::Disable
    {
        if offers(SCRAM_SHA_256_PLUS) {
            return Ok((SCRAM_SHA_256_PLUS, Binding::tls_server_end_point(hash.clone())));
        }
        if offers(SCRAM_SHA_256) && wanted != ChannelBinding::Require {
            // "We could have": lets a server notice that its offer was tampered with.
            return Ok((SCRAM_SHA_256, Binding::unrequested()));
        }
    }
    if wanted == ChannelBinding::Require {
        return Err(unbound("server or certificate does not allow it"));
    }
    match offers(SCRAM_SHA_256) {
        true => Ok((SCRAM_SHA_256, Binding::unsupported())),
        false => Err(Error::failed(format!("the server offers only {}", offered.join(", ")))
            .hint("Use scram-sha-256 in pg_hba.conf.")),
    }
}

const SASL_CONTINUE: i32 = 11;
const SASL_FINAL: i32 = 12;

async fn sasl_message(wire: &mut Wire, expected: i32) -> Result<bytes::Bytes> {
    let frame = wire.read().await?;
    match frame.tag {
        b'R' => {}
        b'E' => return Err(wire.failed(frame).await),
        other => return Err(unexpected(other)),
    }
    let mut reader = Reader(frame.body);
    match reader.i32()? {
        kind if kind == expected => Ok(reader.rest()),
        other => Err(violation(format!("login message {other} came where it cannot"))),
    }
}
