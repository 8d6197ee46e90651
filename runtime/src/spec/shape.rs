//! What JSON a spec type is written as, derived from the type itself, so that the strict reader knows every key
//! and range without a second list. Pure data; may use std and serde_json.

use std::collections::BTreeMap;

/// The JSON form of a type.
#[derive(Debug)]
pub enum Shape {
    /// Anything, down to any depth: sections of other platforms and keys we do not know.
    Any,
    /// `true` or `false`.
    Bool,
    /// A string.
    Text,
    /// A whole number from the first to the last, both included.
    Int(i128, i128),
    /// An array.
    List(&'static Shape),
    /// An object whose keys are data.
    Map(&'static Shape),
    /// An object whose keys are the fields of a type.
    Object(&'static [(&'static str, &'static Shape)]),
}

impl Shape {
    /// What a reader of an error message should have written.
    pub fn want(&self) -> String {
        match self {
            Shape::Any => "a value".into(),
            Shape::Bool => "true or false".into(),
            Shape::Text => "a string".into(),
            Shape::Int(min, max) => format!("a whole number from {min} to {max}"),
            Shape::List(_) => "an array".into(),
            Shape::Map(_) | Shape::Object(_) => "an object".into(),
        }
    }
}

/// A type that is read from JSON and knows how it is written there.
pub trait Shaped {
    /// The form of this type.
    const SHAPE: &'static Shape;
}

macro_rules! leaf {
    ($($ty:ty = $shape:expr;)*) => { $(impl Shaped for $ty { const SHAPE: &'static Shape = &$shape; })* };
}

leaf! {
    bool = Shape::Bool;
    String = Shape::Text;
    u16 = Shape::Int(0, u16::MAX as i128);
    u32 = Shape::Int(0, u32::MAX as i128);
    u64 = Shape::Int(0, u64::MAX as i128);
    i32 = Shape::Int(i32::MIN as i128, i32::MAX as i128);
    i64 = Shape::Int(i64::MIN as i128, i64::MAX as i128);
    serde_json::Value = Shape::Any;
}

impl<T: Shaped> Shaped for Option<T> {
    const SHAPE: &'static Shape = T::SHAPE;
}

impl<T: Shaped> Shaped for Vec<T> {
    const SHAPE: &'static Shape = &Shape::List(T::SHAPE);
}

impl<T: Shaped> Shaped for BTreeMap<String, T> {
    const SHAPE: &'static Shape = &Shape::Map(T::SHAPE);
}
