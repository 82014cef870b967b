//! `patchmesh user join`: makes a person's credentials on their own machine.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::Context;
use crate::cli::exit::Exit;
use crate::cli::output::{Answer, fields};
use crate::durable;
use crate::identity::certificate::Subject;
use crate::identity::join;
use crate::identity::token::Token;
use crate::terminal::token::read_token;
use crate::tuf::signing::SigningKey;

/// The file of the key that decisions are signed with.
pub(crate) const SIGNING_KEY: &str = "signing.pem";
/// The file of its public half, for `root prepare --key`.
const PUBLIC_KEY: &str = "signing.pub";
/// The file of the root metadata that the mesh pinned.
const ROOT: &str = "root.json";

/// Make your credentials, with a token from `user invite`
///
/// Two keys are made here and never leave this machine: one for your
/// certificate, one to sign decisions with. Keep the folder to yourself, and
/// keep a copy of it in a safe place.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh user join pm1.CiQ3ZDYw --credentials ~/.patchmesh
  patchmesh user join - --credentials ~/.patchmesh < token.txt

JSON:
  {\"user\", \"mesh_id\", \"url\", \"via\" or null, \"credentials\", \"key\", \"key_id\"}
  \"url\" is the primary's, \"via\" that of the node that was asked where it is another one")]
pub(crate) struct Join {
    /// The token from `user invite`, or - to read it from standard input
    token: String,
}

#[derive(Debug, Serialize)]
struct Joined {
    user: String,
    mesh_id: String,
    url: String,
    /// The node that was asked, where it is not the primary.
    via: Option<String>,
    credentials: String,
    key: String,
    key_id: String,
}

impl Joined {
    fn add(&self, name: &str, url: &str) -> String {
        format!("patchmesh remote add {name} --url {url} --credentials {}", self.credentials)
    }

    /// What to do next: whoever joined by way of a branch may reach nothing else.
    fn next(&self) -> String {
        let primary = self.add("primary", &self.url);
        match &self.via {
            None => format!("Next: {primary}\n"),
            Some(via) => format!(
                "You joined by way of {via}, which answers what you ask about its site and those below it; \
                 orders are given at the primary.\n\n\
                 Next: {}\nWhere you reach the primary: {primary}\n",
                self.add("branch", via)
            ),
        }
    }
}

impl Answer for Joined {
    fn text(&self) -> String {
        let facts = fields([
            ("user", Some(self.user.clone())),
            ("mesh", Some(self.mesh_id.clone())),
            ("primary", Some(self.url.clone())),
            ("asked", self.via.clone()),
            ("credentials", Some(self.credentials.clone())),
            ("signing key", Some(format!("{} ({})", self.key, self.key_id))),
        ]);
        format!("{facts}\n{}", self.next())
    }
}

impl Join {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let Some(folder) = context.global.credentials.clone() else {
            return Err(Exit::Usage.error("say with --credentials FOLDER where to keep the keys"));
        };
        if context.global.node.is_some() {
            context.output.remark("The token says which node is asked; --node does not.");
        }
        let token = Token::decode(&read_token(self.token)?).map_err(join::Error::from)?;
        let (key, folder) =
            tokio::task::spawn_blocking(move || prepare(folder.clone()).map(|key| (key, folder)))
                .await??;
        let public = key.public().ed25519_bytes().unwrap_or([0; 32]);
        let waiting = context.progress.spinner("asking the mesh for a certificate");
        let joined = join::join_user(&token, &folder, &public).await;
        waiting.finish_and_clear();
        let joined = joined?;
        durable::replace(&folder.join(ROOT), &joined.tuf_root, durable::PUBLIC)?;
        // The certificate comes last: until it is there this can be run again.
        joined.identity.save(&folder)?;
        let Subject::User(user) = &token.subject else { return Err(join::Error::ForANode.into()) };
        context.output.print(&Joined {
            user: user.to_string(),
            mesh_id: joined.mesh_id,
            via: (token.parent_url != joined.parent_url).then(|| token.parent_url.to_string()),
            url: joined.parent_url.to_string(),
            key: folder.join(SIGNING_KEY).display().to_string(),
            key_id: key.id().short().to_owned(),
            credentials: folder.display().to_string(),
        })
    }
}

/// Makes the folder and the signing key, or finds them from a run that was cut
/// short.
fn prepare(folder: PathBuf) -> anyhow::Result<SigningKey> {
    durable::make_folder(&folder)?;
    let path = folder.join(SIGNING_KEY);
    if path.exists() {
        return Ok(SigningKey::read(&path)?);
    }
    let key = SigningKey::generate()?;
    key.write_new(&path)?;
    let text = format!("{}\n", key.public().to_text());
    durable::replace(&folder.join(PUBLIC_KEY), text.as_bytes(), durable::PUBLIC)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn what_it_says_to_do_next_can_be_done() {
        let joined = |via: Option<&str>| Joined {
            user: "alice".to_owned(),
            mesh_id: "m".to_owned(),
            url: "https://hq.example:8443".to_owned(),
            via: via.map(str::to_owned),
            credentials: "/home/alice/.patchmesh".to_owned(),
            key: "signing.pem".to_owned(),
            key_id: "0".to_owned(),
        };
        let next = |via| {
            let text = joined(via).text();
            let next = text.lines().find_map(|line| line.strip_prefix("Next: "));
            let next = next.expect("a next step").to_owned();
            let parsed = crate::cli::Cli::try_parse_from(next.split(' '));
            assert!(parsed.is_ok(), "{next}: {parsed:?}");
            next
        };
        assert!(next(None).contains("remote add primary --url https://hq.example:8443 "));
        // The primary may be out of reach there.
        let branch = Some("https://paris.example:8443");
        assert!(next(branch).contains("remote add branch --url https://paris.example:8443 "));
        assert!(joined(branch).text().contains("orders are given at the primary"));
    }
}
