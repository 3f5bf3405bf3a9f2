//! The limit of the disk: memory's writer with 64 submitters, and one commit for each write.

use std::{cell::Cell, rc::Rc, time::Duration};

use clap::Parser;
use cortex::{
    backplane::{
        config::{Data, Storage, Streams},
        database::{self, Store},
        drain,
        fanout::BusActor,
        metrics::Metrics,
        vitals::House,
    },
    cli::bench::own::Scratch,
    services::memory::{
        Live, MIGRATIONS, Memory,
        intake::{self, NewItem},
        store,
        writer::Write,
    },
};
use diesel::SqliteConnection;
use serde_json::json;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{Figure, Terms};

/// Time for one write.
const PATIENCE: Duration = Duration::from_secs(30);

/// Group commit over one commit for each write, 64 submitters both.
pub(crate) async fn measure(terms: &Terms) -> Vec<Figure> {
    let (mut gain, mut group, mut single) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..terms.rounds {
        let (grouped, alone) = (grouped(terms, 64).await, alone(terms, 64).await);
        gain.push(grouped / alone);
        group.push(grouped);
        single.push(alone);
    }
    vec![
        Figure::new("group commit / one commit for each write (64)", "", gain).at_least(20.0),
        Figure::new("  group commit", "per s", group),
        Figure::new("  one commit for each write", "per s", single),
    ]
}

/// The product's settings, none changed.
#[derive(Parser)]
struct Defaults {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    storage: Storage,
    #[command(flatten)]
    streams: Streams,
}

fn item() -> Box<NewItem> {
    let content = "the quick brown fox jumps over the lazy dog ".repeat(6);
    let input = json!({"content": content, "conversation_id": "default", "metadata": {}});
    let input = input.as_object().unwrap().clone();
    Box::new(intake::item("bench", input, 1_795_170_785_276_624).unwrap().into())
}

fn open(scratch: &Scratch) -> SqliteConnection {
    let mut connection = database::connect(&scratch.path().join("memory.db")).unwrap();
    database::migrate(&mut connection, MIGRATIONS, Store::Memory).unwrap();
    connection
}

/// Writes per second through memory's own writer.
pub(crate) async fn grouped(terms: &Terms, submitters: usize) -> f64 {
    let scratch = Scratch::below(&terms.dir).unwrap();
    drop(open(&scratch));
    let (house, metrics) = (House::new(), Metrics::new("bench"));
    let Defaults { data, storage, streams } = Defaults::parse_from(["bench"]);
    let bus = BusActor::start(&house, &metrics, streams.bounds());
    let (_trigger, drain) = drain::pair();
    let (path, live) = (scratch.path().join("memory.db"), Live { bus, drain });
    let opened = Memory::open(&path, (&data, &storage), &streams, live, &house, &metrics);
    let memory = opened.unwrap();
    let writer = memory.writer();
    let rate = rate(terms, submitters, || {
        let writer = writer.clone();
        async move {
            writer.write(Write::Store(item()), Instant::now() + PATIENCE).await.unwrap();
        }
    });
    let rate = rate.await;
    writer.close(PATIENCE).await;
    rate
}

/// Writes per second with a commit for each.
async fn alone(terms: &Terms, submitters: usize) -> f64 {
    let scratch = Scratch::below(&terms.dir).unwrap();
    let mut connection = open(&scratch);
    let (queue, mut jobs) = mpsc::channel::<(Box<NewItem>, oneshot::Sender<()>)>(submitters);
    let thread = std::thread::spawn(move || {
        while let Some((item, reply)) = jobs.blocking_recv() {
            let stored = connection
                .immediate_transaction(|connection| store::insert(connection, &item).map(|_| ()));
            stored.unwrap();
            if reply.send(()).is_err() {
                return;
            }
        }
    });
    let rate = rate(terms, submitters, || {
        let queue = queue.clone();
        async move {
            let (reply, answer) = oneshot::channel();
            queue.send((item(), reply)).await.unwrap();
            answer.await.unwrap();
        }
    });
    let rate = rate.await;
    drop(queue);
    thread.join().unwrap();
    rate
}

/// How often per second so many submitters get their work done.
async fn rate<F: Future<Output = ()>>(
    terms: &Terms,
    submitters: usize,
    work: impl Fn() -> F + Clone,
) -> f64 {
    let done = Rc::new(Cell::new(0_u64));
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(terms.seconds);
    let submitters = (0..submitters).map(|_| {
        let (done, work) = (Rc::clone(&done), work.clone());
        async move {
            while Instant::now() < end {
                work().await;
                done.set(done.get() + 1);
            }
        }
    });
    futures_util::future::join_all(submitters).await;
    done.get() as f64 / begun.elapsed().as_secs_f64()
}
