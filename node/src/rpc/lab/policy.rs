//! What promotion asks for.

use std::convert::Infallible;
use std::sync::Arc;

use patchmesh_proto::admin as wire;
use patchmesh_topology::promotion::Policy;
use tonic::{Code, Status};

use crate::generation::Generation;
use crate::identity::peer::Peer;
use crate::rpc::context::Context;
use crate::rpc::status::{Refusal, field, published};

impl Refusal for Infallible {
    fn code(&self) -> Code {
        match *self {}
    }
}

pub(super) fn get(node: &Context) -> wire::GetPromotionPolicyResponse {
    let lab = node.generation().lab.clone();
    wire::GetPromotionPolicyResponse {
        policy: lab.policy.as_ref().map(Into::into),
        changes: lab.changes.iter().map(Into::into).collect(),
    }
}

pub(super) async fn set(
    node: &Context,
    peer: &Peer,
    request: wire::SetPromotionPolicyRequest,
) -> Result<wire::SetPromotionPolicyResponse, Status> {
    let primary = node.primary()?;
    let policy = request.policy.map(Policy::try_from).transpose();
    let policy = policy.map_err(|error| field("policy", &crate::log::in_one_line(&error)))?;
    let by = peer.to_string();
    let setting = primary.publisher.publish(move |draft| {
        let now = draft.now;
        let mut lab = (*draft.lab).clone();
        lab.set_policy(policy, &by, now);
        if lab != *draft.lab {
            draft.lab = Arc::new(lab);
        }
        Ok::<_, Infallible>(())
    });
    let ((), generation) = setting.await.map_err(published)?;
    Ok(wire::SetPromotionPolicyResponse { generation: generation.number })
}

/// What promotion asks for, in a sentence.
pub(in crate::rpc) fn in_a_sentence(generation: &Generation) -> String {
    let Some(policy) = &generation.lab.policy else {
        return "no policy is in force: whatever validation approves may be promoted at once"
            .to_owned();
    };
    let mut asked = vec!["no open failure".to_owned()];
    if !policy.platforms.is_empty() {
        let count = policy.platforms.len();
        asked.push(format!("{count} required platform{}", if count == 1 { "" } else { "s" }));
    }
    if !policy.soak.is_zero() {
        asked.push(format!("a soak of {:#}", policy.soak));
    }
    if policy.machines != Default::default() {
        asked.push("what validation's machines report".to_owned());
    }
    format!("asks for {}", asked.join(", "))
}
