//! Who may publish and subscribe to what, as resources of the BEAM.

use crate::atoms;
use crate::terms::binary;
use mqtt_core::{Acl, Rules};
use rustler::{Encoder, Env, Resource, ResourceArc, Term};

/// What an ACL file says.
pub(crate) struct AclResource(Acl);

#[rustler::resource_impl]
impl Resource for AclResource {}

/// What it says of one client.
pub(crate) struct RulesResource(pub(crate) Rules);

#[rustler::resource_impl]
impl Resource for RulesResource {}

/// `{:ok, acl}`, or an error with a sentence.
#[rustler::nif(schedule = "DirtyCpu")]
fn acl_parse<'a>(env: Env<'a>, text: &'a str) -> Term<'a> {
    match Acl::parse(text) {
        Ok(acl) => (atoms::ok(), ResourceArc::new(AclResource(acl))).encode(env),
        Err(error) => env.error_tuple(binary(env, error.to_string().as_bytes()).to_term(env)),
    }
}

#[rustler::nif]
fn acl_client(
    acl: ResourceArc<AclResource>,
    client_id: &str,
    user: Option<&str>,
) -> ResourceArc<RulesResource> {
    ResourceArc::new(RulesResource(acl.0.client(client_id, user)))
}

#[rustler::nif]
fn rules_may_publish(rules: ResourceArc<RulesResource>, topic: &str) -> bool {
    rules.0.may_publish(topic)
}

#[rustler::nif]
fn rules_may_subscribe(rules: ResourceArc<RulesResource>, filter: &str) -> bool {
    rules.0.may_subscribe(filter)
}
