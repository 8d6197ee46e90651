//! One file a verb.
#![forbid(unsafe_code)]
pub mod check;
pub mod create;
pub mod exec;
pub mod run;
pub mod delete {
    //! temp
    /// temp
    pub fn remove(_s: &crate::state::Store, _id: &str) -> crate::error::Result<()> { Ok(()) }
}
