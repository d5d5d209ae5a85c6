//! The number of objects in the token, and whether it has room for another one.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::error::TokenError;
use super::objects::name::KeyClass;
use crate::telemetry::{Gauge, gauge_value};

/// The objects of the token, as far as this process knows.
#[derive(Debug, Default)]
pub(super) struct Room {
    objects: Gauge,
    is_full: AtomicBool,
    unreadable: AtomicUsize,
}

impl Room {
    /// With the gauge that shows the number of objects.
    pub(super) fn new(objects: Gauge) -> Self {
        Self { objects, ..Self::default() }
    }

    /// Sets the number of objects that a listing has found.
    pub(super) fn set_objects(&self, objects: usize) {
        self.objects.set(gauge_value(objects));
    }

    /// Sets the number of objects that a listing could not read, and logs a change of it.
    pub(super) fn set_unreadable(&self, objects: usize) {
        if self.unreadable.swap(objects, Ordering::Relaxed) != objects {
            tracing::warn!(
                event = "token.objects_unreadable",
                objects,
                "passed over objects of the token whose attributes cannot be read; they belong to \
                 other programs"
            );
        }
    }

    /// The number of objects that the last listing could not read.
    pub(super) fn unreadable(&self) -> usize {
        self.unreadable.load(Ordering::Relaxed)
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
