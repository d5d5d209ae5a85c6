//! The last step of a job before its caller is woken.

/// Receives the result of the job with which an operation ends, on the thread of the token, before the
/// caller of the job gets it. It decides when the caller is woken: once, when everything is done that
/// must be done before the result leaves.
///
/// A job that fails has no completion: its caller gets the error at once.
pub struct Completion(Box<dyn FnOnce(Delivery) + Send>);

/// The result of a job on its way to the caller. Dropped, the caller gets an error instead.
#[must_use = "the caller waits for it"]
pub struct Delivery(Box<dyn FnOnce() + Send>);

impl Completion {
    /// Runs this on the thread of the token. It must not block.
    pub fn new(complete: impl FnOnce(Delivery) + Send + 'static) -> Self {
        Self(Box::new(complete))
    }

    pub(crate) fn complete(self, delivery: Delivery) {
        (self.0)(delivery);
    }
}

impl Delivery {
    pub(crate) fn new(deliver: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(deliver))
    }

    /// Gives the result to the caller, and wakes it.
    pub fn deliver(self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Completion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Completion").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery").finish_non_exhaustive()
    }
}
