//! What a case says: its name, the text it checks, its needs, the edited configuration and the
//! expected result. About five lines each; `run.rs` carries them out.

use anyhow::Result;
use serde_json::{Value, json};

use crate::base::PROBE;
use crate::host::Need;
use crate::trial::Trial;

type Edit = Box<dyn Fn(&mut Value)>;
type Judge = Box<dyn Fn(&str) -> Result<()>>;
type Step = Box<dyn Fn(&mut Trial<'_>) -> Result<()>>;

/// What the output must look like.
pub enum Want {
    Is(String),
    Has(String),
    Line(String),
}

impl Want {
    /// The complaint, when the text does not fit.
    pub fn against(&self, text: &str) -> Option<String> {
        let (fits, rule) = match self {
            Want::Is(s) => (text == s, format!("to be exactly {s:?}")),
            Want::Has(s) => (text.contains(s), format!("to contain {s:?}")),
            Want::Line(s) => (text.lines().any(|l| l == s), format!("to have the line {s:?}")),
        };
        (!fits).then(|| format!("stdout: got {text:?}, want it {rule}"))
    }
}

/// The control of a case in which something must not be possible.
pub struct Control {
    /// Takes the protection away.
    pub edit: Edit,
    /// What the program then prints, and the case's own judgement must turn down.
    pub sees: String,
}

/// How a fault must be answered.
pub struct Refusal {
    /// JSON pointer of the field that is wrong; empty when no field is.
    pub pointer: String,
    /// A part of the reason.
    pub text: String,
}

/// One case.
pub struct Case {
    pub name: String,
    /// Section of the runtime-spec, of the command line contract, or id of the catalogue it checks.
    pub checks: String,
    pub needs: Vec<Need>,
    pub edits: Vec<Edit>,
    /// The same without its protection, run first; each must show that the case would notice.
    pub controls: Vec<Control>,
    /// Prepares files, flags and the like, after the edits.
    pub prepare: Vec<Step>,
    pub stdout: Vec<Want>,
    pub exit: i32,
    /// Looks at the host while the container is created but not started.
    pub created: Option<Step>,
    /// Looks at the host while the program runs.
    pub running: Option<Step>,
    /// The whole story, for cases that are not "run one program and look".
    pub steps: Option<Step>,
    /// Looks at the output.
    pub output: Option<Judge>,
    /// Looks at the host after a run.
    pub after: Option<Step>,
    /// Makes the case wrong; without it the case must pass.
    pub fault: Option<Step>,
    pub refusal: Option<Refusal>,
    /// The refused command is an `exec` into a running container.
    pub exec: bool,
    /// Time limit in seconds for one command.
    pub seconds: u64,
}

/// Starts a case. Root is needed unless `unprivileged` is said.
pub fn case(name: impl Into<String>) -> Case {
    Case {
        name: name.into(),
        checks: String::new(),
        needs: vec![Need::Root],
        edits: Vec::new(),
        controls: Vec::new(),
        prepare: Vec::new(),
        stdout: Vec::new(),
        exit: 0,
        created: None,
        running: None,
        steps: None,
        output: None,
        after: None,
        fault: None,
        refusal: None,
        exec: false,
        seconds: 10,
    }
}

impl Case {
    /// Whether a runtime that does nothing and exits 0 would fail it.
    pub fn can_fail(&self) -> bool {
        self.exit != 0
            || !self.stdout.is_empty()
            || self.output.is_some()
            || self.created.is_some()
            || self.running.is_some()
            || self.steps.is_some()
            || self.refusal.is_some()
    }

    /// Names the text this case holds a runtime to.
    pub fn checks(mut self, text: impl Into<String>) -> Case {
        self.checks = text.into();
        self
    }

    /// Adds needs.
    pub fn needs(mut self, needs: impl IntoIterator<Item = Need>) -> Case {
        self.needs.extend(needs);
        self
    }

    /// Edits config.json.
    pub fn spec(mut self, edit: impl Fn(&mut Value) + 'static) -> Case {
        self.edits.push(Box::new(edit));
        self
    }

    /// Prepares files of the root, flags of the command, helpers.
    pub fn prepare(mut self, step: impl Fn(&mut Trial<'_>) -> Result<()> + 'static) -> Case {
        self.prepare.push(Box::new(step));
        self
    }

    /// The control: with this edit, which takes the protection away, the same program succeeds, prints this and fails
    /// the case. So an attempt that could not have been noticed does not count.
    pub fn unprotected(mut self, edit: impl Fn(&mut Value) + 'static, sees: impl Into<String>) -> Case {
        self.controls.push(Control { edit: Box::new(edit), sees: sees.into() });
        self
    }

    /// Runs the probe program with these arguments.
    pub fn probe<const N: usize>(self, args: [&str; N]) -> Case {
        let mut all = vec![PROBE.to_string()];
        all.extend(args.iter().map(|a| a.to_string()));
        self.spec(move |s| s["process"]["args"] = json!(all))
    }

    /// Runs a shell script with busybox.
    pub fn sh(mut self, script: &str) -> Case {
        let script = script.to_string();
        self.needs.push(Need::Busybox);
        self.spec(move |s| s["process"]["args"] = json!(["/bin/sh", "-c", script]))
    }

    /// The output must be exactly this.
    pub fn stdout(mut self, text: impl Into<String>) -> Case {
        self.stdout.push(Want::Is(text.into()));
        self
    }

    /// The output must contain this.
    pub fn stdout_has(mut self, text: impl Into<String>) -> Case {
        self.stdout.push(Want::Has(text.into()));
        self
    }

    /// One line of the output must be this.
    pub fn line(mut self, text: impl Into<String>) -> Case {
        self.stdout.push(Want::Line(text.into()));
        self
    }

    /// The command must exit so.
    pub fn exit(mut self, code: i32) -> Case {
        self.exit = code;
        self
    }

    /// Judges the output.
    pub fn output(mut self, judge: impl Fn(&str) -> Result<()> + 'static) -> Case {
        self.output = Some(Box::new(judge));
        self
    }

    /// Looks at the host between create and start.
    pub fn created(mut self, step: impl Fn(&mut Trial<'_>) -> Result<()> + 'static) -> Case {
        self.created = Some(Box::new(step));
        self
    }

    /// Looks at the host while the program runs (it must be one that waits); the container is removed after.
    pub fn running(mut self, step: impl Fn(&mut Trial<'_>) -> Result<()> + 'static) -> Case {
        self.running = Some(Box::new(step));
        self
    }

    /// Tells the whole story by hand.
    pub fn steps(mut self, story: impl Fn(&mut Trial<'_>) -> Result<()> + 'static) -> Case {
        self.steps = Some(Box::new(story));
        self
    }

    /// Looks at the host after the run.
    pub fn steps_after(mut self, step: impl Fn(&mut Trial<'_>) -> Result<()> + 'static) -> Case {
        self.after = Some(Box::new(step));
        self
    }

    /// What makes the case wrong.
    pub fn fault(mut self, fault: impl Fn(&mut Trial<'_>) -> Result<()> + 'static) -> Case {
        self.fault = Some(Box::new(fault));
        self
    }

    /// What makes the case wrong, in config.json.
    pub fn wrong(self, edit: impl Fn(&mut Value) + 'static) -> Case {
        self.fault(move |t| {
            edit(&mut t.spec);
            Ok(())
        })
    }

    /// With the fault the runtime must refuse, naming this field and this reason.
    pub fn refused(mut self, pointer: impl Into<String>, text: impl Into<String>) -> Case {
        self.refusal = Some(Refusal { pointer: pointer.into(), text: text.into() });
        self
    }

    /// The refused command is an exec; the fault edits `Trial::process` or `Trial::exec_flags`.
    pub fn of_exec(mut self) -> Case {
        self.exec = true;
        self
    }

    /// Allows more time for each command.
    pub fn seconds(mut self, seconds: u64) -> Case {
        self.seconds = seconds;
        self
    }
}
