//! What the screen shows and what keys do to it: instances, their order, the filter, which one is chosen, and the details of
//! one. Knows neither terminal nor daemon.
#![forbid(unsafe_code)]

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::keys::Key;
use super::trail::{Rates, Trail};
use crate::api::model::{History, InstanceStatus};
use crate::api::usage::{HostUsage, InstanceUsage, Usage};

/// By what instances are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Name,
    State,
    Restarts,
    Cpu,
    Memory,
    Stalls,
    Io,
    Drops,
}

impl Sort {
    /// Each with its key and its name.
    pub(super) const ALL: [(char, Sort, &'static str); 8] = [
        ('n', Sort::Name, "name"),
        ('s', Sort::State, "state"),
        ('r', Sort::Restarts, "restarts"),
        ('c', Sort::Cpu, "cpu"),
        ('m', Sort::Memory, "memory"),
        ('p', Sort::Stalls, "psi"),
        ('i', Sort::Io, "io"),
        ('d', Sort::Drops, "drops"),
    ];

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        Sort::ALL.iter().find(|(_, sort, _)| *sort == self).map_or("", |(_, _, name)| name)
    }
}

/// One instance.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) status: InstanceStatus,
    /// What it uses; the default where the daemon does not tell.
    pub(super) usage: InstanceUsage,
    pub(super) rates: Rates,
}

impl Row {
    /// The worst of its stalls.
    pub(super) fn stalls(&self) -> Option<f64> {
        let u = &self.usage;
        [u.cpu_pressure, u.memory_pressure, u.io_pressure].into_iter().flatten().reduce(f64::max)
    }

    /// Memory in use.
    pub(super) fn memory(&self) -> Option<u64> {
        self.usage.memory.or(self.status.memory)
    }

    /// The limit of it.
    pub(super) fn memory_max(&self) -> Option<u64> {
        self.usage.memory_max.or(self.status.memory_limit)
    }

    /// One word about its probes.
    pub(super) fn health(&self, told: bool) -> &'static str {
        match self.status.state.as_str() {
            "running" if self.status.ready => "ready",
            "running" if told && !self.usage.healthy => "unwell",
            "running" => "unready",
            _ => "-",
        }
    }
}

/// What is shown of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Explain,
    Logs,
    Events,
}

impl Tab {
    /// Each with its key and its name.
    pub(super) const ALL: [(char, Tab, &'static str); 3] =
        [('e', Tab::Explain, "explain"), ('l', Tab::Logs, "logs"), ('v', Tab::Events, "events")];
}

/// One instance in detail.
#[derive(Debug, Clone)]
pub(super) struct Detail {
    pub(super) instance: String,
    pub(super) tab: Tab,
    /// The text of that tab; `None` = it has not come yet.
    pub(super) text: Option<Vec<String>>,
    /// Lines above those that are shown, from the end of the text; what is explained is shown from its begin.
    pub(super) back: usize,
}

/// What is to be done that the screen cannot do itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Do {
    /// Nothing but drawing.
    Draw,
    /// Draw everything anew.
    Redraw,
    /// Ask the daemon now.
    Ask,
    /// Leave.
    Quit,
}

/// The whole screen.
#[derive(Debug, Clone)]
pub(super) struct App {
    rows: Vec<Row>,
    trails: BTreeMap<String, Trail>,
    pub(super) host: HostUsage,
    /// The daemon tells what instances use.
    pub(super) told: bool,
    /// Why what is shown is not of now.
    pub(super) note: Option<String>,
    pub(super) sort: Sort,
    pub(super) reverse: bool,
    pub(super) filter: String,
    /// The filter is being typed.
    pub(super) typing: bool,
    /// The instance that is chosen.
    pub(super) chosen: Option<String>,
    pub(super) detail: Option<Detail>,
    /// Lines of the last picture for instances or text, for keys that turn pages.
    pub(super) page: usize,
}

impl App {
    pub(super) fn new() -> App {
        App {
            rows: Vec::new(),
            trails: BTreeMap::new(),
            host: HostUsage::default(),
            told: false,
            note: None,
            sort: Sort::Memory,
            reverse: false,
            filter: String::new(),
            typing: false,
            chosen: None,
            detail: None,
            page: 10,
        }
    }

    /// What the daemon says; `now` in seconds of Unix time. Without `usage` it does not tell what instances use.
    pub(super) fn update(&mut self, now: f64, all: Vec<InstanceStatus>, usage: Option<Usage>) {
        self.told = usage.is_some();
        let usage = usage.unwrap_or_default();
        self.host = usage.host;
        let mut used: BTreeMap<String, InstanceUsage> =
            usage.instances.into_iter().map(|u| (u.instance.clone(), u)).collect();
        self.trails.retain(|name, _| all.iter().any(|i| i.instance == *name));
        self.rows = all
            .into_iter()
            .map(|status| {
                let usage = used.remove(&status.instance).unwrap_or_default();
                let trail = self.trails.entry(status.instance.clone()).or_insert_with(Trail::new);
                trail.add(now, &usage);
                Row { status, usage, rates: trail.rates }
            })
            .collect();
        self.note = None;
    }

    /// What the daemon has known for longer.
    pub(super) fn load(&mut self, history: &History) {
        if let Some(trail) = self.trails.get_mut(&history.instance) {
            trail.load(history);
        }
    }

    /// Services of shown instances whose history was not asked for yet, at most so many.
    pub(super) fn unloaded(&self, most: usize) -> Vec<String> {
        let new = |row: &&Row| self.trails.get(&row.status.instance).is_some_and(|t| t.every.is_none());
        let mut names: Vec<String> = Vec::new();
        for row in self.shown().into_iter().filter(new) {
            if names.len() < most && !names.contains(&row.status.service) {
                names.push(row.status.service.clone());
            }
        }
        names
    }

    /// All instances.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The past of one.
    pub(super) fn trail(&self, instance: &str) -> Option<&Trail> {
        self.trails.get(instance)
    }

    /// What the filter lets through, in order.
    pub(super) fn shown(&self) -> Vec<&Row> {
        let wanted = self.filter.to_lowercase();
        let fits = |row: &&Row| {
            let words = [&row.status.instance, &row.status.state];
            words.iter().any(|w| w.to_lowercase().contains(&wanted))
        };
        let mut rows: Vec<&Row> = self.rows.iter().filter(fits).collect();
        rows.sort_by(|a, b| {
            let order = self.order(a, b);
            let order = if self.reverse { order.reverse() } else { order };
            order.then_with(|| a.status.instance.cmp(&b.status.instance))
        });
        rows
    }

    /// Figures from the largest on, words from A on.
    fn order(&self, a: &Row, b: &Row) -> Ordering {
        let falling = |x: Option<f64>, y: Option<f64>| y.unwrap_or(-1.0).total_cmp(&x.unwrap_or(-1.0));
        match self.sort {
            Sort::Name => a.status.instance.cmp(&b.status.instance),
            Sort::State => a.status.state.cmp(&b.status.state),
            Sort::Restarts => b.status.restarts.cmp(&a.status.restarts),
            Sort::Cpu => falling(a.rates.cpu, b.rates.cpu),
            Sort::Memory => b.memory().cmp(&a.memory()),
            Sort::Stalls => falling(a.stalls(), b.stalls()),
            Sort::Io => falling(a.rates.io(), b.rates.io()),
            Sort::Drops => b.usage.log_dropped.cmp(&a.usage.log_dropped),
        }
    }

    /// Which of the shown ones is chosen: the first, when the one that was is not shown.
    pub(super) fn at(&self, shown: &[&Row]) -> usize {
        let chosen = self.chosen.as_deref();
        shown.iter().position(|row| Some(row.status.instance.as_str()) == chosen).unwrap_or(0)
    }

    /// A key was pressed.
    pub(super) fn key(&mut self, key: Key) -> Do {
        match key {
            Key::Interrupt => Do::Quit,
            Key::Redraw => Do::Redraw,
            _ if self.typing => self.typed(key),
            Key::Char('q' | 'Q') => Do::Quit,
            _ if self.detail.is_some() => self.in_detail(key),
            _ => self.in_list(key),
        }
    }

    fn typed(&mut self, key: Key) -> Do {
        match key {
            Key::Char(c) => self.filter.push(c),
            Key::Erase => drop(self.filter.pop()),
            Key::Enter => self.typing = false,
            Key::Escape => {
                self.typing = false;
                self.filter.clear();
            }
            Key::Up => self.step(-1),
            Key::Down => self.step(1),
            _ => {}
        }
        Do::Draw
    }

    fn in_list(&mut self, key: Key) -> Do {
        let page = isize::try_from(self.page.max(1)).unwrap_or(isize::MAX);
        match key {
            Key::Up | Key::Char('k') => self.step(-1),
            Key::Down | Key::Char('j') => self.step(1),
            Key::PageUp => self.step(-page),
            Key::PageDown => self.step(page),
            Key::Home => self.step(isize::MIN),
            Key::End => self.step(isize::MAX),
            Key::Char('/') => self.typing = true,
            Key::Escape => self.filter.clear(),
            Key::Enter | Key::Right => {
                let shown = self.shown();
                let Some(row) = shown.get(self.at(&shown)) else { return Do::Draw };
                let instance = row.status.instance.clone();
                self.chosen = Some(instance.clone());
                self.detail = Some(Detail { instance, tab: Tab::Explain, text: None, back: 0 });
                return Do::Ask;
            }
            Key::Char(c) => {
                if let Some((_, sort, _)) = Sort::ALL.into_iter().find(|(key, ..)| *key == c) {
                    // The same once more turns the order around.
                    self.reverse = self.sort == sort && !self.reverse;
                    self.sort = sort;
                }
            }
            _ => {}
        }
        Do::Draw
    }

    /// Chooses another one, so many lines on.
    fn step(&mut self, by: isize) {
        let shown = self.shown();
        let to = self.at(&shown).saturating_add_signed(by).min(shown.len().saturating_sub(1));
        let chosen = shown.get(to).map(|row| row.status.instance.clone());
        self.chosen = chosen.or(self.chosen.take());
    }

    fn in_detail(&mut self, key: Key) -> Do {
        let page = self.page.max(1);
        let Some(detail) = &mut self.detail else { return Do::Draw };
        let at = Tab::ALL.iter().position(|(_, tab, _)| *tab == detail.tab).unwrap_or(0);
        let open = match key {
            Key::Up | Key::Char('k') => {
                detail.back = detail.back.saturating_add(1);
                return Do::Draw;
            }
            Key::Down | Key::Char('j') => {
                detail.back = detail.back.saturating_sub(1);
                return Do::Draw;
            }
            Key::PageUp => {
                detail.back = detail.back.saturating_add(page);
                return Do::Draw;
            }
            Key::PageDown => {
                detail.back = detail.back.saturating_sub(page);
                return Do::Draw;
            }
            Key::Home => {
                detail.back = usize::MAX;
                return Do::Draw;
            }
            Key::End => {
                detail.back = 0;
                return Do::Draw;
            }
            Key::Escape | Key::Erase | Key::Left if at == 0 || key != Key::Left => {
                self.detail = None;
                return Do::Draw;
            }
            Key::Tab | Key::Right => Tab::ALL.get((at + 1) % Tab::ALL.len()),
            Key::Left => Tab::ALL.get(at.saturating_sub(1)),
            Key::Char(c) => Tab::ALL.iter().find(|(key, ..)| *key == c),
            _ => None,
        };
        let Some((_, tab, _)) = open.filter(|(_, tab, _)| *tab != detail.tab) else { return Do::Draw };
        *detail = Detail { tab: *tab, text: None, back: 0, instance: std::mem::take(&mut detail.instance) };
        Do::Ask
    }

    /// The text of a tab has come. Whoever has moved on meanwhile does not get it.
    pub(super) fn told_of(&mut self, instance: &str, tab: Tab, text: Vec<String>) {
        if let Some(detail) = self.detail.as_mut().filter(|d| d.instance == instance && d.tab == tab) {
            detail.text = Some(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> App {
        let mut app = App::new();
        let all = ["db.1", "web.1", "web.2"].map(|name| {
            let (service, n) = name.split_once('.').unwrap();
            crate::api::tests::instance(service, n.parse().unwrap(), "running")
        });
        let used = |instance: &str, memory, pressure| InstanceUsage {
            instance: instance.into(),
            memory: Some(memory),
            memory_pressure: Some(pressure),
            healthy: true,
            ..InstanceUsage::default()
        };
        let instances = vec![used("db.1", 5, 0.1), used("web.1", 9, 0.5), used("web.2", 7, 0.9)];
        app.update(0.0, all.to_vec(), Some(Usage { instances, ..Usage::default() }));
        app
    }

    fn names(app: &App) -> Vec<String> {
        app.shown().iter().map(|r| r.status.instance.clone()).collect()
    }

    #[test]
    fn orders() {
        let mut app = app();
        assert_eq!(names(&app), ["web.1", "web.2", "db.1"], "by memory");
        app.key(Key::Char('n'));
        assert_eq!(names(&app), ["db.1", "web.1", "web.2"]);
        app.key(Key::Char('n'));
        assert_eq!(names(&app), ["web.2", "web.1", "db.1"], "turned around");
        app.key(Key::Char('p'));
        assert_eq!(
            (names(&app), app.sort.name()),
            (vec!["web.2".into(), "web.1".into(), "db.1".into()], "psi")
        );
        for (key, ..) in Sort::ALL {
            assert!(!matches!(key, 'j' | 'k' | 'q'), "{key} is something else already");
            app.key(Key::Char(key));
            assert_eq!(names(&app).len(), 3);
        }
    }

    #[test]
    fn a_filter_is_typed() {
        let mut app = app();
        app.key(Key::Char('/'));
        for c in "WEBq".chars() {
            assert_eq!(app.key(Key::Char(c)), Do::Draw, "q is a letter while a filter is typed");
        }
        assert_eq!(names(&app).len(), 0);
        assert_eq!(app.key(Key::Enter), Do::Draw);
        assert_eq!(app.key(Key::Enter), Do::Draw, "nothing to look into");
        app.key(Key::Char('/'));
        app.key(Key::Erase);
        app.key(Key::Enter);
        assert_eq!(names(&app), ["web.1", "web.2"]);
        app.key(Key::Escape);
        assert_eq!(names(&app).len(), 3);
        assert_eq!(app.key(Key::Char('q')), Do::Quit);
        assert_eq!(app.key(Key::Interrupt), Do::Quit);
    }

    #[test]
    fn the_chosen_one_stays_chosen() {
        let mut app = app();
        app.key(Key::Down);
        assert_eq!(app.chosen.as_deref(), Some("web.2"));
        app.key(Key::Char('n'));
        assert_eq!(app.at(&app.shown()), 2, "it has moved");
        app.key(Key::Home);
        assert_eq!(app.chosen.as_deref(), Some("db.1"));
        app.key(Key::PageDown);
        app.key(Key::Down);
        assert_eq!(app.chosen.as_deref(), Some("web.2"), "the last one");
        app.update(1.0, vec![crate::api::tests::instance("db", 1, "held")], None);
        assert_eq!((app.at(&app.shown()), app.told), (0, false), "it is gone");
        app.update(2.0, vec![], None);
        app.key(Key::Down);
        assert_eq!(app.key(Key::Enter), Do::Draw);
    }

    #[test]
    fn details_and_back() {
        let mut app = app();
        assert_eq!(app.key(Key::Enter), Do::Ask);
        assert_eq!(app.key(Key::Char('l')), Do::Ask);
        app.told_of("web.1", Tab::Explain, vec!["late".into()]);
        assert_eq!(app.detail.as_ref().unwrap().text, None, "it is about another tab");
        app.told_of("web.1", Tab::Logs, vec!["a line".into()]);
        assert_eq!(app.detail.as_ref().unwrap().text.as_deref(), Some(&["a line".to_owned()][..]));
        assert_eq!(app.key(Key::Char('l')), Do::Draw, "it is open");
        app.key(Key::Up);
        assert_eq!(app.detail.as_ref().unwrap().back, 1);
        assert_eq!(app.key(Key::Tab), Do::Ask);
        assert_eq!(app.detail.as_ref().map(|d| (d.tab, d.back)), Some((Tab::Events, 0)));
        assert_eq!(app.key(Key::Escape), Do::Draw);
        assert!(app.detail.is_none());
        app.key(Key::Enter);
        app.key(Key::Left);
        assert!(app.detail.is_none(), "left of the first tab is the list");
        app.key(Key::Enter);
        assert_eq!(app.key(Key::Char('q')), Do::Quit);
    }

    #[test]
    fn histories_are_asked_for_once() {
        let mut app = app();
        assert_eq!(app.unloaded(9), ["web", "db"]);
        for name in ["web.1", "web.2"] {
            app.load(&crate::api::tests::history(name));
        }
        assert_eq!(app.unloaded(9), ["db"]);
        assert_eq!(app.unloaded(0), Vec::<String>::new());
    }
}
