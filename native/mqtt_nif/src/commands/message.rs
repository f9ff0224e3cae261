//! A publish action, in its parts.

use super::properties_of;
use crate::atoms;
use crate::terms::iodata;
use mqtt_codec::{PropertiesBuf, Publish, Qos};
use rustler::{Atom, Term};

/// The parts of a publish action.
pub(crate) struct Message<'a> {
    pub(crate) topic: Term<'a>,
    pub(crate) payload: Term<'a>,
    pub(crate) options: Option<Term<'a>>,
}

/// What the options of a publish action say, or that they say nothing.
#[derive(Default)]
pub(super) struct MessageOptions {
    plain: Plain,
    properties: PropertiesBuf,
    reference: u64,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Plain {
    qos: Qos,
    retain: bool,
}

/// Why a message cannot be published.
pub(crate) struct Invalid(pub(crate) Atom);

impl<'a> Message<'a> {
    /// Calls with the message as a packet without an identifier, and its reference.
    pub(crate) fn with_publish<T>(
        &self,
        call: impl FnOnce(&Publish<'_>, u64, &'a [u8]) -> Result<T, Invalid>,
    ) -> Result<T, Invalid> {
        self.with_options(&self.options()?, call)
    }

    pub(super) fn with_options<T>(
        &self,
        options: &MessageOptions,
        call: impl FnOnce(&Publish<'_>, u64, &'a [u8]) -> Result<T, Invalid>,
    ) -> Result<T, Invalid> {
        let topic = iodata(self.topic).ok_or(Invalid(atoms::topic_is_no_iodata()))?;
        let payload = iodata(self.payload).ok_or(Invalid(atoms::message_is_no_iodata()))?;
        let publish = Publish {
            dup: false,
            qos: options.plain.qos,
            retain: options.plain.retain,
            topic: std::str::from_utf8(topic).map_err(|_| Invalid(atoms::invalid_utf8()))?,
            packet_id: None,
            properties: options.properties.as_properties(),
            payload,
        };
        call(&publish, options.reference, payload)
    }

    /// What the options say, which the message before may have had as well.
    pub(super) fn options_behind(
        &self,
        before: &mut Option<(Term<'a>, Plain)>,
    ) -> Result<MessageOptions, Invalid> {
        if let (Some(options), Some((same, plain))) = (self.options, *before)
            && options.as_c_arg() == same.as_c_arg()
        {
            return Ok(MessageOptions { plain, ..MessageOptions::default() });
        }
        let said = self.options()?;
        let is_plain = said.reference == 0 && said.properties.as_properties().is_empty();
        *before = self.options.filter(|_| is_plain).map(|options| (options, said.plain));
        Ok(said)
    }

    /// What the options say; QoS 0 and not retained is what is not said.
    fn options(&self) -> Result<MessageOptions, Invalid> {
        let mut said = MessageOptions::default();
        let Some(options) = self.options else { return Ok(said) };
        // Most have one key, behind which nothing is looked for.
        let mut left = options.map_size().map_err(|_| Invalid(atoms::options_are_no_map()))?;
        let mut get = |key| {
            let value = if left == 0 { None } else { options.map_get(key).ok() };
            left -= usize::from(value.is_some());
            value
        };
        let qos = |value: Term<'a>| {
            let bits = value.decode().ok();
            bits.and_then(Qos::from_bits).ok_or(Invalid(atoms::qos_is_not_0_or_1_or_2()))
        };
        if let Some(value) = get(atoms::qos()) {
            said.plain.qos = qos(value)?;
        }
        if let Some(most) = get(atoms::max_qos()) {
            said.plain.qos = said.plain.qos.min(qos(most)?);
        }
        if let Some(retain) = get(atoms::retain()) {
            let neither = |_| Invalid(atoms::retain_is_neither_true_nor_false());
            said.plain.retain = retain.decode().map_err(neither)?;
        }
        if let Some(properties) = get(atoms::properties()) {
            said.properties = properties_of(properties).map_err(Invalid)?;
        }
        if let Some(reference) = get(atoms::ref_()) {
            said.reference = reference.decode().map_err(|_| Invalid(atoms::badarg()))?;
        }
        Ok(said)
    }
}
