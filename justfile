# Everything that must hold.
check:
    ./check

# A backplane on this machine.
up:
    cargo run --release -- up

# The bars of docs/benchmarks.md as ratios of one run; NAMES picks some, --quick is short.
bench *NAMES:
    cargo bench --bench ratios -- {{NAMES}}

# Kills, stops and a broken network against a real backplane: docs/torture.md.
torture SECONDS="600" SEED=`date +%s`:
    TORTURE_SECONDS={{SECONDS}} TORTURE_SEED={{SEED}} cargo test --release --test it torture -- --nocapture
