//! Lists all objects of the token, in short steps that let other calls run in between.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};

use super::inspect::{Depth, Inspected};
use super::name::{KeyIdentity, ObjectName};
use super::query::{self, KeyObjects, class_from, name_from};
use crate::model::{KeyVersionId, clock};
use crate::token::behavior::Copies;
use crate::token::budget::Budget;
use crate::token::cache::{Handles, LoginEpoch};
use crate::token::error::{ErrorClass, TokenError};
use crate::token::member::Member;
use crate::token::pool::QueueKind;
use crate::token::retry::{REPEATED_LOGOUTS, RETRIES};
use crate::token::worker::Worker;

/// The maximum duration of a step, before other jobs get the thread.
const STEP: Duration = Duration::from_millis(2);
/// The timeout of one step on a slow token, including its wait for other jobs.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The pause before a step that found the queue busy is repeated.
const PAUSE: Duration = Duration::from_millis(50);

/// The attributes that identify the key of an object.
const NAME_ATTRIBUTES: &[AttributeType] =
    &[AttributeType::Label, AttributeType::Id, AttributeType::Class];

/// An object whose label is one of the gateway's.
#[derive(Debug)]
struct Named {
    name: ObjectName,
    /// Whether a search for the key version finds it.
    has_id: bool,
    class: Option<ObjectClass>,
    handle: ObjectHandle,
}

/// All objects that were found.
struct ObjectList {
    login_epoch: LoginEpoch,
    copies: Copies,
    objects: Vec<ObjectHandle>,
}

/// The results of a step.
struct Step<T> {
    found: Vec<T>,
    /// The number of objects that it inspected.
    looked: usize,
    /// Those of them that cannot be read.
    unreadable: usize,
}

impl Member {
    /// The names of all objects whose label is one of the gateway's, sorted, each once. It reads
    /// the label of every object, which takes seconds, on some tokens minutes, if there are many.
    /// Keys may be created and destroyed meanwhile, and calls continue: the thread for changes reads the
    /// labels, so that no call waits for it. The handles are cached, so that no key has to be searched on
    /// its first use.
    ///
    /// # Errors
    /// When the token cannot be searched, or has not responded for 30 seconds.
    pub(crate) async fn list(&self) -> Result<Vec<ObjectName>, TokenError> {
        for _time in 0..=RETRIES {
            let kind = QueueKind::Manage;
            let ObjectList { login_epoch, copies, objects } = self.all_objects(kind).await?;
            let ours = self
                .each_object(kind, login_epoch, objects, |worker, object| worker.named(*object))
                .await?;
            let Some((ours, unreadable)) = ours else { continue };
            self.state.room.set_unreadable(unreadable);
            self.state.keys.insert_missing(complete_keys(&ours, login_epoch, copies));
            let names: BTreeSet<_> = ours.iter().map(|object| object.name).collect();
            return Ok(names.into_iter().collect());
        }
        Err(REPEATED_LOGOUTS)
    }

    /// Inspects every object whose label is one of the gateway's, by name. Keys may be created and
    /// destroyed meanwhile, and calls continue: objects that disappear are skipped, and objects
    /// that another process is creating may show faults.
    ///
    /// It reads every object of the token: seconds, on some tokens minutes, if there are many.
    ///
    /// # Errors
    /// When the token cannot be searched, or has not responded for 30 seconds.
    pub(crate) async fn inspect(&self, depth: Depth) -> Result<Vec<Inspected>, TokenError> {
        let inspect = move |worker: &mut Worker<'_>, (name, objects): &(ObjectName, Vec<_>)| {
            Ok(Some(worker.check_objects(*name, objects, depth)))
        };
        for _time in 0..=RETRIES {
            let kind = QueueKind::Use;
            let ObjectList { login_epoch, objects, .. } = self.all_objects(kind).await?;
            let attributes = self
                .each_object(kind, login_epoch, objects, |worker, object| {
                    worker.attributes_of(*object)
                })
                .await?;
            let Some((attributes, unreadable)) = attributes else { continue };
            self.state.room.set_unreadable(unreadable);
            let named = by_name(attributes);
            let inspected = self.each_object(kind, login_epoch, named, inspect).await?;
            if let Some((inspected, _)) = inspected {
                return Ok(inspected);
            }
        }
        Err(REPEATED_LOGOUTS)
    }

    /// Inspects each of `items`, step by step, and counts those that cannot be read; `None` if the
    /// handles became invalid meanwhile.
    async fn each_object<I, T>(
        &self,
        kind: QueueKind,
        login_epoch: LoginEpoch,
        items: Vec<I>,
        look: impl Fn(&mut Worker<'_>, &I) -> Result<Option<T>, TokenError> + Copy + Send + 'static,
    ) -> Result<Option<(Vec<T>, usize)>, TokenError>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
    {
        let items = Arc::new(items);
        let (mut found, mut done, mut unreadable) = (Vec::new(), 0, 0);
        while done < items.len() {
            let items = Arc::clone(&items);
            let step = self
                .retry_while_busy(kind, move |worker| {
                    worker.list_step(login_epoch, items.get(done..).unwrap_or_default(), look)
                })
                .await?;
            let Some(step) = step else { return Ok(None) };
            found.extend(step.found);
            done += step.looked;
            unreadable += step.unreadable;
        }
        Ok(Some((found, unreadable)))
    }

    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method path is not general enough over the worker's lifetime"
    )]
    async fn all_objects(&self, kind: QueueKind) -> Result<ObjectList, TokenError> {
        self.retry_while_busy(kind, |worker| worker.all_objects()).await
    }

    /// Repeats a job while it is rejected because calls wait.
    async fn retry_while_busy<T, F>(&self, kind: QueueKind, job: F) -> Result<T, TokenError>
    where
        T: Send + 'static,
        F: Fn(&mut Worker<'_>) -> Result<T, TokenError> + Clone + Send + 'static,
    {
        let budget = Budget::new(TIMEOUT);
        loop {
            let run = self.run_in(kind, &budget, job.clone());
            match run.await.map_err(|failed| failed.error) {
                Err(TokenError::Busy) if clock::monotonic() < budget.deadline() => {
                    tokio::time::sleep(PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }
}

impl Worker<'_> {
    fn all_objects(&mut self) -> Result<ObjectList, TokenError> {
        self.with_objects(|worker| {
            worker.with_retry(None, |worker| {
                let login_epoch = worker.login_epoch();
                let all = [Attribute::Token(true)];
                let objects =
                    worker.search_while_logged_in(|session| Ok(session.find_objects(&all)?))?;
                worker.state.room.set_objects(objects.len());
                // The first step detects handles of an ended login epoch.
                Ok(ObjectList {
                    login_epoch,
                    copies: worker.initialization.behavior.copies,
                    objects,
                })
            })
        })
    }

    /// Inspects at least one object, and more until the step is over. `None` if the handles are of
    /// an ended login epoch: a session that is not logged in sees no private object.
    fn list_step<I, T>(
        &mut self,
        login_epoch: LoginEpoch,
        items: &[I],
        look: impl Fn(&mut Self, &I) -> Result<Option<T>, TokenError>,
    ) -> Result<Option<Step<T>>, TokenError> {
        let begin = clock::monotonic();
        let mut step = Step { found: Vec::new(), looked: 0, unreadable: 0 };
        for item in items {
            if self.login_epoch() != login_epoch {
                return Ok(None);
            }
            match self.with_retry(None, |worker| look(worker, item)) {
                Ok(one) => step.found.extend(one),
                // It was destroyed meanwhile.
                Err(error) if error.class() == ErrorClass::HandleGone => {}
                // The object is at fault, and not the token.
                Err(error) if is_of_object(&error) && self.state.breaker.check().is_ok() => {
                    step.unreadable += 1;
                }
                Err(error) => return Err(error),
            }
            step.looked += 1;
            if clock::since(begin) >= STEP {
                break;
            }
        }
        let is_over = self.log_in_if_logged_out()? || self.login_epoch() != login_epoch;
        Ok((!is_over).then_some(step))
    }

    fn named(&mut self, handle: ObjectHandle) -> Result<Option<Named>, TokenError> {
        let attributes = query::attributes_or_label(self.session()?, handle, NAME_ATTRIBUTES)?;
        Ok(name_from(&attributes).map(|name| Named {
            name,
            has_id: attributes.contains(&Attribute::Id(name.version.as_bytes().to_vec())),
            class: class_from(&attributes),
            handle,
        }))
    }
}

/// Whether an error of a read may mean that the object belongs to another program: the binding
/// cannot name its attributes, or the token does not read them.
fn is_of_object(error: &TokenError) -> bool {
    error.class() == ErrorClass::Configuration
}

fn by_name<O>(objects: Vec<(ObjectName, O)>) -> Vec<(ObjectName, Vec<O>)> {
    let mut named: BTreeMap<ObjectName, Vec<O>> = BTreeMap::new();
    for (name, object) in objects {
        named.entry(name).or_default().push(object);
    }
    named.into_iter().collect()
}

/// The handles of the keys that these objects form, each of one key only.
fn complete_keys(
    objects: &[Named],
    login_epoch: LoginEpoch,
    copies: Copies,
) -> impl Iterator<Item = (KeyIdentity, Handles)> {
    let mut found: HashMap<KeyVersionId, Option<(ObjectName, KeyObjects)>> = HashMap::new();
    for object in objects.iter().filter(|object| object.has_id) {
        let key = found
            .entry(object.name.version)
            .or_insert_with(|| Some((object.name, KeyObjects::default())));
        // Two names with one id are not one key.
        let is_no_part = |(name, parts): &mut (ObjectName, KeyObjects)| {
            *name != object.name || parts.add(object.class, object.handle).is_err()
        };
        if key.as_mut().is_some_and(is_no_part) {
            *key = None;
        }
    }
    found.into_values().flatten().filter_map(move |(name, found)| {
        // An incomplete key may become complete, and is searched for when it is used.
        let whole = Some(found).filter(|found| found.is_complete())?;
        let key = KeyIdentity { name, class: whole.class()? };
        Some((key, Handles::of(whole, login_epoch, copies)?))
    })
}
