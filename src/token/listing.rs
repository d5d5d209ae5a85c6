//! Goes through all objects of the token, in steps so short that calls get their turn in between.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};

use super::Token;
use super::budget::Budget;
use super::cache::{Handles, Term};
use super::error::{ErrorClass, TokenError};
use super::inspect::{Depth, Inspected};
use super::name::{KeyIdentity, ObjectName};
use super::objects::query::{Found, class_in, name_in};
use super::template::Copies;
use super::worker::{RESTLESS, RETRIES, Worker};
use crate::model::KeyVersionId;

/// After so long a step lets others have the thread.
const STEP: Duration = Duration::from_millis(2);
/// How long one step may take on a slow token, with its wait for others.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where calls keep a step out, it comes again after so long.
const PAUSE: Duration = Duration::from_millis(50);

/// The attributes that tell which key an object is of.
const NAMING: &[AttributeType] = &[AttributeType::Label, AttributeType::Id, AttributeType::Class];

/// An object whose label is one of ours.
#[derive(Debug)]
struct Named {
    name: ObjectName,
    /// Whether a search for the key version finds it.
    has_id: bool,
    class: Option<ObjectClass>,
    handle: ObjectHandle,
}

/// All objects, as they were found.
struct Search {
    term: Term,
    copies: Copies,
    objects: Vec<ObjectHandle>,
}

/// What a step has found, and how many objects it has looked at.
type Step<T> = (Vec<T>, usize);

impl Token {
    /// The names of all objects whose label is one of ours, sorted, each once. It reads the
    /// label of every object: seconds, on some tokens minutes, where there are many. Others may make
    /// and destroy keys at the same time, and calls go on. Their handles are kept, so that no key
    /// has to be searched for when it is first used.
    ///
    /// # Errors
    /// When the token can not be searched, or has not answered for 30 seconds.
    pub async fn list(&self) -> Result<Vec<ObjectName>, TokenError> {
        for _time in 0..=RETRIES {
            let Search { term, copies, objects } = self.all_objects().await?;
            let ours = self.each(term, objects, |worker, object| worker.named(*object)).await?;
            let Some(ours) = ours else { continue };
            self.0.hub.keys.learn(whole_keys(&ours, term, copies));
            let names: BTreeSet<_> = ours.iter().map(|object| object.name).collect();
            return Ok(names.into_iter().collect());
        }
        Err(RESTLESS)
    }

    /// Looks at every object whose label is one of ours, by name. Others may make and destroy keys
    /// at the same time, and calls go on: what vanishes in between is passed over, and what
    /// another process is just making may show faults.
    ///
    /// It reads every object of the token: seconds, on some tokens minutes, where there are many.
    ///
    /// # Errors
    /// When the token can not be searched, or has not answered for 30 seconds.
    pub async fn inspect(&self, depth: Depth) -> Result<Vec<Inspected>, TokenError> {
        let judge = move |worker: &mut Worker<'_>, (name, objects): &(ObjectName, Vec<_>)| {
            Ok(Some(worker.judge_objects(*name, objects, depth)))
        };
        for _time in 0..=RETRIES {
            let Search { term, objects, .. } = self.all_objects().await?;
            let told = self.each(term, objects, |worker, object| worker.told_of(*object)).await?;
            let Some(told) = told else { continue };
            let mut named: BTreeMap<ObjectName, Vec<_>> = BTreeMap::new();
            for (name, object) in told {
                named.entry(name).or_default().push(object);
            }
            if let Some(judged) = self.each(term, named.into_iter().collect(), judge).await? {
                return Ok(judged);
            }
        }
        Err(RESTLESS)
    }

    /// Looks at each of `items` in turn, step by step; none when the handles died on the way.
    async fn each<I, T>(
        &self,
        term: Term,
        items: Vec<I>,
        look: impl Fn(&mut Worker<'_>, &I) -> Result<Option<T>, TokenError> + Copy + Send + 'static,
    ) -> Result<Option<Vec<T>>, TokenError>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
    {
        let items = Arc::new(items);
        let (mut found, mut done) = (Vec::new(), 0);
        while done < items.len() {
            let items = Arc::clone(&items);
            let step = self
                .patiently(move |worker| {
                    worker.go_on(term, items.get(done..).unwrap_or_default(), look)
                })
                .await?;
            let Some((more, looked)) = step else { return Ok(None) };
            found.extend(more);
            done += looked;
        }
        Ok(Some(found))
    }

    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method alone is not general enough over the worker's lifetime"
    )]
    async fn all_objects(&self) -> Result<Search, TokenError> {
        self.patiently(|worker| worker.all_objects()).await
    }

    /// Runs a job as often as it is turned away for the calls that wait.
    async fn patiently<T, F>(&self, job: F) -> Result<T, TokenError>
    where
        T: Send + 'static,
        F: Fn(&mut Worker<'_>) -> Result<T, TokenError> + Clone + Send + 'static,
    {
        let budget = Budget::new(PATIENCE);
        loop {
            match self.run(&budget, job.clone()).await {
                Err(TokenError::Busy) if Instant::now() < budget.deadline() => {
                    tokio::time::sleep(PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }
}

impl Worker<'_> {
    fn all_objects(&mut self) -> Result<Search, TokenError> {
        self.with_objects(|worker| {
            worker.steady(None, |worker| {
                let term = worker.term();
                let all = [Attribute::Token(true)];
                let objects = worker.look_logged_in(|session| Ok(session.find_objects(&all)?))?;
                // Handles of a term that is over are found out at the first step.
                Ok(Search { term, copies: worker.instance.copies, objects })
            })
        })
    }

    /// Looks at one object at least, and at more until the step is over. None when the handles
    /// are of a term that has ended: whoever is logged out is shown no private object.
    fn go_on<I, T>(
        &mut self,
        term: Term,
        items: &[I],
        look: impl Fn(&mut Self, &I) -> Result<Option<T>, TokenError>,
    ) -> Result<Option<Step<T>>, TokenError> {
        let begin = Instant::now();
        let (mut found, mut looked) = (Vec::new(), 0);
        for item in items {
            if self.term() != term {
                return Ok(None);
            }
            match self.steady(None, |worker| look(worker, item)) {
                Ok(one) => found.extend(one),
                // Somebody has destroyed it.
                Err(error) if error.class() == ErrorClass::HandleGone => {}
                Err(error) => return Err(error),
            }
            looked += 1;
            if begin.elapsed() >= STEP {
                break;
            }
        }
        let is_over = self.log_in_if_out()? || self.term() != term;
        Ok((!is_over).then_some((found, looked)))
    }

    fn named(&mut self, handle: ObjectHandle) -> Result<Option<Named>, TokenError> {
        let told = self.session()?.get_attributes(handle, NAMING)?;
        Ok(name_in(&told).map(|name| Named {
            name,
            has_id: told.contains(&Attribute::Id(name.version.as_bytes().to_vec())),
            class: class_in(&told),
            handle,
        }))
    }
}

/// The handles of the keys that these objects make, each of one key alone.
fn whole_keys(
    objects: &[Named],
    term: Term,
    copies: Copies,
) -> impl Iterator<Item = (KeyIdentity, Handles)> {
    let mut found: HashMap<KeyVersionId, Option<(ObjectName, Found)>> = HashMap::new();
    for object in objects.iter().filter(|object| object.has_id) {
        let key = found
            .entry(object.name.version)
            .or_insert_with(|| Some((object.name, Found::default())));
        // Two names with one id are not one key.
        let is_no_part = |(name, parts): &mut (ObjectName, Found)| {
            *name != object.name || parts.add(object.class, object.handle).is_err()
        };
        if key.as_mut().is_some_and(is_no_part) {
            *key = None;
        }
    }
    found.into_values().flatten().filter_map(move |(name, found)| {
        // What is no whole key may become one, and is searched for when it is used.
        let whole = Some(found).filter(|found| found.is_whole())?;
        let key = KeyIdentity { name, class: whole.class()? };
        Some((key, Handles::of(whole, term, copies)?))
    })
}
