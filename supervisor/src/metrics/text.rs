//! Prometheus' text format, in its classic form (text/plain; version=0.0.4) and as OpenMetrics 1.0. Pure.
#![forbid(unsafe_code)]

use std::fmt::{Display, Write};

use super::tally::Durations;

/// Which of the two forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The classic one.
    Classic,
    /// The standard.
    OpenMetrics,
}

impl Form {
    /// What a client wants, from its `Accept`.
    pub fn wanted(accept: Option<&str>) -> Form {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Form::OpenMetrics,
            _ => Form::Classic,
        }
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Form::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Form::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What stands behind all metrics.
    pub fn end(self) -> &'static str {
        match self {
            Form::Classic => "",
            Form::OpenMetrics => "# EOF\n",
        }
    }
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows, until what is counted begins anew.
    Counter,
    /// Counts in buckets.
    Histogram,
}

impl Kind {
    /// As the format has it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        }
    }
}

/// The head of a metric: all of its samples follow each other.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// With its unit, and `_total` for a counter.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

/// Writes the samples of one metric.
#[derive(Debug)]
pub struct Samples<'a> {
    head: Head,
    form: Form,
    /// Values of the first labels, the same for some samples in a row.
    fixed: [&'a str; 2],
    begun: bool,
    out: &'a mut String,
}

impl<'a> Samples<'a> {
    /// For samples whose first labels, if any, have these values; `begun` = some were written already.
    pub fn new(head: Head, form: Form, fixed: [&'a str; 2], begun: bool, out: &'a mut String) -> Samples<'a> {
        Samples { head, form, fixed, begun, out }
    }

    /// Whether the metric has a sample by now.
    pub fn begun(&self) -> bool {
        self.begun
    }

    /// One sample, with the values of the further labels.
    pub fn put(&mut self, labels: &[&str], value: impl Display) {
        self.line("", labels, None, value);
    }

    /// One sample, where the value is known.
    pub fn maybe(&mut self, labels: &[&str], value: Option<impl Display>) {
        if let Some(value) = value {
            self.put(labels, value);
        }
    }

    /// All samples of a histogram.
    pub fn durations(&mut self, labels: &[&str], of: &Durations) {
        for (bound, count) in of.cumulative() {
            self.line("_bucket", labels, Some(bound), count);
        }
        self.line("_sum", labels, None, of.sum);
        self.line("_count", labels, None, of.count());
    }

    fn line(&mut self, suffix: &str, labels: &[&str], le: Option<&str>, value: impl Display) {
        if !self.begun {
            self.begun = true;
            self.begin();
        }
        self.out.push_str(self.head.name);
        self.out.push_str(suffix);
        let values = self.fixed.iter().filter(|v| !v.is_empty()).chain(labels);
        let mut open = '{';
        for (name, value) in self.head.labels.iter().zip(values) {
            pair(self.out, open, name, value);
            open = ',';
        }
        if let Some(le) = le {
            pair(self.out, open, "le", le);
            open = ',';
        }
        if open == ',' {
            self.out.push('}');
        }
        // A String takes everything.
        let _ = writeln!(self.out, " {value}");
    }

    fn begin(&mut self) {
        let Head { name, kind, help, .. } = self.head;
        // OpenMetrics names a counter without the suffix of its samples.
        let name = match self.form {
            Form::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
            Form::Classic => name,
        };
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {}", kind.word());
    }
}

fn pair(out: &mut String, before: char, name: &str, value: &str) {
    out.push(before);
    out.push_str(name);
    out.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HEAD: Head =
        Head { name: "k_x_total", kind: Kind::Counter, labels: &["service", "replica", "how"], help: "X." };

    fn written(form: Form, write: impl FnOnce(&mut Samples<'_>)) -> String {
        let mut out = String::new();
        write(&mut Samples::new(HEAD, form, ["web", "1"], false, &mut out));
        out
    }

    #[test]
    fn labels_are_escaped() {
        let text = written(Form::Classic, |s| s.put(&["a\"b\\c\nd"], 7u64));
        let want = "# HELP k_x_total X.\n# TYPE k_x_total counter\n\
                    k_x_total{service=\"web\",replica=\"1\",how=\"a\\\"b\\\\c\\nd\"} 7\n";
        assert_eq!(text, want);
    }

    #[test]
    fn openmetrics_names_the_counter_without_its_suffix() {
        let text = written(Form::OpenMetrics, |s| s.put(&["a"], 0.5));
        assert!(text.starts_with("# HELP k_x X.\n# TYPE k_x counter\nk_x_total{"), "{text}");
        assert_eq!(
            Form::wanted(Some("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")),
            Form::OpenMetrics
        );
        assert_eq!(Form::wanted(Some("text/plain")), Form::Classic);
        assert_eq!(Form::wanted(None), Form::Classic);
    }

    #[test]
    fn nothing_is_said_of_what_is_not_known() {
        assert_eq!(written(Form::Classic, |s| s.maybe(&["a"], None::<u64>)), "");
    }

    #[test]
    fn a_histogram_has_buckets_sum_and_count() {
        let head = Head { name: "k_s", kind: Kind::Histogram, labels: &[], help: "X." };
        let (mut out, mut took) = (String::new(), Durations::default());
        took.add(Duration::from_millis(50));
        Samples::new(head, Form::Classic, ["", ""], true, &mut out).durations(&[], &took);
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines[2..4], ["k_s_bucket{le=\"0.025\"} 0", "k_s_bucket{le=\"0.1\"} 1"]);
        assert_eq!(lines[9..], ["k_s_bucket{le=\"+Inf\"} 1", "k_s_sum 0.05", "k_s_count 1"]);
    }
}
