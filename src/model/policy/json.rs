//! JSON values with their locations, so that a fault can name its location.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Why a text is not a policy, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFault {
    /// The location.
    pub location: FaultLocation,
    /// The fault.
    pub what: Cow<'static, str>,
}

/// The location of a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultLocation {
    /// The text is not valid JSON from here on. Line and column count from 1.
    Position {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// The JSON value is not a valid policy at this path, for instance `Statement[0].Effect`. Empty
    /// for the root.
    Path(String),
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            FaultLocation::Position { line, column } => {
                write!(f, "line {line}, column {column}: ")?;
            }
            FaultLocation::Path(path) if path.is_empty() => f.write_str("policy: ")?,
            FaultLocation::Path(path) => write!(f, "{path}: ")?,
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for PolicyFault {}

/// A JSON value whose objects keep every member as written, including repeated ones.
#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    /// A number or a Boolean, as text.
    Word(String),
    Null,
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    /// Parses a text of at most `max_bytes`.
    pub(super) fn read(text: &str, max_bytes: usize) -> Result<Self, PolicyFault> {
        if text.len() > max_bytes {
            let what = format!("has more than {max_bytes} bytes");
            return Err(PolicyFault {
                location: FaultLocation::Path(String::new()),
                what: what.into(),
            });
        }
        serde_json::from_str(text).map_err(|error| {
            let location = FaultLocation::Position { line: error.line(), column: error.column() };
            let text = error.to_string();
            let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _place)| what);
            PolicyFault { location, what: what.to_owned().into() }
        })
    }
}

/// A value and its path.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    node: &'a Node,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    Member(&'a At<'a>, &'a str),
    Item(&'a At<'a>, usize),
}

impl<'a> At<'a> {
    pub(super) fn root(node: &'a Node) -> Self {
        Self { node, step: Step::Root }
    }

    /// A fault at this location.
    pub(super) fn fault(&self, what: impl Into<Cow<'static, str>>) -> PolicyFault {
        PolicyFault { location: FaultLocation::Path(self.to_string()), what: what.into() }
    }

    /// The members of an object. Repeated names are refused.
    pub(super) fn members(&'a self) -> Result<Vec<(&'a str, Self)>, PolicyFault> {
        let Node::Object(members) = self.node else {
            return Err(self.fault("must be an object"));
        };
        let mut found: Vec<(&str, Self)> = Vec::with_capacity(members.len());
        let mut names = HashSet::with_capacity(members.len());
        for (name, node) in members {
            let member = At { node, step: Step::Member(self, name) };
            if !names.insert(name.as_str()) {
                return Err(member.fault("is repeated"));
            }
            found.push((name, member));
        }
        Ok(found)
    }

    /// The items of a list. Another value counts as a list of itself. An empty list is refused.
    pub(super) fn items(&'a self) -> Result<Vec<Self>, PolicyFault> {
        match self.node {
            Node::List(items) if items.is_empty() => Err(self.fault("must not be empty")),
            Node::List(items) => Ok(items
                .iter()
                .enumerate()
                .map(|(at, node)| At { node, step: Step::Item(self, at) })
                .collect()),
            _ => Ok(vec![*self]),
        }
    }

    /// A string.
    pub(super) fn text(&self) -> Result<&'a str, PolicyFault> {
        match self.node {
            Node::Text(text) => Ok(text),
            _ => Err(self.fault("must be a string")),
        }
    }

    /// A string, a number or a Boolean, as text.
    pub(super) fn scalar(&self) -> Result<&'a str, PolicyFault> {
        match self.node {
            Node::Text(text) | Node::Word(text) => Ok(text),
            _ => Err(self.fault("must be a string, a number or a Boolean")),
        }
    }
}

/// The path from the root.
impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            Step::Root => Ok(()),
            Step::Item(from, at) => write!(f, "{from}[{at}]"),
            Step::Member(from, name) if matches!(from.step, Step::Root) => f.write_str(name),
            Step::Member(from, name) => write!(f, "{from}.{name}"),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyNode)
    }
}

struct AnyNode;

/// Implements the visitors that convert a scalar to a `Word`.
macro_rules! scalar_visitors {
    ($($visit:ident: $type:ty),+) => {
        $(fn $visit<E>(self, value: $type) -> Result<Node, E> {
            Ok(Node::Word(value.to_string()))
        })+
    };
}

impl<'de> Visitor<'de> for AnyNode {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    scalar_visitors!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Node::Object(members))
    }
}
