//! What a run brought, as tables for people and as JSON for programs.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Map, Value, json};

use super::{
    drive::Run,
    fanout::Readers,
    tally::{Class, Times},
    vitals::Used,
};
use crate::cli::{
    out::{self, indented},
    table::Table,
    trouble::{Outcome, Trouble},
};

/// The shares of answers whose latency is shown, with their names in JSON.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999)];

/// What was measured, and how.
pub(super) struct About {
    /// The command's name.
    pub(super) subject: &'static str,
    /// What was asked: `POST /input`.
    pub(super) what: String,
    /// Of whom.
    pub(super) url: String,
    /// Over how many connections.
    pub(super) connections: u32,
    /// By what schedule.
    pub(super) rate: Option<u32>,
}

/// Prints a run.
///
/// # Errors
/// When nothing succeeded, after everything was printed.
pub(super) fn print(about: &About, run: &Run, readers: Option<&Readers>, as_json: bool) -> Outcome {
    let text = if as_json {
        format!("{}\n", indented(&to_json(about, run, readers)))
    } else {
        to_text(about, run, readers)
    };
    out::print(&text)?;
    if run.tally.all(Class::Success).count() > 0 {
        return Ok(());
    }
    let most = run.tally.rows().first().map(|row| row.label());
    let most = most.map(|label| format!("mostly {label}"));
    let most = most.unwrap_or_else(|| match run.unsent {
        0 => "nothing was sent".to_owned(),
        _ => "nothing of what was due in the window was sent by its end".to_owned(),
    });
    Err(Trouble::plain(format!("no request to {} succeeded: {most}", about.url)))
}

/// Prints readers that were only opened.
pub(super) fn print_idle(about: &About, readers: &Readers, json: bool) -> Outcome {
    if json {
        let used = &readers.held;
        let readers = readers_json(readers, Duration::ZERO);
        let value = json!({"subject": about.subject, "url": about.url, "readers": readers,
                           "servers": servers_json(used, 0, Duration::ZERO)});
        return out::line(&indented(&value));
    }
    let mut text = format!("{} at {}\n\n", about.what, about.url);
    readers_text(&mut text, readers, Duration::ZERO);
    out::print(&text)
}

fn to_text(about: &About, run: &Run, readers: Option<&Readers>) -> String {
    let how = match about.rate {
        Some(rate) => format!("{rate} per second by schedule"),
        None => "each sends as soon as it was answered".to_owned(),
    };
    let early = if run.interrupted { " (interrupted)" } else { "" };
    let mut text = format!(
        "{} at {}: {} connections, {how}, {:.1} s{early}\n\n",
        about.what,
        about.url,
        about.connections,
        run.window.as_secs_f64()
    );
    let header = ["ANSWER", "COUNT", "PER S", "P50", "P90", "P99", "P99.9", "MAX"];
    let mut table = Table::new(header);
    for row in run.tally.rows() {
        table.row(line(row.label(), &row.times, run.window));
    }
    for (name, class) in [("all successes", Class::Success), ("all refusals", Class::Refusal)] {
        let kinds = run.tally.rows().iter().filter(|row| row.class() == class).count();
        if kinds > 1 {
            table.row(line(name.to_owned(), &run.tally.all(class), run.window));
        }
    }
    if let Some(times) = run.tally.from_sending.as_ref().filter(|_| about.rate.is_some()) {
        table.row(line("(from the sending)".to_owned(), times, run.window));
    }
    text.push_str(&table.take());
    if let Some(scheduled) = run.scheduled {
        let goodput = per_second(run.succeeded, run.window);
        text.push_str(&format!("\n{goodput:.0} successes per second came within the window. "));
        text.push_str(&match kept(scheduled, run.unsent) {
            true => "The rate was kept.\n".to_owned(),
            false => format!(
                "The rate was NOT kept: {} of {scheduled} requests were never sent. More \
                 --connections or --threads, or the machine is full.\n",
                run.unsent
            ),
        });
    }
    if !run.used.is_empty() {
        text.push('\n');
        text.push_str(&servers_text(run));
    }
    if let Some(readers) = readers {
        text.push('\n');
        readers_text(&mut text, readers, run.window);
    }
    text
}

fn line(name: String, times: &Times, window: Duration) -> [String; 8] {
    let [p50, p90, p99, p99_9] = QUANTILES.map(|(_, share)| shown(times.quantile(share)));
    let count = times.count();
    let rate = format!("{:.0}", per_second(count, window));
    [name, count.to_string(), rate, p50, p90, p99, p99_9, shown(times.max())]
}

fn servers_text(run: &Run) -> String {
    let mut table = Table::new(["PROCESS", "PID", "CPU PER ANSWER", "CPU", "MEMORY"]);
    for used in &run.used {
        let each = micros_each(used.cpu, run.answered);
        let share = used.cpu.map(|cpu| cpu.as_secs_f64() / run.window.as_secs_f64() * 100.0);
        table.row([
            used.server.name.clone(),
            used.server.pid.to_string(),
            each.map_or("-".to_owned(), |micros| format!("{micros:.1} µs")),
            share.map_or("-".to_owned(), |share| format!("{share:.0} %")),
            used.resident.map_or("-".to_owned(), bytes_shown),
        ]);
    }
    table.take()
}

fn readers_text(text: &mut String, readers: &Readers, window: Duration) {
    let Readers { open, stuck, delivered, in_window, expected, ended, times, held } = readers;
    let mut say = |line: String| {
        // Writing to a text cannot fail.
        if writeln!(text, "{line}").is_err() {
            log::debug!("a line was not written");
        }
    };
    say(format!("readers     {open} open, {stuck} that never read, {ended} ended by the server"));
    if *expected > 0 {
        let missing = expected.saturating_sub(*delivered);
        let rate = per_second(*in_window, window);
        say(format!(
            "deliveries  {delivered}, {missing} missing; {rate:.0} per second came within the window"
        ));
        let [p50, p90, p99, p99_9] = QUANTILES.map(|(_, share)| shown(times.quantile(share)));
        let max = shown(times.max());
        say(format!("latency     p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p99_9}, max {max}"));
    }
    for used in held {
        let Some(each) = bytes_each(used, *open) else { continue };
        say(format!("memory      {} holds {each} bytes for each reader", used.server.name));
    }
}

fn to_json(about: &About, run: &Run, readers: Option<&Readers>) -> Value {
    let answers: Vec<Value> = run
        .tally
        .rows()
        .iter()
        .map(|row| {
            let mut object = times_json(&row.times, run.window);
            object.insert("class".to_owned(), row.class().as_str().into());
            object.insert("status".to_owned(), row.status.into());
            object.insert("word".to_owned(), String::from_utf8_lossy(&row.word).into());
            Value::Object(object)
        })
        .collect();
    let all = |class| Value::Object(times_json(&run.tally.all(class), run.window));
    let schedule = run.scheduled.map(|scheduled| {
        json!({"rate": about.rate, "due": scheduled, "unsent": run.unsent,
               "kept": kept(scheduled, run.unsent)})
    });
    let from_sending = run.tally.from_sending.as_ref().map(|times| times_json(times, run.window));
    json!({
        "subject": about.subject,
        "url": about.url,
        "connections": about.connections,
        "seconds": run.window.as_secs_f64(),
        "interrupted": run.interrupted,
        "answers": answers,
        "goodput_per_second": per_second(run.succeeded, run.window),
        "successes": all(Class::Success),
        "refusals": all(Class::Refusal),
        "lost": all(Class::Lost),
        "successes_from_sending": from_sending,
        "schedule": schedule,
        "servers": servers_json(&run.used, run.answered, run.window),
        "readers": readers.map(|readers| readers_json(readers, run.window)),
    })
}

fn times_json(times: &Times, window: Duration) -> Map<String, Value> {
    let mut latency = Map::new();
    for (name, share) in QUANTILES {
        latency.insert(name.to_owned(), millis(times.quantile(share)));
    }
    latency.insert("max".to_owned(), millis(times.max()));
    let mut object = Map::new();
    object.insert("count".to_owned(), times.count().into());
    object.insert("per_second".to_owned(), per_second(times.count(), window).into());
    object.insert("latency_ms".to_owned(), latency.into());
    object
}

fn servers_json(used: &[Used], answered: u64, window: Duration) -> Vec<Value> {
    let one = |used: &Used| {
        let seconds = window.as_secs_f64();
        json!({
            "name": used.server.name,
            "pid": used.server.pid,
            "cpu_us_per_answer": micros_each(used.cpu, answered),
            "cpu_share": used.cpu.filter(|_| seconds > 0.0).map(|cpu| cpu.as_secs_f64() / seconds),
            "resident_bytes": used.resident,
        })
    };
    used.iter().map(one).collect()
}

fn readers_json(readers: &Readers, window: Duration) -> Value {
    let Readers { open, stuck, delivered, in_window, expected, ended, times, held } = readers;
    let held: Map<String, Value> = held
        .iter()
        .map(|used| (used.server.name.clone(), bytes_each(used, *open).into()))
        .collect();
    json!({
        "open": open,
        "stuck": stuck,
        "ended": ended,
        "delivered": delivered,
        "expected": expected,
        "missing": expected.saturating_sub(*delivered),
        "per_second": per_second(*in_window, window),
        "latency_ms": times_json(times, window).remove("latency_ms"),
        "bytes_per_reader": held,
    })
}

/// Whether a schedule was kept: at most one request in a hundred was not sent.
fn kept(scheduled: u64, unsent: u64) -> bool {
    unsent.saturating_mul(100) <= scheduled
}

/// Memory that came with the readers, for each of them.
fn bytes_each(used: &Used, readers: u32) -> Option<u64> {
    let grown = used.resident?.saturating_sub(used.resident_before?);
    grown.checked_div(u64::from(readers))
}

fn micros_each(cpu: Option<Duration>, answered: u64) -> Option<f64> {
    let cpu = cpu.filter(|_| answered > 0)?;
    Some(cpu.as_secs_f64() * 1e6 / float(answered))
}

/// Events per second of a window; 0 without one.
pub(super) fn per_second(count: u64, window: Duration) -> f64 {
    let seconds = window.as_secs_f64();
    if seconds > 0.0 { float(count) / seconds } else { 0.0 }
}

/// A count as a fraction takes it; exact up to 2^53.
fn float(count: u64) -> f64 {
    let half = |bits: u64| f64::from(u32::try_from(bits & 0xffff_ffff).unwrap_or(u32::MAX));
    half(count >> 32) * 4_294_967_296.0 + half(count)
}

fn millis(time: Option<Duration>) -> Value {
    time.map_or(Value::Null, |time| (time.as_secs_f64() * 1e3).into())
}

fn shown(time: Option<Duration>) -> String {
    let Some(time) = time else { return "-".to_owned() };
    let seconds = time.as_secs_f64();
    if seconds >= 1.0 {
        format!("{seconds:.2} s")
    } else if seconds >= 0.001 {
        format!("{:.2} ms", seconds * 1e3)
    } else {
        format!("{:.0} µs", seconds * 1e6)
    }
}

fn bytes_shown(bytes: u64) -> String {
    format!("{:.1} MiB", float(bytes) / 1_048_576.0)
}

#[cfg(test)]
mod tests {
    use super::{super::tally::Tally, super::vitals::Server, *};

    fn run() -> Run {
        let mut tally = Tally::default();
        for _ in 0..200 {
            tally.answered(
                0,
                (200, b"received"),
                Duration::from_millis(4),
                Duration::from_millis(3),
            );
        }
        tally.answered(0, (503, b"overloaded"), Duration::from_millis(1), Duration::ZERO);
        let server = Server { name: "core".into(), pid: 7 };
        let cpu = Some(Duration::from_millis(10));
        let used = Used { server, cpu, resident_before: Some(1), resident: Some(2_097_152) };
        Run {
            tally,
            window: Duration::from_secs(2),
            scheduled: Some(1000),
            unsent: 799,
            answered: 200,
            succeeded: 200,
            used: vec![used],
            interrupted: false,
        }
    }

    fn about() -> About {
        About {
            subject: "input",
            what: "POST /input".into(),
            url: "http://h".into(),
            connections: 64,
            rate: Some(500),
        }
    }

    #[test]
    fn people_read_rates_latencies_and_what_was_not_sent() {
        let text = to_text(&about(), &run(), None);
        let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap();
        let taken: Vec<&str> = line("200 received").split_whitespace().collect();
        assert_eq!(taken[2..4], ["200", "100"], "{text}");
        assert!(line("503 overloaded").contains("1.00 ms"), "{text}");
        assert!(line("core").contains("50.0 µs") && line("core").contains("2.0 MiB"), "{text}");
        assert!(text.contains("\n100 successes per second"), "{text}");
        assert!(text.contains("The rate was NOT kept: 799 of 1000"), "{text}");
    }

    #[test]
    fn programs_read_the_same() {
        let value = to_json(&about(), &run(), None);
        assert_eq!(value["successes"]["count"], 200);
        assert_eq!(value["successes"]["per_second"], 100.0);
        assert_eq!(value["refusals"]["count"], 1);
        assert_eq!(value["goodput_per_second"], 100.0);
        assert_eq!(value["answers"][1]["word"], "overloaded");
        assert_eq!(value["schedule"]["kept"], false);
        assert_eq!(value["servers"][0]["cpu_us_per_answer"], 50.0);
        let p50 = value["successes"]["latency_ms"]["p50"].as_f64().unwrap();
        assert!((3.99..4.01).contains(&p50), "{p50}");
    }

    #[test]
    fn counts_become_fractions_exactly() {
        for count in [0, 1, 4_294_967_295, 4_294_967_296, 9_007_199_254_740_992] {
            assert_eq!(format!("{:.0}", float(count)), count.to_string());
        }
    }
}
