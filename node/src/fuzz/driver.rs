//! Runs a target over its corpus and changes of it, and keeps what it finds.

use std::collections::HashSet;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::chance::Chance;
use super::{bytes, fields, json};

/// Seconds that a target is fuzzed for; without it [`SHORT`].
const SECONDS: &str = "PATCHMESH_FUZZ_SECONDS";

/// Repeats a run when set to the number that the run printed.
const SEED: &str = "PATCHMESH_FUZZ_SEED";

/// Writes the seeds that targets make into the corpus when set.
const WRITE: &str = "PATCHMESH_FUZZ_WRITE_SEEDS";

/// What every run of the tests does.
const SHORT: Duration = Duration::from_secs(2);

/// Reading one input may take this long on the busiest machine.
const SLOW: Duration = Duration::from_secs(5);

/// Words of an outcome that count.
const WORDS: usize = 40;

/// Inputs that are changed further.
const POOL: usize = 4096;

/// What the bytes of a target stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A protobuf message.
    Fields,
    Json,
    /// Anything else.
    Bytes,
}

/// Something that reads what a peer sends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// The folder of its corpus.
    name: &'static str,
    form: Form,
    /// Words that mean something to it.
    words: &'static [&'static str],
    /// Bytes of its longest input.
    longest: usize,
    /// Bytes of memory that any input may take, whatever its length.
    base: u64,
    /// Bytes of memory for each byte that comes, at most, at one time.
    factor: u64,
}

impl Target {
    pub(crate) const fn new(name: &'static str, form: Form) -> Self {
        Self { name, form, words: &[], longest: 16 << 10, base: 256 << 10, factor: 64 }
    }

    /// With words that mean something to it.
    pub(crate) const fn with_words(self, words: &'static [&'static str]) -> Self {
        Self { words, ..self }
    }

    /// With another bound for memory that any input may take.
    pub(crate) const fn with_base(self, base: u64) -> Self {
        Self { base, ..self }
    }

    /// With another bound for memory that each byte may take.
    pub(crate) const fn with_factor(self, factor: u64) -> Self {
        Self { factor, ..self }
    }

    /// Feeds `read` the corpus, `seeds`, and changes of them. `read` says in
    /// a few words what became of an input.
    pub(crate) fn run<T: AsRef<[u8]>>(
        self,
        seeds: impl IntoIterator<Item = T>,
        read: impl Fn(&[u8]) -> String,
    ) {
        let mut run = Run::new(self);
        let seeds: Vec<Vec<u8>> = seeds.into_iter().map(|seed| seed.as_ref().to_vec()).collect();
        if std::env::var_os(WRITE).is_some() {
            run.write_seeds(&seeds);
        }
        let corpus = run.corpus();
        assert!(!corpus.is_empty(), "{} holds no corpus", run.folder().display());
        for input in corpus.into_iter().chain(seeds) {
            if self.form == Form::Fields {
                // Not left to chance, which finds them once in a hundred runs.
                for list in fields::drawn_out(&input) {
                    run.feed(list, &read, false);
                }
            }
            run.feed(input, &read, true);
        }
        let known = run.pool.len();
        let begun = Instant::now();
        while begun.elapsed() < run.duration {
            let input = run.next();
            run.feed(input, &read, false);
        }
        let Run { fed, pool, slowest, greatest, .. } = &run;
        let found = pool.len() - known;
        eprintln!(
            "{}: {fed} inputs, {known} at first, {found} new outcomes, slowest {slowest:?}, \
             at most {greatest} bytes of memory for each that came",
            self.name,
        );
    }
}

struct Run {
    target: Target,
    chance: Chance,
    duration: Duration,
    pool: Vec<Vec<u8>>,
    outcomes: HashSet<u64>,
    /// Holds the input at hand, for what ends the process.
    hand: File,
    fed: u64,
    slowest: Duration,
    greatest: u64,
}

impl Run {
    fn new(target: Target) -> Self {
        let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>());
        let seed = match number(SEED) {
            Some(seed) => seed.expect("the seed is no number"),
            None => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(1, |time| time.subsec_nanos().into()),
        };
        let duration = number(SECONDS)
            .map_or(SHORT, |seconds| Duration::from_secs(seconds.expect("no number of seconds")));
        eprintln!("{}: {SEED}={seed} repeats this run", target.name);
        let hand = std::env::temp_dir().join(format!("patchmesh-fuzz-{}", target.name));
        Self {
            target,
            chance: Chance::seeded(seed),
            duration,
            pool: Vec::new(),
            outcomes: HashSet::new(),
            hand: File::create(hand).expect("a file for the input at hand"),
            fed: 0,
            slowest: Duration::ZERO,
            greatest: 0,
        }
    }

    fn folder(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(self.target.name)
    }

    /// Every input that is kept, in the order of names.
    fn corpus(&self) -> Vec<Vec<u8>> {
        let mut paths: Vec<PathBuf> = fs::read_dir(self.folder())
            .map(|entries| entries.map(|entry| entry.expect("an entry").path()).collect())
            .unwrap_or_default();
        paths.sort();
        paths.iter().map(|path| fs::read(path).expect("an input")).collect()
    }

    fn write_seeds(&self, seeds: &[Vec<u8>]) {
        fs::create_dir_all(self.folder()).expect("a folder");
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(self.folder().join(format!("seed-{number:02}")), seed).expect("written");
        }
    }

    /// Another input: one of the pool, changed.
    fn next(&mut self) -> Vec<u8> {
        let Target { form, words, longest, .. } = self.target;
        let chance = &mut self.chance;
        let mut input = chance.pick(&self.pool).cloned().unwrap_or_default();
        let other = chance.pick(&self.pool).cloned().unwrap_or_default();
        let changed = match form {
            Form::Fields => fields::change(&input, &other, words, longest, chance),
            Form::Json => json::change(&input, &other, words, longest, chance),
            Form::Bytes => None,
        };
        let is_whole = changed.is_some();
        input = changed.unwrap_or(input);
        if !is_whole || self.chance.once_in(8) {
            bytes::change(&mut input, &other, words, longest, &mut self.chance);
        }
        input
    }

    /// Lets the target read one input; keeps it if it is news or `is_corpus`, and
    /// ends the test if it is a finding.
    fn feed(&mut self, input: Vec<u8>, read: &impl Fn(&[u8]) -> String, is_corpus: bool) {
        self.fed += 1;
        // What kills the process would leave no other trace.
        let written = self.hand.set_len(input.len() as u64);
        written.and_then(|()| self.hand.write_all_at(&input, 0)).expect("written");
        let begun = Instant::now();
        let mut outcome = None;
        let memory = allocation_counter::measure(|| {
            outcome = Some(catch_unwind(AssertUnwindSafe(|| read(&input))));
        });
        let elapsed = begun.elapsed();
        let Some(Ok(word)) = outcome else { self.found(&input, "it panicked") };
        if elapsed > SLOW {
            self.found(&input, &format!("it took {elapsed:?}"));
        }
        let limit = self.target.base + self.target.factor * input.len() as u64;
        if memory.bytes_max > limit {
            let (most, length) = (memory.bytes_max, input.len());
            let what = format!("it took {most} bytes of memory for {length}, more than {limit}");
            self.found(&input, &what);
        }
        self.slowest = self.slowest.max(elapsed);
        self.greatest = self.greatest.max(memory.bytes_max / (input.len() as u64).max(1024));
        let is_news = self.outcomes.insert(signature(&word));
        if (is_news || is_corpus) && self.pool.len() < POOL {
            self.pool.push(input);
        }
    }

    /// Keeps a finding where the next run begins with it.
    fn found(&self, input: &[u8], what: &str) -> ! {
        let name = format!("found-{}", &blake3::hash(input).to_hex()[..16]);
        let path = self.folder().join(name);
        let kept = fs::create_dir_all(self.folder()).and_then(|()| fs::write(&path, input));
        let kept = kept.map_or_else(|error| format!("not kept: {error}"), |()| "kept".to_owned());
        panic!(
            "{}: {what}. The input of {} bytes is {kept} in {}; every run begins with it. \
             Mend what is wrong and commit the file.",
            self.target.name,
            input.len(),
            path.display(),
        );
    }
}

/// What tells one outcome from another: its words, not the numbers, digests and
/// names in it.
fn signature(said: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    let outside = said.split('"').step_by(2);
    let words = outside.flat_map(|part| part.split(|c: char| !c.is_alphanumeric()));
    let plain = words.filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
    plain.take(WORDS).for_each(|word| word.hash(&mut hasher));
    hasher.finish()
}
