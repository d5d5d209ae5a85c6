//! The number of objects in the token, and whether it has room for another one.

use std::sync::atomic::{AtomicBool, Ordering};

use super::error::TokenError;
use super::objects::name::KeyClass;
use crate::telemetry::{Gauge, gauge_value};

/// The objects of the token, as far as this process knows.
#[derive(Debug, Default)]
pub(super) struct Room {
    objects: Gauge,
    is_full: AtomicBool,
}

impl Room {
    /// With the gauge that shows the number of objects.
    pub(super) fn new(objects: Gauge) -> Self {
        Self { objects, is_full: AtomicBool::new(false) }
    }

    /// Sets the number of objects that a listing has found.
    pub(super) fn set_objects(&self, objects: usize) {
        self.objects.set(gauge_value(objects));
    }

    /// Counts the objects of a new key: the token has room.
    pub(super) fn note_created(&self, class: KeyClass) {
        self.objects.inc_by(objects_of(class));
        if self.is_full.load(Ordering::Relaxed) && self.is_full.swap(false, Ordering::Relaxed) {
            tracing::info!(event = "token.has_room", "the token has room for objects again");
        }
    }

    /// Counts the objects of a destroyed key.
    pub(super) fn note_destroyed(&self, class: KeyClass) {
        self.objects.dec_by(objects_of(class));
    }

    /// Logs, once, that the token has no room for another object.
    pub(super) fn note_full(&self, error: &TokenError) {
        if !self.is_full.swap(true, Ordering::Relaxed) {
            tracing::error!(
                event = "token.full",
                %error,
                objects = self.objects.get(),
                "the token has no room for another object: no key can be created, rotated or \
                 imported until objects are destroyed or the token is enlarged; existing keys stay \
                 usable"
            );
        }
    }
}

const fn objects_of(class: KeyClass) -> i64 {
    match class {
        KeyClass::Secret => 1,
        KeyClass::Pair => 2,
    }
}
