//! Somebody exchanges parts of paths below the container's root while the runtime prepares it: a sample of all exchanges
//! here, all of them in the long mode. The controls show that the driver, and the hammer, lead a naive resolver astray.

use std::cell::RefCell;
use std::rc::Rc;

use crate::boundary::{Scene, SwapPlan, bites, hammer, hammered, swap};
use crate::case::{Case, case};

const CHECKS: &str = "catalogue S48 (S10-S30)";
/// Exchanges of one case in a lane.
const SOME: usize = 40;
/// Containers of one component under the hammer in a lane.
const STROKES: usize = 4;
/// What the hammer exchanges.
const HAMMERED: [(Scene, &str); 6] = [
    (Scene::Mounts, "data"),
    (Scene::Mounts, "data/a"),
    (Scene::Mounts, "data/f/g"),
    (Scene::Mounts, "proc"),
    (Scene::Image, "dev"),
    (Scene::Image, "dev/console"),
];

/// All of this subject, with a sample of the exchanges.
pub fn cases() -> Vec<Case> {
    let plan =
        |scene| SwapPlan { scene, every: false, part: (1, 1), sample: Some(SOME), seed: 1, told: false };
    let mut all = all(plan, STROKES, &Rc::default());
    all.push(case("swap.control").checks(CHECKS).seconds(30).steps(bites));
    all.push(case("swap.hammer-control").checks(CHECKS).seconds(60).steps(hammered));
    all
}

/// The same as the plan of a scene says; what was done is written into the page.
pub fn long(plan: impl Fn(Scene) -> SwapPlan, page: &Rc<RefCell<String>>) -> Vec<Case> {
    let strokes = plan(Scene::Mounts).sample.unwrap_or(2000);
    all(plan, strokes, page)
}

fn all(plan: impl Fn(Scene) -> SwapPlan, strokes: usize, page: &Rc<RefCell<String>>) -> Vec<Case> {
    let seed = plan(Scene::Mounts).seed as usize;
    let mut cases: Vec<Case> = Scene::ALL.map(|scene| one(plan(scene), page.clone())).into();
    for (number, (scene, component)) in HAMMERED.into_iter().enumerate() {
        let name = format!("swap.hammer-{}", component.replace('/', "-"));
        let page = page.clone();
        cases.push(case(&name).checks(CHECKS).seconds(30).steps(move |t| {
            let count = hammer(t, scene, component, number + seed, strokes)?;
            let line = format!("| {} | `{name}` | {count} | {strokes} | | 0 |\n", t.runtime.name);
            page.borrow_mut().push_str(&line);
            Ok(())
        }));
    }
    cases
}

fn one(plan: SwapPlan, page: Rc<RefCell<String>>) -> Case {
    let name = format!("swap.{}", plan.scene.name());
    case(&name).checks(CHECKS).seconds(30).steps(move |t| {
        let tally = swap(t, &plan)?;
        let line = format!(
            "| {} | `{name}` | {} | {} | {} | {} |\n",
            t.runtime.name,
            tally.boundaries,
            tally.done,
            tally.survived.values().sum::<usize>(),
            tally.violations.len()
        );
        page.borrow_mut().push_str(&line);
        if plan.told {
            eprintln!("{name}: succeeded all the same: {:?}", tally.survived);
        }
        tally.verdict()
    })
}
